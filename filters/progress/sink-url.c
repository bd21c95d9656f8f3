/* progress-url=URL: each record is POSTed by a thread of its own. Only the newest
 * record waits: a slow receiver gets fewer of them, a dead one none. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>

#include <curl/curl.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "progress.h"
#include "sink.h"

#define CONNECT_MS 1000L
#define REQUEST_MS ((long)SINK_LAST_MS)

struct sink_url {
    struct sink sink;
    char *url;
    CURL *curl;
    struct curl_slist *headers;
    char reason[CURL_ERROR_SIZE];
    bool failing; /* and it has been said */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
    bool last; /* the record that waits, or is on its way, is the last one */
    bool quit;
    size_t length; /* of the record that waits; 0: none */
    char json[PROGRESS_JSON_MAX];
};

static size_t discard(char *data, size_t size, size_t count, void *opaque)
{
    (void)data;
    (void)opaque;
    return size * count;
}

/* Asked about every second: give up what hangs when the last record waits. */
static int is_overtaken(void *opaque, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct sink_url *url = opaque;

    (void)a, (void)b, (void)c, (void)d;
    LOCK_SCOPE(&url->lock);
    return url->last && url->length > 0;
}

static void post(struct sink_url *url, const char *json, size_t length)
{
    CURLcode code;
    long status = 0;

    curl_easy_setopt(url->curl, CURLOPT_POSTFIELDS, json);
    curl_easy_setopt(url->curl, CURLOPT_POSTFIELDSIZE, (long)length);
    url->reason[0] = '\0';
    code = curl_easy_perform(url->curl);
    curl_easy_getinfo(url->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && status >= 300) { /* moved: nobody has read it */
        code = CURLE_HTTP_RETURNED_ERROR;
        snprintf(url->reason, sizeof url->reason, "it answers with HTTP status %ld", status);
    }
    if (code == CURLE_OK) {
        if (url->failing)
            nbdkit_debug("progress: progress-url=%s: receives again", url->url);
        url->failing = false;
    } else if (!url->failing && code != CURLE_ABORTED_BY_CALLBACK) {
        nbdkit_error("progress-url=%s: %s; the copy goes on, later records will be tried", url->url,
                     url->reason[0] ? url->reason : curl_easy_strerror(code));
        url->failing = true;
    }
}

static void *url_thread(void *opaque)
{
    struct sink_url *url = opaque;
    char json[PROGRESS_JSON_MAX];

    pthread_mutex_lock(&url->lock);
    for (;;) {
        size_t length = url->length;

        if (length == 0 && url->quit)
            break;
        if (length == 0) {
            pthread_cond_wait(&url->changed, &url->lock);
            continue;
        }
        memcpy(json, url->json, length);
        url->length = 0;
        pthread_mutex_unlock(&url->lock);
        post(url, json, length);
        pthread_mutex_lock(&url->lock);
    }
    pthread_mutex_unlock(&url->lock);
    return NULL;
}

static void url_put(struct sink *sink, const char *json, size_t length, bool last)
{
    struct sink_url *url = (struct sink_url *)sink;

    LOCK_SCOPE(&url->lock);
    memcpy(url->json, json, length);
    url->length = length;
    url->last = last;
    pthread_cond_signal(&url->changed);
}

static int url_start(struct sink *sink, const char *json, size_t length)
{
    struct sink_url *url = (struct sink_url *)sink;
    int r = pthread_create(&url->thread, NULL, url_thread, url);

    if (r != 0) {
        nbdkit_error("progress-url: pthread_create: %s", strerror(r));
        return -1;
    }
    url->started = true;
    url_put(sink, json, length, false);
    return 0;
}

/* Waits for what is on its way: about a second, and SINK_LAST_MS for the last record. */
static void url_close(struct sink *sink)
{
    struct sink_url *url = (struct sink_url *)sink;

    if (url->started) {
        pthread_mutex_lock(&url->lock);
        url->quit = true;
        pthread_cond_signal(&url->changed);
        pthread_mutex_unlock(&url->lock);
        pthread_join(url->thread, NULL);
    }
    curl_easy_cleanup(url->curl);
    curl_slist_free_all(url->headers);
    pthread_mutex_destroy(&url->lock);
    pthread_cond_destroy(&url->changed);
    free(url->url);
    free(url);
}

/* http or https, and no password: the process list and the log would show it. */
static int check_url(const char *text)
{
    char *scheme = NULL, *user = NULL, *password = NULL;
    CURLU *parsed = curl_url();
    int r = -1;

    if (parsed == NULL || curl_url_set(parsed, CURLUPART_URL, text, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        nbdkit_error("progress-url: not an http:// or https:// URL");
    else if (curl_url_get(parsed, CURLUPART_USER, &user, 0) == CURLUE_OK ||
             curl_url_get(parsed, CURLUPART_PASSWORD, &password, 0) == CURLUE_OK)
        nbdkit_error("progress-url: a user or password in the URL would be seen by everyone on "
                     "this machine; leave it out");
    else
        r = 0;
    curl_free(scheme);
    curl_free(user);
    curl_free(password);
    curl_url_cleanup(parsed);
    return r;
}

static void set_options(struct sink_url *url)
{
    CURL *curl = url->curl;

    curl_easy_setopt(curl, CURLOPT_URL, url->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, url->headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, url->reason);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, REQUEST_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    /* A name server that does not answer must not hold up nbdkit's end. */
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_overtaken);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, url);
}

struct sink *sink_url_new(const char *text)
{
    struct sink_url *url;

    if (check_url(text) < 0)
        return NULL;
    url = calloc(1, sizeof *url);
    if (url == NULL) {
        nbdkit_error("calloc: %m");
        return NULL;
    }
    url->sink = (struct sink){ .start = url_start, .put = url_put, .close = url_close };
    pthread_mutex_init(&url->lock, NULL);
    pthread_cond_init(&url->changed, NULL);
    url->url = strdup(text);
    url->curl = curl_easy_init();
    /* Empty Expect: no waiting for 100-continue. */
    url->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (url->headers)
        curl_slist_append(url->headers, "Expect:");
    if (url->url == NULL || url->curl == NULL || url->headers == NULL) {
        nbdkit_error("progress-url: no memory");
        url_close(&url->sink);
        return NULL;
    }
    set_options(url);
    return &url->sink;
}
