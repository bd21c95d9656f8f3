/* A target that is full, or can only be read; see full.h. */
#include "job/full.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "replica/pool.h"

#define BALLAST (1 << 20)
#define MiB     (1024.0 * 1024.0)

void ballast_hold(FILE **ballast, const char *state_dir)
{
    CLEANUP_CLOSE int fd = -1;

    if (*ballast)
        return;
    fd = open(state_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, BALLAST) != 0)
        return;
    *ballast = fdopen(fd, "r+");
    if (*ballast)
        (void)steal_fd(fd);
}

void ballast_drop(FILE **ballast)
{
    if (*ballast)
        fclose(*ballast);
    *ballast = NULL;
}

static bool says(const struct error *err, const char *const words[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strstr(error_message(err), words[i]))
            return true;
    }
    return false;
}

static bool is_full(const struct error *err)
{
    static const char *const words[] = { "No space left on device", "Disk quota exceeded",
                                         "disk is full" };

    return err->errnum == ENOSPC || err->errnum == EDQUOT ||
           says(err, words, sizeof words / sizeof words[0]);
}

static bool is_read_only(const struct error *err)
{
    static const char *const words[] = { "Read-only file system", "readonly database" };

    return err->errnum == EROFS || says(err, words, sizeof words / sizeof words[0]);
}

bool full_is_cause(const struct error *err)
{
    return is_full(err) || is_read_only(err);
}

/* An error names the file that it is about, as a rule; else it is the pool's. */
static const char *title_of(const struct full_place *place, const struct error *err,
                            char title[POOL_TITLE])
{
    struct pool state = { 0 };
    struct pool_space space;
    CLEANUP_ERROR struct error *ignored = NULL;
    bool in_state;

    snprintf(state.state_dir, sizeof state.state_dir, "%s", place->state_dir);
    in_state = !place->pool || !place->pool->state_dir[0] ||
               strstr(error_message(err), "vmferry.db") ||
               (folder_space(place->state_dir, &space, &ignored) == 0 && space.free < BALLAST);
    return pool_title(in_state ? &state : place->pool, title);
}

static void explain(const struct full_place *place, struct error **err, const char *what)
{
    CLEANUP_FREE char *cause = strdup(error_message(*err));
    char title[POOL_TITLE];

    title_of(place, *err, title);
    error_clear(err);
    error_set(err, "%s %s, and it goes on (%s)", title, what, cause ? cause : "no memory");
}

void full_explain(const struct full_place *place, FILE **ballast, struct error **err)
{
    bool full = is_full(*err);
    char what[96] = "is full: make room";

    if (!full && !is_read_only(*err))
        return;
    if (place->need)
        snprintf(what, sizeof what, "is full: make room (it needs up to %.1f MiB)",
                 (double)place->need / MiB);
    ballast_drop(ballast);
    if (!full)
        explain(place, err, "can only be read now: make it writable");
    else if (!strstr(error_message(*err), "make room"))
        explain(place, err, what);
    (*err)->kind = ERROR_PAUSED;
    (*err)->errnum = full ? ENOSPC : EROFS;
}

const char *full_paused_by(const struct error *err)
{
    return err->errnum == ENOSPC ? "space" : "target";
}
