/* Rows and map files; see exportrow.h. */
#include "replica/exportrow.h"

#include <fcntl.h>
#include <json.h>
#include <string.h>

#include "replica/blockdevice.h"
#include "replica/volume.h"

static void cleanup_json(json_object **object)
{
    json_object_put(*object);
}
#define CLEANUP_JSON CLEANUP(cleanup_json)

/* NULL when the map is not of a block device, or it can't be opened now. */
static json_object *record_of(const struct exportmap_file *map)
{
    CLEANUP_CLOSE int fd = -1;
    CLEANUP(exportmap_disk_free) struct exportmap_disk disk = { 0 };
    CLEANUP_ERROR struct error *ignored = NULL;

    if (!map->identity.value[EXPORTMAP_SIZE]) /* a key of block devices alone */
        return NULL;
    fd = open(map->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || exportmap_disk_probe(fd, &disk, &ignored) < 0 || !disk.block)
        return NULL;
    return blockdevice_record(fd, &disk);
}

int exportrow_describe(struct store_export *row, const struct exportmap_file *map,
                       struct error **err)
{
    CLEANUP_FREE char *terms = exportmap_file_terms(map);
    CLEANUP_JSON json_object *object = terms ? json_tokener_parse(terms) : NULL;
    json_object *record = record_of(map);
    const char *text;

    if (!object) {
        json_object_put(record);
        return error_set_errno(err, ENOMEM, "export %s", row->name);
    }
    json_object_object_del(object, "path");
    json_object_object_del(object, "lease");
    if (record)
        json_object_object_add(object, "record", record);
    text = json_object_to_json_string_ext(object,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (!text || strlen(text) >= sizeof row->identity)
        return error_set(err, "export %s: its disk's identity is too long to be stored", row->name);
    strcpy(row->identity, text);
    return 0;
}

/* Columns into the object, so that one parser checks all of it. */
static int add_columns(const struct store_export *row, const char *path, json_object *object)
{
    const char *mode = row->active ? "rw" : "ro";
    bool leased = row->active && row->lease[0];

    return json_object_object_add(object, "path", json_object_new_string(path)) < 0 ||
                   json_object_object_add(object, "mode", json_object_new_string(mode)) < 0 ||
                   json_object_object_add(object, "lease",
                                          leased ? json_object_new_string(row->lease) : NULL) < 0
               ? -1
               : 0;
}

int exportrow_map(const struct store_export *row, const char *state_dir, struct exportmap_file *map,
                  struct json_object **record, struct error **err)
{
    CLEANUP_JSON json_object *object = json_tokener_parse(row->identity);
    char path[PATH_MAX];
    const char *text;

    *record = NULL;
    *map = (struct exportmap_file){ 0 };
    if (volume_path(state_dir, row->path, path, err) < 0)
        return -1;
    if (!json_object_is_type(object, json_type_object))
        return error_set(err, "its row in the database does not say which disk it is");
    if (json_object_object_get_ex(object, "record", record)) {
        json_object_get(*record);
        json_object_object_del(object, "record");
    }
    text = add_columns(row, path, object) == 0 ? json_object_to_json_string(object) : NULL;
    if (!text)
        error_set_errno(err, ENOMEM, "reading its row");
    else if (exportmap_file_parse(text, strlen(text), map, err) == 0)
        return 0;
    json_object_put(*record);
    *record = NULL;
    return error_prefix(err, "its row in the database");
}

bool exportrow_same_disk(const struct exportmap_file *a, const struct exportmap_file *b)
{
    if (a->format != b->format || a->size != b->size)
        return false;
    for (enum exportmap_key key = 0; key < EXPORTMAP_KEYS; key++) {
        const char *x = a->identity.value[key], *y = b->identity.value[key];

        if ((x || y) && (!x || !y || strcmp(x, y) != 0))
            return false;
    }
    return true;
}
