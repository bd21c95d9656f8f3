/* State directory and store; see context.h. */
#include "commands/context.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "job/claim.h"
#include "log/keep.h"
#include "log/log.h"

/* Nobody else gets in: a test boot's QEMU is handed its images as open descriptors. */
#define STATE_MODE 0700

static int make_directories(char *path, struct error **err)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST) {
            error_set_errno(err, errno, "making %s", path);
            *slash = '/';
            return -1;
        }
        *slash = '/';
    }
    if (mkdir(path, STATE_MODE) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", path);
    return 0;
}

static int choose(const char *option, const struct config *config, char *path, size_t size)
{
    const char *environment = getenv("VMFERRY_STATE");
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");

    if (option)
        return snprintf(path, size, "%s", option);
    if (environment && *environment)
        return snprintf(path, size, "%s", environment);
    if (config->state[0])
        return snprintf(path, size, "%s", config->state);
    if (geteuid() == 0)
        return snprintf(path, size, "/var/lib/vmferry");
    if (xdg && xdg[0] == '/')
        return snprintf(path, size, "%s/vmferry", xdg);
    return snprintf(path, size, "%s/.local/state/vmferry", home ? home : "");
}

/* VMFERRY_DATABASE, then the configuration's, then a file in the state directory. */
static int choose_database(const struct context *context, char *database, size_t size,
                           struct error **err)
{
    const char *given = getenv("VMFERRY_DATABASE");

    if (!given || !*given)
        given = context->config.database;
    if (*given && strncmp(given, "sqlite:///", 10) != 0 && strncmp(given, "mariadb://", 10) != 0)
        return error_set_kind(err, ERROR_USAGE,
                              "the database is neither sqlite:///PATH nor "
                              "mariadb://USER@HOST[:PORT]/NAME; vmferry.conf(5) explains them");
    if (snprintf(database, size, "%s%s", *given ? given : context->state_dir,
                 *given ? "" : "/vmferry.db") >= (int)size)
        return error_set_errno(err, ENAMETOOLONG, "the database");
    return 0;
}

static int open_database(struct context *context, bool as_it_is, struct error **err)
{
    char database[STORE_PLACE + PATH_MAX];
    struct store_place place = { .database = database,
                                 .password_file = context->config.database_password_file,
                                 .ca = context->config.database_ca };

    if (choose_database(context, database, sizeof database, err) < 0)
        return -1;
    return (as_it_is ? store_connect : store_open_place)(&place, &context->store, err);
}

static int find_state(const char *option, struct context *context, struct error **err)
{
    char path[PATH_MAX];

    if (option && !*option)
        return error_set_kind(err, ERROR_USAGE, "--state names no directory");
    if (choose(option, &context->config, path, sizeof path) >= (int)sizeof path)
        return error_set_errno(err, ENAMETOOLONG, "the state directory");
    if (make_directories(path, err) < 0)
        return error_prefix(err, "state directory %s", path);
    if (!realpath(path, context->state_dir))
        return error_set_errno(err, errno, "state directory %s", path);
    return 0;
}

/* SQLite maps a file of the state directory. Where that can't be written, because the
 * file system is full (btrfs says so only then), the kernel sends SIGBUS. Nothing is lost
 * by ending here: what a sync leaves behind is what a kill leaves behind. Several threads
 * may get there at once. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    static const char text[] =
        "vmferry: a file of the state directory can't be written (its file system is full, or its "
        "disk fails): make room, and run the same command again\n";

    (void)number;
    (void)context;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0 || info->si_code != BUS_ADRERR)
        abort();
    _exit(ERROR_PAUSED);
}

static void end_on_bus_errors(void)
{
    struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };

    sigaction(SIGBUS, &action, NULL);
}

static int start(const char *state_option, struct context *context, struct error **err)
{
    unsigned ignored;

    *context = (struct context){ 0 };
    if (config_load(NULL, &context->config, err) < 0 ||
        claim_lease_of_environment(&ignored, err) < 0)
        return -1;
    end_on_bus_errors();
    if (context->config.log_level[0] &&
        log_set_levels(context->config.log_level, LOG_BY_CONFIG, err) < 0)
        return error_prefix(err, "vmferry.conf: [log] level");
    return find_state(state_option, context, err);
}

int context_open(const char *state_option, struct context *context, struct error **err)
{
    if (start(state_option, context, err) < 0 || open_database(context, false, err) < 0)
        return -1;
    log_keep_start(context->store);
    return 0;
}

int context_connect(const char *state_option, struct context *context, struct error **err)
{
    return start(state_option, context, err) < 0 ? -1 : open_database(context, true, err);
}

void context_close(struct context *context)
{
    if (log_keep_stop())
        store_close(context->store);
    context->store = NULL;
}
