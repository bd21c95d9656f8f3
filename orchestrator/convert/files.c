/* Reading a guest's files by grub-fstest; see files.h. */
#include "convert/files.h"

#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "process.h"

#define LIST_MS 60000
#define COPY_MS 300000

/* argv: grub-fstest -c N VIEWS… -- WORDS…; the caller's to free. `most`: bytes of a file. */
static const char **make_argv(const struct guest_files *files, char count[16], const char *most,
                              const char *const *words)
{
    const char **argv = calloc(files->view_count + 12, sizeof *argv);
    size_t n = 0;

    if (!argv)
        return NULL;
    snprintf(count, 16, "%zu", files->view_count);
    argv[n++] = "grub-fstest";
    argv[n++] = "-c";
    argv[n++] = count;
    if (most) {
        argv[n++] = "-n";
        argv[n++] = most;
    }
    for (size_t i = 0; i < files->view_count; i++)
        argv[n++] = files->views[i];
    argv[n++] = "--";
    while (*words)
        argv[n++] = *words++;
    return argv;
}

static int run(const struct guest_files *files, const char *const *words, int timeout_ms,
               char **out, struct error **err)
{
    char count[16];
    CLEANUP_FREE const char **argv = make_argv(files, count, NULL, words);

    if (!argv)
        return error_set_errno(err, ENOMEM, "looking into the disks");
    return process_run(argv, timeout_ms, out, err);
}

