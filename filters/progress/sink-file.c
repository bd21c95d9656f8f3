/* progress-file=PATH: the newest record. A reader sees the old one or the new one,
 * never a part: it is written beside PATH and renamed. */
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "sink.h"

struct sink_file {
    struct sink sink;
    char *path;
    char *temporary; /* unique among processes */
    bool failing;    /* and it has been said */
};

/* A new file: what may lie there by the same name, a link perhaps, is nothing of ours. */
static int write_line(const char *path, const char *json, size_t length)
{
    CLEANUP_CLOSE int fd = -1;

    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    if (dprintf(fd, "%.*s\n", (int)length, json) < 0)
        return -1;
    return 0;
}

static int replace(struct sink_file *file, const char *json, size_t length)
{
    int saved;

    if (write_line(file->temporary, json, length) == 0 && rename(file->temporary, file->path) == 0)
        return 0;
    saved = errno;
    unlink(file->temporary);
    errno = saved;
    return -1;
}

static void file_put(struct sink *sink, const char *json, size_t length, bool last)
{
    struct sink_file *file = (struct sink_file *)sink;
    bool failed = replace(file, json, length) < 0;

    (void)last;
    if (failed && !file->failing)
        nbdkit_error("progress-file=%s: %m; the copy goes on without it", file->path);
    file->failing = failed;
}

/* A mistyped directory is found out before anything moves. */
static int file_check(struct sink *sink, const char *json, size_t length)
{
    struct sink_file *file = (struct sink_file *)sink;
    struct stat st;

    if (stat(file->path, &st) == 0 && !S_ISREG(st.st_mode)) {
        nbdkit_error("progress-file=%s: not a regular file, which it would be replaced by; "
                     "use progress-fd for a pipe",
                     file->path);
        return -1;
    }
    if (replace(file, json, length) < 0) {
        nbdkit_error("progress-file=%s: can't be written: %m", file->path);
        return -1;
    }
    return 0;
}

static int file_start(struct sink *sink, const char *json, size_t length)
{
    file_put(sink, json, length, false);
    return 0;
}

static void file_close(struct sink *sink)
{
    struct sink_file *file = (struct sink_file *)sink;

    free(file->path);
    free(file->temporary);
    free(file);
}

struct sink *sink_file_new(const char *path)
{
    struct sink_file *file = calloc(1, sizeof *file);

    if (file == NULL) {
        nbdkit_error("calloc: %m");
        return NULL;
    }
    file->sink = (struct sink){
        .check = file_check, .start = file_start, .put = file_put, .close = file_close
    };
    file->path = nbdkit_absolute_path(path);
    if (file->path == NULL || asprintf(&file->temporary, "%s.%d.tmp", file->path, getpid()) < 0) {
        file->temporary = NULL;
        file_close(&file->sink);
        return NULL;
    }
    return &file->sink;
}
