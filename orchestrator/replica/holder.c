/* Which image holds a range; see holder.h. */
#include "replica/holder.h"

#include <inttypes.h>
#include <json.h>
#include <string.h>

#include "process.h"

static void put_json(json_object **json)
{
    json_object_put(*json);
}

static int64_t number(json_object *object, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(object, name, &value) ? json_object_get_int64(value) : -1;
}

static bool is_true(json_object *object, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(object, name, &value) && json_object_get_boolean(value);
}

/* It ends where an image ends: what is behind that nobody holds. */
static int tell_all(json_object *map, const struct replica_disk *disk, uint64_t offset,
                    uint64_t length,
                    void (*tell)(void *opaque, uint64_t at, uint64_t run, size_t depth),
                    void *opaque, struct error **err)
{
    uint64_t at = offset, end = offset + length;

    for (size_t i = 0; at < end && i < json_object_array_length(map); i++) {
        json_object *extent = json_object_array_get_idx(map, i);
        int64_t start = number(extent, "start"), run = number(extent, "length");
        int64_t depth = number(extent, "depth");

        if (start != (int64_t)at || run <= 0 || depth < 0 || (size_t)depth >= disk->chain_length)
            return error_set(err, "qemu-img map %s: its answer makes no sense",
                             disk->chain[0].path);
        if ((uint64_t)run > end - at)
            run = (int64_t)(end - at);
        tell(opaque, at, (uint64_t)run, is_true(extent, "present") ? (size_t)depth : HOLDER_NONE);
        at += (uint64_t)run;
    }
    if (at < end)
        tell(opaque, at, end - at, HOLDER_NONE);
    return 0;
}

int holder_find(const struct replica_disk *disk, uint64_t offset, uint64_t length,
                void (*tell)(void *opaque, uint64_t at, uint64_t run, size_t depth), void *opaque,
                struct error **err)
{
    char start[48], max[48];
    const struct replica_image *image = &disk->chain[0];
    const char *argv[] = { "qemu-img", "map", "--output=json", "-f", image->format,
                           start,      max,   image->path,     NULL };
    CLEANUP_FREE char *out = NULL;
    CLEANUP(put_json) json_object *map = NULL;

    if (strcmp(image->format, "raw") == 0) { /* nothing below it */
        tell(opaque, offset, length, 0);
        return 0;
    }
    snprintf(start, sizeof start, "--start-offset=%" PRIu64, offset);
    snprintf(max, sizeof max, "--max-length=%" PRIu64, length);
    if (process_run(argv, -1, &out, err) < 0)
        return -1;
    map = json_tokener_parse(out);
    if (!json_object_is_type(map, json_type_array))
        return error_set(err, "qemu-img map %s: its answer is no list", image->path);
    return tell_all(map, disk, offset, length, tell, opaque, err);
}
