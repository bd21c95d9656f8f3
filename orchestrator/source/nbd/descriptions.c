/* Files that describe VMs; see descriptions.h. */
#include "source/nbd/descriptions.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

struct files {
    char **paths;
    size_t count;
};

static void files_free(struct files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
}

static int is_description(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return entry->d_name[0] != '.' && length > 5 &&
           strcmp(entry->d_name + length - 5, ".json") == 0;
}

static int list_directory(const char *location, struct files *files, struct error **err)
{
    struct dirent **entries;
    int n = scandir(location, &entries, is_description, alphasort);
    bool complete = true;

    if (n < 0)
        return error_set_errno(err, errno, "reading %s", location);
    files->paths = calloc((size_t)n + 1, sizeof *files->paths);
    for (int i = 0; i < n; i++) {
        if (files->paths &&
            asprintf(&files->paths[files->count], "%s/%s", location, entries[i]->d_name) >= 0)
            files->count++;
        else
            complete = false;
        free(entries[i]);
    }
    free(entries);
    if (!files->paths || !complete)
        return error_set_errno(err, ENOMEM, "reading %s", location);
    return 0;
}

static int list_files(const char *location, struct files *files, struct error **err)
{
    struct stat st;

    if (stat(location, &st) < 0)
        return error_set_errno(err, errno, "reading %s", location);
    if (S_ISDIR(st.st_mode))
        return list_directory(location, files, err);
    files->paths = calloc(1, sizeof *files->paths);
    if (!files->paths || !(files->paths[0] = strdup(location)))
        return error_set_errno(err, ENOMEM, "reading %s", location);
    files->count = 1;
    return 0;
}

static int refuse_duplicate(const struct spec_list *list, const struct files *files,
                            struct error **err)
{
    size_t last = list->count - 1;

    for (size_t i = 0; i < last; i++) {
        if (strcmp(list->specs[i].uuid, list->specs[last].uuid) == 0)
            return error_set(err, "%s and %s describe the same VM %s", files->paths[i],
                             files->paths[last], list->specs[last].uuid);
    }
    return 0;
}

static void filter_list(struct spec_list *list, const struct source_filter *filter)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        if (source_filter_fits(filter, list->specs[i].name, list->specs[i].path))
            list->specs[kept++] = list->specs[i];
        else
            spec_free(&list->specs[i]);
    }
    list->count = kept;
}

int descriptions_list(const char *location, const struct source_filter *filter,
                      struct spec_list *specs, struct error **err)
{
    CLEANUP(files_free) struct files files = { 0 };
    CLEANUP_SPECS struct spec_list loaded = { 0 };

    if (list_files(location, &files, err) < 0)
        return -1;
    loaded.specs = calloc(files.count + 1, sizeof *loaded.specs);
    if (!loaded.specs)
        return error_set_errno(err, ENOMEM, "reading %s", location);
    for (size_t i = 0; i < files.count; i++) {
        if (spec_load(files.paths[i], &loaded.specs[i], err) < 0)
            return -1;
        loaded.count++;
        if (refuse_duplicate(&loaded, &files, err) < 0)
            return -1;
    }
    filter_list(&loaded, filter);
    *specs = loaded;
    loaded = (struct spec_list){ 0 };
    return 0;
}

/* Another VM's broken description does not stand in this one's way, unless this
 * one is nowhere else. */
int descriptions_find(const char *location, const char *uuid, struct vm_spec *spec,
                      char path[PATH_MAX], struct error **err)
{
    CLEANUP(files_free) struct files files = { 0 };
    CLEANUP_SPEC struct vm_spec found = { 0 };
    CLEANUP_ERROR struct error *broken = NULL;
    const char *where = NULL;

    if (list_files(location, &files, err) < 0)
        return -1;
    for (size_t i = 0; i < files.count; i++) {
        CLEANUP_SPEC struct vm_spec candidate = { 0 };
        CLEANUP_ERROR struct error *problem = NULL;

        if (spec_load(files.paths[i], &candidate, &problem) < 0) {
            if (!broken)
                error_move(&broken, &problem);
            continue;
        }
        if (strcmp(candidate.uuid, uuid) != 0)
            continue;
        if (where)
            return error_set(err, "%s and %s describe the same VM %s", where, files.paths[i], uuid);
        where = files.paths[i];
        found = candidate;
        candidate = (struct vm_spec){ 0 };
    }
    if (!where && broken)
        return error_move(err, &broken);
    if (!where)
        return error_set(err, "%s no longer describes the VM %s", location, uuid);
    if (path && snprintf(path, PATH_MAX, "%s", where) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", where);
    *spec = found;
    found = (struct vm_spec){ 0 };
    return 0;
}
