/* VM descriptions; see spec.h. */
#include "source/spec.h"

#include <ctype.h>
#include <fcntl.h>
#include <json.h>
#include <libgen.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define DESCRIPTION_MAX ((off_t)16 << 20)
#define DISKS_MAX       256
#define NICS_MAX        64
#define CPUS_MAX        4096
#define MEMORY_MAX      (UINT64_C(1) << 50)
#define KEY_MAX         INT32_MAX
#define UNIT_MAX        9999

/* Where we are, for messages: "app01.json: disks[1]". */
struct context {
    const char *origin;
    const char *folder;
    char where[64];
};

/* "app01.json: disks[1].capacity: …" */
static int complain(const struct context *c, const char *member, const char *what,
                    struct error **err)
{
    return error_set(err, "%s: %s%s%s: %s", c->origin, c->where,
                     c->where[0] && member[0] ? "." : "", member, what);
}

static int get(const struct context *c, json_object *object, const char *member, json_type type,
               bool required, json_object **value, struct error **err)
{
    char what[96];

    if (!json_object_object_get_ex(object, member, value) || *value == NULL) {
        *value = NULL;
        return required ? complain(c, member, "is missing", err) : 0;
    }
    if (json_object_is_type(*value, type))
        return 0;
    snprintf(what, sizeof what, "must be of type %s, not %s", json_type_to_name(type),
             json_type_to_name(json_object_get_type(*value)));
    *value = NULL;
    return complain(c, member, what, err);
}

static int get_text(const struct context *c, json_object *object, const char *member, bool required,
                    char *buf, size_t size, struct error **err)
{
    json_object *value;
    const char *text;
    size_t length;

    buf[0] = '\0';
    if (get(c, object, member, json_type_string, required, &value, err) < 0)
        return -1;
    if (!value)
        return 0;
    text = json_object_get_string(value);
    length = (size_t)json_object_get_string_len(value);
    if (length == 0)
        return complain(c, member, "is empty", err);
    if (length >= size)
        return complain(c, member, "is too long", err);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return complain(c, member, "holds a control character", err);
    }
    memcpy(buf, text, length + 1);
    return 0;
}

static int get_number(const struct context *c, json_object *object, const char *member,
                      uint64_t minimum, uint64_t maximum, uint64_t *number, struct error **err)
{
    json_object *value;
    int64_t n;
    char what[96];

    if (get(c, object, member, json_type_int, true, &value, err) < 0)
        return -1;
    n = json_object_get_int64(value); /* saturates, so nothing wraps */
    if (n >= 0 && (uint64_t)n >= minimum && (uint64_t)n <= maximum) {
        *number = (uint64_t)n;
        return 0;
    }
    snprintf(what, sizeof what, "%s is not between %llu and %llu", json_object_get_string(value),
             (unsigned long long)minimum, (unsigned long long)maximum);
    return complain(c, member, what, err);
}

/* A member that nobody reads is a mistake of its writer: say so. */
static int check_members(const struct context *c, json_object *object, const char *const *known,
                         struct error **err)
{
    json_object_object_foreach(object, name, value)
    {
        bool found = false;

        (void)value;
        for (size_t i = 0; known[i] && !found; i++)
            found = strcmp(known[i], name) == 0;
        if (!found)
            return complain(c, name, "is not a member that vmferry knows", err);
    }
    return 0;
}

static bool is_uuid(const char *text)
{
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return text[36] == '\0';
}

