/* See guestroot.h. */
#include "convert/guestroot.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define FILE_MOST (4 << 20)

int guestroot_open(int root, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC,
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };

    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

bool guestroot_has(int root, const char *path)
{
    CLEANUP_CLOSE int fd = guestroot_open(root, path, O_PATH, 0);

    return fd >= 0;
}

/* The entry that `part` means; false: there is none. */
static bool spell(int directory, const char *part, char found[NAME_MAX + 1])
{
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
    struct dirent *entry;
    bool seen = false;

    while (entries && !seen && (entry = readdir(entries)) != NULL) {
        seen = strcasecmp(entry->d_name, part) == 0;
        if (seen)
            snprintf(found, NAME_MAX + 1, "%s", entry->d_name);
    }
    if (entries)
        closedir(entries);
    else
        cleanup_close(&copy);
    return seen;
}

int guestroot_open_any_case(int root, const char *path, int flags)
{
    CLEANUP_CLOSE int at = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    while (at >= 0) {
        char part[NAME_MAX + 1], found[NAME_MAX + 1];
        size_t length = strcspn(path, "/");
        bool last = !path[length];
        int next;

        snprintf(part, sizeof part, "%.*s", (int)length, path);
        if (!spell(at, part, found)) {
            errno = ENOENT;
            return -1;
        }
        next = openat(at, found, (last ? flags : O_RDONLY | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC);
        if (last)
            return next;
        close(at);
        at = next;
        path += length + 1;
    }
    return -1;
}

char *guestroot_read(int root, const char *path, size_t *length)
{
    CLEANUP_CLOSE int fd = guestroot_open(root, path, O_RDONLY, 0);
    struct stat st;
    char *text;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MOST)
        return NULL;
    text = malloc((size_t)st.st_size + 1);
    n = text ? read(fd, text, (size_t)st.st_size) : -1;
    if (n < 0) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    *length = (size_t)n;
    return text;
}

static int put(int fd, const char *path, const char *text, struct error **err)
{
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

    if (n != (ssize_t)strlen(text))
        return error_set_errno(err, n < 0 ? errno : ENOSPC, "writing the guest's %s", path);
    return 0;
}

int guestroot_write(int root, const char *path, const char *text, struct error **err)
{
    CLEANUP_CLOSE int fd = guestroot_open(root, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    return put(fd, path, text, err);
}

int guestroot_append(int root, const char *path, const char *text, struct error **err)
{
    size_t length;
    CLEANUP_FREE char *before = guestroot_read(root, path, &length);
    CLEANUP_CLOSE int fd = -1;

    if (before && strstr(before, text))
        return 0;
    fd = guestroot_open(root, path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    return put(fd, path, text, err);
}
