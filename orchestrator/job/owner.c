/* Owners of jobs; see owner.h. */
#include "job/owner.h"

#include <inttypes.h>
#include <limits.h>
#include <sys/utsname.h>

/* The first process-id namespace of a boot; others' ids mean something else. */
#define FIRST_NAMESPACE "pid:[4026531836]"

static void read_line(const char *path, char *buf, size_t size)
{
    CLEANUP_FCLOSE FILE *file = fopen(path, "re");

    if (!file || !fgets(buf, (int)size, file))
        buf[0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
}

/* Field 22 of /proc/PID/stat, 0 when there is no such process or it has ended and nobody has
 * asked yet how. Counting starts behind the name, which may hold anything. */
static int64_t start_of(const char *pid)
{
    char path[64], stat[1024];
    const char *field;

    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    read_line(path, stat, sizeof stat);
    field = strrchr(stat, ')');
    if (!field || field[1] != ' ' || field[2] == 'Z' || field[2] == 'X')
        return 0;
    for (int i = 2; field && i < 22; i++)
        field = strchr(field + 1, ' ');
    return field ? strtoll(field, NULL, 10) : 0;
}

static void host_name(char *host, size_t size)
{
    struct utsname name;
    char space[64];
    ssize_t length = readlink("/proc/self/ns/pid", space, sizeof space - 1);

    if (uname(&name) < 0)
        strcpy(name.nodename, "unknown");
    space[length > 0 ? length : 0] = '\0';
    if (!space[0] || strcmp(space, FIRST_NAMESPACE) == 0)
        snprintf(host, size, "%s", name.nodename);
    else
        snprintf(host, size, "%s/%s", name.nodename, space);
}

void owner_fill(struct store_job *job)
{
    host_name(job->owner_host, sizeof job->owner_host);
    read_line("/proc/sys/kernel/random/boot_id", job->owner_boot, sizeof job->owner_boot);
    job->owner_pid = getpid();
    job->owner_start = start_of("self");
}

enum owner_life owner_look(const struct store_job *job)
{
    struct store_job us;
    char pid[32];

    if (!job->owner_pid)
        return OWNER_NONE;
    owner_fill(&us);
    if (strcmp(us.owner_host, job->owner_host) != 0 || strcmp(us.owner_boot, job->owner_boot) != 0)
        return OWNER_UNKNOWN;
    snprintf(pid, sizeof pid, "%" PRId64, job->owner_pid);
    return start_of(pid) == job->owner_start && job->owner_start ? OWNER_LIVES : OWNER_GONE;
}

const char *owner_text(const struct store_job *job, char text[OWNER_TEXT])
{
    snprintf(text, OWNER_TEXT, "process %" PRId64 " on host %s", job->owner_pid, job->owner_host);
    return text;
}
