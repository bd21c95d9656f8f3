/* SOAP calls over HTTPS, and plain HTTPS for datastore files' first bytes: one connection
 * that is kept alive, one cookie, TLS always verified. It knows nothing of what it calls. */
#ifndef VMFERRY_VSPHERE_SOAP_H
#define VMFERRY_VSPHERE_SOAP_H

#include <stdatomic.h>

#include "source/vsphere/xml.h"

#define SOAP_MOREF 128

/* A managed object: type and id. */
struct moref {
    char type[64];
    char id[SOAP_MOREF];
};

struct soap_settings {
    const char *server;      /* host[:port] */
    const char *ca_file;     /* PEM; "" or NULL: the system's */
    const char *fingerprint; /* SHA-256 of the server's certificate, hex, colons or not; "" or
                                NULL: verified by CA and host name instead */
    unsigned timeout_s;      /* of one call that is not a wait; 0: 60 */
    atomic_int *cancel;
    const char *capture; /* a directory: every request and response is written there, passwords
                            replaced; NULL: none. For tests and for support */
};

struct soap;

int soap_open(const struct soap_settings *settings, struct soap **soap, struct error **err);
void soap_close(struct soap *soap);

/* SHA-256 and SHA-1 of the certificate that the server shows now, "AA:BB:…", without
 * trusting it, and the names it is made out to. */
struct certificate {
    char sha256[96];
    char sha1[60];
    char subject[256];
    char pem[16384];
};
int soap_certificate(const char *server, unsigned timeout_s, struct certificate *certificate,
                     struct error **err);

/* What a call answered. */
struct soap_answer {
    xmlDoc *doc;
    xmlNode *body;        /* the element OPResponse; NULL when it was a fault */
    char fault[64];       /* local name of the fault's type: "InvalidLogin"; "" when none */
    char fault_text[512]; /* faultstring, or the localized message */
    xmlNode *detail;      /* the fault's element, for its members; or NULL */
};
void soap_answer_free(struct soap_answer *answer);
#define CLEANUP_SOAP_ANSWER CLEANUP(soap_answer_free)

/* Call OP on an object; `arguments` are the XML elements after _this (or NULL). -1: no
 * answer that makes sense, *err says why (ERROR_PAUSED when a later try may help). 0: an
 * answer or a fault. `safe`: may be sent again when the connection broke in between; a
 * call that is not is only repeated when it certainly never reached the server.
 * wait_s: how long the server may take to answer, beside the usual time; 0 for most. */
int soap_call(struct soap *soap, const struct moref *self, const char *op, const char *arguments,
              bool safe, unsigned wait_s, struct soap_answer *answer, struct error **err);

/* "vmware_soap_session=…" as a Cookie header wants it; "" before the login. */
const char *soap_cookie(const struct soap *soap);
void soap_forget_cookie(struct soap *soap);
/* "https://host:port". */
const char *soap_url(const struct soap *soap);
/* A PEM file that verifies this server: the CA file, or the pinned certificate itself
 * (written to `directory`, 0600); "" : the system's CAs do. */
int soap_ca_file(struct soap *soap, const char *directory, char *path, size_t size,
                 struct error **err);

#endif
