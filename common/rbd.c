/* Images of Ceph RBD; see rbd.h. */
#include "rbd.h"

#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "process.h"

#define RBD_MS 30000
#define PLACE  1024
#define ARGS   16

/* A place taken apart, and the arguments that lead to its cluster. */
struct place {
    char image[RBD_TEXT]; /* POOL/IMAGE */
    char config[RBD_TEXT];
    char user[RBD_TEXT];
    const char *argv[ARGS];
    size_t argc;
};

static void add(struct place *place, const char *argument)
{
    if (place->argc < ARGS - 1)
        place->argv[place->argc++] = argument;
}

static void add_cluster(struct place *place, const char *config, const char *user)
{
    if (config && *config) {
        add(place, "--conf");
        add(place, config);
    }
    if (user && *user) {
        add(place, "--id");
        add(place, user);
    }
}

void rbd_split(const char *text, char image[RBD_TEXT], char config[RBD_TEXT], char user[RBD_TEXT])
{
    const char *rest = text + strlen("rbd:");
    size_t length = strcspn(rest, ":");

    image[0] = config[0] = user[0] = '\0';
    snprintf(image, RBD_TEXT, "%.*s", (int)length, rest);
    for (rest += length; *rest == ':'; rest += length) {
        length = strcspn(++rest, ":");
        if (strncmp(rest, "conf=", 5) == 0)
            snprintf(config, RBD_TEXT, "%.*s", (int)length - 5, rest + 5);
        else if (strncmp(rest, "id=", 3) == 0)
            snprintf(user, RBD_TEXT, "%.*s", (int)length - 3, rest + 3);
    }
}

static int take_apart(const char *program, const char *text, struct place *place,
                      struct error **err)
{
    *place = (struct place){ 0 };
    if (!rbd_is_place(text) || strlen(text) >= RBD_TEXT)
        return error_set(err, "%s: is no RBD image", text);
    rbd_split(text, place->image, place->config, place->user);
    add(place, program);
    add_cluster(place, place->config, place->user);
    return 0;
}

static int info(const char *text, char **json, struct error **err)
{
    struct place place;

    if (take_apart("rbd", text, &place, err) < 0)
        return -1;
    add(&place, "info");
    add(&place, "--format=json");
    add(&place, place.image);
    return process_run(place.argv, RBD_MS, json, err);
}

bool rbd_is_place(const char *text)
{
    return strncmp(text, "rbd:", 4) == 0;
}

bool rbd_exists(const char *text)
{
    CLEANUP_ERROR struct error *missing = NULL;
    CLEANUP_FREE char *json = NULL;

    return info(text, &json, &missing) == 0;
}

int rbd_stat(const char *text, uint64_t *size, char id[RBD_ID], struct error **err)
{
    CLEANUP_FREE char *text_json = NULL;
    json_object *json, *value;
    int r = 0;

    if (info(text, &text_json, err) < 0)
        return error_prefix(err, "%s", text);
    json = json_tokener_parse(text_json);
    *size = json_object_get_uint64(json_object_object_get(json, "size"));
    value = json_object_object_get(json, "id");
    snprintf(id, RBD_ID, "%s", value ? json_object_get_string(value) : "");
    if (!*size || !id[0])
        r = error_set(err, "%s: `rbd info` does not say its size and id", text);
    json_object_put(json);
    return r;
}

int rbd_create(const char *text, uint64_t capacity, struct error **err)
{
    struct place place;
    char size[32];

    if (take_apart("rbd", text, &place, err) < 0)
        return -1;
    snprintf(size, sizeof size, "%" PRIu64 "B", capacity);
    add(&place, "create");
    add(&place, "--size");
    add(&place, size);
    add(&place, place.image);
    return process_run(place.argv, RBD_MS, NULL, err);
}

int rbd_grow(const char *text, uint64_t capacity, struct error **err)
{
    struct place place;
    char size[32], id[RBD_ID];
    uint64_t now;

    if (rbd_stat(text, &now, id, err) < 0 || take_apart("rbd", text, &place, err) < 0)
        return -1;
    if (now >= capacity)
        return 0;
    snprintf(size, sizeof size, "%" PRIu64 "B", capacity);
    add(&place, "resize");
    add(&place, "--no-progress");
    add(&place, "--size");
    add(&place, size);
    add(&place, place.image);
    return process_run(place.argv, RBD_MS, NULL, err);
}

int rbd_remove(const char *text, struct error **err)
{
    struct place place;

    if (!rbd_exists(text))
        return 0;
    if (take_apart("rbd", text, &place, err) < 0)
        return -1;
    add(&place, "rm");
    add(&place, "--no-progress");
    add(&place, place.image);
    return process_run(place.argv, -1, NULL, err);
}

int rbd_check_pool(const char *pool, const char *config, const char *user, struct error **err)
{
    struct place place = { 0 };

    add(&place, "rbd");
    add_cluster(&place, config, user);
    add(&place, "ls");
    add(&place, pool);
    return process_run(place.argv, RBD_MS, NULL, err);
}

/* The pool's entry of `ceph df`. */
static json_object *stats_of(json_object *df, const char *name, size_t length)
{
    json_object *pools = json_object_object_get(df, "pools");

    for (size_t i = 0; pools && i < json_object_array_length(pools); i++) {
        json_object *pool = json_object_array_get_idx(pools, i);
        const char *found = json_object_get_string(json_object_object_get(pool, "name"));

        if (found && strlen(found) == length && strncmp(found, name, length) == 0)
            return json_object_object_get(pool, "stats");
    }
    return NULL;
}

int rbd_space(const char *pool, const char *config, const char *user, uint64_t *free_bytes,
              uint64_t *total, struct error **err)
{
    struct place place = { 0 };
    CLEANUP_FREE char *text = NULL;
    json_object *df, *stats;
    int r = 0;

    add(&place, "ceph");
    add_cluster(&place, config, user);
    add(&place, "df");
    add(&place, "--format=json");
    if (process_run(place.argv, RBD_MS, &text, err) < 0)
        return -1;
    df = json_tokener_parse(text);
    stats = stats_of(df, pool, strcspn(pool, "/"));
    *free_bytes = *total = 0;
    if (stats) {
        *free_bytes = json_object_get_uint64(json_object_object_get(stats, "max_avail"));
        *total = *free_bytes + json_object_get_uint64(json_object_object_get(stats, "stored"));
    } else if (json_object_get_uint64(
                   json_object_object_get(json_object_object_get(df, "stats"), "total_bytes"))) {
        r = error_set(err, "the cluster has no pool '%s'", pool);
    }
    json_object_put(df);
    return r;
}
