/* Reporting bad map files once; see skiplog.h. */
#include "skiplog.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "cleanup.h"
#include "exportmap-file.h"

#define REMEMBERED_MAX ((off_t)1 << 20) /* bytes */

static bool one_connection; /* this process serves the one on its stdin: nbdkit -s */

void skiplog_init(void)
{
    struct stat st;

    one_connection = fstat(STDIN_FILENO, &st) == 0 && S_ISSOCK(st.st_mode);
}

static pid_t server_pid(void)
{
    return one_connection ? getppid() : getpid();
}

/* A server that was started anew reports again: its log may be a new one. A pid
 * alone could be another process's by now, so its start time comes with it. */
static void write_owner(FILE *out)
{
    CLEANUP_FCLOSE FILE *stat = NULL;
    char path[64];
    char line[1024];
    char *field = NULL;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)server_pid());
    stat = fopen(path, "re");
    if (stat && fgets(line, sizeof line, stat))
        field = strrchr(line, ')'); /* the end of field 2, a name that may hold anything */
    for (int n = 2; field && n < 22; n++) {
        field = strchr(field, ' ');
        field = field ? field + 1 : NULL;
    }
    fprintf(out, "server %d %.*s\n", (int)server_pid(), field ? (int)strcspn(field, " ") : 1,
            field ? field : "?");
}

static char *read_before(int fd)
{
    struct stat st;
    char *text;
    ssize_t n;

    if (fstat(fd, &st) < 0 || st.st_size > REMEMBERED_MAX)
        return NULL;
    text = calloc(1, (size_t)st.st_size + 1);
    n = text ? pread(fd, text, (size_t)st.st_size, 0) : -1;
    if (n < 0) {
        free(text);
        return NULL;
    }
    return text;
}

void skiplog_begin(struct skiplog *log, int dirfd, int state_fd)
{
    *log = (struct skiplog){ .dirfd = dirfd, .fd = -1 };
    log->out = open_memstream(&log->now, &log->length);
    if (!log->out)
        return;
    write_owner(log->out);
    fflush(log->out);
    if (state_fd >= 0)
        log->fd = openat(state_fd, "skipped", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log->fd < 0)
        return;
    while (flock(log->fd, LOCK_EX) < 0 && errno == EINTR)
        ;
    log->before = read_before(log->fd);
    if (log->before && strncmp(log->before, log->now, log->length) != 0)
        log->before[0] = '\0'; /* another server's */
}

static uint64_t hash(uint64_t seed, const char *text)
{
    for (; *text; text++)
        seed = (seed ^ (unsigned char)*text) * 0x100000001b3U; /* FNV-1a */
    return seed;
}

/* A bad name may hold what moves a cursor, or is no text at all. */
static void make_printable(char *to, size_t size, const char *from)
{
    bool bad = exportmap_name_problem(from) != NULL;
    size_t i;

    for (i = 0; from[i] && i + 1 < size; i++)
        to[i] = bad && !isprint((unsigned char)from[i]) ? '?' : from[i];
    to[i] = '\0';
}

void skiplog_add(struct skiplog *log, const char *name, const char *why)
{
    struct stat st = { 0 };
    char line[160];
    char printable[256];

    fstatat(log->dirfd, name, &st, AT_SYMLINK_NOFOLLOW);
    snprintf(line, sizeof line, "%016" PRIx64 " %ju %jd.%09ld\n",
             hash(hash(0xcbf29ce484222325U, name), why), (uintmax_t)st.st_ino,
             (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    if (log->out)
        fputs(line, log->out);
    if (log->before && strstr(log->before, line))
        return;
    make_printable(printable, sizeof printable, name);
    nbdkit_error("map file %s is left out: %s", printable, why);
}

void skiplog_refused(const char *export, bool sound, const char *why)
{
    char printable[256];

    if (!sound) {
        make_printable(printable, sizeof printable, export);
        export = printable;
    }
    nbdkit_error("export '%s' is refused: %s", export, why);
}

void skiplog_end(struct skiplog *log)
{
    if (log->out && fclose(log->out) != 0)
        log->length = 0;
    if (log->fd >= 0 && log->length > 0 && !(log->before && strcmp(log->before, log->now) == 0)) {
        /* Not remembering is harmless: it would be said once more. */
        if (ftruncate(log->fd, 0) < 0 || pwrite(log->fd, log->now, log->length, 0) < 0)
            nbdkit_debug("writing the list of skipped map files: %m");
    }
    if (log->fd >= 0)
        close(log->fd);
    free(log->before);
    free(log->now);
}
