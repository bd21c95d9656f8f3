/* Sweeping the state directory; see sweep.h. */
#include "job/sweep.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "exportmap-file.h"
#include "job/control.h"
#include "job/sync.h"
#include "log/log.h"
#include "replica/volume.h"
#include "run-socket.h"

static int pause_dead(struct store *store, const char *state_dir, const struct store_job *job,
                      struct error **err)
{
    const struct control_options options = { .say = NULL };
    const struct claim_wants wants = { 0 };
    CLEANUP_CLAIM struct claim *claim = NULL;
    char reason[OWNER_TEXT + 64], owner[OWNER_TEXT];

    snprintf(reason, sizeof reason, "its worker, %s, died", owner_text(job, owner));
    if (claim_take(store, job->id, &wants, &claim, err) < 0 ||
        job_lay_down(store, state_dir, claim, "paused", "worker", reason, true, &options, err) < 0)
        return -1;
    log_notice("job", "job %" PRId64 " is paused: %s", job->id, reason);
    return 0;
}

/* One whose lease has run out on another host is not paused: who takes it has to know that its
 * worker may still be there. */
static unsigned pause_all(struct store *store, const char *state_dir)
{
    unsigned paused = 0;
    CLEANUP_FREE struct store_job *jobs = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    size_t count = 0;

    if (store_jobs_open(store, 0, &jobs, &count, &err) < 0)
        log_problem(LEVEL_WARNING, "job", err, "dead jobs are not looked for");
    for (size_t i = 0; i < count; i++) {
        CLEANUP_ERROR struct error *problem = NULL;

        if (strcmp(jobs[i].status, "running") != 0 || owner_look(&jobs[i]) != OWNER_GONE ||
            strcmp(jobs[i].type, JOB_REPLICATION) != 0)
            continue;
        if (pause_dead(store, state_dir, &jobs[i], &problem) == 0)
            paused++;
        else if (problem->errnum != EBUSY && problem->errnum != EALREADY)
            log_problem(LEVEL_WARNING, "job", problem, "job %" PRId64, jobs[i].id);
    }
    return paused;
}

static bool is_gone(long pid)
{
    return pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/* "….PID<ending>" or "…-PID<ending>" of a process that is gone. A thread's number will do as well.
 */
static bool is_of_dead(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    const char *digits;

    if (length <= tail || strcmp(name + length - tail, ending) != 0)
        return false;
    digits = name + length - tail;
    while (digits > name && isdigit((unsigned char)digits[-1]))
        digits--;
    return digits > name && (digits[-1] == '.' || digits[-1] == '-') &&
           is_gone(strtol(digits, NULL, 10));
}

static void sweep_working(const char *state_dir, const char *folder, const char *ending)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *dir;

    if (snprintf(path, sizeof path, "%s/%s", state_dir, folder) >= (int)sizeof path ||
        !(dir = opendir(path)))
        return;
    while ((entry = readdir(dir))) {
        if (is_of_dead(entry->d_name, ending))
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

/* Nobody else has it, and nobody has put another one in its place. */
static bool take_lock(int folder, const char *name, int fd)
{
    struct stat ours, there;

    return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &ours) == 0 &&
           fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == there.st_ino;
}

/* Locks of disks, "@file-DEVICE-INODE.lock", outlive them, and those of qemu-nbds, "qemu-KEY.lock",
 * with their sockets. One that nobody holds is of no use: who wants it makes it anew
 * (plugins/exportmap/lease.c, qemu.c). */
static void sweep_lock(int folder, const char *name)
{
    static const char *const beside[] = { "sock", "new" };
    CLEANUP_CLOSE int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int length = (int)strcspn(name, ".");

    if (fd < 0 || !take_lock(folder, name, fd))
        return;
    for (size_t i = 0; name[0] != '@' && i < sizeof beside / sizeof beside[0]; i++) {
        char socket[NAME_MAX + 1];

        if (snprintf(socket, sizeof socket, "%.*s.%s", length, name, beside[i]) <
            (int)sizeof socket)
            unlinkat(folder, socket, 0);
    }
    unlinkat(folder, name, 0);
}

/* `kind`: how their names begin. */
static void sweep_locks(const char *state_dir, const char *kind)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *dir;

    if (snprintf(path, sizeof path, "%s/exports/" EXPORTMAP_STATE_DIR, state_dir) >=
            (int)sizeof path ||
        !(dir = opendir(path)))
        return;
    while ((entry = readdir(dir))) {
        const char *end = strrchr(entry->d_name, '.');

        if (strncmp(entry->d_name, kind, strlen(kind)) == 0 && end && strcmp(end, ".lock") == 0)
            sweep_lock(dirfd(dir), entry->d_name);
    }
    closedir(dir);
}

