/* Map files as text: JSON to struct and back; see exportmap-file.h. */
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "exportmap-file.h"
#include "rbd.h"

#define JSON_DEPTH 4

static void cleanup_json(json_object **object)
{
    json_object_put(*object);
}
#define CLEANUP_JSON CLEANUP(cleanup_json)

static void cleanup_tokener(json_tokener **tokener)
{
    if (*tokener)
        json_tokener_free(*tokener);
}

/* ---- JSON to struct ---- */

/* The value as new text; NULL with an error when it is not a string or holds a NUL. */
static char *take_string(json_object *value, struct error **err)
{
    char *text;

    if (!json_object_is_type(value, json_type_string) ||
        strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value)) {
        error_set(err, "is not a string");
        return NULL;
    }
    text = strdup(json_object_get_string(value));
    if (!text)
        error_set_errno(err, ENOMEM, "reading it");
    return text;
}

static int take_number(json_object *value, uint64_t *number, struct error **err)
{
    /* json-c answers the largest number there is for any that is larger. */
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0 ||
        json_object_get_uint64(value) == UINT64_MAX)
        return error_set(err, "is not a whole number from 0 on");
    *number = json_object_get_uint64(value);
    return 0;
}

/* A device number may also be given as stat(2) counts it. */
static int parse_device(json_object *value, char **text, struct error **err)
{
    uint64_t number;

    if (take_number(value, &number, err) < 0)
        return -1;
    if (asprintf(text, "%u:%u", major((dev_t)number), minor((dev_t)number)) < 0) {
        *text = NULL;
        return error_set_errno(err, ENOMEM, "reading it");
    }
    return 0;
}

static int parse_identity_value(enum exportmap_key key, json_object *value, char **text,
                                struct error **err)
{
    uint64_t number;

    if ((key == EXPORTMAP_DEV || key == EXPORTMAP_BACKING_DEV) &&
        json_object_is_type(value, json_type_int))
        return parse_device(value, text, err);
    if (!exportmap_key_is_number(key)) {
        *text = take_string(value, err);
        return *text ? 0 : -1;
    }
    if (take_number(value, &number, err) < 0)
        return -1;
    if (asprintf(text, "%" PRIu64, number) < 0) {
        *text = NULL;
        return error_set_errno(err, ENOMEM, "reading it");
    }
    return 0;
}

static int parse_identity(json_object *value, struct exportmap_file *map, struct error **err)
{
    if (!json_object_is_type(value, json_type_object))
        return error_set(err, "is not an object");
    json_object_object_foreach(value, name, member)
    {
        enum exportmap_key key = exportmap_key_find(name);

        if (key == EXPORTMAP_KEYS)
            return error_set(err, "%s: no such key", name);
        if (parse_identity_value(key, member, &map->identity.value[key], err) < 0)
            return error_prefix(err, "%s", name);
    }
    return 0;
}

static int parse_path(json_object *value, struct exportmap_file *map, struct error **err)
{
    map->path = take_string(value, err);
    if (!map->path)
        return -1;
    if (map->path[0] != '/' && !rbd_is_place(map->path))
        return error_set(err, "'%s' does not start with '/' or 'rbd:'", map->path);
    return 0;
}

static int parse_format(json_object *value, struct exportmap_file *map, struct error **err)
{
    CLEANUP_FREE char *text = take_string(value, err);

    if (!text)
        return -1;
    if (strcmp(text, "raw") != 0 && strcmp(text, "qcow2") != 0)
        return error_set(err, "'%s' is not raw or qcow2", text);
    map->format = strcmp(text, "raw") == 0 ? EXPORTMAP_RAW : EXPORTMAP_QCOW2;
    return 0;
}

static int parse_size(json_object *value, struct exportmap_file *map, struct error **err)
{
    if (take_number(value, &map->size, err) < 0)
        return -1;
    if (map->size > INT64_MAX)
        return error_set(err, "is larger than a disk can be");
    return 0;
}

static int parse_mode(json_object *value, struct exportmap_file *map, struct error **err)
{
    CLEANUP_FREE char *text = take_string(value, err);

    if (!text)
        return -1;
    if (strcmp(text, "ro") != 0 && strcmp(text, "rw") != 0)
        return error_set(err, "'%s' is not ro or rw", text);
    map->writable = strcmp(text, "rw") == 0;
    return 0;
}

static int parse_lease(json_object *value, struct exportmap_file *map, struct error **err)
{
    if (json_object_is_type(value, json_type_null))
        return 0;
    map->lease = take_string(value, err);
    if (!map->lease)
        return -1;
    if (!exportmap_lease_ok(map->lease))
        return error_set(err, "is not 1 to %zu characters of A-Z a-z 0-9 . _ -",
                         EXPORTMAP_LEASE_MAX);
    return 0;
}

