/* Exports of replica disks; see export.h. */
#include "replica/export.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "exportmap-file.h"
#include "process.h"
#include "program.h"
#include "replica/exportrow.h"
#include "replica/volume.h"

#define SERVER       "nbdkit-exportmap-server"
#define READY_MS     30000
#define STOP_MS      5000
#define PRIVATE_MODE 0700

int export_new_lease(char lease[LEASE_TEXT], struct error **err)
{
    uint64_t random[2];

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return error_set_errno(err, errno, "making a lease");
    snprintf(lease, LEASE_TEXT, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
    return 0;
}

static void export_name(const struct export_target *target, char name[STORE_NAME])
{
    snprintf(name, STORE_NAME, "migration-vm-%s-disk%d", target->vm->uuid, target->unit);
}

static int make_folder(const char *state_dir, const char *name, char path[PATH_MAX],
                       struct error **err)
{
    if (volume_path(state_dir, name, path, err) < 0)
        return -1;
    if (mkdir(path, PRIVATE_MODE) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", path);
    return 0;
}

int export_folder(const char *state_dir, char path[PATH_MAX], struct error **err)
{
    return make_folder(state_dir, "exports", path, err);
}

/* The disk as it is now, with the mode and lease it is to have. */
static int describe(const char *state_dir, const struct export_target *target, const char *lease,
                    struct exportmap_file *map, struct error **err)
{
    bool qcow2 = strcmp(target->format, "qcow2") == 0;
    char path[PATH_MAX];

    if (volume_path(state_dir, target->image, path, err) < 0 ||
        exportmap_file_probe(path, qcow2 ? EXPORTMAP_QCOW2 : EXPORTMAP_RAW, map, err) < 0)
        return -1;
    map->writable = lease != NULL;
    map->lease = lease ? strdup(lease) : NULL;
    if (asprintf(&map->description, "%s, disk-%d", target->vm->name, target->key) < 0)
        map->description = NULL;
    if ((lease && !map->lease) || !map->description)
        return error_set_errno(err, ENOMEM, "exporting %s", target->image);
    return 0;
}

static int write_row(struct store *store, const struct export_target *target, const char *name,
                     const struct exportmap_file *map, const char *lease, struct error **err)
{
    struct store_export row = { .vm_id = target->vm->id,
                                .unit = target->unit,
                                .active = lease != NULL };

    snprintf(row.vm_name, sizeof row.vm_name, "%s", target->vm->name);
    snprintf(row.name, sizeof row.name, "%s", name);
    snprintf(row.path, sizeof row.path, "%s", target->image);
    snprintf(row.lease, sizeof row.lease, "%s", lease ? lease : "");
    if (exportrow_describe(&row, map, err) < 0)
        return -1;
    return store_export_upsert(store, &row, err);
}

/* Somebody could write with the map file that there is: it must not come back after a power cut. */
static bool is_writable_now(const char *folder, const char *name)
{
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
    CLEANUP_CLOSE int dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_ERROR struct error *none = NULL;
    CLEANUP_CLOSE int fd = -1;
    struct stat st;

    if (dirfd < 0)
        return true;
    fd = exportmap_file_read(dirfd, name, &map, &st, &none);
    return fd < 0 ? none->errnum != ENOENT : map.writable;
}

/* The row is durable before the file is written, and repairs it: so a job that is let in, where
 * nobody was, waits for the disk once. */
static int put(struct store *store, const char *state_dir, const struct export_target *target,
               const char *lease, struct error **err)
{
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
    char folder[PATH_MAX], name[STORE_NAME];

    export_name(target, name);
    if (export_folder(state_dir, folder, err) < 0 ||
        describe(state_dir, target, lease, &map, err) < 0 ||
        write_row(store, target, name, &map, lease, err) < 0)
        return -1;
    if (lease && !is_writable_now(folder, name))
        return exportmap_file_write_soon(folder, name, &map, err);
    return exportmap_file_write(folder, name, &map, err);
}

int export_grant(struct store *store, const char *state_dir, const struct export_target *target,
                 const char *lease, struct error **err)
{
    return put(store, state_dir, target, lease, err);
}

int export_revoke(struct store *store, const char *state_dir, const struct export_target *target,
                  struct error **err)
{
    return put(store, state_dir, target, NULL, err);
}

/* The last line of the log that holds `word`. */
static void read_log(int fd, const char *word, char *text, size_t size)
{
    char tail[8192], *rest = NULL;
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof tail - 1 ? end - (off_t)sizeof tail + 1 : 0;
    ssize_t n = end > 0 ? pread(fd, tail, sizeof tail - 1, from) : 0;

    text[0] = tail[n > 0 ? n : 0] = '\0';
    for (char *line = strtok_r(tail, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, word))
            snprintf(text, size, "%s", line);
    }
}

void export_server_explain(const struct export_server *server, struct error **err)
{
    char text[512];

    read_log(server->log, "error", text, sizeof text);
    if (text[0])
        error_append(err, "the export server said: %s", text);
}

static int wait_until_ready(struct export_server *server, int ready, struct error **err)
{
    struct pollfd pollfd = { .fd = ready, .events = POLLIN };
    char text[512];
    int n;

    do
        n = poll(&pollfd, 1, READY_MS);
    while (n < 0 && errno == EINTR);
    if (n > 0 && read(ready, text, sizeof text) > 0)
        return 0;
    process_stop(server->pid, STOP_MS);
    server->pid = -1;
    read_log(server->log, "", text, sizeof text);
    return error_set(err, "%s %s%s%s", SERVER, n > 0 ? "did not start" : "did not start in time",
                     text[0] ? ": " : "", text);
}

static int launch(struct export_server *server, struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP_CLOSE int ready = -1;
    char program[PATH_MAX], map[PATH_MAX + 8], socket[160], ready_fd[32];
    int pipes[2], keep[2] = { -1, -1 };
    const char *argv[] = { program_find(SERVER, program),
                           "--exit-with-parent",
                           "--grace=0",
                           socket,
                           ready_fd,
                           map,
                           "--no-standby", /* its few clients come at once */
                           "require-lease=true",
                           NULL };

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "starting %s", SERVER);
    ready = pipes[0];
    snprintf(socket, sizeof socket, "--unix=%s", server->socket.address);
    snprintf(map, sizeof map, "--map=%s", server->exports);
    snprintf(ready_fd, sizeof ready_fd, "--ready-fd=%d", pipes[1]);
    keep[0] = pipes[1];
    options.keep_fds = keep;
    options.stderr_fd = server->log;
    options.die_with_parent = true;
    options.own_group = true;
    server->pid = process_start(argv, &options, err);
    close(pipes[1]);
    return server->pid < 0 ? -1 : wait_until_ready(server, ready, err);
}