unsigned sweep_at_start(struct store *store, const char *state_dir)
{
    static const char *const working[] = { ".changes",    ".changes.new", ".cookie",
                                           ".cookie.new", ".password",    ".password.new" };
    unsigned paused = pause_all(store, state_dir);

    run_socket_sweep(state_dir);
    for (size_t i = 0; i < sizeof working / sizeof working[0]; i++)
        sweep_working(state_dir, "run", working[i]);
    sweep_working(state_dir, "exports", ".tmp"); /* files of the map that got no name */
    sweep_locks(state_dir, "@");
    return paused;
}

/* ---- files of a VM ---- */

struct known {
    const char *state_dir;
    char (*names)[STORE_PATH]; /* that the VM's rows name, or that lie beside those */
    size_t count, room;
};

static void known_free(struct known *known)
{
    free(known->names);
}

static int add_name(struct known *known, const char *name)
{
    if (known->count == known->room) {
        size_t room = known->room ? 2 * known->room : 32;
        void *grown = reallocarray(known->names, room, sizeof *known->names);

        if (!grown)
            return -1;
        known->names = grown;
        known->room = room;
    }
    snprintf(known->names[known->count++], STORE_PATH, "%s", name);
    return 0;
}

static int add_point(struct known *known, struct store *store, const struct store_point *point,
                     struct error **err)
{
    static const char *const working[] = { "journal", "resend", "changes" };
    CLEANUP_FREE struct store_point_disk *disks = NULL;
    size_t count;

    if (store_point_disks(store, point->id, &disks, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        char name[STORE_PATH];

        if (add_name(known, disks[i].image) < 0 || add_name(known, disks[i].leaves) < 0)
            return error_set_errno(err, ENOMEM, "sweeping");
        for (size_t w = 0; !point->complete && w < sizeof working / sizeof working[0]; w++) {
            sync_name_beside(disks[i].leaves, working[w], name, sizeof name);
            if (add_name(known, name) < 0)
                return error_set_errno(err, ENOMEM, "sweeping");
        }
    }
    return 0;
}

static int add_points(struct known *known, struct store *store, const struct store_point *points,
                      size_t count, struct error **err)
{
    for (size_t i = 0; i < count; i++) {
        if (add_point(known, store, &points[i], err) < 0)
            return -1;
    }
    return 0;
}

/* Of all points, also the unfinished one and those that are on their way out. */
static int find_known(struct known *known, struct store *store, const struct store_vm *vm,
                      struct error **err)
{
    CLEANUP_FREE struct store_point *points = NULL;
    CLEANUP_FREE struct store_point *going = NULL;
    struct store_point left;
    size_t count, going_count;
    bool found;

    if (store_points(store, vm->id, &points, &count, err) < 0 ||
        store_points_going(store, vm->id, &going, &going_count, err) < 0 ||
        store_point_unfinished(store, vm->id, &found, &left, err) < 0 ||
        add_points(known, store, points, count, err) < 0 ||
        add_points(known, store, going, going_count, err) < 0)
        return -1;
    return found ? add_point(known, store, &left, err) : 0;
}

/* point-0007.leaves, point-0007.f3.qcow2, base.f3.raw: only what has a name of ours. */
static bool is_ours(const char *name)
{
    static const char *const endings[] = { ".qcow2", ".leaves", ".journal", ".resend", ".changes" };
    const char *end = strrchr(name, '.');
    unsigned number, fence;
    int used = 0;

    if (sscanf(name, "base.f%u%n", &fence, &used) == 1)
        return strcmp(name + used, ".raw") == 0 || strcmp(name + used, ".qcow2") == 0;
    if (!end || sscanf(name, "point-%9u%n", &number, &used) != 1)
        return false;
    name += used;
    if (sscanf(name, ".f%u%n", &fence, &used) == 1)
        name += used;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        if (strcmp(name, endings[i]) == 0)
            return true;
    }
    return false;
}

