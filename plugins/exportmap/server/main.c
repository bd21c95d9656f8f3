/* nbdkit-exportmap-server: options in, serve(). See server.h. */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "listen.h"
#include "process.h"
#include "ready.h"
#include "server.h"
#include "tls.h"
#include "version.h"

#define PROGRAM "nbdkit-exportmap-server"
/* Of a connection. Each keeps a buffer: few stay in the CPU's cache, and a client that
 * is in a hurry has several connections. */
#define MAP_THREADS "4"

#define MAX_CONNECTIONS_DEFAULT 512
#define MAX_CONNECTIONS_LIMIT   100000
#define HANDSHAKE_DEFAULT_S     30
#define GRACE_DEFAULT_S         10
#define SECONDS_LIMIT           (7 * 24 * 3600)
#define TRIAL_MS                30000

/* What the command line says; the strings are argv's. */
struct options {
    const char *listen[LISTENERS_MAX];
    unsigned listen_count;
    const char *unix_paths[LISTENERS_MAX];
    unsigned unix_count;
    mode_t unix_mode;
    const char *map;
    const char *tls_certificates;
    bool tls_verify_peer;
    long max_connections;
    long handshake_s; /* -1: not given */
    long grace_s;
    bool standby;
    bool exit_with_parent;
    bool inetd;
    struct ready ready;
    char **rest; /* plugin parameters, or nbdkit's arguments */
    int rest_count;
};

void log_line(const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    dprintf(STDERR_FILENO, PROGRAM ": %s\n", text); /* one write: lines of others stay apart */
}

int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void usage(FILE *out)
{
    fputs("usage: " PROGRAM " [OPTIONS] --map=DIR [KEY=VALUE…]\n"
          "       " PROGRAM " [OPTIONS] -- NBDKIT-ARGUMENT…\n\n"
          "  --listen=ADDRESS:PORT    listen on TCP; may be given several times\n"
          "  --unix=SOCKET            listen on a unix socket; likewise\n"
          "  --unix-mode=MODE         its permissions (0600)\n"
          "  --tls-certificates=DIR   TLS, and nothing else, over TCP\n"
          "  --no-tls-verify-peer     let clients in that have no certificate of our CA\n"
          "  --max-connections=N      refuse more than N at a time (512)\n"
          "  --handshake-timeout=S    a client must open an export in S seconds (30)\n"
          "  --grace=S                at SIGTERM let connections finish for S seconds (10)\n"
          "  --no-standby             start an nbdkit anew for each client\n"
          "  --inetd                  serve the one connection on stdin, as inetd gives it\n"
          "  --pidfile=FILE           write our process id there once we listen\n"
          "  --ready-fd=N             write the addresses to descriptor N once we listen\n"
          "  --exit-with-parent       end when the process that started us ends\n"
          "  --help, --version\n\n" PROGRAM "(1) says more.\n",
          out);
}

static int parse_number(const char *option, const char *text, int base, long min, long max,
                        long *value, struct error **err)
{
    char *end;

    errno = 0;
    *value = strtol(text, &end, base);
    if (errno != 0 || end == text || *end != '\0' || *value < min || *value > max)
        return error_set_kind(err, ERROR_USAGE,
                              base == 8 ? "--%s=%s: an octal number from %lo to %lo is needed"
                                        : "--%s=%s: a number from %ld to %ld is needed",
                              option, text, min, max);
    return 0;
}

enum {
    OPTION_FIRST = 256, /* above any character */
    LISTEN,
    UNIX,
    UNIX_MODE,
    MAP,
    TLS_CERTIFICATES,
    NO_VERIFY,
    MAX_CONNECTIONS,
    HANDSHAKE,
    GRACE,
    NO_STANDBY,
    PIDFILE,
    READY_FD,
    EXIT_WITH_PARENT,
    INETD,
    HELP,
    VERSION
};

