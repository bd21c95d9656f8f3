/* See drivers.h. */
#include "convert/drivers.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

int drivers_open(const char *place, const char *scratch, struct driver_store *store,
                 struct error **err)
{
    struct stat st;

    *store = (struct driver_store){ .place = place, .scratch = scratch };
    if (stat(place, &st) < 0)
        return error_set_errno(err, errno, "the virtio drivers, virtio_win = %s", place);
    if (S_ISDIR(st.st_mode))
        return 0;
    store->iso = true;
    store->view = calloc(1, sizeof *store->view);
    if (!store->view)
        return error_set_errno(err, ENOMEM, "%s", place);
    snprintf(store->view[0], PATH_MAX, "%s", place);
    if (files_open((const char(*)[PATH_MAX])store->view, 1, scratch, &store->files, err) < 0)
        return -1;
    for (size_t i = 0; i < store->files.count && !store->volume; i++) {
        if (strcmp(store->files.volumes[i].type, "iso9660") == 0)
            store->volume = &store->files.volumes[i];
    }
    return store->volume
               ? 0
               : error_set(err, "virtio_win = %s is neither a directory nor an ISO", place);
}

void drivers_close(struct driver_store *store)
{
    files_close(&store->files);
    free(steal_ptr(store->view));
}

static bool has_directory(const struct driver_store *store, const char *directory)
{
    char path[2 * PATH_MAX];
    struct stat st;

    if (store->iso)
        return files_spell(&store->files, store->volume, directory, path);
    snprintf(path, sizeof path, "%s/%s", store->place, directory);
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool drivers_find(const struct driver_store *store, const char *name,
                  const struct windows_version *version, char directory[PATH_MAX])
{
    /* On the ISO, and in the directory that other distributions' package makes. */
    static const char *const layouts[] = { "%s/%s/%s", "drivers/by-driver/%s/%s/%s" };

    for (size_t i = 0; version->names[i]; i++) {
        for (size_t j = 0; j < sizeof layouts / sizeof layouts[0]; j++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(directory, PATH_MAX, layouts[j], name, version->names[i], version->machine);
#pragma GCC diagnostic pop
            if (has_directory(store, directory))
                return true;
        }
    }
    return false;
}

static bool is_wanted(const char *name, const char *ending)
{
    const char *dot = strrchr(name, '.');

    if (!dot || *name == '.' || strchr(name, '/'))
        return false;
    return ending ? strcasecmp(dot, ending) == 0 : strcasecmp(dot, ".pdb") != 0;
}

/* Names are lower case there, as Windows' own are. */
static int put_file(const char *from, const char *name, int to, struct error **err)
{
    CLEANUP_CLOSE int in = open(from, O_RDONLY | O_CLOEXEC);
    CLEANUP_CLOSE int out = -1;
    char lower[NAME_MAX + 1];
    struct stat st;
    ssize_t n = 1;

    for (size_t i = 0; i <= strlen(name) && i <= NAME_MAX; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    if (in < 0 || fstat(in, &st) < 0)
        return error_set_errno(err, errno, "%s", from);
    out = openat(to, lower, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    while (out >= 0 && n > 0)
        n = sendfile(out, in, NULL, 1 << 20);
    if (out < 0 || n < 0 || fsync(out) < 0)
        return error_set_errno(err, errno, "writing the guest's %s", lower);
    return 1;
}

static int copy_from_iso(const struct driver_store *store, const char *directory,
                         const char *ending, int to, struct error **err)
{
    CLEANUP_NAMES char **names = NULL;
    char spelled[PATH_MAX], path[PATH_MAX + NAME_MAX], local[PATH_MAX];
    int count = 0;

    if (!files_spell(&store->files, store->volume, directory, spelled))
        return 0;
    strcat(spelled, "/");
    if (files_list(&store->files, store->volume, spelled, &names, err) < 0)
        return -1;
    for (char **name = names; *name; name++) {
        int r;

        if (!is_wanted(*name, ending))
            continue;
        snprintf(path, sizeof path, "%s%s", spelled, *name);
        if (!files_take(&store->files, store->volume, path, local))
            return error_set(err, "%s of %s can't be read", path, store->place);
        r = put_file(local, *name, to, err);
        unlink(local);
        if (r < 0)
            return -1;
        count++;
    }
    return count;
}

int drivers_copy(const struct driver_store *store, const char *directory, const char *ending,
                 int to, struct error **err)
{
    char path[2 * PATH_MAX + NAME_MAX + 2];
    struct dirent *entry;
    int count = 0;
    DIR *entries;

    if (store->iso)
        return copy_from_iso(store, directory, ending, to, err);
    snprintf(path, sizeof path, "%s/%s", store->place, directory);
    entries = opendir(path);
    if (!entries)
        return error_set_errno(err, errno, "%s", path);
    while (count >= 0 && (entry = readdir(entries)) != NULL) {
        if (!is_wanted(entry->d_name, ending))
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", store->place, directory, entry->d_name);
        count = put_file(path, entry->d_name, to, err) < 0 ? -1 : count + 1;
    }
    closedir(entries);
    return count;
}