int export_server_start(const char *state_dir, const struct store_vm *vm,
                        struct export_server *server, struct error **err)
{
    char name[64];

    *server = (struct export_server)EXPORT_SERVER_INIT;
    if (vm)
        snprintf(name, sizeof name, "%.40s.sock", vm->uuid);
    else
        strcpy(name, "all.sock");
    if (export_folder(state_dir, server->exports, err) < 0 ||
        run_socket_open(state_dir, name, &server->socket, err) < 0)
        return -1;
    server->log = memfd_create("export.log", MFD_CLOEXEC);
    if (server->log < 0)
        return error_set_errno(err, errno, "starting %s", SERVER);
    return launch(server, err);
}

int export_server_join(const char *address, struct export_server *server, struct error **err)
{
    *server = (struct export_server)EXPORT_SERVER_INIT;
    server->joined = true;
    if (strlen(address) >= sizeof server->socket.address)
        return error_set_errno(err, ENAMETOOLONG, "%s", address);
    strcpy(server->socket.address, address);
    return 0;
}

int export_server_keep(struct export_server *server, struct error **err)
{
    CLEANUP_ERROR struct error *running = NULL;
    int status;

    if (server->joined)
        return 0; /* that process does */
    if (server->pid > 0 && process_wait(server->pid, 0, &status, &running) < 0)
        return 0;
    server->pid = -1;
    unlink(server->socket.path);
    return launch(server, err);
}

void export_server_stop(struct export_server *server)
{
    process_stop(server->pid, STOP_MS);
    server->pid = -1;
    if (server->log >= 0)
        close(server->log);
    server->log = -1;
    run_socket_close(&server->socket);
}

char *export_uri(const struct export_server *server, const struct export_target *target,
                 const char *lease)
{
    char name[STORE_NAME], with_lease[STORE_NAME + LEASE_TEXT];

    export_name(target, name);
    snprintf(with_lease, sizeof with_lease, "%s@%s", name, lease);
    return run_socket_uri(&server->socket, with_lease);
}