static const struct option long_options[] = {
    { "listen", required_argument, NULL, LISTEN },
    { "unix", required_argument, NULL, UNIX },
    { "unix-mode", required_argument, NULL, UNIX_MODE },
    { "map", required_argument, NULL, MAP },
    { "tls-certificates", required_argument, NULL, TLS_CERTIFICATES },
    { "no-tls-verify-peer", no_argument, NULL, NO_VERIFY },
    { "max-connections", required_argument, NULL, MAX_CONNECTIONS },
    { "handshake-timeout", required_argument, NULL, HANDSHAKE },
    { "grace", required_argument, NULL, GRACE },
    { "no-standby", no_argument, NULL, NO_STANDBY },
    { "pidfile", required_argument, NULL, PIDFILE },
    { "ready-fd", required_argument, NULL, READY_FD },
    { "exit-with-parent", no_argument, NULL, EXIT_WITH_PARENT },
    { "inetd", no_argument, NULL, INETD },
    { "help", no_argument, NULL, HELP },
    { "version", no_argument, NULL, VERSION },
    { NULL, 0, NULL, 0 },
};

static int parse_option(struct options *options, int option, int index, struct error **err)
{
    const char *name = long_options[index].name;
    long number;

    switch (option) {
    case LISTEN:
        if (options->listen_count == LISTENERS_MAX)
            return error_set_kind(err, ERROR_USAGE, "too many --listen");
        options->listen[options->listen_count++] = optarg;
        return 0;
    case UNIX:
        if (options->unix_count == LISTENERS_MAX)
            return error_set_kind(err, ERROR_USAGE, "too many --unix");
        options->unix_paths[options->unix_count++] = optarg;
        return 0;
    case UNIX_MODE:
        if (parse_number(name, optarg, 8, 0, 0777, &number, err) < 0)
            return -1;
        options->unix_mode = (mode_t)number;
        return 0;
    case MAP:
        options->map = optarg;
        return 0;
    case TLS_CERTIFICATES:
        options->tls_certificates = optarg;
        return 0;
    case NO_VERIFY:
        options->tls_verify_peer = false;
        return 0;
    case MAX_CONNECTIONS:
        return parse_number(name, optarg, 10, 1, MAX_CONNECTIONS_LIMIT, &options->max_connections,
                            err);
    case HANDSHAKE:
        return parse_number(name, optarg, 10, 0, SECONDS_LIMIT, &options->handshake_s, err);
    case GRACE:
        return parse_number(name, optarg, 10, 0, SECONDS_LIMIT, &options->grace_s, err);
    case NO_STANDBY:
        options->standby = false;
        return 0;
    case PIDFILE:
        options->ready.pidfile = optarg;
        return 0;
    case READY_FD:
        if (parse_number(name, optarg, 10, 1, INT_MAX, &number, err) < 0)
            return -1;
        if (fcntl((int)number, F_GETFD) < 0)
            return error_set_errno(err, errno, "--ready-fd=%ld", number);
        options->ready.fd = (int)number;
        return 0;
    case EXIT_WITH_PARENT:
        options->exit_with_parent = true;
        return 0;
    case INETD:
        options->inetd = true;
        return 0;
    case HELP:
        usage(stdout);
        exit(0);
    case VERSION:
        puts(PROGRAM " " VMFERRY_VERSION);
        exit(0);
    default: /* getopt has said what is wrong */
        return error_set_kind(err, ERROR_USAGE, "`" PROGRAM " --help` lists the options");
    }
}

