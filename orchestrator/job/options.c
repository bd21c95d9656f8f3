/* A job's options; see options.h. */
#include "job/options.h"

#include <json.h>
#include <string.h>

static void put_object(json_object **object)
{
    json_object_put(*object);
}

static int parse(const char *text, json_object **object, struct error **err)
{
    *object = text && *text ? json_tokener_parse(text) : json_object_new_object();
    if (!json_object_is_type(*object, json_type_object))
        return error_set(err, "the options of a job are no JSON object: %s", text);
    return 0;
}

int job_options_merge(const char *stored, const char *given, char *merged, size_t size,
                      struct error **err)
{
    CLEANUP(put_object) json_object *to = NULL;
    CLEANUP(put_object) json_object *from = NULL;
    const char *text;

    if (parse(stored, &to, err) < 0 || parse(given, &from, err) < 0)
        return -1;
    json_object_object_foreach(from, key, value)
    {
        json_object_object_add(to, key, json_object_get(value));
    }
    text = json_object_object_length(to)
               ? json_object_to_json_string_ext(to, JSON_C_TO_STRING_PLAIN |
                                                        JSON_C_TO_STRING_NOSLASHESCAPE)
               : "";
    if (strlen(text) >= size)
        return error_set(err, "the options of a job are too long");
    strcpy(merged, text);
    return 0;
}

static bool is_true(json_object *object, const char *key, bool otherwise)
{
    json_object *value;

    return json_object_object_get_ex(object, key, &value) ? json_object_get_boolean(value)
                                                          : otherwise;
}

static unsigned number(json_object *object, const char *key, unsigned otherwise)
{
    json_object *value;

    return json_object_object_get_ex(object, key, &value) ? (unsigned)json_object_get_int(value)
                                                          : otherwise;
}

static const char *text_of(json_object *object, const char *key, const char *otherwise)
{
    json_object *value;

    return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value)
                                                          : otherwise;
}

int cbt_lost_parse(const char *text, enum cbt_lost *lost, struct error **err)
{
    static const char *const words[] = {
        [CBT_LOST_RESYNC] = "resync", [CBT_LOST_FULL] = "full", [CBT_LOST_FAIL] = "fail"
    };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i], text) == 0) {
            *lost = (enum cbt_lost)i;
            return 0;
        }
    }
    return error_set_kind(err, ERROR_USAGE, "'%s': say resync, full or fail", text);
}

static int take_devices(struct job_options *own, struct error **err)
{
    json_object *devices;
    size_t count;

    if (!json_object_object_get_ex(own->json, "devices", &devices) ||
        !json_object_is_type(devices, json_type_array))
        return 0;
    count = json_object_array_length(devices);
    own->devices = calloc(count ? count : 1, sizeof *own->devices);
    if (!own->devices)
        return error_set_errno(err, ENOMEM, "the options of a job");
    for (size_t i = 0; i < count; i++)
        own->devices[i] = json_object_get_string(json_object_array_get_idx(devices, i));
    own->options.devices = own->devices;
    own->options.device_count = count;
    return 0;
}

int job_options_apply(const char *json, struct job_options *own, struct error **err)
{
    struct replicate_options *options = &own->options;
    json_object *object;
    const char *text;

    if (parse(json, &own->json, err) < 0)
        return -1;
    object = own->json;
    options->full = is_true(object, "full", options->full);
    options->no_verify = !is_true(object, "verify", !options->no_verify);
    options->places_moved = is_true(object, "places_moved", options->places_moved);
    options->enable_tracking = is_true(object, "enable_cbt", options->enable_tracking);
    options->parallel = number(object, "parallel", options->parallel);
    options->connections = number(object, "connections", options->connections);
    options->patience_s = number(object, "patience", options->patience_s);
    options->transport = text_of(object, "transport", options->transport);
    options->pool = text_of(object, "pool", options->pool);
    options->base = text_of(object, "base", options->base);
    text = text_of(object, "quiesce", NULL);
    if (text && source_quiesce_parse(text, &options->quiesce, err) < 0)
        return -1;
    text = text_of(object, "cbt_lost", NULL);
    if (text && cbt_lost_parse(text, &options->cbt_lost, err) < 0)
        return -1;
    return take_devices(own, err);
}

void job_options_free(struct job_options *own)
{
    json_object_put(own->json);
    free(own->devices);
}
