/* One HTTPS connection; see http.h. */
#include "source/vsphere/http.h"

#include <string.h>

#define SESSION_COOKIE "vmware_soap_session"
#define CONNECT_MS     15000L
#define KEEPALIVE_S    30L

int http_origin(const char *server, char origin[HTTP_URL], struct error **err)
{
    CLEANUP_FREE char *text = NULL;
    char *parts[5] = { NULL }; /* scheme, user, host, port, query */
    static const CURLUPart wanted[5] = { CURLUPART_SCHEME, CURLUPART_USER, CURLUPART_HOST,
                                         CURLUPART_PORT, CURLUPART_QUERY };
    CURLU *url = curl_url();
    int r = 0;

    if (!url || asprintf(&text, "%s%s", strstr(server, "://") ? "" : "https://", server) < 0) {
        curl_url_cleanup(url);
        text = NULL;
        return error_set_errno(err, ENOMEM, "server %s", server);
    }
    if (curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK) {
        for (int i = 0; i < 5; i++)
            curl_url_get(url, wanted[i], &parts[i],
                         wanted[i] == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0);
    }
    if (!parts[0] || !parts[2] || strcmp(parts[0], "https") != 0 || parts[4] ||
        strlen(parts[2]) > 255)
        r = error_set_kind(err, ERROR_USAGE, "server \"%s\": not HOST or HOST:PORT", server);
    else if (parts[1])
        r = error_set_kind(err, ERROR_USAGE,
                           "a user or password in the server's name would be seen by everyone on "
                           "this machine; leave it out");
    else
        snprintf(origin, HTTP_URL, "https://%s:%s", parts[2], parts[3]);
    for (int i = 0; i < 5; i++)
        curl_free(parts[i]);
    curl_url_cleanup(url);
    return r;
}

void http_basics(CURL *curl)
{
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
    /* A proxy's own answer must not be taken for the server's. */
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
}

/* Debian's curl also trusts the directory /etc/ssl/certs unless told otherwise: that would
 * make every public CA good enough where one CA, or one certificate, was asked for. */
