/* Fencing; see guard.h. */
#include "guard.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* How often to look. Not inotify: a user has 128 instances of it, every process here would need
 * one, and giving it back takes the kernel tens of milliseconds. */
#define LOOK_MS  50
#define DRAIN_MS 5 /* how often to look whether the last request has left */

static struct {
    pthread_mutex_t lock; /* protects guards, and each guard's release */
    struct guard *guards;
    pthread_t thread;
    bool running;
    atomic_bool stop;
    int wake_fd; /* eventfd */
} watcher = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake_fd = -1 };

static void wake_watcher(void)
{
    if (watcher.wake_fd >= 0)
        eventfd_write(watcher.wake_fd, 1);
}

static void fence(struct guard *guard, int errnum, const char *why)
{
    int expected = 0;

    if (atomic_compare_exchange_strong(&guard->fenced, &expected, errnum) && guard->watched)
        nbdkit_error("export %s: cutting off a writer: %s", guard->name, why);
    wake_watcher();
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_uid == b->st_uid &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* The file is another one: does it say the same? */
static void read_again(struct guard *guard)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
    CLEANUP_FREE char *terms = NULL;
    struct stat st;
    CLEANUP_CLOSE int fd = exportmap_file_read(guard->dir->fd, guard->name, &map, &st, &err);

    if (fd < 0) {
        fence(guard, ESHUTDOWN,
              err->errnum == ENOENT ? "its map file was withdrawn" : error_message(err));
        return;
    }
    if (!map.writable) {
        fence(guard, EPERM, "its mode is ro now");
        return;
    }
    terms = exportmap_file_terms(&map);
    if (!terms || strcmp(terms, guard->terms) != 0) {
        fence(guard, ESHUTDOWN, "its lease or disk was changed");
        return;
    }
    LOCK_SCOPE(&guard->seen_lock);
    int old = guard->seen_fd;
    guard->seen_fd = steal_fd(fd);
    guard->seen = st;
    close(old);
}

static void look(struct guard *guard)
{
    struct stat st;
    bool same;

    if (fstatat(guard->dir->fd, guard->name, &st, 0) < 0) {
        fence(guard, ESHUTDOWN, errno == ENOENT ? "its map file was withdrawn" : strerror(errno));
        return;
    }
    pthread_mutex_lock(&guard->seen_lock);
    same = same_file(&st, &guard->seen);
    pthread_mutex_unlock(&guard->seen_lock);
    if (!same)
        read_again(guard);
}

/* Asked while the disk is being opened: nobody is cut off yet. */
bool guard_unchanged(struct guard *guard)
{
    look(guard);
    return atomic_load(&guard->fenced) == 0;
}

int guard_enter(struct guard *guard)
{
    int errnum = atomic_load(&guard->fenced);

    /* Seen before the lock is taken, so that a client that goes on sending can't
     * keep the watcher from having the lock to itself. */
    if (errnum != 0)
        return errnum;
    pthread_rwlock_rdlock(&guard->requests);
    if (guard->terms)
        look(guard);
    errnum = atomic_load(&guard->fenced);
    if (errnum != 0)
        pthread_rwlock_unlock(&guard->requests);
    return errnum;
}

void guard_leave(struct guard *guard)
{
    pthread_rwlock_unlock(&guard->requests);
}

/* Whether it is done: false while requests are under way. */
static bool try_release(struct guard *guard)
{
    if (guard->released)
        return true;
    if (guard->cut)
        guard->cut(guard->opaque);
    if (pthread_rwlock_trywrlock(&guard->requests) != 0)
        return false;
    guard->release(guard->opaque);
    guard->released = true;
    pthread_rwlock_unlock(&guard->requests);
    return true;
}

/* Returns how long to sleep, ms. */
static int look_at_all(void)
{
    int sleep_ms = watcher.guards ? LOOK_MS : -1;

    for (struct guard *g = watcher.guards; g; g = g->next) {
        if (atomic_load(&g->fenced) == 0)
            look(g);
        if (atomic_load(&g->fenced) != 0 && !try_release(g))
            sleep_ms = DRAIN_MS;
    }
    return sleep_ms;
}

static void *watch(void *unused)
{
    (void)unused;
    while (!atomic_load(&watcher.stop)) {
        struct pollfd woken = { .fd = watcher.wake_fd, .events = POLLIN };
        eventfd_t count;
        int sleep_ms;

        pthread_mutex_lock(&watcher.lock);
        sleep_ms = look_at_all();
        pthread_mutex_unlock(&watcher.lock);
        if (poll(&woken, 1, sleep_ms) > 0)
            eventfd_read(watcher.wake_fd, &count);
    }
    return NULL;
}

static void watcher_close(void)
{
    if (watcher.wake_fd >= 0)
        close(watcher.wake_fd);
    watcher.wake_fd = -1;
}

/* The watcher's lock is held. */
static int watcher_start(struct error **err)
{
    sigset_t all;
    sigset_t before;
    int errnum;

    watcher.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watcher.wake_fd < 0)
        return error_set_errno(err, errno, "eventfd");
    /* nbdkit's signals are nbdkit's own threads' business. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errnum = pthread_create(&watcher.thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    watcher.running = errnum == 0;
    if (errnum == 0)
        return 0;
    watcher_close();
    return error_set_errno(err, errnum, "starting the watcher");
}

void watcher_stop(void)
{
    if (watcher.running) {
        atomic_store(&watcher.stop, true);
        wake_watcher();
        pthread_join(watcher.thread, NULL);
        watcher.running = false;
    }
    watcher_close();
}

int guard_init(struct guard *guard, const struct mapdir *dir, const char *name, char *terms,
               int seen_fd, const struct stat *seen)
{
    *guard = (struct guard){
        .dir = dir, .name = strdup(name), .terms = terms, .seen = *seen, .seen_fd = seen_fd
    };
    pthread_rwlock_init(&guard->requests, NULL);
    pthread_mutex_init(&guard->seen_lock, NULL);
    return guard->name ? 0 : ENOMEM;
}

int guard_watch(struct guard *guard, struct error **err)
{
    if (!guard->terms)
        return 0;
    LOCK_SCOPE(&watcher.lock);
    if (!watcher.running && watcher_start(err) < 0)
        return -1;
    guard->watched = true;
    guard->next = watcher.guards;
    watcher.guards = guard;
    wake_watcher();
    return 0;
}

void guard_finish(struct guard *guard)
{
    pthread_mutex_lock(&watcher.lock);
    for (struct guard **p = &watcher.guards; *p; p = &(*p)->next) {
        if (*p == guard) {
            *p = guard->next;
            break;
        }
    }
    pthread_mutex_unlock(&watcher.lock);
    if (!guard->released && guard->release)
        guard->release(guard->opaque);
    guard->released = true;
    pthread_rwlock_destroy(&guard->requests);
    pthread_mutex_destroy(&guard->seen_lock);
    if (guard->seen_fd >= 0)
        close(guard->seen_fd);
    free(guard->name);
    free(guard->terms);
}
