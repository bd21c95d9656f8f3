/* Which moment a hook was asked for last; see record.h. */
#include "source/nbd/record.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_of(const char *state_dir, const char *uuid, char path[PATH_MAX], struct error **err)
{
    if (snprintf(path, PATH_MAX, "%s/run", state_dir) >= PATH_MAX - SPEC_UUID - 16)
        return error_set_errno(err, ENAMETOOLONG, "%s/run", state_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", path);
    snprintf(path + strlen(path), SPEC_UUID + 16, "/%s.moment", uuid);
    return 0;
}

int record_read(const char *state_dir, const char *uuid, char name[SOURCE_SNAPSHOT],
                struct error **err)
{
    CLEANUP_CLOSE int fd = -1;
    char path[PATH_MAX];
    ssize_t n;

    name[0] = '\0';
    if (path_of(state_dir, uuid, path, err) < 0)
        return -1;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : error_set_errno(err, errno, "opening %s", path);
    n = read(fd, name, SOURCE_SNAPSHOT - 1);
    if (n < 0)
        return error_set_errno(err, errno, "reading %s", path);
    name[n] = '\0';
    name[strcspn(name, "\n")] = '\0';
    return 0;
}

/* 0, or an errno. */
static int write_file(const char *path, const char *name)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t length = (ssize_t)strlen(name), n;

    if (fd < 0)
        return errno;
    n = write(fd, name, (size_t)length);
    if (n != length)
        return n < 0 ? errno : ENOSPC;
    return fsync(fd) < 0 ? errno : 0;
}

static int sync_folder(const char *path, struct error **err)
{
    char folder[PATH_MAX];
    CLEANUP_CLOSE int fd = -1;

    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_set_errno(err, errno, "syncing %s", folder);
    return 0;
}

int record_write(const char *state_dir, const char *uuid, const char *name, struct error **err)
{
    char path[PATH_MAX], fresh[PATH_MAX + 8];
    int errnum;

    if (path_of(state_dir, uuid, path, err) < 0)
        return -1;
    snprintf(fresh, sizeof fresh, "%s.new", path);
    errnum = write_file(fresh, name);
    if (!errnum && rename(fresh, path) < 0)
        errnum = errno;
    if (errnum)
        return error_set_errno(err, errnum, "writing %s", path);
    return sync_folder(path, err);
}

int record_remove(const char *state_dir, const char *uuid, struct error **err)
{
    char path[PATH_MAX];

    if (path_of(state_dir, uuid, path, err) < 0)
        return -1;
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "removing %s", path);
    return 0;
}
