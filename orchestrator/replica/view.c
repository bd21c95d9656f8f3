/* Read-only views of images; see view.h. */
#include "replica/view.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "process.h"
#include "replica/volume.h"

#define READY_TRIES 3000
#define READY_MS    10
#define START_TRIES 50
#define START_US    100000
#define STOP_MS     5000

/* Sockets are named view-<pid>-<n>.sock: those of processes that were killed go. */
static void sweep(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    int pid;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        if (sscanf(entry->d_name, "view-%d-", &pid) == 1 && pid > 0 && kill(pid, 0) < 0 &&
            errno == ESRCH)
            unlinkat(folder, entry->d_name, 0);
    }
    closedir(dir);
}

/* qemu-nbd listens before it opens the image, and greets after that: only then it is ready.
 * *fd is kept from one try to the next. */
static bool greets(const char *address, int *fd)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    struct pollfd ready = { .events = POLLIN };
    char greeting[8];

    if (*fd < 0) {
        *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        snprintf(name.sun_path, sizeof name.sun_path, "%.107s", address);
        if (*fd >= 0 && connect(*fd, (struct sockaddr *)&name, sizeof name) < 0)
            close(steal_fd(*fd));
    }
    ready.fd = *fd;
    if (poll(&ready, 1, READY_MS) <= 0) /* it only waits, without a connection */
        return false;
    if (recv(*fd, greeting, sizeof greeting, MSG_DONTWAIT) == sizeof greeting &&
        memcmp(greeting, "NBDMAGIC", sizeof greeting) == 0)
        return true;
    close(steal_fd(*fd));
    usleep(READY_MS * 1000);
    return false;
}

static void read_reason(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

/* In QEMU's option syntax a comma is written twice. */
static char *limited_image(const char *image, uint64_t limit)
{
    char name[2 * PATH_MAX], *text;
    size_t n = 0;

    for (const char *p = image; *p && n < sizeof name - 2; p++) {
        if (*p == ',')
            name[n++] = ',';
        name[n++] = *p;
    }
    name[n] = '\0';
    if (asprintf(&text, "driver=raw,size=%llu,file.driver=host_device,file.filename=%s",
                 (unsigned long long)limit, name) < 0)
        return NULL;
    return text;
}

/* Start qemu-nbd and wait until it is ready, or ends. */
static int start(const char *image, const char *format, uint64_t limit, struct replica_view *view,
                 struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP_CLOSE int log = memfd_create("qemu-nbd", MFD_CLOEXEC);
    CLEANUP_FREE char *limited = NULL;
    const char *argv[] = { "qemu-nbd", "--read-only", "--persistent",       "--shared=0", "-f",
                           format,     "-k",          view->socket.address, image,        NULL };
    CLEANUP_CLOSE int client = -1;
    char reason[512];
    int status;

    if (view->writable)
        argv[1] = "--cache=writeback"; /* the default, in place of another option */
    if (limit && !(limited = limited_image(image, limit)))
        return error_set_errno(err, ENOMEM, "%s", image);
    if (limit) { /* --image-opts and -f don't go together */
        argv[4] = "--image-opts";
        argv[5] = limited;
        argv[6] = "-k";
        argv[7] = view->socket.address;
        argv[8] = NULL;
    }
    options.stderr_fd = log;
    options.die_with_parent = true;
    options.own_group = true;
    view->pid = process_start(argv, &options, err);
    if (view->pid < 0)
        return -1;
    for (int i = 0; i < READY_TRIES; i++) {
        CLEANUP_ERROR struct error *running = NULL;

        if (process_wait(view->pid, 0, &status, &running) == 0) {
            view->pid = -1;
            read_reason(log, reason, sizeof reason);
            return error_set(err, "qemu-nbd %s: %s", image, reason);
        }
        if (greets(view->socket.address, &client))
            return 0;
    }
    return error_set(err, "qemu-nbd %s: does not answer", image);
}

/* Whether a raw image can be read by its path as it is; else *limit says where it has to
 * end, 0 for as it is, too. */
static int needs_server(const char *image, uint64_t capacity, bool *needed, uint64_t *limit,
                        struct error **err)
{
    uint64_t size;

    *limit = 0;
    *needed = volume_is_rbd(image);
    if (!volume_is_device(image))
        return 0;
    if (volume_device_size(image, &size, err) < 0)
        return -1;
    if (size < capacity)
        return error_set(err, "%s has %llu bytes, but the disk on it %llu", image,
                         (unsigned long long)size, (unsigned long long)capacity);
    *needed = size > capacity;
    *limit = *needed ? capacity : 0;
    return 0;
}

static int open_image(const char *state_dir, const char *image, const char *format,
                      uint64_t capacity, struct replica_view *view, struct error **err)
{
    static atomic_uint counter;
    bool raw = strcmp(format, "raw") == 0, served = true;
    uint64_t limit = 0;
    char name[64];

    if (raw && needs_server(image, capacity, &served, &limit, err) < 0)
        return -1;
    if (!served) {
        view->place = strdup(image);
        return view->place ? 0 : error_set_errno(err, ENOMEM, "%s", image);
    }
    snprintf(name, sizeof name, "view-%d-%u.sock", (int)getpid(), atomic_fetch_add(&counter, 1));
    if (run_socket_open(state_dir, name, &view->socket, err) < 0)
        return -1;
    sweep(view->socket.folder);
    for (int i = 1; start(image, format, limit, view, err) < 0; i++) {
        if (i == START_TRIES || !strstr(error_message(*err), "lock"))
            return -1;
        error_clear(err);
        usleep(START_US);
    }
    view->place = run_socket_uri(&view->socket, "");
    return view->place ? 0 : error_set_errno(err, ENOMEM, "%s", image);
}

int replica_view_open(const char *state_dir, const char *image, const char *format,
                      uint64_t capacity, struct replica_view *view, struct error **err)
{
    *view = (struct replica_view)REPLICA_VIEW_INIT;
    return open_image(state_dir, image, format, capacity, view, err);
}

int replica_view_open_writable(const char *state_dir, const char *image, const char *format,
                               struct replica_view *view, struct error **err)
{
    *view = (struct replica_view)REPLICA_VIEW_INIT;
    view->writable = true;
    return open_image(state_dir, image, format, 0, view, err);
}

void replica_view_close(struct replica_view *view)
{
    process_stop(view->pid, STOP_MS);
    run_socket_close(&view->socket);
    free(view->place);
    *view = (struct replica_view)REPLICA_VIEW_INIT;
}
