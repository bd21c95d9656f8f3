/* Connection and errors; see libvirt.h. */
#include "failover/libvirt.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_S     20 /* for another host to answer */
#define ALIVE_EVERY_S 5  /* it is asked whether it is still there, */
#define ALIVE_MISSED  4  /* and the connection is lost when it has not said so for so often */

/* libvirt prints errors to stderr unless somebody takes them. */
static void ignore(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

/* driver[+transport]://[user@][host][:port]/path; an alias of libvirt.conf may be anything. */
static bool is_remote(const char *uri)
{
    const char *scheme_end = strstr(uri, "://");
    const char *plus = strchr(uri, '+');

    if (!scheme_end || scheme_end[3] != '/')
        return true;
    return plus && plus < scheme_end && strncmp(plus, "+unix:", 6) != 0;
}

/* Whoever waits for it may have given up: then it is the thread's to end. */
struct opening {
    char *uri;
    virConnectPtr connection;
    char why[1024]; /* libvirt keeps errors by thread */
    pid_t thread;
    bool over, abandoned;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

static void free_opening(struct opening *opening)
{
    cleanup_connection(&opening->connection);
    pthread_mutex_destroy(&opening->lock);
    pthread_cond_destroy(&opening->wake);
    free(opening->uri);
    free(opening);
}

static void *open_it(void *opaque)
{
    struct opening *opening = opaque;
    virConnectPtr connection;
    bool abandoned;

    pthread_mutex_lock(&opening->lock);
    opening->thread = gettid();
    pthread_mutex_unlock(&opening->lock);
    connection = virConnectOpen(opening->uri);
    pthread_mutex_lock(&opening->lock);
    opening->connection = connection;
    if (!connection)
        snprintf(opening->why, sizeof opening->why, "%s", virGetLastErrorMessage());
    opening->over = true;
    abandoned = opening->abandoned;
    pthread_cond_signal(&opening->wake);
    pthread_mutex_unlock(&opening->lock);
    if (abandoned)
        free_opening(opening);
    return NULL;
}

static struct opening *start_opening(const char *uri)
{
    struct opening *opening = calloc(1, sizeof *opening);
    pthread_t thread;

    if (!opening)
        return NULL;
    pthread_mutex_init(&opening->lock, NULL);
    pthread_cond_init(&opening->wake, NULL);
    opening->uri = strdup(uri);
    if (!opening->uri || pthread_create(&thread, NULL, open_it, opening) != 0) {
        free_opening(opening);
        return NULL;
    }
    pthread_detach(thread);
    return opening;
}

/* The ssh that libvirt started would wait for hours, also when vmferry is gone. */
static void end_children(pid_t thread)
{
    char path[64];
    CLEANUP_FCLOSE FILE *children = NULL;
    int child;

    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)thread);
    children = fopen(path, "re");
    while (children && fscanf(children, "%d", &child) == 1)
        kill(child, SIGTERM);
}

/* True: it is over, and the caller's to free. */
static bool wait_for(struct opening *opening, unsigned seconds)
{
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    LOCK_SCOPE(&opening->lock);
    while (!opening->over && r == 0)
        r = pthread_cond_clockwait(&opening->wake, &opening->lock, CLOCK_MONOTONIC, &until);
    opening->abandoned = !opening->over;
    if (opening->abandoned)
        end_children(opening->thread);
    return opening->over;
}

static void *run_events(void *opaque)
{
    (void)opaque;
    for (;;)
        virEventRunDefaultImpl();
    return NULL;
}

/* libvirt keeps no connection under watch without them. */
static void start_events(void)
{
    pthread_t thread;

    if (virEventRegisterDefaultImpl() == 0 && pthread_create(&thread, NULL, run_events, NULL) == 0)
        pthread_detach(thread);
}

/* libvirt itself would wait for as long as TCP does, or for ever. */
static int connect_far(const char *uri, virConnectPtr *connection, struct error **err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct opening *opening;

    pthread_once(&once, start_events);
    signal(SIGPIPE, SIG_IGN); /* of an ssh that died; it is seen as an error */
    opening = start_opening(uri);
    if (!opening)
        return error_set_errno(err, ENOMEM, "connecting to libvirt at %s", uri);
    if (!wait_for(opening, CONNECT_S))
        return error_set(err,
                         "connecting to libvirt at %s: no answer within %d s (is the host up, and "
                         "can it be reached? does `virsh -c '%s' version` work, without asking "
                         "for anything?)",
                         uri, CONNECT_S, uri);
    *connection = steal_ptr(opening->connection);
    if (!*connection)
        error_set(err, "connecting to libvirt at %s (does `virsh -c '%s' version` work?): %s", uri,
                  uri, opening->why);
    free_opening(opening);
    if (!*connection)
        return -1;
    virConnectSetKeepAlive(*connection, ALIVE_EVERY_S, ALIVE_MISSED);
    return 0;
}

int libvirt_connect(const char *uri, virConnectPtr *connection, struct error **err)
{
    if (!uri || !*uri)
        uri = getenv("LIBVIRT_DEFAULT_URI");
    if (!uri || !*uri)
        uri = geteuid() == 0 ? "qemu:///system" : "qemu:///session";
    virSetErrorFunc(NULL, ignore);
    if (is_remote(uri))
        return connect_far(uri, connection, err);
    *connection = virConnectOpen(uri);
    if (!*connection)
        return libvirt_error(err, "connecting to libvirt at %s (does libvirtd run?)", uri);
    return 0;
}

bool libvirt_is_remote(virConnectPtr connection)
{
    char *uri = virConnectGetURI(connection);
    bool remote = !uri || is_remote(uri);

    free(uri);
    return remote;
}

bool libvirt_is_lost(virConnectPtr connection)
{
    return virConnectIsAlive(connection) != 1;
}

int libvirt_error(struct error **err, const char *fmt, ...)
{
    CLEANUP_FREE char *context = NULL;
    va_list args;
    int length;

    va_start(args, fmt);
    length = vasprintf(&context, fmt, args);
    va_end(args);
    if (length < 0) {
        context = NULL;
        return error_set(err, "libvirt: %s", virGetLastErrorMessage());
    }
    return error_set(err, "%s: %s", context, virGetLastErrorMessage());
}
