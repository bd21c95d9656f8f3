/* An NBD server of our own; see server.h. */
#include "copy/server.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "process.h"

#define WORDS_MAX 256
#define GRACE_MS  5000

struct server {
    pid_t pid;
    char directory[64]; /* of the socket, ours alone */
    char path[96];
    char uri[128];
};

/* The next word of *text, unquoted in place; NULL at the end. */
static char *next_word(char **text)
{
    char *in = *text + strspn(*text, " \t\n");
    char *word = in;
    char *out = in;
    char quote = 0;

    if (!*in)
        return NULL;
    for (; *in && (quote || !strchr(" \t\n", *in)); in++) {
        if (quote ? *in == quote : *in == '\'' || *in == '"')
            quote = quote ? 0 : *in;
        else if (!quote && in[0] == '\\' && in[1])
            *out++ = *++in;
        else
            *out++ = *in;
    }
    *text = *in ? in + 1 : in;
    *out = '\0';
    return quote ? NULL : word;
}

/* Fills argv with the words between the brackets, which stay in `text`. */
static int split(char *text, const char *argv[WORDS_MAX], struct error **err)
{
    char *end = strrchr(text, ']');
    size_t count = 0;
    char *word;

    if (!end || end[1])
        return error_set_kind(err, ERROR_USAGE, "%s: no closing ]", text);
    *end = '\0';
    for (text++; (word = next_word(&text)); count++) {
        if (count == WORDS_MAX - 1)
            return error_set_kind(err, ERROR_USAGE, "a command of more than %d words", WORDS_MAX);
        argv[count] = word;
    }
    argv[count] = NULL;
    if (count == 0)
        return error_set_kind(err, ERROR_USAGE, "no command in the brackets");
    return 0;
}

/* A listening socket with a name that nobody else can reach; -1. */
static int listen_privately(struct server *server, struct error **err)
{
    const char *tmp = getenv("TMPDIR");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* A socket's name is short; a long TMPDIR does not fit. */
    if (!tmp || !*tmp || strlen(tmp) > 40)
        tmp = "/tmp";
    snprintf(server->directory, sizeof server->directory, "%s/vmferry.XXXXXX", tmp);
    if (fd < 0 || !mkdtemp(server->directory)) {
        server->directory[0] = '\0';
        return error_set_errno(err, errno, "a socket in %s", tmp);
    }
    snprintf(server->path, sizeof server->path, "%s/sock", server->directory);
    snprintf(server->uri, sizeof server->uri, "nbd+unix:///?socket=%s", server->path);
    memcpy(address.sun_path, server->path, strlen(server->path) + 1);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0)
        return error_set_errno(err, errno, "listening on %s", server->path);
    return steal_fd(fd);
}

struct server *server_start(const char *command, struct error **err)
{
    struct process_options options = PROCESS_OPTIONS_INIT;
    const char *argv[WORDS_MAX];
    CLEANUP_FREE char *text = strdup(command);
    /* Ours is closed at once: when the server dies, connecting fails and does not wait. */
    CLEANUP_CLOSE int listen_fd = -1;
    struct server *server = calloc(1, sizeof *server);

    if (!text || !server) {
        free(server);
        error_set_errno(err, ENOMEM, "%s", command);
        return NULL;
    }
    if (split(text, argv, err) < 0 || (listen_fd = listen_privately(server, err)) < 0) {
        server_stop(server);
        return NULL;
    }
    options.listen_fd = listen_fd;
    options.stdout_fd = STDERR_FILENO;
    options.die_with_parent = true;
    server->pid = process_start(argv, &options, err);
    if (server->pid < 0) {
        server_stop(server);
        return NULL;
    }
    return server;
}

const char *server_uri(const struct server *server)
{
    return server->uri;
}

void server_stop(struct server *server)
{
    if (!server)
        return;
    process_stop(server->pid, GRACE_MS);
    if (server->directory[0]) {
        unlink(server->path);
        rmdir(server->directory);
    }
    free(server);
}
