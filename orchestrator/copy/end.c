/* Which kind of end a name means; see end.h. */
#include "end.h"

#include <string.h>
#include <time.h>

#include "copy.h"

int64_t monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

bool end_is_remote(const char *name)
{
    static const char *const schemes[] = { "nbd:",       "nbds:",      "nbd+unix:",
                                           "nbds+unix:", "nbd+vsock:", "nbds+vsock:" };

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (strncmp(name, schemes[i], strlen(schemes[i])) == 0)
            return true;
    }
    return false;
}

/* Where the last "@" in [from, to) is, which may be written as "%40". */
static const char *last_at(const char *from, const char *to)
{
    for (const char *p = to; p-- > from;) {
        if (*p == '@' || (to - p >= 3 && memcmp(p, "%40", 3) == 0))
            return p;
    }
    return NULL;
}

/* An export may be named "NAME@LEASE" (nbdkit-exportmap-plugin(1)): who knows the lease may write.
 */
char *copy_shown_name(const char *name)
{
    const char *path = end_is_remote(name) ? strstr(name, "://") : NULL;
    const char *lease, *rest;
    char *shown;

    path = path ? strchr(path + 3, '/') : NULL;
    if (!path)
        return strdup(name);
    rest = path + strcspn(path, "?#");
    lease = last_at(path, rest);
    if (!lease)
        return strdup(name);
    return asprintf(&shown, "%.*s%s", (int)(lease - name), name, rest) < 0 ? NULL : shown;
}

struct end *end_open(const char *name, const struct end_wants *wants, struct error **err)
{
    CLEANUP_FREE char *shown = copy_shown_name(name);
    struct end *end;

    if (!shown) {
        error_set_errno(err, ENOMEM, "opening a disk");
        return NULL;
    }

    if (strcmp(name, "null:") == 0)
        end = end_null_open(wants, err);
    else if (end_is_remote(name))
        end = end_nbd_open(name, shown, wants, err);
    else if (name[0] == '[' && (name[1] == ' ' || name[1] == '\0'))
        end = end_command_open(name, wants, err);
    else
        end = end_file_open(name, wants, err);
    if (!end)
        return NULL;

    end->role = wants->role;
    end->stop = wants->stop;
    end->name = steal_ptr(shown);
    if (wants->role == END_DESTINATION && end->read_only) {
        error_set_kind(err, ERROR_USAGE, "%s is read-only, it cannot be the destination",
                       end->name);
        end_close(end);
        return NULL;
    }
    return end;
}

void end_discard(struct end *end)
{
    if (end && end->ops->discard)
        end->ops->discard(end);
}

void end_close(struct end *end)
{
    char *name;

    if (!end)
        return;
    name = end->name;
    end->ops->close(end);
    free(name);
}
