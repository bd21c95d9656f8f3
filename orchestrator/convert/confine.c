/* Confining a guest's programs; see confine.h. The worker has one thread, so a child may do more
 * than call async-signal-safe functions. */
#include "convert/confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "process.h"

/* What maintaining a system's own files takes. Device nodes can be made, but on no file system
 * that they can be opened on. */
static const int kept_capabilities[] = { CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
                                         CAP_SETGID, CAP_SETUID,       CAP_KILL,   CAP_MKNOD };

static const char *const devices[] = { "null", "zero", "full", "random", "urandom" };

/* A directory of the guest's, by what its links mean there; `target` names it in our root. */
static int mount_inside(const char *type, const char *target, unsigned long flags, const char *data)
{
    return mount(type, target, type, flags, data);
}

/* The current directory is the guest's root; returns -1 with errno. */
static int fill_devices(void)
{
    if (mount_inside("tmpfs", "dev", MS_NOSUID, "size=64k,mode=755") < 0)
        return -1;
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        char host[32], guest[32];
        int fd;

        snprintf(host, sizeof host, "/dev/%s", devices[i]);
        snprintf(guest, sizeof guest, "dev/%s", devices[i]);
        fd = open(guest, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return -1;
        close(fd);
        if (mount(host, guest, NULL, MS_BIND, NULL) < 0)
            return -1;
    }
    return symlink("/proc/self/fd", "dev/fd") < 0 || symlink("fd/0", "dev/stdin") < 0 ||
                   symlink("fd/1", "dev/stdout") < 0 || symlink("fd/2", "dev/stderr") < 0
               ? -1
               : 0;
}

/* A directory of the root itself: a link there could lead the mount elsewhere. */
static bool is_directory(const char *name)
{
    struct stat st;

    return lstat(name, &st) == 0 && S_ISDIR(st.st_mode);
}

static int enter(const char *root)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(root, root, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(root) < 0 ||
        !is_directory("dev") || !is_directory("proc") || fill_devices() < 0 ||
        mount_inside("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
        (is_directory("run") && mount_inside("tmpfs", "run", MS_NOSUID | MS_NODEV, NULL) < 0) ||
        (is_directory("tmp") && mount_inside("tmpfs", "tmp", MS_NOSUID | MS_NODEV, NULL) < 0) ||
        (is_directory("var") && is_directory("var/tmp") &&
         mount_inside("tmpfs", "var/tmp", MS_NOSUID | MS_NODEV, NULL) < 0))
        return -1;
    /* The old root goes under the new one, and away. */
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -1;
    return 0;
}

static bool is_kept(int capability)
{
    for (size_t i = 0; i < sizeof kept_capabilities / sizeof kept_capabilities[0]; i++) {
        if (kept_capabilities[i] == capability)
            return true;
    }
    return false;
}

static int drop_capabilities(void)
{
    for (int i = 0; prctl(PR_CAPBSET_READ, i) >= 0; i++) {
        if (!is_kept(i) && prctl(PR_CAPBSET_DROP, i) < 0)
            return -1;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* The first process of a namespace of processes: all in it end with it. */
static void __attribute__((noreturn)) become(const char *root, const char *const argv[], int output)
{
    static const char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                                               "HOME=/root", "TMPDIR=/var/tmp", NULL };
    int silence = open("/dev/null", O_RDONLY);

    dup2(silence, 0);
    dup2(output, 1);
    dup2(output, 2);
    syscall(SYS_close_range, 3, ~0U, 0);
    signal(SIGTERM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    umask(022);
    if (enter(root) < 0 || drop_capabilities() < 0)
        dprintf(2, "entering the guest's root: %s\n", strerror(errno));
    else
        execve(argv[0], (char *const *)argv, (char *const *)environment);
    dprintf(2, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void __attribute__((noreturn))
run_in_namespaces(const char *root, const char *const argv[], int output)
{
    int status = 1 << 8;
    pid_t pid;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, SIG_DFL);
    if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0) {
        dprintf(output, "namespaces: %s\n", strerror(errno));
        _exit(126);
    }
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        become(root, argv, output);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        _exit(126);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 125);
}

/* What a program said last, of what begins at `from`; that it found no room counts most. */
static void reason(int fd, off_t from, char *text, size_t size)
{
    char tail[8192];
    off_t end = lseek(fd, 0, SEEK_END);
    off_t start = end - from < (off_t)sizeof tail ? from : end - (off_t)sizeof tail + 1;
    ssize_t n = pread(fd, tail, sizeof tail - 1, start);
    char *rest, *line;

    tail[n > 0 ? n : 0] = '\0';
    snprintf(text, size, "it did not say why");
    for (line = strtok_r(tail, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
        if (!strstr(text, CONFINE_NO_ROOM))
            snprintf(text, size, "%.200s", line);
    }
}

static int open_output(const struct work *work, struct error **err)
{
    const char *log = work->request->log;
    char path[PATH_MAX + 8];
    int fd;

    snprintf(path, sizeof path, "%s/said", work->directory);
    fd = open(*log ? log : path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : error_set_errno(err, errno, "%s", *log ? log : path);
}

int confine_run(const struct work *work, const char *root, const char *const argv[], int timeout_ms,
                struct error **err)
{
    CLEANUP_CLOSE int output = open_output(work, err);
    char said[256];
    off_t from;
    int status;
    pid_t pid;

    if (output < 0)
        return -1;
    from = lseek(output, 0, SEEK_END);
    pid = fork();
    if (pid < 0)
        return error_set_errno(err, errno, "starting the guest's %s", argv[0]);
    if (pid == 0)
        run_in_namespaces(root, argv, output);
    if (process_wait(pid, timeout_ms, &status, err) < 0) {
        process_stop(pid, 0);
        return error_prefix(err, "the guest's %s", argv[0]);
    }
    if (status == 0)
        return 0;
    reason(output, from, said, sizeof said);
    return error_set(err, "the guest's %s failed with status %d: %s%s%s", argv[0],
                     WIFEXITED(status) ? WEXITSTATUS(status) : -1, said,
                     *work->request->log ? "; all that it said: " : "", work->request->log);
}