static bool is_mac(const char *text)
{
    for (size_t i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return text[17] == '\0';
}

static void to_lower(char *text)
{
    for (; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

/* In place: a relative path starts at the description's folder. */
static int make_absolute(const struct context *c, const char *member, char *path,
                         struct error **err)
{
    char absolute[SPEC_PLACE];

    if (path[0] == '/')
        return 0;
    if (snprintf(absolute, sizeof absolute, "%s/%s", c->folder, path) >= (int)sizeof absolute)
        return complain(c, member, "is too long", err);
    strcpy(path, absolute);
    return 0;
}

static int parse_nic(const struct context *c, json_object *object, struct spec_nic *nic,
                     struct error **err)
{
    static const char *const known[] = { "mac", "network", "model", NULL };

    if (check_members(c, object, known, err) < 0 ||
        get_text(c, object, "mac", true, nic->mac, sizeof nic->mac, err) < 0 ||
        get_text(c, object, "network", false, nic->network, sizeof nic->network, err) < 0 ||
        get_text(c, object, "model", false, nic->model, sizeof nic->model, err) < 0)
        return -1;
    if (!is_mac(nic->mac))
        return complain(c, "mac", "is not a MAC address such as 52:54:00:12:34:56", err);
    if (strtoul(nic->mac, NULL, 16) & 1)
        return complain(c, "mac", "is a multicast address", err);
    to_lower(nic->mac);
    return 0;
}

/* "uri" or "file", exactly one. */
static int parse_place(const struct context *c, json_object *object, struct spec_disk *disk,
                       struct error **err)
{
    static const char *const schemes[] = { "nbd://", "nbds://", "nbd+unix://", "nbds+unix://" };
    char file[SPEC_PLACE];

    if (get_text(c, object, "uri", false, disk->place, sizeof disk->place, err) < 0 ||
        get_text(c, object, "file", false, file, sizeof file, err) < 0)
        return -1;
    if (!disk->place[0] == !file[0])
        return complain(c, "", "needs either \"uri\" or \"file\"", err);
    if (file[0]) {
        disk->is_file = true;
        strcpy(disk->place, file);
        return make_absolute(c, "file", disk->place, err);
    }
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strncmp(disk->place, schemes[i], strlen(schemes[i])) == 0)
            return 0;
    }
    return complain(c, "uri", "must start with nbd://, nbds://, nbd+unix:// or nbds+unix://", err);
}

static int parse_changes(struct context *c, json_object *object, struct spec_disk *disk,
                         struct error **err)
{
    static const char *const known[] = { "since", "map", "context", NULL };
    json_object *changes;
    char map[SPEC_PLACE];

    if (get(c, object, "changes", json_type_object, false, &changes, err) < 0)
        return -1;
    if (!changes)
        return 0;
    if (!disk->change_id[0])
        return complain(c, "changes", "needs \"change_id\" beside it", err);
    strcat(c->where, ".changes");
    if (check_members(c, changes, known, err) < 0 ||
        get_text(c, changes, "since", true, disk->since, sizeof disk->since, err) < 0 ||
        get_text(c, changes, "map", false, map, sizeof map, err) < 0 ||
        get_text(c, changes, "context", false, disk->changes, sizeof disk->changes, err) < 0)
        return -1;
    if (!map[0] == !disk->changes[0])
        return complain(c, "", "needs either \"map\" or \"context\"", err);
    if (!map[0]) {
        if (disk->is_file)
            return complain(c, "context", "needs a \"uri\": a file has no metadata contexts", err);
        if (strncmp(disk->changes, "qemu:", 5) && strcmp(disk->changes, "base:allocation-hole"))
            return complain(c, "context",
                            "is neither qemu:dirty-bitmap:NAME nor "
                            "base:allocation-hole",
                            err);
        return 0;
    }
    disk->changes_is_file = true;
    strcpy(disk->changes, map);
    return make_absolute(c, "map", disk->changes, err);
}

static int parse_disk(struct context *c, json_object *object, struct spec_disk *disk,
                      struct error **err)
{
    static const char *const known[] = { "key",          "unit",    "capacity",
                                         "backing_uuid", "uri",     "file",
                                         "change_id",    "changes", NULL };
    uint64_t key, unit;

    if (check_members(c, object, known, err) < 0 ||
        get_number(c, object, "key", 0, KEY_MAX, &key, err) < 0 ||
        get_number(c, object, "unit", 0, UNIT_MAX, &unit, err) < 0 ||
        get_number(c, object, "capacity", 512, INT64_MAX - 511, &disk->capacity, err) < 0 ||
        get_text(c, object, "backing_uuid", true, disk->backing_uuid, sizeof disk->backing_uuid,
                 err) < 0 ||
        get_text(c, object, "change_id", false, disk->change_id, sizeof disk->change_id, err) < 0)
        return -1;
    disk->key = (int)key;
    disk->unit = (int)unit;
    if (disk->capacity % 512)
        return complain(c, "capacity", "is not a multiple of 512", err);
    return parse_place(c, object, disk, err) < 0 ? -1 : parse_changes(c, object, disk, err);
}

static int check_nics(const struct context *c, const struct vm_spec *spec, struct error **err)
{
    for (size_t i = 0; i < spec->nic_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(spec->nics[i].mac, spec->nics[j].mac) == 0)
                return error_set(err, "%s: nics[%zu] and nics[%zu] have the same mac %s", c->origin,
                                 j, i, spec->nics[i].mac);
        }
    }
    return 0;
}

