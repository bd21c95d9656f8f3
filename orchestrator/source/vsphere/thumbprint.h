/* The SHA-1 of a server's certificate, which is all that VMware's library takes to know a
 * server by. What goes out was verified: the certificate is the pinned one, or a CA signed it
 * for this host name. */
#ifndef VMFERRY_VSPHERE_THUMBPRINT_H
#define VMFERRY_VSPHERE_THUMBPRINT_H

#include "error.h"

/* ca_file: PEM, "": the system's. fingerprint: the pinned SHA-256, "": none. */
int thumbprint_verified(const char *server, const char *ca_file, const char *fingerprint,
                        char sha1[60], struct error **err);

#endif
