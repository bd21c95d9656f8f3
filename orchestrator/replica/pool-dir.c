/* Pools of files: the state directory, and any other directory; see pool.h. A
 * directory that was added has a mark in it, so that the empty mount point of a file
 * system that is not mounted is not taken for it. */
#include <fcntl.h>
#include <inttypes.h>
#include <json.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "replica/pool-ops.h"
#include "replica/volume.h"

#define MARK ".vmferry-pool"

static int read_mark(const char *folder, char mark[64], struct error **err)
{
    char path[PATH_MAX];
    CLEANUP_FCLOSE FILE *file = NULL;

    if (snprintf(path, sizeof path, "%s/" MARK, folder) >= (int)sizeof path)
        return error_set_errno(err, ENAMETOOLONG, "%s", folder);
    file = fopen(path, "re");
    mark[0] = '\0';
    if (!file && errno != ENOENT)
        return error_set_errno(err, errno, "%s", path);
    if (file && !fgets(mark, 64, file))
        mark[0] = '\0';
    mark[strcspn(mark, "\n")] = '\0';
    return 0;
}

static int write_mark(const char *folder, char mark[64], struct error **err)
{
    uint64_t random;
    char path[PATH_MAX];
    CLEANUP_CLOSE int fd = -1;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return error_set_errno(err, errno, "%s", folder);
    snprintf(mark, 64, "%016" PRIx64, random);
    if (snprintf(path, sizeof path, "%s/" MARK, folder) >= (int)sizeof path)
        return error_set_errno(err, ENAMETOOLONG, "%s", folder);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || dprintf(fd, "%s\n", mark) < 0 || fsync(fd) < 0)
        return error_set_errno(err, errno, "%s", path);
    return volume_sync_folder(path, err);
}

static int dir_describe(struct store_pool *row, const struct pool_wishes *wishes,
                        struct error **err)
{
    CLEANUP_FREE char *folder = wishes->location ? realpath(wishes->location, NULL) : NULL;
    json_object *json;
    struct stat st;
    char mark[64];
    int r;

    if (!wishes->location)
        return error_set_kind(err, ERROR_USAGE, "say which directory");
    if (!folder || stat(folder, &st) < 0)
        return error_set_errno(err, errno, "%s", wishes->location);
    if (!S_ISDIR(st.st_mode))
        return error_set_errno(err, ENOTDIR, "%s", folder);
    if (strlen(folder) >= sizeof row->location / 2)
        return error_set_errno(err, ENAMETOOLONG, "%s", folder);
    /* Two databases may share it: the folders in it are named by VM. */
    if (read_mark(folder, mark, err) < 0 || (!mark[0] && write_mark(folder, mark, err) < 0))
        return -1;
    strcpy(row->location, folder);
    json = json_object_new_object();
    json_object_object_add(json, "mark", json_object_new_string(mark));
    r = pool_set_options(row, json, err);
    json_object_put(json);
    return r;
}

static int dir_open(struct pool *pool, struct error **err)
{
    json_object *json = pool_options(&pool->row, err);
    char mark[64];
    int r = -1;

    if (!json)
        return -1;
    strcpy(pool->folder, pool->row.location);
    if (read_mark(pool->folder, mark, err) == 0)
        r = strcmp(mark, pool_option(json, "mark")) == 0
                ? 0
                : error_set(err,
                            "%s is not the directory that was added: " MARK
                            " %s; is its file system mounted?",
                            pool->folder, mark[0] ? "is another one" : "is not in it");
    json_object_put(json);
    return r;
}

static int dir_space(const struct pool *pool, struct pool_space *space, struct error **err)
{
    return folder_space(pool->row.id ? pool->folder : pool->state_dir, space, err);
}

static int file_create(const struct pool *pool, const struct pool_disk *disk, const char *path,
                       struct error **err)
{
    (void)pool;
    if (volume_make_folder(path, err) < 0)
        return -1;
    return strcmp(disk->format, "qcow2") == 0
               ? volume_create_qcow2(path, NULL, NULL, disk->capacity, err)
               : volume_create_base(path, disk->capacity, err);
}

static int file_grow(const struct pool *pool, const struct pool_disk *disk, const char *path,
                     struct error **err)
{
    (void)pool;
    return volume_grow(path, disk->format, disk->capacity, err);
}

static int file_remove(const struct pool *pool, const struct pool_disk *disk, const char *path,
                       struct error **err)
{
    (void)pool;
    (void)disk;
    return volume_remove(path, err);
}

const struct pool_ops pool_state_ops = {
    .kind = "state",
    .files = true,
    .reads_zero = true,
    .space = dir_space,
    .create = file_create,
    .grow = file_grow,
    .remove = file_remove,
};

const struct pool_ops pool_dir_ops = {
    .kind = "dir",
    .files = true,
    .reads_zero = true,
    .describe = dir_describe,
    .open = dir_open,
    .space = dir_space,
    .create = file_create,
    .grow = file_grow,
    .remove = file_remove,
};
