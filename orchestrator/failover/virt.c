/* Probing KVM; see virt.h. */
#include "failover/virt.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "process.h"

#define QEMU             "qemu-system-x86_64"
#define PROBE_TIMEOUT_MS 2000 /* KVM needs some 0.3 s; one that crawls (4 s were seen) is none */
#define DISK_BYTES       (1 << 20) /* an IDE disk smaller than a cylinder has no geometry */

/* isa-debug-exit ends QEMU with status (value written << 1) | 1. */
#define MARK   0x10
#define STATUS (MARK << 1 | 1)

static const unsigned char code[] = {
    0xba, 0xf4, 0x00, /* mov dx, 0xf4 */
    0xb0, MARK,       /* mov al, MARK */
    0xee,             /* out dx, al   */
    0xf4,             /* hlt          */
};

/* An unlinked file with the boot sector; the descriptor is the caller's. */
static int make_disk(struct error **err)
{
    static const unsigned char signature[] = { 0x55, 0xaa };
    FILE *file = tmpfile();
    int fd;

    if (!file)
        return error_set_errno(err, errno, "making a disk to probe KVM with");
    fd = dup(fileno(file));
    fclose(file);
    if (fd < 0 || ftruncate(fd, DISK_BYTES) < 0 ||
        pwrite(fd, code, sizeof code, 0) != sizeof code ||
        pwrite(fd, signature, sizeof signature, 510) != sizeof signature) {
        cleanup_close(&fd);
        return error_set_errno(err, errno, "making a disk to probe KVM with");
    }
    return fd;
}

int virt_probe(const char *accelerator, bool *works, struct error **err)
{
    CLEANUP_ERROR struct error *timeout = NULL;
    CLEANUP_CLOSE int disk = make_disk(err);
    CLEANUP_CLOSE int silence = -1;
    char drive[64];
    /* clang-format off */
    const char *const argv[] = {
        QEMU, "-accel", accelerator, "-machine", "pc", "-m", "16",
        "-nodefaults", "-no-user-config", "-display", "none",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
        "-drive", drive,
        NULL,
    };
    /* clang-format on */
    struct process_options options = PROCESS_OPTIONS_INIT;
    int status;
    pid_t pid;

    *works = false;
    if (disk < 0)
        return -1;
    snprintf(drive, sizeof drive, "file=/proc/self/fd/%d,format=raw,if=ide", disk);
    silence = open("/dev/null", O_WRONLY | O_CLOEXEC);
    options.keep_fds = (const int[]){ disk, -1 };
    options.stderr_fd = silence;
    options.die_with_parent = true;
    pid = process_start(argv, &options, err);
    if (pid < 0)
        return error_prefix(err, "probing for KVM");
    if (process_wait(pid, PROBE_TIMEOUT_MS, &status, &timeout) < 0) {
        process_stop(pid, 0);
        return 0;
    }
    *works = WIFEXITED(status) && WEXITSTATUS(status) == STATUS;
    return 0;
}

int virt_choose(const char *wanted, const char **type, struct error **err)
{
    bool works = false;

    if (strcmp(wanted, "kvm") == 0) {
        *type = "kvm";
    } else if (strcmp(wanted, "qemu") == 0) {
        *type = "qemu";
    } else if (strcmp(wanted, "auto") == 0) {
        if (access("/dev/kvm", R_OK | W_OK) == 0 && virt_probe("kvm", &works, err) < 0)
            return -1;
        *type = works ? "kvm" : "qemu";
    } else {
        return error_set_kind(err, ERROR_USAGE, "virt type '%s' is none of auto, kvm, qemu",
                              wanted);
    }
    return 0;
}