static const char *same_member(const struct spec_disk *a, const struct spec_disk *b)
{
    if (a->key == b->key)
        return "key";
    if (a->unit == b->unit)
        return "unit";
    if (strcmp(a->backing_uuid, b->backing_uuid) == 0)
        return "backing_uuid";
    if (strcmp(a->place, b->place) == 0)
        return "data (uri or file)";
    return NULL;
}

static int check_disks(const struct context *c, const struct vm_spec *spec, struct error **err)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        for (size_t j = 0; j < i; j++) {
            const char *same = same_member(&spec->disks[i], &spec->disks[j]);

            if (same)
                return error_set(err, "%s: disks[%zu] and disks[%zu] have the same %s", c->origin,
                                 j, i, same);
        }
    }
    return 0;
}

/* Read member `name`, an array of objects of `size` bytes each, by `parse`. */
#define PARSE_ARRAY(c, object, name, maximum, items, count, parse, err)                            \
    __extension__({                                                                                \
        json_object *array_;                                                                       \
        int r_ = get(c, object, name, json_type_array, false, &array_, err);                       \
        size_t n_ = array_ ? json_object_array_length(array_) : 0;                                 \
                                                                                                   \
        if (r_ == 0 && n_ > (maximum))                                                             \
            r_ = complain(c, name, "has too many entries", err);                                   \
        if (r_ == 0 && n_ > 0) {                                                                   \
            (items) = calloc(n_, sizeof *(items));                                                 \
            if (!(items))                                                                          \
                r_ = error_set_errno(err, ENOMEM, "%s", (c)->origin);                              \
        }                                                                                          \
        for (size_t i_ = 0; r_ == 0 && i_ < n_; i_++) {                                            \
            json_object *item_ = json_object_array_get_idx(array_, i_);                            \
                                                                                                   \
            snprintf((c)->where, sizeof(c)->where, "%s[%zu]", name, i_);                           \
            if (!json_object_is_type(item_, json_type_object))                                     \
                r_ = complain(c, "", "must be an object", err);                                    \
            else                                                                                   \
                r_ = parse(c, item_, &(items)[i_], err);                                           \
            (count) = i_ + 1;                                                                      \
        }                                                                                          \
        (c)->where[0] = '\0';                                                                      \
        r_;                                                                                        \
    })

static int by_unit(const void *a, const void *b)
{
    return ((const struct spec_disk *)a)->unit - ((const struct spec_disk *)b)->unit;
}

static int parse_vm(struct context *c, json_object *object, struct vm_spec *spec,
                    struct error **err)
{
    static const char *const known[] = { "uuid",   "name", "path",  "firmware", "cpus",
                                         "memory", "nics", "disks", NULL };
    char uuid[SPEC_TEXT], firmware[16];
    uint64_t cpus;

