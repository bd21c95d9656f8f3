/* Calls, and when they may be sent again; see soap.h. */
#include "source/vsphere/soap.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "log/log.h"
#include "source/vsphere/capture.h"
#include "source/vsphere/certificate.h"
#include "source/vsphere/envelope.h"
#include "source/vsphere/http.h"

#define TIMEOUT_S      60
#define TRIES          5
#define FIRST_PAUSE_MS 500
#define TICK_MS        50

struct soap {
    struct http http;
    struct capture capture;
    struct certificate pinned; /* pem is "" when nothing is pinned */
    char *ca_file;             /* or NULL */
    unsigned timeout_s;
    unsigned hurry_s; /* 0: no hurry */
    const atomic_int *cancel;
    bool ignore_cancel;
    char version[32];
};

static bool given(const char *text)
{
    return text && *text;
}

static void cleanup_soap(struct soap **soap)
{
    soap_close(*soap);
}

int soap_open(const struct soap_settings *settings, struct soap **soap, struct error **err)
{
    CLEANUP(cleanup_soap) struct soap *s = calloc(1, sizeof *s);
    struct http_settings http = { .server = settings->server };

    if (!s)
        return error_set_errno(err, ENOMEM, "%s", settings->server);
    s->timeout_s = settings->timeout_s ? settings->timeout_s : TIMEOUT_S;
    s->cancel = settings->cancel;
    if (capture_open(&s->capture, settings->capture, err) < 0)
        return -1;
    if (given(settings->fingerprint)) {
        if (certificate_pin(settings->server, settings->fingerprint, s->timeout_s, s->cancel,
                            &s->pinned, err) < 0)
            return -1;
        http.pem = s->pinned.pem;
    } else if (given(settings->ca_file)) {
        s->ca_file = strdup(settings->ca_file);
        if (!s->ca_file)
            return error_set_errno(err, ENOMEM, "%s", settings->server);
        if (access(s->ca_file, R_OK) < 0)
            return error_set_errno(err, errno, "CA file %s", s->ca_file);
        http.ca_file = s->ca_file;
    }
    if (http_open(&s->http, &http, err) < 0)
        return -1;
    *soap = steal_ptr(s);
    return 0;
}

void soap_close(struct soap *soap)
{
    if (!soap)
        return;
    http_close(&soap->http);
    free(soap->ca_file);
    free(soap);
}

const char *soap_cookie(const struct soap *soap)
{
    return soap->http.cookie;
}

void soap_forget_cookie(struct soap *soap)
{
    explicit_bzero(soap->http.cookie, sizeof soap->http.cookie);
}

const char *soap_url(const struct soap *soap)
{
    return soap->http.origin;
}

void soap_set_version(struct soap *soap, const char *version)
{
    snprintf(soap->version, sizeof soap->version, "%s", version);
}

unsigned soap_hurry(struct soap *soap, unsigned timeout_s)
{
    unsigned before = soap->hurry_s;

    soap->hurry_s = timeout_s;
    return before;
}

bool soap_ignore_cancel(struct soap *soap, bool ignore)
{
    bool before = soap->ignore_cancel;

    soap->ignore_cancel = ignore;
    return before;
}

