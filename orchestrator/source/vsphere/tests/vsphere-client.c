/* Drives the client's layers for the tests, against any server:
 *
 *     vsphere-client [OPTION…] SERVER COMMAND [ARGUMENT…]
 *
 *     --ca FILE  --fingerprint HEX  --user NAME  --timeout S  --busy S  --limit S
 *     --cancel-after MS             the password comes from $VMFERRY_TEST_PASSWORD
 *
 *     certificate                   what the server shows
 *     login                         in and out
 *     call TYPE:ID OP [XML]         its answer's text, or its fault
 *     once TYPE:ID OP [XML]         the same, for a call that may not be sent twice
 *     properties TYPE:ID PATHS      one line each: ID NAME TEXT
 *     all TYPE PATHS                the same, of all objects; "--then TYPE:ID" looks that one
 *                                   up after the first, "--stop N" stops after N
 *     task TYPE:ID OP WHAT [XML]    starts it, prints progress, waits, prints the result
 *
 * Several commands, separated by "+", share one session. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "source/vsphere/session.h"

static atomic_int cancel;
static unsigned cancel_after_ms;

static void *cancel_later(void *opaque)
{
    struct timespec delay = { .tv_sec = cancel_after_ms / 1000,
                              .tv_nsec = cancel_after_ms % 1000 * 1000000L };

    nanosleep(&delay, NULL);
    atomic_store(&cancel, 1);
    return opaque;
}

static struct moref moref_of(const char *text)
{
    struct moref moref = { 0 };
    const char *colon = strchr(text, ':');

    if (colon) {
        snprintf(moref.type, sizeof moref.type, "%.*s", (int)(colon - text), text);
        snprintf(moref.id, sizeof moref.id, "%s", colon + 1);
    }
    return moref;
}

static void print_text(const xmlNode *node)
{
    xmlChar *text = xmlNodeGetContent(node);

    printf("%s\n", text ? (const char *)text : "");
    xmlFree(text);
}

static int call(struct session *session, char **args, bool safe, struct error **err)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    struct moref self = moref_of(args[0]);

    if (session_call(session, &self, args[1], args[2], safe, 0, NULL, &answer, err) < 0)
        return -1;
    print_text(answer.body);
    return 0;
}

struct listing {
    struct session *session;
    const char *then; /* look this object up once; NULL: no */
    int stop;         /* after so many; 0: never */
};

static int print_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                          struct error **err)
{
    struct listing *listing = opaque;
    struct listing none = { 0 };

    printf("%s %s ", object->id, name);
    print_text(val);
    if (listing->then) {
        struct moref other = moref_of(listing->then);

        listing->then = NULL;
        return session_properties(listing->session, &other, "name", print_property, &none, err);
    }
    return listing->stop && --listing->stop == 0;
}

static void print_progress(void *opaque, const char *what, unsigned percent)
{
    (void)opaque;
    printf("%s: %u%%\n", what, percent);
    fflush(stdout);
}

static int run_task(struct session *session, char **args, struct error **err)
{
    struct moref self = moref_of(args[0]);
    struct moref result;

    if (session_run_task(session, &self, args[1], args[3], args[2], print_progress, NULL, &result,
                         err) < 0)
        return -1;
    printf("result %s:%s\n", result.type, result.id);
    return 0;
}

/* `count` arguments are there at least; those after them are NULL. */
static int run(struct session *session, char **args, size_t count, struct error **err)
{
    struct listing listing = { .session = session };

    if (strcmp(args[0], "login") == 0) {
        printf("%s api %s build %s %s\n", session->about, session->api_version, session->build,
               session->is_vcenter ? "vcenter" : "host");
        return 0;
    }
    if (strcmp(args[0], "call") == 0 && count >= 3)
        return call(session, args + 1, true, err);
    if (strcmp(args[0], "once") == 0 && count >= 3)
        return call(session, args + 1, false, err);
    if (strcmp(args[0], "properties") == 0 && count == 3) {
        struct moref self = moref_of(args[1]);

        return session_properties(session, &self, args[2], print_property, &listing, err);
    }
    if (strcmp(args[0], "all") == 0 && count >= 3) {
        if (count == 5 && strcmp(args[3], "--then") == 0)
            listing.then = args[4];
        else if (count == 5)
            listing.stop = atoi(args[4]);
        return session_all(session, args[1], args[2], print_property, &listing, err);
    }
    if (strcmp(args[0], "task") == 0 && count >= 4)
        return run_task(session, args + 1, err);
    return error_set_kind(err, ERROR_USAGE, "%s: no such command", args[0]);
}