static CURLcode trust(CURL *curl, const struct http_settings *settings)
{
    CURLcode code = CURLE_OK;

    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    if (settings->pem) {
        struct curl_blob blob = { .data = (void *)settings->pem,
                                  .len = strlen(settings->pem),
                                  .flags = CURL_BLOB_COPY };

        code = curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
        curl_easy_setopt(curl, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
        /* The certificate itself is known; what name is on it does not matter. */
        if (code == CURLE_OK)
            curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    } else if (settings->ca_file) {
        code = curl_easy_setopt(curl, CURLOPT_CAINFO, settings->ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    return code;
}

static size_t take_data(char *data, size_t size, size_t count, void *opaque);
static size_t take_header(char *line, size_t size, size_t count, void *opaque);

static int is_cancelled(void *opaque, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct http *http = opaque;

    (void)a, (void)b, (void)c, (void)d;
    return http->cancel && atomic_load(http->cancel) != 0;
}

int http_open(struct http *http, const struct http_settings *settings, struct error **err)
{
    *http = (struct http){ .answer_max = HTTP_ANSWER_MAX, .pinned = settings->pem != NULL };
    if (http_origin(settings->server, http->origin, err) < 0)
        return -1;
    http->curl = curl_easy_init();
    if (!http->curl)
        return error_set_errno(err, ENOMEM, "server %s", settings->server);
    http_basics(http->curl);
    if (trust(http->curl, settings) != CURLE_OK)
        return error_set(err,
                         "server %s: this libcurl can't be told whom to trust; is it the "
                         "OpenSSL flavour (libcurl4)?",
                         settings->server);
    curl_easy_setopt(http->curl, CURLOPT_MAXCONNECTS, 1L);
    curl_easy_setopt(http->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(http->curl, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
    curl_easy_setopt(http->curl, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
    curl_easy_setopt(http->curl, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(http->curl, CURLOPT_POST, 1L);
    curl_easy_setopt(http->curl, CURLOPT_ERRORBUFFER, http->reason);
    curl_easy_setopt(http->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(http->curl, CURLOPT_XFERINFOFUNCTION, is_cancelled);
    curl_easy_setopt(http->curl, CURLOPT_XFERINFODATA, http);
    curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, take_data);
    curl_easy_setopt(http->curl, CURLOPT_HEADERFUNCTION, take_header);
    return 0;
}

void http_close(struct http *http)
{
    curl_easy_cleanup(http->curl);
    explicit_bzero(http, sizeof *http);
}

void http_answer_free(struct http_answer *answer)
{
    free(answer->data);
    *answer = (struct http_answer){ 0 };
}

/* What the callbacks need; one exists during a perform. */
struct exchange {
    struct http *http;
    struct http_answer *answer;
    bool too_long;
};

static size_t take_data(char *data, size_t size, size_t count, void *opaque)
{
    struct exchange *exchange = opaque;
    struct http_answer *answer = exchange->answer;
    size_t more = size * count;

    if (more > exchange->http->answer_max - answer->length) {
        exchange->too_long = true;
        return 0;
    }
    if (answer->length + more + 1 > answer->capacity) {
        size_t capacity = (answer->length + more + 1) * 2;
        char *grown = realloc(answer->data, capacity);

        if (!grown)
            return 0;
        answer->data = grown;
        answer->capacity = capacity;
    }
    memcpy(answer->data + answer->length, data, more);
    answer->length += more;
    answer->data[answer->length] = '\0';
    return more;
}

/* The value of this header, without the blanks around it; NULL: it is another one. */
static const char *header_value(const char *line, size_t length, const char *name, size_t *left)
{
    size_t skip = strlen(name);

    if (length <= skip || strncasecmp(line, name, skip) != 0 || line[skip] != ':')
        return NULL;
    for (skip++; skip < length && strchr(" \t", line[skip]); skip++)
        ;
    while (length > skip && strchr(" \t\r\n", line[length - 1]))
        length--;
    *left = length - skip;
    return line + skip;
}

static size_t take_header(char *line, size_t size, size_t count, void *opaque)
{
    struct exchange *exchange = opaque;
    size_t length = size * count;
    size_t left;
    const char *value = header_value(line, length, "Set-Cookie", &left);

    if (value) {
        http_cookie_read(value, left, SESSION_COOKIE, exchange->http->cookie);
        return length;
    }
    value = header_value(line, length, "Location", &left);
    if (value)
        snprintf(exchange->answer->location, sizeof exchange->answer->location, "%.*s", (int)left,
                 value);
    return length;
}

int http_cookie_read(const char *text, size_t length, const char *name, char cookie[HTTP_COOKIE])
{
    size_t name_length = strlen(name);
    size_t end = 0;
    bool quoted = false;
    const char *value;

    /* The pair ends at the first semicolon that is not inside quotes. */
    while (end < length && (quoted || text[end] != ';'))
        quoted ^= text[end++] == '"';
    if (quoted) {
        const char *semicolon = memchr(text, ';', length);

        end = semicolon ? (size_t)(semicolon - text) : length;
    }
    while (end > 0 && strchr(" \t", text[end - 1]))
        end--;
    if (end <= name_length || strncmp(text, name, name_length) != 0 || text[name_length] != '=' ||
        end >= HTTP_COOKIE)
        return -1;
    value = text + name_length + 1;
    for (const char *c = value; c < text + end; c++) {
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
            return -1;
    }
    if (value == text + end || strncmp(value, "\"\"", (size_t)(text + end - value)) == 0)
        end = 0;
    memcpy(cookie, text, end);
    cookie[end] = '\0';
    return 0;
}

/* How far it came, from what curl says. A handshake that fails has sent no request. */
static enum http_result classify(const struct http *http, CURLcode code)
{
    curl_off_t began = 0;
    long sent = 0;

    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        return HTTP_CANCELLED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_URL_MALFORMAT:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_WRITE_ERROR:
    case CURLE_BAD_CONTENT_ENCODING:
        return HTTP_REFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return HTTP_UNSENT;
    default:
        curl_easy_getinfo(http->curl, CURLINFO_PRETRANSFER_TIME_T, &began);
        curl_easy_getinfo(http->curl, CURLINFO_REQUEST_SIZE, &sent);
        return began == 0 && sent == 0 ? HTTP_UNSENT : HTTP_BROKEN;
    }
}

static enum http_result explain(struct http *http, CURLcode code, bool too_long, struct error **err)
{
    enum http_result result = classify(http, code);
    const char *reason = http->reason[0] ? http->reason : curl_easy_strerror(code);

    if (result == HTTP_CANCELLED)
        error_set_kind(err, ERROR_PAUSED, "stopped on request");
    else if (too_long)
        error_set(err, "%s: the answer is longer than %zu MiB", http->origin,
                  http->answer_max >> 20);
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        error_set(err, "%s is not trusted: %s; %s", http->origin, reason,
                  http->pinned ? "its certificate is not the one that is pinned, or that one is "
                                 "no longer valid: give the server a new one, and pin that"
                               : "give the CA that signed its certificate, or pin the "
                                 "certificate's SHA-256 fingerprint");
    else
        error_set_kind(err, result == HTTP_REFUSED ? ERROR_FAILED : ERROR_PAUSED, "%s: %s",
                       http->origin, reason);
    return result;
}

static struct curl_slist *make_headers(const char *action)
{
    char line[128];
    struct curl_slist *list = curl_slist_append(NULL, "Content-Type: text/xml; charset=utf-8");
    struct curl_slist *last;

    snprintf(line, sizeof line, "SOAPAction: \"%s\"", action);
    last = list ? curl_slist_append(list, line) : NULL;
    /* Empty Expect: no waiting for 100-continue. */
    last = last ? curl_slist_append(list, "Expect:") : NULL;
    if (last)
        return list;
    curl_slist_free_all(list);
    return NULL;
}

enum http_result http_post(struct http *http, const struct http_request *request,
                           struct http_answer *answer, struct error **err)
{
    struct exchange exchange = { .http = http, .answer = answer };
    long limit_s = (long)request->timeout_s + request->wait_s;
    struct curl_slist *headers = make_headers(request->action);
    char url[HTTP_URL + 64];
    CURLcode code;

    if (!headers) {
        error_set_errno(err, ENOMEM, "%s", http->origin);
        return HTTP_REFUSED;
    }
    snprintf(url, sizeof url, "%s%s", http->origin, request->path);
    curl_easy_setopt(http->curl, CURLOPT_URL, url);
    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(http->curl, CURLOPT_COOKIE, http->cookie[0] ? http->cookie : NULL);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, request->body);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->length);
    curl_easy_setopt(http->curl, CURLOPT_FRESH_CONNECT, (long)request->once);
    curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, limit_s * 1000);
    curl_easy_setopt(http->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(http->curl, CURLOPT_LOW_SPEED_TIME,
                     (long)request->timeout_s * 3 / 4 + request->wait_s + 1);
    curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, &exchange);
    curl_easy_setopt(http->curl, CURLOPT_HEADERDATA, &exchange);
    http->reason[0] = '\0';
    code = curl_easy_perform(http->curl);
    curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, NULL);
    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return code == CURLE_OK ? HTTP_ANSWERED : explain(http, code, exchange.too_long, err);
}