/* What stands behind `word` in the line, in KiB. */
static uint64_t kib_behind(const char *line, const char *word)
{
    const char *at = strstr(line, word);

    return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

/* The text behind `word`, up to a space or comma. */
static void text_behind(const char *line, const char *word, char *text, size_t size)
{
    const char *at = strstr(line, word);

    if (at) {
        at += strlen(word);
        snprintf(text, size, "%.*s", (int)strcspn(at, " ,\n"), at);
    }
}

/* "Device loop0: …", "<tab>Partition loop0,gpt3: Filesystem type ext* - …, UUID … - Partition
 * start at 6144KiB - Total size 65536KiB". False: a line about something else. */
static bool parse_volume(const char *line, struct volume *volume)
{
    bool partition = strncmp(line, "\tPartition ", 11) == 0;
    const char *name = line + (partition ? 11 : 7);

    if (!partition && strncmp(line, "Device ", 7) != 0)
        return false;
    *volume = (struct volume){ .disk = -1 };
    snprintf(volume->name, sizeof volume->name, "%.*s", (int)strcspn(name, ":"), name);
    if (strcmp(volume->name, "host") == 0 || strcmp(volume->name, "proc") == 0)
        return false;
    text_behind(line, "Filesystem type ", volume->type, sizeof volume->type);
    text_behind(line, "UUID ", volume->uuid, sizeof volume->uuid);
    if (strncmp(volume->name, "loop", 4) == 0)
        volume->disk = atoi(volume->name + 4);
    if (partition) {
        volume->start = kib_behind(line, "Partition start at ") * 1024;
        volume->size = kib_behind(line, "Total size ") * 1024;
    }
    return true;
}

static int add_volume(struct guest_files *files, const struct volume *volume, struct error **err)
{
    struct volume *grown = realloc(files->volumes, (files->count + 1) * sizeof *grown);

    if (!grown)
        return error_set_errno(err, ENOMEM, "looking into the disks");
    files->volumes = grown;
    files->volumes[files->count++] = *volume;
    return 0;
}

int files_open(const char (*views)[PATH_MAX], size_t count, const char *directory,
               struct guest_files *files, struct error **err)
{
    static const char *const words[] = { "ls", "-l", NULL };
    CLEANUP_FREE char *out = NULL;
    char *rest, *line;

    *files = (struct guest_files){ .views = views, .view_count = count, .directory = directory };
    if (run(files, words, LIST_MS, &out, err) < 0)
        return error_prefix(err, "looking into the disks");
    for (line = strtok_r(out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        struct volume volume;

        if (parse_volume(line, &volume) && add_volume(files, &volume, err) < 0)
            return -1;
    }
    return 0;
}

void files_close(struct guest_files *files)
{
    free(steal_ptr(files->volumes));
}

void files_free_names(char ***names)
{
    for (char **name = *names; name && *name; name++)
        free(*name);
    free(*names);
}

/* "2559488      20261121220010 initrd": size or DIR, the time where there is one, the name. */
static const char *name_in(const char *line)
{
    size_t digits;

    line += strcspn(line, " ");
    line += strspn(line, " ");
    digits = strspn(line, "0123456789");
    return digits == 14 && line[digits] == ' ' ? line + digits + 1 : line;
}

int files_list(const struct guest_files *files, const struct volume *volume, const char *directory,
               char ***names, struct error **err)
{
    char path[PATH_MAX];
    const char *const words[] = { "ls", "-l", path, NULL };
    CLEANUP_FREE char *out = NULL;
    size_t count = 0;
    char *rest, *line;

    *names = calloc(1, sizeof **names);
    snprintf(path, sizeof path, "(%s)%s", volume->name, directory);
    if (!*names || run(files, words, LIST_MS, &out, err) < 0)
        return *err ? error_prefix(err, "%s", path) : error_set_errno(err, ENOMEM, "%s", path);
    for (line = strtok_r(out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char **grown = realloc(*names, (count + 2) * sizeof *grown);

        if (!grown)
            return error_set_errno(err, ENOMEM, "%s", path);
        *names = grown;
        grown[count] = strdup(name_in(line));
        grown[count + 1] = NULL;
        if (!grown[count++])
            return error_set_errno(err, ENOMEM, "%s", path);
    }
    return 0;
}

/* Below `directory`, which is spelled, the entry that `part` means. */
static bool spell_part(const struct guest_files *files, const struct volume *volume,
                       const char *directory, const char *part, char found[NAME_MAX + 1])
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_NAMES char **names = NULL;
    size_t length = strlen(part);

    if (files_list(files, volume, directory, &names, &err) < 0)
        return false;
    for (char **name = names; *name; name++) {
        if (strncasecmp(*name, part, length) == 0 &&
            (!(*name)[length] || strcmp(*name + length, "/") == 0)) {
            snprintf(found, NAME_MAX + 1, "%.*s", (int)length, *name);
            return true;
        }
    }
    return false;
}

bool files_spell(const struct guest_files *files, const struct volume *volume, const char *path,
                 char *spelled)
{
    size_t used = 1;

    strcpy(spelled, "/");
    while (*path) {
        char part[NAME_MAX + 1], found[NAME_MAX + 1];
        size_t length = strcspn(path, "/");

        snprintf(part, sizeof part, "%.*s", (int)length, path);
        if (!spell_part(files, volume, spelled, part, found) || used + strlen(found) + 2 > PATH_MAX)
            return false;
        path += length + (path[length] == '/');
        used += (size_t)sprintf(spelled + used, "%s%s", found, *path ? "/" : "");
    }
    return true;
}

bool files_head(const struct guest_files *files, const struct volume *volume, const char *path,
                char *head, size_t size)
{
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FCLOSE FILE *file = NULL;
    char source[PATH_MAX], local[PATH_MAX], count[16], most[16] = "";
    const char *const words[] = { "cp", source, local, NULL };
    CLEANUP_FREE const char **argv = make_argv(files, count, most, words);

    /* argv holds `most` by its address. */
    memset(head, 0, size);
    snprintf(most, sizeof most, "%zu", size);
    if (!argv ||
        snprintf(source, sizeof source, "(%s)%s", volume->name, path) >= (int)sizeof source ||
        snprintf(local, sizeof local, "%s/head", files->directory) >= (int)sizeof local ||
        process_run(argv, LIST_MS, NULL, &err) < 0)
        return false;
    file = fopen(local, "re");
    unlink(local);
    return file && fread(head, 1, size, file) > 0;
}

bool files_take(const struct guest_files *files, const struct volume *volume, const char *path,
                char *local)
{
    CLEANUP_ERROR struct error *err = NULL;
    char source[PATH_MAX];
    const char *const words[] = { "cp", source, local, NULL };
    struct stat st;
    int fd;

    if (snprintf(source, sizeof source, "(%s)%s", volume->name, path) >= (int)sizeof source ||
        snprintf(local, PATH_MAX, "%s/taken.XXXXXX", files->directory) >= PATH_MAX)
        return false;
    fd = mkostemp(local, O_CLOEXEC);
    if (fd < 0)
        return false;
    close(fd);
    if (run(files, words, COPY_MS, NULL, &err) == 0 && stat(local, &st) == 0 && st.st_size > 0)
        return true;
    unlink(local);
    return false;
}

FILE *files_open_file(const struct guest_files *files, const struct volume *volume,
                      const char *path)
{
    char local[PATH_MAX];
    FILE *file;

    if (!files_take(files, volume, path, local))
        return NULL;
    file = fopen(local, "re");
    unlink(local);
    return file;
}
