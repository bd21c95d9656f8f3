/* One HTTPS connection to one server: a body is posted, an answer of bounded size comes
 * back. TLS is always verified, by CA and host name or against one pinned certificate.
 * Nothing here knows SOAP, and nothing here tries again. */
#ifndef VMFERRY_VSPHERE_HTTP_H
#define VMFERRY_VSPHERE_HTTP_H

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "error.h"

#define HTTP_ANSWER_MAX ((size_t)256 << 20) /* bytes, unpacked */
#define HTTP_COOKIE     1024
#define HTTP_URL        512

struct http {
    CURL *curl;
    char origin[HTTP_URL]; /* "https://host:port" */
    char cookie[HTTP_COOKIE];
    size_t answer_max;
    bool pinned;
    char reason[CURL_ERROR_SIZE];
    const atomic_int *cancel; /* NULL: not looked at */
};

struct http_settings {
    const char *server;  /* host[:port], also https://host[:port][/sdk] */
    const char *ca_file; /* or NULL: the system's CAs */
    const char *pem;     /* the pinned certificate, or NULL */
};

/* `http` need not be cleared before. Close it in any case. */
int http_open(struct http *http, const struct http_settings *settings, struct error **err);
void http_close(struct http *http);

/* The options that every handle for this server has; for certificate.c, too. */
int http_origin(const char *server, char origin[HTTP_URL], struct error **err);
void http_basics(CURL *curl);

struct http_request {
    const char *path;   /* "/sdk" */
    const char *action; /* of SOAPAction, without the quotes */
    const char *body;
    size_t length;
    unsigned timeout_s; /* all of it */
    unsigned wait_s;    /* beside that, how long the server may be silent */
    /* Never on a connection that is in use already: there, curl sends a request again by
     * itself when the connection turns out to be dead. */
    bool once;
};

struct http_answer {
    long status;
    char *data; /* NUL-terminated; NULL when it is empty */
    size_t length, capacity;
    char location[256]; /* where a redirect points; "" */
};
void http_answer_free(struct http_answer *answer);
#define CLEANUP_HTTP_ANSWER CLEANUP(http_answer_free)

enum http_result {
    HTTP_ANSWERED,  /* whatever the status is */
    HTTP_UNSENT,    /* it never reached the server */
    HTTP_BROKEN,    /* nobody knows whether it did */
    HTTP_CANCELLED, /* by the flag */
    HTTP_REFUSED,   /* trying again is no use: certificate, answer too long, no memory */
};
/* *err is set with every result but HTTP_ANSWERED. The cookie is sent, and kept when the
 * server sets it. */
enum http_result http_post(struct http *http, const struct http_request *request,
                           struct http_answer *answer, struct error **err);

/* Take NAME=value from a Set-Cookie header's value exactly as it is there (with quotes, if it
 * has them): 0 when it is this cookie; *cookie is "" when the server takes it back. -1: it is
 * another cookie, or none that may be sent. */
int http_cookie_read(const char *text, size_t length, const char *name, char cookie[HTTP_COOKIE]);

#endif