    if (check_members(c, object, known, err) < 0 ||
        get_text(c, object, "uuid", true, uuid, sizeof uuid, err) < 0 ||
        get_text(c, object, "name", true, spec->name, sizeof spec->name, err) < 0 ||
        get_text(c, object, "path", false, spec->path, sizeof spec->path, err) < 0 ||
        get_text(c, object, "firmware", true, firmware, sizeof firmware, err) < 0 ||
        get_number(c, object, "cpus", 1, CPUS_MAX, &cpus, err) < 0 ||
        get_number(c, object, "memory", 1 << 20, MEMORY_MAX, &spec->memory, err) < 0)
        return -1;
    if (!is_uuid(uuid))
        return complain(c, "uuid", "is not a UUID such as 6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f",
                        err);
    to_lower(uuid);
    memcpy(spec->uuid, uuid, sizeof spec->uuid);
    spec->cpus = (unsigned)cpus;
    spec->uefi = strcmp(firmware, "uefi") == 0;
    if (!spec->uefi && strcmp(firmware, "bios") != 0)
        return complain(c, "firmware", "must be \"bios\" or \"uefi\"", err);
    if (PARSE_ARRAY(c, object, "nics", NICS_MAX, spec->nics, spec->nic_count, parse_nic, err) < 0 ||
        PARSE_ARRAY(c, object, "disks", DISKS_MAX, spec->disks, spec->disk_count, parse_disk, err) <
            0)
        return -1;
    if (spec->disk_count == 0)
        return complain(c, "disks", "a VM needs at least one disk", err);
    if (check_nics(c, spec, err) < 0 || check_disks(c, spec, err) < 0)
        return -1;
    qsort(spec->disks, spec->disk_count, sizeof *spec->disks, by_unit);
    return 0;
}

static int line_of(const char *text, size_t offset)
{
    int line = 1;

    for (size_t i = 0; i < offset && text[i]; i++)
        line += text[i] == '\n';
    return line;
}

static void cleanup_json(json_object **object)
{
    json_object_put(*object);
}

static int parse_json(const char *text, const char *origin, json_object **object,
                      struct error **err)
{
    json_tokener *tokener = json_tokener_new_ex(16);
    enum json_tokener_error status;
    size_t length = strlen(text), end;

    if (!tokener || length > INT_MAX - 1) {
        json_tokener_free(tokener);
        return error_set_errno(err, ENOMEM, "%s", origin);
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    *object = json_tokener_parse_ex(tokener, text, (int)length + 1);
    status = json_tokener_get_error(tokener);
    end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    if (status == json_tokener_continue || status == json_tokener_error_parse_eof)
        return error_set(err, "%s: line %d: the file ends too early", origin,
                         line_of(text, length));
    if (status != json_tokener_success)
        return error_set(err, "%s: line %d: %s", origin, line_of(text, end),
                         json_tokener_error_desc(status));
    if (!json_object_is_type(*object, json_type_object))
        return error_set(err, "%s: a VM's description is a JSON object", origin);
    return 0;
}

int spec_parse(const char *text, const char *origin, const char *folder, struct vm_spec *spec,
               struct error **err)
{
    CLEANUP(cleanup_json) json_object *object = NULL;
    CLEANUP_SPEC struct vm_spec parsed = { 0 };
    struct context c = { .origin = origin, .folder = folder };

