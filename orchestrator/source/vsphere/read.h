/* What managed objects look like in XML, read with the care that a server's text needs. */
#ifndef VMFERRY_VSPHERE_READ_H
#define VMFERRY_VSPHERE_READ_H

#include "source/vsphere/soap.h"

/* The text at `path` for people and for JSON: "" when it is not there, cut to
 * `size`, without control characters. */
void read_text(const xmlNode *node, const char *path, char *buf, size_t size);
/* The same for what may not be cut or changed, because something is decided by it: "" when
 * it is not there, too long, or holds control characters. */
void read_exact(const xmlNode *node, const char *path, char *buf, size_t size);
/* 0 when it is missing, no number, negative or past INT64_MAX. */
uint64_t read_amount(const xmlNode *node, const char *path);
/* The same for an int; `otherwise` when it can't be read. */
int read_int(const xmlNode *node, const char *path, int otherwise);
/* The part of a change id that names the life of the tracking: its length, up to the '/'. */
size_t change_id_life(const char *change_id);
/* Lower case, colons, and no group address: else "". */
void read_mac(const xmlNode *node, const char *path, char mac[18]);

#endif
