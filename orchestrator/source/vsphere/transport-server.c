/* An nbdkit for one disk; see transport.h. What comes in: a command line. What goes out: a
 * server that has shown that it can read the disk, or the reason in nbdkit's own words. */
#include <libnbd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "process.h"
#include "source/vsphere/transport.h"

#define STOP_MS 1000 /* it has nothing to lose */

/* By socket activation: clients may connect from the first moment, and when nbdkit ends
 * before it serves, they are refused at once. */
static int listen_on(const struct run_socket *run, struct error **err)
{
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    snprintf(address.sun_path, sizeof address.sun_path, "%.107s", run->address);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        return error_set_errno(err, errno, "listening on %s", run->path);
    return steal_fd(fd);
}

static int launch(const struct command_line *command, const struct transport_access *access,
                  const struct transport_disk *disk, struct transport_server *server,
                  struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    CLEANUP_CLOSE int listening = -1;
    char name[64];

    snprintf(name, sizeof name, "%.40s-%d.read", disk->uuid, disk->key);
    if (run_socket_open(access->state_dir, name, &server->socket, err) < 0)
        return -1;
    listening = listen_on(&server->socket, err);
    server->log = memfd_create("nbdkit.log", MFD_CLOEXEC);
    if (listening < 0)
        return -1;
    if (server->log < 0)
        return error_set_errno(err, errno, "starting nbdkit");
    options.listen_fd = listening;
    options.stderr_fd = server->log;
    options.die_with_parent = true;
    options.own_group = true;
    server->pid = process_start((const char *const *)command->words, &options, err);
    return server->pid < 0 ? -1 : 0;
}

static off_t log_end(int log)
{
    struct stat st;

    return log >= 0 && fstat(log, &st) == 0 ? st.st_size : 0;
}

/* nbdkit's last error, which names what went wrong better than its client can. */
static void read_reason(int log, off_t from, char *text, size_t size)
{
    char tail[8192], *rest = NULL;
    off_t end = log_end(log);
    ssize_t n;

    if (end - from > (off_t)sizeof tail - 1)
        from = end - (off_t)sizeof tail + 1;
    n = end > from ? pread(log, tail, sizeof tail - 1, from) : 0;

    text[0] = '\0';
    tail[n > 0 ? n : 0] = '\0';
    for (char *line = strtok_r(tail, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const char *error = strstr(line, "error: ");

        if (error || !text[0])
            snprintf(text, size, "%s", error ? error + strlen("error: ") : line);
    }
}

static void close_nbd(struct nbd_handle **nbd)
{
    nbd_close(*nbd);
}

static int read_once(const struct transport_server *server, const struct transport_disk *disk,
                     struct error **err)
{
    CLEANUP(close_nbd) struct nbd_handle *nbd = nbd_create();
    CLEANUP_FREE char *uri = run_socket_uri(&server->socket, "");
    char first[512];
    int64_t size;

    if (!nbd || !uri)
        return error_set_errno(err, ENOMEM, "opening the disk");
    if (nbd_connect_uri(nbd, uri) < 0 || (size = nbd_get_size(nbd)) < 0)
        return error_set(err, "%s", nbd_get_error());
    if ((uint64_t)size != disk->capacity)
        return error_set(err, "it has %lld bytes there, but the disk's capacity is %llu",
                         (long long)size, (unsigned long long)disk->capacity);
    if (nbd_pread(nbd, first, sizeof first, 0, 0) < 0)
        return error_set(err, "%s", nbd_get_error());
    nbd_shutdown(nbd, 0);
    return 0;
}

int transport_start(enum transport transport, const struct transport_options *options,
                    const struct transport_access *access, const struct transport_disk *disk,
                    struct transport_server *server, struct error **err)
{
    CLEANUP_COMMAND struct command_line command = { 0 };
    char reason[512];

    *server = (struct transport_server)TRANSPORT_SERVER_INIT;
    server->transport = transport;
    if (transport_command(transport, options, access, disk, &command, err) == 0 &&
        launch(&command, access, disk, server, err) == 0 && read_once(server, disk, err) == 0) {
        server->log_began = log_end(server->log);
        return 0;
    }
    read_reason(server->log, 0, reason, sizeof reason);
    transport_stop(server);
    error_prefix(err, "%s: %s", transport_name(transport), disk->file);
    return reason[0] ? error_append(err, "nbdkit said: %s", reason) : -1;
}

void transport_complaint(const struct transport_server *server, char *text, size_t size)
{
    read_reason(server->log, server->log_began, text, size);
}

void transport_stop(struct transport_server *server)
{
    process_stop(server->pid, STOP_MS);
    if (server->log >= 0)
        close(server->log);
    run_socket_close(&server->socket);
    *server = (struct transport_server)TRANSPORT_SERVER_INIT;
}
