/* Members of JSON objects; see members.h. */
#include "source/members.h"

#include <stdio.h>
#include <string.h>

int member_complain(const struct member_context *c, const char *member, const char *what,
                    struct error **err)
{
    return error_set(err, "%s: %s%s%s: %s", c->origin, c->where,
                     c->where[0] && member[0] ? "." : "", member, what);
}

int member_get(const struct member_context *c, json_object *object, const char *member,
               json_type type, bool required, json_object **value, struct error **err)
{
    char what[96];

    if (!json_object_object_get_ex(object, member, value) || *value == NULL) {
        *value = NULL;
        return required ? member_complain(c, member, "is missing", err) : 0;
    }
    if (json_object_is_type(*value, type))
        return 0;
    snprintf(what, sizeof what, "must be of type %s, not %s", json_type_to_name(type),
             json_type_to_name(json_object_get_type(*value)));
    *value = NULL;
    return member_complain(c, member, what, err);
}

int member_text(const struct member_context *c, json_object *object, const char *member,
                bool required, char *buf, size_t size, struct error **err)
{
    json_object *value;
    const char *text;
    size_t length;

    buf[0] = '\0';
    if (member_get(c, object, member, json_type_string, required, &value, err) < 0)
        return -1;
    if (!value)
        return 0;
    text = json_object_get_string(value);
    length = (size_t)json_object_get_string_len(value);
    if (length == 0)
        return member_complain(c, member, "is empty", err);
    if (length >= size)
        return member_complain(c, member, "is too long", err);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return member_complain(c, member, "holds a control character", err);
    }
    memcpy(buf, text, length + 1);
    return 0;
}

int member_texts(const struct member_context *c, json_object *object,
                 const struct member_slot *slots, struct error **err)
{
    for (; slots->name; slots++) {
        if (member_text(c, object, slots->name, false, slots->buf, slots->size, err) < 0)
            return -1;
    }
    return 0;
}

int member_number(const struct member_context *c, json_object *object, const char *member,
                  uint64_t minimum, uint64_t maximum, uint64_t *number, struct error **err)
{
    json_object *value;
    int64_t n;
    char what[96];

    if (member_get(c, object, member, json_type_int, true, &value, err) < 0)
        return -1;
    n = json_object_get_int64(value); /* saturates, so nothing wraps */
    if (n >= 0 && (uint64_t)n >= minimum && (uint64_t)n <= maximum) {
        *number = (uint64_t)n;
        return 0;
    }
    snprintf(what, sizeof what, "%s is not between %llu and %llu", json_object_get_string(value),
             (unsigned long long)minimum, (unsigned long long)maximum);
    return member_complain(c, member, what, err);
}

int member_number_or(const struct member_context *c, json_object *object, const char *member,
                     uint64_t minimum, uint64_t maximum, uint64_t *number, struct error **err)
{
    if (!json_object_object_get(object, member))
        return 0;
    return member_number(c, object, member, minimum, maximum, number, err);
}

int member_bool(const struct member_context *c, json_object *object, const char *member,
                bool *value, struct error **err)
{
    json_object *found;

    *value = false;
    if (member_get(c, object, member, json_type_boolean, false, &found, err) < 0)
        return -1;
    *value = found && json_object_get_boolean(found);
    return 0;
}

int members_check(const struct member_context *c, json_object *object, const char *const *known,
                  struct error **err)
{
    json_object_object_foreach(object, name, value)
    {
        bool found = false;

        (void)value;
        for (size_t i = 0; known[i] && !found; i++)
            found = strcmp(known[i], name) == 0;
        if (!found)
            return member_complain(c, name, "is not a member that vmferry knows", err);
    }
    return 0;
}