    if (parse_json(text, origin, &object, err) < 0 || parse_vm(&c, object, &parsed, err) < 0)
        return -1;
    *spec = parsed;
    parsed = (struct vm_spec){ 0 };
    return 0;
}

static int read_file(const char *path, char **text, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a FIFO: no wait */
    CLEANUP_FREE char *buf = NULL;
    struct stat st;
    size_t length = 0;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(err, errno, "reading %s", path);
    if (!S_ISREG(st.st_mode) || st.st_size > DESCRIPTION_MAX)
        return error_set(err, "%s: not a file of at most %lld MiB", path,
                         (long long)(DESCRIPTION_MAX >> 20));
    buf = malloc((size_t)st.st_size + 1);
    if (!buf)
        return error_set_errno(err, ENOMEM, "reading %s", path);
    while (length < (size_t)st.st_size) {
        n = read(fd, buf + length, (size_t)st.st_size - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, errno, "reading %s", path);
        if (n == 0)
            break;
        length += (size_t)n;
    }
    if (memchr(buf, '\0', length))
        return error_set(err, "%s: holds a NUL byte: not JSON", path);
    buf[length] = '\0';
    *text = steal_ptr(buf);
    return 0;
}

int spec_load(const char *path, struct vm_spec *spec, struct error **err)
{
    CLEANUP_FREE char *text = NULL;
    CLEANUP_FREE char *real = realpath(path, NULL);
    CLEANUP_FREE char *folder = NULL;

    if (!real)
        return error_set_errno(err, errno, "reading %s", path);
    folder = strdup(real);
    if (!folder)
        return error_set_errno(err, ENOMEM, "reading %s", path);
    if (read_file(path, &text, err) < 0)
        return -1;
    return spec_parse(text, path, dirname(folder), spec, err);
}

static void put_text(json_object *object, const char *member, const char *text)
{
    if (text[0])
        json_object_object_add(object, member, json_object_new_string(text));
}

static void put_number(json_object *object, const char *member, uint64_t number)
{
    json_object_object_add(object, member, json_object_new_int64((int64_t)number));
}

static json_object *nic_to_json(const struct spec_nic *nic)
{
    json_object *object = json_object_new_object();

    put_text(object, "mac", nic->mac);
    put_text(object, "network", nic->network);
    put_text(object, "model", nic->model);
    return object;
}

static json_object *disk_to_json(const struct spec_disk *disk)
{
    json_object *object = json_object_new_object();

    put_number(object, "key", (uint64_t)disk->key);
    put_number(object, "unit", (uint64_t)disk->unit);
    put_number(object, "capacity", disk->capacity);
    put_text(object, "backing_uuid", disk->backing_uuid);
    put_text(object, disk->is_file ? "file" : "uri", disk->place);
    put_text(object, "change_id", disk->change_id);
    if (disk->since[0]) {
        json_object *changes = json_object_new_object();

        put_text(changes, "since", disk->since);
        put_text(changes, disk->changes_is_file ? "map" : "context", disk->changes);
        json_object_object_add(object, "changes", changes);
    }
    return object;
}

char *spec_to_json(const struct vm_spec *spec)
{
    CLEANUP(cleanup_json) json_object *object = json_object_new_object();
    json_object *nics = json_object_new_array();
    json_object *disks = json_object_new_array();

    put_text(object, "uuid", spec->uuid);
    put_text(object, "name", spec->name);
    put_text(object, "path", spec->path);
    put_text(object, "firmware", spec->uefi ? "uefi" : "bios");
    put_number(object, "cpus", spec->cpus);
    put_number(object, "memory", spec->memory);
    for (size_t i = 0; i < spec->nic_count; i++)
        json_object_array_add(nics, nic_to_json(&spec->nics[i]));
    json_object_object_add(object, "nics", nics);
    for (size_t i = 0; i < spec->disk_count; i++)
        json_object_array_add(disks, disk_to_json(&spec->disks[i]));
    json_object_object_add(object, "disks", disks);
    return strdup(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE));
}

void spec_free(struct vm_spec *spec)
{
    free(spec->nics);
    free(spec->disks);
}

const struct spec_disk *spec_disk_by_key(const struct vm_spec *spec, int key)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        if (spec->disks[i].key == key)
            return &spec->disks[i];
    }
    return NULL;
}
