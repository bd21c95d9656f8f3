/* A nbd source's options as JSON; see options.h. */
#include "source/nbd/options.h"

#include <string.h>

#include "source/members.h"

static void put_object(json_object **object)
{
    json_object_put(*object);
}

int nbd_options_parse(const char *json, struct nbd_options *options, struct error **err)
{
    CLEANUP(put_object) json_object *object = NULL;
    const struct member_context c = { .origin = "the source's stored options" };
    uint64_t limit_s = 0;

    *options = (struct nbd_options){ 0 };
    if (!json || !json[0])
        return 0;
    object = json_tokener_parse(json);
    if (!json_object_is_type(object, json_type_object))
        return error_set(err, "%s: not a JSON object", c.origin);
    if (member_text(&c, object, "hook", false, options->hook, sizeof options->hook, err) < 0 ||
        member_number_or(&c, object, "hook_timeout", 1, HOOK_LIMIT_MAX, &limit_s, err) < 0)
        return -1;
    options->limit_s = (unsigned)limit_s;
    return 0;
}

char *nbd_options_to_json(const struct nbd_options *options)
{
    CLEANUP(put_object) json_object *object = json_object_new_object();

    if (!options->hook[0])
        return strdup("");
    json_object_object_add(object, "hook", json_object_new_string(options->hook));
    if (options->limit_s)
        json_object_object_add(object, "hook_timeout",
                               json_object_new_int64((int64_t)options->limit_s));
    return strdup(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE));
}
