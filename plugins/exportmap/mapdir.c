/* The directory of map files; see mapdir.h. */
#include "mapdir.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "skiplog.h"

/* Whoever may write here can serve any disk of this machine to anyone. */
static int check_owner(int fd, struct error **err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "fstat");
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return error_set(err, "is owned by user %u, not by root or the server's own user",
                         st.st_uid);
    return exportmap_mode_check(&st, err);
}

static int open_state(int dirfd, struct error **err)
{
    CLEANUP_CLOSE int fd = -1;

    if (mkdirat(dirfd, EXPORTMAP_STATE_DIR, 0700) < 0 && errno != EEXIST)
        return -1; /* a read-only map: exports can still be read */
    fd = openat(dirfd, EXPORTMAP_STATE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_set_errno(err, errno, "%s", EXPORTMAP_STATE_DIR);
    if (check_owner(fd, err) < 0)
        return error_prefix(err, "%s", EXPORTMAP_STATE_DIR);
    return steal_fd(fd);
}

int mapdir_open(struct mapdir *dir, const char *path, struct error **err)
{
    *dir = (struct mapdir){ .fd = -1, .state_fd = -1 };
    dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->fd < 0)
        return error_set_errno(err, errno, "%s", path);
    dir->path = strdup(path);
    if (!dir->path)
        error_set_errno(err, ENOMEM, "%s", path);
    else if (check_owner(dir->fd, err) < 0)
        error_prefix(err, "%s", path);
    else
        dir->state_fd = open_state(dir->fd, err);
    if (*err)
        mapdir_close(dir);
    return *err ? -1 : 0;
}

void mapdir_close(struct mapdir *dir)
{
    if (dir->state_fd >= 0)
        close(dir->state_fd);
    if (dir->fd >= 0)
        close(dir->fd);
    free(dir->path);
    *dir = (struct mapdir){ .fd = -1, .state_fd = -1 };
}

static int list_one(const struct mapdir *dir, const char *name, struct skiplog *skipped,
                    int (*found)(void *, const char *, const struct exportmap_file *), void *opaque)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP(exportmap_file_free) struct exportmap_file map = { 0 };
    const char *problem = exportmap_name_problem(name);
    struct stat st;
    int fd;

    if (problem) {
        error_set(&err, "its name %s", problem);
    } else {
        fd = exportmap_file_read(dir->fd, name, &map, &st, &err);
        if (fd >= 0) {
            close(fd);
            return found(opaque, name, &map);
        }
        if (err->errnum == ENOENT && fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return 0; /* withdrawn meanwhile */
    }
    skiplog_add(skipped, name, error_message(err));
    return 0;
}

static int not_ignored(const struct dirent *entry)
{
    return !exportmap_name_ignored(entry->d_name);
}

int mapdir_list(const struct mapdir *dir,
                int (*found)(void *opaque, const char *name, const struct exportmap_file *map),
                void *opaque, struct error **err)
{
    struct dirent **entries = NULL;
    struct skiplog skipped;
    int n = scandirat(dir->fd, ".", &entries, not_ignored, alphasort);
    int r = 0;

    if (n < 0)
        return error_set_errno(err, errno, "reading %s", dir->path);
    skiplog_begin(&skipped, dir->fd, dir->state_fd);
    for (int i = 0; i < n; i++) {
        if (r == 0 && list_one(dir, entries[i]->d_name, &skipped, found, opaque) < 0)
            r = error_set_errno(err, ENOMEM, "listing %s", dir->path);
        free(entries[i]);
    }
    free(entries);
    skiplog_end(&skipped);
    return r;
}