static int parse_options(struct options *options, int argc, char *argv[], struct error **err)
{
    int option;
    int index = 0;

    *options = (struct options){ .unix_mode = 0600,
                                 .tls_verify_peer = true,
                                 .max_connections = MAX_CONNECTIONS_DEFAULT,
                                 .handshake_s = -1,
                                 .grace_s = GRACE_DEFAULT_S,
                                 .standby = true,
                                 .ready.fd = -1 };
    while ((option = getopt_long(argc, argv, "+", long_options, &index)) != -1) {
        if (parse_option(options, option, index, err) < 0)
            return -1;
    }
    options->rest = argv + optind;
    options->rest_count = argc - optind;
    if (!options->map && options->rest_count == 0)
        return error_set_kind(err, ERROR_USAGE, "nothing to serve: give --map=DIR");
    if (options->inetd && options->listen_count + options->unix_count > 0)
        return error_set_kind(err, ERROR_USAGE, "--inetd does not go with --listen or --unix");
    if (!options->map && options->handshake_s > 0)
        return error_set_kind(err, ERROR_USAGE, "--handshake-timeout works only with --map");
    if (options->handshake_s < 0)
        options->handshake_s = options->map ? HANDSHAKE_DEFAULT_S : 0;
    return 0;
}

/* Our plugin: beside this program in a build tree, else by its name where nbdkit
 * keeps its plugins. The caller frees it. */
static char *find_plugin(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;
    char *path;

    if (n > 0) {
        self[n] = '\0';
        slash = strrchr(self, '/');
        if (asprintf(&path, "%.*s/nbdkit-exportmap-plugin.so", (int)(slash - self), self) >= 0) {
            if (access(path, R_OK) == 0)
                return path;
            free(path);
        }
    }
    return strdup("exportmap");
}

/* The nbdkit command of one connection. The caller frees the array, and keeps PLUGIN and MAP, the
 * plugin's first parameter, as long as it. */
static const char **nbdkit_command(const struct options *options, const char *plugin,
                                   const char *map, bool tls, struct error **err)
{
    const char **argv = calloc((size_t)options->rest_count + 16, sizeof *argv);
    size_t n = 0;

    if (!argv) {
        error_set_errno(err, ENOMEM, "nbdkit's command");
        return NULL;
    }
    argv[n++] = "nbdkit";
    argv[n++] = "-s";
    if (tls) {
        argv[n++] = "--tls=require";
        argv[n++] = "--tls-certificates";
        argv[n++] = options->tls_certificates;
        if (options->tls_verify_peer)
            argv[n++] = "--tls-verify-peer";
    } else if (options->map || options->tls_certificates) {
        argv[n++] = "--tls=off";
    }
    if (options->map) {
        argv[n++] = "--threads=" MAP_THREADS;
        argv[n++] = plugin;
        argv[n++] = map;
    }
    for (int i = 0; i < options->rest_count; i++)
        argv[n++] = options->rest[i];
    return argv;
}

/* Run a child without a client: what is wrong with its arguments, map or
 * certificates is said now and not to the first client. */
static int try_command(const char *const *argv, struct error **err)
{
    if (process_run(argv, TRIAL_MS, NULL, err) < 0)
        return error_prefix(err, "trying nbdkit");
    return 0;
}

static bool is_loopback(const char *name)
{
    return strncmp(name, "127.", 4) == 0 || strncmp(name, "[::1]", 5) == 0;
}

static int open_listeners(const struct options *options, struct listeners *listeners,
                          struct error **err)
{
    if (listen_inherited(listeners, err) < 0)
        return -1;
    for (unsigned i = 0; i < options->listen_count; i++) {
        if (listen_tcp(listeners, options->listen[i], err) < 0)
            return -1;
    }
    for (unsigned i = 0; i < options->unix_count; i++) {
        if (listen_unix(listeners, options->unix_paths[i], options->unix_mode, err) < 0)
            return -1;
    }
    if (listeners->count == 0)
        return error_set_kind(err, ERROR_USAGE,
                              "nowhere to listen: give --listen=ADDRESS:PORT or --unix=SOCKET");
    for (unsigned i = 0; i < listeners->count; i++) {
        const struct listener *l = &listeners->list[i];

        log_line("listening on %s", l->name);
        if (!l->local && !options->tls_certificates && !is_loopback(l->name))
            log_line("warning: no --tls-certificates: who reaches %s is not asked who it is",
                     l->name);
    }
    return 0;
}

/* Children that abort, which one bad client is enough for, leave no core files. */
static void forbid_core_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = 0;
        setrlimit(RLIMIT_CORE, &limit);
    }
}