static bool is_known(const struct known *known, const char *relative, const struct stat *st,
                     bool *same_file)
{
    *same_file = false;
    for (size_t i = 0; i < known->count; i++) {
        char path[PATH_MAX];
        struct stat other;

        if (strcmp(known->names[i], relative) == 0)
            return true;
        if (st->st_nlink > 1 &&
            snprintf(path, sizeof path, "%s/%s", known->state_dir, known->names[i]) <
                (int)sizeof path &&
            lstat(path, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino)
            *same_file = true;
    }
    return false;
}

/* An image that its maker did not come to give its name; see volume_create_qcow2(). */
static bool is_half_made(const char *name)
{
    return (strncmp(name, "point-", 6) == 0 || strncmp(name, "base.", 5) == 0) &&
           is_of_dead(name, ".new");
}

static void sweep_one(const struct known *known, int folder, const char *relative, const char *name)
{
    bool base = strncmp(name, "base.", 5) == 0, same_file;
    struct stat st;

    if (is_half_made(name)) {
        unlinkat(folder, name, 0);
        return;
    }
    if (!is_ours(name) || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode) || is_known(known, relative, &st, &same_file))
        return;
    /* A second name of a known file may go, whatever it is; else only what is not sealed. */
    if (!same_file && (base || (st.st_mode & 0222) == 0))
        return;
    if (unlinkat(folder, name, 0) == 0)
        log_info("replica", "removed %s, which belongs to no restore point", relative);
}

static void sweep_folder(const struct known *known, const char *relative)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *dir;

    if (snprintf(path, sizeof path, "%s/%s", known->state_dir, relative) >= (int)sizeof path ||
        !(dir = opendir(path)))
        return;
    while ((entry = readdir(dir))) {
        char name[STORE_PATH];

        if (snprintf(name, sizeof name, "%s/%s", relative, entry->d_name) < (int)sizeof name)
            sweep_one(known, dirfd(dir), name, entry->d_name);
    }
    closedir(dir);
}

void sweep_files(struct store *store, const char *state_dir, const struct store_vm *vm)
{
    CLEANUP(known_free) struct known known = { .state_dir = state_dir };
    CLEANUP_FREE struct store_disk *disks = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    size_t count = 0;

    if (find_known(&known, store, vm, &err) < 0 ||
        store_disks(store, vm->id, &disks, &count, &err) < 0) {
        log_problem(LEVEL_WARNING, "replica", err, "files of '%s' are not swept", vm->name);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char relative[256];

        snprintf(relative, sizeof relative, "replicas/%s/disk-%d", vm->uuid, disks[i].key);
        sweep_folder(&known, relative);
    }
}

/* ---- processes ---- */

static bool is_server(const char *word)
{
    static const char *const programs[] = { "nbdkit", "qemu-nbd", "nbdkit-exportmap-server" };
    const char *slash = strrchr(word, '/');

    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        if (strcmp(slash ? slash + 1 : word, programs[i]) == 0)
            return true;
    }
    return false;
}

/* A socket in STATE/run that a process which has ended had for itself: "….PID". */
static bool names_dead_socket(const char *word, const char *run)
{
    const char *place = strstr(word, run), *dot = place ? strrchr(place, '.') : NULL;
    char *end;
    long pid = dot ? strtol(dot + 1, &end, 10) : 0;

    return dot && dot[1] && !*end && is_gone(pid);
}

static bool is_orphan(const char *pid, const char *run)
{
    char path[64], words[8192];
    CLEANUP_CLOSE int fd = -1;
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%.20s/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, words, sizeof words - 1);
    if (n <= 0)
        return false;
    words[n] = '\0';
    if (!is_server(words))
        return false;
    for (const char *word = words; word < words + n; word += strlen(word) + 1) {
        if (names_dead_socket(word, run))
            return true;
    }
    return false;
}

unsigned sweep_servers(const char *state_dir)
{
    char run[PATH_MAX];
    struct dirent *entry;
    unsigned ended = 0;
    DIR *dir = opendir("/proc");

    snprintf(run, sizeof run, "%.4000s/run/", state_dir);
    while (dir && (entry = readdir(dir))) {
        if (!isdigit((unsigned char)entry->d_name[0]) || !is_orphan(entry->d_name, run))
            continue;
        if (kill((pid_t)atol(entry->d_name), SIGTERM) == 0)
            ended++;
    }
    if (dir)
        closedir(dir);
    sweep_locks(state_dir, "qemu-");
    return ended;
}
