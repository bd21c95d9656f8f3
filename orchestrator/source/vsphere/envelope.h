/* What stands in a SOAP message: a call into text, an answer out of text. No network. */
#ifndef VMFERRY_VSPHERE_ENVELOPE_H
#define VMFERRY_VSPHERE_ENVELOPE_H

#include "source/vsphere/soap.h"

int envelope_write(struct xml_writer *writer, const struct moref *self, const char *op,
                   const char *arguments, struct error **err);

/* An answer or a fault out of what the server sent with this HTTP status. -1: neither; *err
 * names the status and the first words, unless `quote` is off because they may hold what
 * nobody should see. */
int envelope_read(const char *text, size_t length, long status, const char *op, bool quote,
                  struct soap_answer *answer, struct error **err);

/* The local name of a <fault> element's type ("NoPermission"), "" when there is none. */
void envelope_fault_name(const xmlNode *fault, char *buf, size_t size);

/* The first words of a text for people: tags, styles, scripts and control characters left
 * out, cut to the buffer. */
void first_words(const char *text, size_t length, char *buf, size_t size);

#endif
