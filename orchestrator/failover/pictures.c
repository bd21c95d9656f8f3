/* Taking pictures; see pictures.h. */
#include "failover/pictures.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "failover/failover.h"
#include "failover/job.h"
#include "failover/screen.h"

#define FIRST_S 2

void pictures_begin(struct pictures *pictures, virDomainPtr domain, const char *state_dir,
                    int64_t failover)
{
    *pictures = (struct pictures){ .domain = domain,
                                   .state_dir = state_dir,
                                   .failover = failover,
                                   .next_s = FIRST_S,
                                   .list = json_object_new_array() };
}

void pictures_free(struct pictures *pictures)
{
    json_object_put(pictures->list);
}

static bool same_bytes(FILE *one, FILE *other)
{
    char left[65536], right[65536];
    size_t count;

    do {
        count = fread(left, 1, sizeof left, one);
        if (fread(right, 1, sizeof right, other) != count || memcmp(left, right, count) != 0)
            return false;
    } while (count);
    return true;
}

/* The same pixels make the same file. */
static bool is_same(const char *path, const char *other)
{
    CLEANUP_FCLOSE FILE *one = fopen(path, "re");
    CLEANUP_FCLOSE FILE *two = fopen(other, "re");

    return one && two && same_bytes(one, two);
}

static void add(struct pictures *pictures, const char *path, double seconds)
{
    json_object *object = json_object_new_object();
    char text[32];

    snprintf(text, sizeof text, "%.1f", seconds);
    json_object_object_add(object, "file", json_object_new_string(path));
    json_object_object_add(object, "seconds", json_object_new_double_s(seconds, text));
    json_object_array_add(pictures->list, object);
    snprintf(pictures->last, sizeof pictures->last, "%s", path);
}

void pictures_look(struct pictures *pictures, double seconds)
{
    CLEANUP_ERROR struct error *err = NULL;
    char folder[PATH_MAX], path[PATH_MAX];

    if (seconds < pictures->next_s)
        return;
    while (pictures->next_s <= seconds)
        pictures->next_s *= 2;
    failover_directory(pictures->state_dir, pictures->failover, folder);
    if (snprintf(path, sizeof path, "%s/screen-%05.0f.png", folder, seconds) >= (int)sizeof path ||
        screen_save(pictures->domain, path, &err) < 0)
        return;
    if (*pictures->last && is_same(path, pictures->last))
        unlink(path);
    else
        add(pictures, path, seconds);
}

int pictures_end(struct pictures *pictures, double seconds, struct error **err)
{
    size_t count = json_object_array_length(pictures->list);
    char path[PATH_MAX];

    failover_screen(pictures->state_dir, pictures->failover, path);
    if (screen_save(pictures->domain, path, err) < 0)
        return -1;
    if (*pictures->last && is_same(path, pictures->last)) {
        unlink(pictures->last);
        json_object_array_del_idx(pictures->list, count - 1, 1);
    }
    add(pictures, path, seconds);
    return 0;
}