static int parse_description(json_object *value, struct exportmap_file *map, struct error **err)
{
    if (json_object_is_type(value, json_type_null))
        return 0;
    map->description = take_string(value, err);
    if (!map->description)
        return -1;
    if (strlen(map->description) > EXPORTMAP_DESCRIPTION_MAX)
        return error_set(err, "is longer than %zu bytes", EXPORTMAP_DESCRIPTION_MAX);
    return 0;
}

static const struct {
    const char *name;
    bool required;
    int (*parse)(json_object *value, struct exportmap_file *map, struct error **err);
} members[] = {
    { "path", true, parse_path },
    { "format", true, parse_format },
    { "size", true, parse_size },
    { "identity", false, parse_identity },
    { "mode", true, parse_mode },
    { "lease", false, parse_lease },
    { "description", false, parse_description },
};
#define MEMBERS (sizeof members / sizeof members[0])

static int parse_member(const char *name, json_object *value, struct exportmap_file *map,
                        struct error **err)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        if (strcmp(members[i].name, name) != 0)
            continue;
        if (members[i].parse(value, map, err) < 0)
            return error_prefix(err, "%s", name);
        return 0;
    }
    return error_set(err, "%s: no such key", name);
}

static int parse_object(json_object *object, struct exportmap_file *map, struct error **err)
{
    if (!json_object_is_type(object, json_type_object))
        return error_set(err, "is not a JSON object");
    json_object_object_foreach(object, name, value)
    {
        if (parse_member(name, value, map, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        if (members[i].required && !json_object_object_get_ex(object, members[i].name, NULL))
            return error_set(err, "%s: is missing", members[i].name);
    }
    return 0;
}

int exportmap_file_parse(const char *text, size_t length, struct exportmap_file *map,
                         struct error **err)
{
    CLEANUP(cleanup_tokener) json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH);
    CLEANUP_JSON json_object *object = NULL;
    enum json_tokener_error status;

    *map = (struct exportmap_file){ 0 };
    if (!tokener)
        return error_set_errno(err, ENOMEM, "reading JSON");
    if (length > EXPORTMAP_FILE_MAX)
        return error_set(err, "is longer than %zu bytes", EXPORTMAP_FILE_MAX);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    object = json_tokener_parse_ex(tokener, text, (int)length);
    status = json_tokener_get_error(tokener);
    if (status != json_tokener_success)
        return error_set(err, "is not JSON: %s",
                         status == json_tokener_continue ? "it ends too early"
                                                         : json_tokener_error_desc(status));
    if (parse_object(object, map, err) < 0) {
        exportmap_file_free(map);
        return -1;
    }
    return 0;
}

/* ---- struct to JSON ---- */

/* Takes `value`, which is NULL when memory ran out. */
static int put(json_object *object, const char *name, json_object *value)
{
    if (!value)
        return -1;
    if (json_object_object_add(object, name, value) < 0) {
        json_object_put(value);
        return -1;
    }
    return 0;
}

static json_object *format_identity(const struct exportmap_identity *identity)
{
    CLEANUP_JSON json_object *object = json_object_new_object();

    for (enum exportmap_key key = 0; object && key < EXPORTMAP_KEYS; key++) {
        const char *text = identity->value[key];

        if (text &&
            put(object, exportmap_key_name(key),
                exportmap_key_is_number(key) ? json_object_new_uint64(strtoull(text, NULL, 10))
                                             : json_object_new_string(text)) < 0)
            return NULL;
    }
    return steal_ptr(object);
}

static json_object *format_terms(const struct exportmap_file *map)
{
    CLEANUP_JSON json_object *object = json_object_new_object();

    if (!object || put(object, "path", json_object_new_string(map->path)) < 0 ||
        put(object, "format", json_object_new_string(exportmap_format_name(map->format))) < 0 ||
        put(object, "size", json_object_new_uint64(map->size)) < 0 ||
        put(object, "identity", format_identity(&map->identity)) < 0)
        return NULL;
    if (map->lease && put(object, "lease", json_object_new_string(map->lease)) < 0)
        return NULL;
    return steal_ptr(object);
}

static char *to_text(json_object *object, int flags)
{
    const char *json =
        json_object_to_json_string_ext(object, flags | JSON_C_TO_STRING_NOSLASHESCAPE);
    char *text;

    if (!json || asprintf(&text, "%s\n", json) < 0)
        return NULL;
    return text;
}

char *exportmap_file_terms(const struct exportmap_file *map)
{
    CLEANUP_JSON json_object *object = format_terms(map);

    return object ? to_text(object, JSON_C_TO_STRING_PLAIN) : NULL;
}

char *exportmap_file_format(const struct exportmap_file *map)
{
    CLEANUP_JSON json_object *object = format_terms(map);

    if (!object || put(object, "mode", json_object_new_string(map->writable ? "rw" : "ro")) < 0)
        return NULL;
    if (!map->lease && json_object_object_add(object, "lease", NULL) < 0)
        return NULL;
    if (map->description &&
        put(object, "description", json_object_new_string(map->description)) < 0)
        return NULL;
    return to_text(object, JSON_C_TO_STRING_PRETTY);
}