static int run_all(struct session *session, char **args, struct error **err)
{
    while (*args) {
        char *own[8] = { NULL };
        size_t count = 0;

        for (; *args && strcmp(*args, "+") != 0; args++) {
            if (count < 7)
                own[count++] = *args;
        }
        args += *args != NULL;
        if (count > 0 && run(session, own, count, err) < 0)
            return -1;
    }
    return 0;
}

static int print_certificate(const char *server, struct error **err)
{
    struct certificate certificate;

    if (soap_certificate(server, 5, &certificate, err) < 0)
        return -1;
    printf("%s\n%s\n%s\n", certificate.sha256, certificate.sha1, certificate.subject);
    return 0;
}

struct options {
    struct soap_settings soap;
    struct credentials credentials;
    unsigned busy_s, limit_s;
};

static int parse(int argc, char *argv[], struct options *options)
{
    static const struct option names[] = {
        { "ca", required_argument, NULL, 'c' },
        { "fingerprint", required_argument, NULL, 'f' },
        { "user", required_argument, NULL, 'u' },
        { "timeout", required_argument, NULL, 't' },
        { "busy", required_argument, NULL, 'b' },
        { "limit", required_argument, NULL, 'l' },
        { "cancel-after", required_argument, NULL, 'x' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "+", names, NULL)) != -1) {
        if (c == 'c')
            options->soap.ca_file = optarg;
        else if (c == 'f')
            options->soap.fingerprint = optarg;
        else if (c == 'u')
            snprintf(options->credentials.user, sizeof options->credentials.user, "%s", optarg);
        else if (c == 't')
            options->soap.timeout_s = (unsigned)atoi(optarg);
        else if (c == 'b')
            options->busy_s = (unsigned)atoi(optarg);
        else if (c == 'l')
            options->limit_s = (unsigned)atoi(optarg);
        else if (c == 'x')
            cancel_after_ms = (unsigned)atoi(optarg);
        else
            return -1;
    }
    return argc - optind >= 2 ? 0 : -1;
}

static int work(const struct options *options, char **args, struct error **err)
{
    struct session session;
    int r;

    if (strcmp(args[0], "certificate") == 0)
        return print_certificate(options->soap.server, err);
    if (session_open(&options->soap, &options->credentials, &session, err) < 0)
        return -1;
    session.task_busy_s = options->busy_s;
    session.task_limit_s = options->limit_s;
    r = run_all(&session, args, err);
    if (r < 0)
        printf("fault \"%s\"\n", session.fault);
    session_close(&session);
    return r;
}

int main(int argc, char *argv[])
{
    CLEANUP_ERROR struct error *err = NULL;
    struct options options = { .soap.cancel = &cancel, .credentials.user = "admin" };
    const char *password = getenv("VMFERRY_TEST_PASSWORD");
    pthread_t canceller;

    if (parse(argc, argv, &options) < 0) {
        fprintf(stderr, "usage: see %s\n", __FILE__);
        return ERROR_USAGE;
    }
    options.soap.server = argv[optind];
    snprintf(options.credentials.password, sizeof options.credentials.password, "%s",
             password ? password : "");
    if (cancel_after_ms && pthread_create(&canceller, NULL, cancel_later, NULL) == 0)
        pthread_detach(canceller);
    if (work(&options, argv + optind + 1, &err) == 0)
        return 0;
    fprintf(stderr, "vsphere-client: %s\n", error_message(err));
    return err ? (int)err->kind : 1;
}