/* SIGQUIT, not SIGTERM: nobody is left that a grace time would serve. */
static int follow_parent(pid_t parent, struct error **err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGQUIT) < 0)
        return error_set_errno(err, errno, "--exit-with-parent");
    if (getppid() != parent)
        return error_set(err, "--exit-with-parent: our parent has gone already");
    return 0;
}

/* Become the nbdkit of the connection that is our stdin. Returns only when that fails. */
static int run_inetd(const struct config *config, struct error **err)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    const char *const *argv;
    sigset_t none;

    if (getpeername(STDIN_FILENO, (struct sockaddr *)&peer, &length) < 0)
        return error_set_errno(err, errno, "--inetd: stdin is not a connection");
    argv = peer.ss_family == AF_UNIX ? config->unix_argv : config->tcp_argv;
    if (peer.ss_family != AF_UNIX)
        tune_tcp(STDIN_FILENO);
    if (dup2(STDIN_FILENO, STDOUT_FILENO) < 0)
        return error_set_errno(err, errno, "--inetd");
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvp(argv[0], (char *const *)argv);
    return error_set_errno(err, errno, "starting %s", argv[0]);
}

/* Our plugin knows how; and nobody has asked nbdkit for TLS behind our back (see standby.h). */
static bool may_stand_by(const struct options *options)
{
    for (int i = 0; i < options->rest_count; i++) {
        if (strncmp(options->rest[i], "--tls", 5) == 0)
            return false;
    }
    return options->standby && options->map;
}

static int run(const struct options *options, struct error **err)
{
    struct config config = {
        .tls_certificates = options->tls_certificates,
        .max_connections = (unsigned)options->max_connections,
        .standby = may_stand_by(options),
        .handshake_ms = (int)options->handshake_s * 1000,
        .grace_ms = (int)options->grace_s * 1000,
        .exit_with_parent = options->exit_with_parent,
    };
    CLEANUP_FREE char *priorities = tls_priority_file();
    CLEANUP_FREE char *plugin = find_plugin();
    CLEANUP_FREE char *map = NULL;
    CLEANUP_FREE const char **tcp_argv = NULL;
    CLEANUP_FREE const char **unix_argv = NULL;
    struct listeners listeners = { 0 };
    int r;

    if (options->tls_certificates && tls_check_server_dir(options->tls_certificates, err) < 0)
        return -1;
    if (priorities)
        setenv("GNUTLS_SYSTEM_PRIORITY_FILE", priorities, 1);
    forbid_core_files();
    if (!plugin || asprintf(&map, "map=%s", options->map ? options->map : "") < 0) {
        map = NULL;
        return error_set_errno(err, ENOMEM, "nbdkit's command");
    }
    tcp_argv = nbdkit_command(options, plugin, map, options->tls_certificates != NULL, err);
    unix_argv = tcp_argv ? nbdkit_command(options, plugin, map, false, err) : NULL;
    if (!unix_argv)
        return -1;
    config.tcp_argv = tcp_argv;
    config.unix_argv = unix_argv;
    if (options->inetd)
        return run_inetd(&config, err);
    if (try_command(config.tcp_argv, err) < 0)
        return -1;

    r = open_listeners(options, &listeners, err);
    if (r == 0)
        r = ready_announce(&options->ready, &listeners, err);
    if (r == 0) {
        r = serve(&config, &listeners, err);
        ready_end(&options->ready);
    }
    listeners_close(&listeners);
    return r;
}

int main(int argc, char *argv[])
{
    CLEANUP_ERROR struct error *err = NULL;
    struct options options;
    sigset_t signals;
    pid_t parent = getppid();

    serve_block_signals(&signals);
    if (parse_options(&options, argc, argv, &err) == 0 &&
        (!options.exit_with_parent || follow_parent(parent, &err) == 0) && run(&options, &err) == 0)
        return 0;
    log_line("%s", error_message(err));
    return err ? (int)err->kind : 1;
}