static const atomic_int *cancel_flag(const struct soap *soap)
{
    return soap->hurry_s || soap->ignore_cancel ? NULL : soap->cancel;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int soap_pause(struct soap *soap, unsigned ms, struct error **err)
{
    int64_t end = now_ms() + ms;
    const atomic_int *cancel = cancel_flag(soap);

    for (;;) {
        int64_t left = end - now_ms();
        struct timespec tick = { .tv_nsec = (left < TICK_MS ? left : TICK_MS) * 1000000 };

        if (cancel && atomic_load(cancel) != 0)
            return error_set_kind(err, ERROR_PAUSED, "stopped on request");
        if (left <= 0)
            return 0;
        nanosleep(&tick, NULL);
    }
}

static bool is_overloaded(long status)
{
    return status == 429 || (status >= 502 && status <= 504);
}

/* A redirect is never followed: the cookie and the password are for this server. */
static int refuse_redirect(const struct http_answer *answer, struct error **err)
{
    char location[160];

    first_words(answer->location, strlen(answer->location), location, sizeof location);
    return error_set(err,
                     "HTTP status %ld, a redirect to \"%s\", which is not followed: is it the "
                     "address of a vCenter or an ESXi host?",
                     answer->status, location);
}

/* One call, as often as it may be sent. */
struct exchange {
    const char *op;
    struct http_request request;
    bool safe;
    bool secret; /* there is a password in it */
};

static bool may_repeat(enum http_result result, long status, bool safe)
{
    if (result == HTTP_UNSENT)
        return true;
    return safe && (result == HTTP_BROKEN || (result == HTTP_ANSWERED && is_overloaded(status)));
}

static int post(struct soap *soap, const struct exchange *exchange, struct soap_answer *answer,
                bool *repeat, struct error **err)
{
    CLEANUP_HTTP_ANSWER struct http_answer raw = { 0 };
    enum http_result result;

    capture_request(&soap->capture, exchange->op, exchange->secret, exchange->request.body,
                    exchange->request.length);
    soap->http.cancel = cancel_flag(soap);
    result = http_post(&soap->http, &exchange->request, &raw, err);
    *repeat = may_repeat(result, raw.status, exchange->safe);
    if (raw.length > 0)
        capture_response(&soap->capture, exchange->op, exchange->secret, raw.data, raw.length);
    if (result == HTTP_BROKEN && !exchange->safe)
        return error_prefix(err, "nobody knows whether it was done");
    if (result != HTTP_ANSWERED)
        return -1;
    if (raw.status >= 300 && raw.status < 400)
        return refuse_redirect(&raw, err);
    return envelope_read(raw.data ? raw.data : "", raw.length, raw.status, exchange->op,
                         !exchange->secret, answer, err);
}

static int post_repeatedly(struct soap *soap, const struct exchange *exchange,
                           struct soap_answer *answer, struct error **err)
{
    unsigned pause_ms = FIRST_PAUSE_MS;
    int64_t deadline =
        now_ms() + 1000 * ((int64_t)exchange->request.timeout_s + exchange->request.wait_s);

    for (unsigned try = 1;; try++) {
        CLEANUP_ERROR struct error *why = NULL;
        bool repeat;

        if (post(soap, exchange, answer, &repeat, &why) == 0)
            return 0;
        if (!repeat || soap->hurry_s || try == TRIES || now_ms() >= deadline)
            return error_move(err, &why);
        log_problem(LEVEL_INFO, "vsphere", why, "%s is sent again", exchange->op);
        if (soap_pause(soap, pause_ms, err) < 0)
            return -1;
        pause_ms *= 2;
    }
}

int soap_call(struct soap *soap, const struct moref *self, const char *op, const char *arguments,
              bool safe, unsigned wait_s, struct soap_answer *answer, struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer writer = { 0 };
    char action[sizeof "urn:vim25/" + sizeof soap->version];
    struct exchange exchange = { .op = op,
                                 .safe = safe,
                                 .secret = arguments && strstr(arguments, "<password>") };
    int64_t began;

    *answer = (struct soap_answer){ 0 };
    if (envelope_write(&writer, self, op, arguments, err) < 0)
        return -1;
    snprintf(action, sizeof action, "urn:vim25%s%s", soap->version[0] ? "/" : "", soap->version);
    exchange.request = (struct http_request){
        .path = "/sdk",
        .action = action,
        .body = writer.text,
        .length = writer.length,
        .timeout_s = soap->hurry_s ? soap->hurry_s : soap->timeout_s,
        .wait_s = wait_s,
        .once = !safe,
    };
    began = now_ms();
    if (post_repeatedly(soap, &exchange, answer, err) < 0)
        return error_prefix(err, "%s", op);
    log_debug("vsphere", "%s: %s, %lld ms", op, answer->fault[0] ? answer->fault : "done",
              (long long)(now_ms() - began));
    return 0;
}

/* The file is new, or none: nobody else's is written over. */
static int write_pem(const char *path, const char *pem, struct error **err)
{
    CLEANUP_CLOSE int fd = -1;
    size_t length = strlen(pem);

    if (unlink(path) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "%s", path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", path);
    errno = ENOSPC;
    if (write(fd, pem, length) != (ssize_t)length)
        return error_set_errno(err, errno, "%s", path);
    return 0;
}

int soap_ca_file(struct soap *soap, const char *directory, char *path, size_t size,
                 struct error **err)
{
    int n;

    if (!soap->pinned.pem[0] && !soap->ca_file) {
        path[0] = '\0';
        return 0;
    }
    if (soap->pinned.pem[0])
        n = snprintf(path, size, "%s/server-certificate.pem", directory);
    else
        n = snprintf(path, size, "%s", soap->ca_file);
    if (n < 0 || (size_t)n >= size)
        return error_set_errno(err, ENAMETOOLONG, "a file for the server's certificate");
    return soap->pinned.pem[0] ? write_pem(path, soap->pinned.pem, err) : 0;
}
