/* Members of JSON objects, read strictly: what is missing, of the wrong type or out of
 * range is an error that names the file and the JSON path. */
#ifndef VMFERRY_SOURCE_MEMBERS_H
#define VMFERRY_SOURCE_MEMBERS_H

#include <json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* Where we are, for messages: "app01.json: disks[1]". */
struct member_context {
    const char *origin;
    const char *folder; /* relative paths start here */
    bool stored;        /* a description of ours, read back: it may lack what a source's own
                           must have (spec.h) */
    char where[64];
};

/* "app01.json: disks[1].capacity: …" */
int member_complain(const struct member_context *c, const char *member, const char *what,
                    struct error **err);
/* *value is NULL when it is not there. */
int member_get(const struct member_context *c, json_object *object, const char *member,
               json_type type, bool required, json_object **value, struct error **err);
/* "" when it is not there; an empty text is an error. */
int member_text(const struct member_context *c, json_object *object, const char *member,
                bool required, char *buf, size_t size, struct error **err);
/* Several that may be missing; the last one's name is NULL. */
struct member_slot {
    const char *name;
    char *buf;
    size_t size;
};
int member_texts(const struct member_context *c, json_object *object,
                 const struct member_slot *slots, struct error **err);
int member_number(const struct member_context *c, json_object *object, const char *member,
                  uint64_t minimum, uint64_t maximum, uint64_t *number, struct error **err);
/* *number stays as it is when it is not there. */
int member_number_or(const struct member_context *c, json_object *object, const char *member,
                     uint64_t minimum, uint64_t maximum, uint64_t *number, struct error **err);
/* false when it is not there. */
int member_bool(const struct member_context *c, json_object *object, const char *member,
                bool *value, struct error **err);
/* A member that nobody reads is a mistake of its writer: say so. */
int members_check(const struct member_context *c, json_object *object, const char *const *known,
                  struct error **err);

#endif
