/* Screens that failovers left as evidence: STATE/failovers/ID/NAME.png; see parts.h. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "failover/job.h"
#include "report/parts.h"

#define SCREEN_BYTES_MAX (8 << 20)
#define SCREENS_MAX      32 /* a failover */

static const unsigned char signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };

static char *base64(const unsigned char *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((size + 2) / 3 * 4 + 1), *end = text;

    for (size_t i = 0; text && i < size; i += 3) {
        size_t left = size - i;
        unsigned bits = (unsigned)data[i] << 16 | (left > 1 ? (unsigned)data[i + 1] << 8 : 0) |
                        (left > 2 ? data[i + 2] : 0);

        *end++ = digits[bits >> 18];
        *end++ = digits[bits >> 12 & 63];
        *end++ = left > 1 ? digits[bits >> 6 & 63] : '=';
        *end++ = left > 2 ? digits[bits & 63] : '=';
    }
    if (text)
        *end = '\0';
    return text;
}

/* NULL: it is no PNG, or can't be read. */
static char *load(const char *path, int64_t *time_ms)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    CLEANUP_FREE unsigned char *data = NULL;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        st.st_size < (off_t)sizeof signature || st.st_size > SCREEN_BYTES_MAX)
        return NULL;
    data = malloc((size_t)st.st_size);
    if (!data || pread(fd, data, (size_t)st.st_size, 0) != st.st_size ||
        memcmp(data, signature, sizeof signature) != 0)
        return NULL;
    *time_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    return base64(data, (size_t)st.st_size);
}

static int is_png(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return length > 4 && strcmp(entry->d_name + length - 4, ".png") == 0;
}

static void write_screen(struct report_writer *writer, int64_t failover, const char *folder,
                         const char *name)
{
    CLEANUP_FREE char *path = NULL;
    CLEANUP_FREE char *image = NULL;
    int64_t time_ms = 0;

    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
        return;
    }
    image = load(path, &time_ms);
    if (image) {
        const struct store_cell cells[] = { cell_number(failover), cell_text(name),
                                            cell_number(time_ms), cell_text(image) };

        report_row(writer, cells);
    }
}

static void write_folder(struct report_writer *writer, const char *state_dir, int64_t failover)
{
    char folder[PATH_MAX] = "";
    struct dirent **entries;
    int count;

    failover_directory(state_dir, failover, folder);
    count = scandir(folder, &entries, is_png, alphasort);
    if (count < 0)
        return;
    for (int i = 0; i < count; i++) {
        if (i < SCREENS_MAX)
            write_screen(writer, failover, folder, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

void report_screens(struct report_writer *writer, const char *state_dir,
                    const struct report_failover *failovers, size_t count)
{
    report_begin_table(writer, &report_table_screens);
    for (size_t i = 0; i < count; i++)
        write_folder(writer, state_dir, failovers[i].id);
    report_end_table(writer);
}
