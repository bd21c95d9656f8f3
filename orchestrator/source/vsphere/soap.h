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

/* <obj type="VirtualMachine">vm-62</obj>; -1 when that is not what the element is. */
int moref_read(const xmlNode *node, struct moref *moref);
void moref_write(struct xml_writer *writer, const char *name, const struct moref *moref);

struct soap_settings {
    const char *server;      /* host[:port] */
    const char *ca_file;     /* PEM; "" or NULL: the system's */
    const char *fingerprint; /* SHA-256 of the server's certificate, hex, colons or not; "" or
                                NULL: verified by CA and host name instead */
    unsigned timeout_s;      /* of one call that is not a wait; 0: 60 */
    atomic_int *cancel;      /* non-zero: give up with ERROR_PAUSED; NULL: never */
    const char *capture;     /* a directory: every request and response is written there, passwords
                                replaced; NULL: what VMFERRY_VSPHERE_CAPTURE says, else none. For
                                tests and for support */
};

struct soap; /* one thread at a time */

/* Connects nowhere yet, except for a pinned fingerprint: the certificate is fetched and
 * compared, and from then on exactly that certificate is trusted. */
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

/* The version of the API that calls are made in, "6.7"; "" (at first): none is named. */
void soap_set_version(struct soap *soap, const char *version);
/* Non-zero: a cleanup begins. Cancel is not looked at, each call may take this many seconds
 * and is sent once. 0: as before. Returns what it was. */
unsigned soap_hurry(struct soap *soap, unsigned timeout_s);
/* Cancel is not looked at, otherwise all is as ever: for what has to be done after a stop,
 * like removing a snapshot. Returns what it was. */
bool soap_ignore_cancel(struct soap *soap, bool ignore);
/* Wait, at most that long: -1 with ERROR_PAUSED as soon as a cancel comes. */
int soap_pause(struct soap *soap, unsigned ms, struct error **err);

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
