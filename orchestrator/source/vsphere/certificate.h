/* Certificates and fingerprints. What comes in: PEM, or a server that shows one. */
#ifndef VMFERRY_VSPHERE_CERTIFICATE_H
#define VMFERRY_VSPHERE_CERTIFICATE_H

#include "source/vsphere/soap.h"

#define FINGERPRINT_SIZE 96 /* of "AA:BB:…" with its NUL, SHA-256 */

/* "aa:bb…", "AABB…", "SHA256:aa…" → "AA:BB:…"; ERROR_USAGE when it is no SHA-256. */
int fingerprint_read(const char *text, char fingerprint[FINGERPRINT_SIZE], struct error **err);

/* Everything about the first certificate of certificate->pem. */
int certificate_describe(struct certificate *certificate, struct error **err);

/* Fetch the certificate that `server` shows, and see that it is the one with this
 * fingerprint: whatever is done with it afterwards, it is that one. */
int certificate_pin(const char *server, const char *fingerprint, unsigned timeout_s,
                    const atomic_int *cancel, struct certificate *certificate, struct error **err);

#endif
