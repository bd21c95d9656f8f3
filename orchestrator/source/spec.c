/* VM descriptions; see spec.h. */
#include "source/spec.h"

#include <ctype.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "source/members.h"

#define DESCRIPTION_MAX ((off_t)16 << 20)
#define DISKS_MAX       256
#define NICS_MAX        64
#define CPUS_MAX        4096
#define MEMORY_MAX      (UINT64_C(1) << 50)
#define KEY_MAX         INT32_MAX

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
static int make_absolute(const struct member_context *c, const char *member, char *path,
                         struct error **err)
{
    char absolute[SPEC_PLACE];

    if (path[0] == '/')
        return 0;
    if (snprintf(absolute, sizeof absolute, "%s/%s", c->folder, path) >= (int)sizeof absolute)
        return member_complain(c, member, "is too long", err);
    strcpy(path, absolute);
    return 0;
}

static int parse_nic(const struct member_context *c, json_object *object, struct spec_nic *nic,
                     struct error **err)
{
    static const char *const known[] = { "mac", "network", "model", NULL };

    if (members_check(c, object, known, err) < 0 ||
        member_text(c, object, "mac", !c->stored, nic->mac, sizeof nic->mac, err) < 0 ||
        member_text(c, object, "network", false, nic->network, sizeof nic->network, err) < 0 ||
        member_text(c, object, "model", false, nic->model, sizeof nic->model, err) < 0)
        return -1;
    if (!nic->mac[0])
        return 0;
    if (!is_mac(nic->mac))
        return member_complain(c, "mac", "is not a MAC address such as 52:54:00:12:34:56", err);
    if (strtoul(nic->mac, NULL, 16) & 1)
        return member_complain(c, "mac", "is a multicast address", err);
    to_lower(nic->mac);
    return 0;
}

/* "uri" or "file", exactly one. */
static int parse_place(const struct member_context *c, json_object *object, struct spec_disk *disk,
                       struct error **err)
{
    static const char *const schemes[] = { "nbd://", "nbds://", "nbd+unix://", "nbds+unix://" };
    char file[SPEC_PLACE];

    if (member_text(c, object, "uri", false, disk->place, sizeof disk->place, err) < 0 ||
        member_text(c, object, "file", false, file, sizeof file, err) < 0)
        return -1;
    if (!disk->place[0] && !file[0] && c->stored)
        return 0;
    if (!disk->place[0] == !file[0])
        return member_complain(c, "", "needs either \"uri\" or \"file\"", err);
    if (file[0]) {
        disk->is_file = true;
        strcpy(disk->place, file);
        return make_absolute(c, "file", disk->place, err);
    }
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strncmp(disk->place, schemes[i], strlen(schemes[i])) == 0)
            return 0;
    }
    return member_complain(c, "uri", "must start with nbd://, nbds://, nbd+unix:// or nbds+unix://",
                           err);
}

static int parse_changes(struct member_context *c, json_object *object, struct spec_disk *disk,
                         struct error **err)
{
    static const char *const known[] = { "since", "map", "context", NULL };
    json_object *changes;
    char map[SPEC_PLACE];

    if (member_get(c, object, "changes", json_type_object, false, &changes, err) < 0)
        return -1;
    if (!changes)
        return 0;
    if (!disk->change_id[0])
        return member_complain(c, "changes", "needs \"change_id\" beside it", err);
    strcat(c->where, ".changes");
    if (members_check(c, changes, known, err) < 0 ||
        member_text(c, changes, "since", true, disk->since, sizeof disk->since, err) < 0 ||
        member_text(c, changes, "map", false, map, sizeof map, err) < 0 ||
        member_text(c, changes, "context", false, disk->changes, sizeof disk->changes, err) < 0)
        return -1;
    if (!map[0] == !disk->changes[0])
        return member_complain(c, "", "needs either \"map\" or \"context\"", err);
    if (!map[0]) {
        if (disk->is_file)
            return member_complain(c, "context", "needs a \"uri\": a file has no metadata contexts",
                                   err);
        if (strncmp(disk->changes, "qemu:", 5) && strcmp(disk->changes, "base:allocation-hole"))
            return member_complain(c, "context",
                                   "is neither qemu:dirty-bitmap:NAME nor "
                                   "base:allocation-hole",
                                   err);
        return 0;
    }
    disk->changes_is_file = true;
    strcpy(disk->changes, map);
    return make_absolute(c, "map", disk->changes, err);
}

static int parse_disk_inventory(const struct member_context *outer, json_object *object,
                                struct spec_disk_inventory *disk, struct error **err)
{
    static const char *const known[] = {
        "label", "controller", "address", "backing", "mode", NULL
    };
    const struct member_slot slots[] = {
        { "label", disk->label, sizeof disk->label },
        { "controller", disk->controller, sizeof disk->controller },
        { "address", disk->address, sizeof disk->address },
        { "backing", disk->backing, sizeof disk->backing },
        { "mode", disk->mode, sizeof disk->mode },
        { NULL, NULL, 0 },
    };
    struct member_context c = *outer;
    json_object *inventory;

    if (member_get(&c, object, "inventory", json_type_object, false, &inventory, err) < 0)
        return -1;
    if (!inventory)
        return 0;
    strcat(c.where, ".inventory");
    return members_check(&c, inventory, known, err) < 0 ? -1
                                                        : member_texts(&c, inventory, slots, err);
}

static int parse_disk(struct member_context *c, json_object *object, struct spec_disk *disk,
                      struct error **err)
{
    static const char *const known[] = { "key",     "unit",      "capacity", "backing_uuid",
                                         "uri",     "file",      "boot",     "change_id",
                                         "changes", "inventory", NULL };
    uint64_t key, unit, boot = 0;

    if (members_check(c, object, known, err) < 0 ||
        member_number(c, object, "key", 0, KEY_MAX, &key, err) < 0 ||
        member_number(c, object, "unit", 0, SPEC_UNIT_MAX, &unit, err) < 0 ||
        member_number_or(c, object, "boot", 1, DISKS_MAX, &boot, err) < 0 ||
        member_number(c, object, "capacity", c->stored ? 0 : 512,
                      c->stored ? INT64_MAX : INT64_MAX - 511, &disk->capacity, err) < 0 ||
        member_text(c, object, "backing_uuid", !c->stored, disk->backing_uuid,
                    sizeof disk->backing_uuid, err) < 0 ||
        member_text(c, object, "change_id", false, disk->change_id, sizeof disk->change_id, err) <
            0)
        return -1;
    disk->key = (int)key;
    disk->unit = (int)unit;
    disk->boot = (int)boot;
    if (!c->stored && disk->capacity % 512)
        return member_complain(c, "capacity", "is not a multiple of 512", err);
    if (parse_place(c, object, disk, err) < 0 ||
        parse_disk_inventory(c, object, &disk->inventory, err) < 0)
        return -1;
    return parse_changes(c, object, disk, err);
}

static int check_nics(const struct member_context *c, const struct vm_spec *spec,
                      struct error **err)
{
    for (size_t i = 0; i < spec->nic_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (spec->nics[i].mac[0] && strcmp(spec->nics[i].mac, spec->nics[j].mac) == 0)
                return error_set(err, "%s: nics[%zu] and nics[%zu] have the same mac %s", c->origin,
                                 j, i, spec->nics[i].mac);
        }
    }
    return 0;
}

/* A source's own two disks may have a uuid in common (a copied file): preflight's business. */
static const char *same_member(const struct spec_disk *a, const struct spec_disk *b, bool stored)
{
    if (a->key == b->key)
        return "key";
    if (a->unit == b->unit)
        return "unit";
    if (a->boot && a->boot == b->boot)
        return "boot";
    if (!stored && strcmp(a->backing_uuid, b->backing_uuid) == 0)
        return "backing_uuid";
    if (!stored && strcmp(a->place, b->place) == 0)
        return "data (uri or file)";
    return NULL;
}

static int check_disks(const char *origin, bool stored, const struct vm_spec *spec,
                       struct error **err)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        for (size_t j = 0; j < i; j++) {
            const char *same = same_member(&spec->disks[i], &spec->disks[j], stored);

            if (same)
                return error_set(err, "%s: disks[%zu] and disks[%zu] have the same %s", origin, j,
                                 i, same);
        }
    }
    return 0;
}

/* Read member `name`, an array of objects of `size` bytes each, by `parse`. */
#define PARSE_ARRAY(c, object, name, maximum, items, count, parse, err)                            \
    __extension__({                                                                                \
        json_object *array_;                                                                       \
        int r_ = member_get(c, object, name, json_type_array, false, &array_, err);                \
        size_t n_ = array_ ? json_object_array_length(array_) : 0;                                 \
                                                                                                   \
        if (r_ == 0 && n_ > (maximum))                                                             \
            r_ = member_complain(c, name, "has too many entries", err);                            \
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
                r_ = member_complain(c, "", "must be an object", err);                             \
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

int spec_sort_disks(struct vm_spec *spec, const char *origin, struct error **err)
{
    if (check_disks(origin, true, spec, err) < 0)
        return -1;
    if (spec->disk_count)
        qsort(spec->disks, spec->disk_count, sizeof *spec->disks, by_unit);
    return 0;
}

static int parse_inventory(const struct member_context *outer, json_object *object,
                           struct spec_inventory *vm, struct error **err)
{
    static const char *const known[] = { "id",    "power",    "used", "tracking", "tools",
                                         "guest", "hardware", "host", NULL };
    const struct member_slot slots[] = {
        { "id", vm->id, sizeof vm->id },
        { "power", vm->power, sizeof vm->power },
        { "tracking", vm->tracking, sizeof vm->tracking },
        { "tools", vm->tools, sizeof vm->tools },
        { "guest", vm->guest, sizeof vm->guest },
        { "hardware", vm->hardware, sizeof vm->hardware },
        { "host", vm->host, sizeof vm->host },
        { NULL, NULL, 0 },
    };
    struct member_context c = *outer;
    json_object *inventory;

    if (member_get(&c, object, "inventory", json_type_object, false, &inventory, err) < 0)
        return -1;
    if (!inventory)
        return 0;
    strcpy(c.where, "inventory");
    if (members_check(&c, inventory, known, err) < 0 ||
        (json_object_object_get(inventory, "used") &&
         member_number(&c, inventory, "used", 0, INT64_MAX, &vm->used, err) < 0))
        return -1;
    return member_texts(&c, inventory, slots, err);
}

static int parse_firmware(const struct member_context *c, json_object *object, struct vm_spec *spec,
                          struct error **err)
{
    char firmware[16];

    if (member_text(c, object, "firmware", true, firmware, sizeof firmware, err) < 0 ||
        member_bool(c, object, "secure_boot", &spec->secure_boot, err) < 0 ||
        member_bool(c, object, "tpm", &spec->tpm, err) < 0)
        return -1;
    spec->uefi = strcmp(firmware, "uefi") == 0;
    if (!spec->uefi && strcmp(firmware, "bios") != 0)
        return member_complain(c, "firmware", "must be \"bios\" or \"uefi\"", err);
    if (spec->secure_boot && !spec->uefi)
        return member_complain(c, "secure_boot", "needs \"firmware\": \"uefi\"", err);
    return 0;
}

/* What guests run on, and what runs there. */
static int parse_machine(const struct member_context *c, json_object *object, struct vm_spec *spec,
                         struct error **err)
{
    uint64_t cpus, cores = 0;

    if (member_number(c, object, "cpus", c->stored ? 0 : 1, CPUS_MAX, &cpus, err) < 0 ||
        member_number_or(c, object, "cores", 1, CPUS_MAX, &cores, err) < 0 ||
        member_number(c, object, "memory", c->stored ? 0 : 1 << 20, MEMORY_MAX, &spec->memory,
                      err) < 0 ||
        member_text(c, object, "os", false, spec->os, sizeof spec->os, err) < 0)
        return -1;
    spec->cpus = (unsigned)cpus;
    spec->cores = (unsigned)cores;
    if (cores && cpus % cores)
        return member_complain(c, "cores", "does not divide \"cpus\"", err);
    if (spec->os[0] && strcmp(spec->os, "windows") && strcmp(spec->os, "linux") &&
        strcmp(spec->os, "other"))
        return member_complain(c, "os", "must be \"windows\", \"linux\" or \"other\"", err);
    return parse_firmware(c, object, spec, err);
}

static int parse_vm(struct member_context *c, json_object *object, struct vm_spec *spec,
                    struct error **err)
{
    static const char *const known[] = { "uuid", "name",  "path",      "firmware", "secure_boot",
                                         "tpm",  "os",    "cpus",      "cores",    "memory",
                                         "nics", "disks", "inventory", NULL };
    char uuid[SPEC_TEXT];

    if (members_check(c, object, known, err) < 0 ||
        member_text(c, object, "uuid", true, uuid, sizeof uuid, err) < 0 ||
        member_text(c, object, "name", true, spec->name, sizeof spec->name, err) < 0 ||
        member_text(c, object, "path", false, spec->path, sizeof spec->path, err) < 0 ||
        parse_machine(c, object, spec, err) < 0)
        return -1;
    if (!is_uuid(uuid))
        return member_complain(c, "uuid",
                               "is not a UUID such as 6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f", err);
    to_lower(uuid);
    memcpy(spec->uuid, uuid, sizeof spec->uuid);
    if (PARSE_ARRAY(c, object, "nics", NICS_MAX, spec->nics, spec->nic_count, parse_nic, err) < 0 ||
        PARSE_ARRAY(c, object, "disks", DISKS_MAX, spec->disks, spec->disk_count, parse_disk, err) <
            0)
        return -1;
    if (spec->disk_count == 0 && !c->stored)
        return member_complain(c, "disks", "a VM needs at least one disk", err);
    if ((!c->stored && check_nics(c, spec, err) < 0) ||
        check_disks(c->origin, c->stored, spec, err) < 0 ||
        parse_inventory(c, object, &spec->inventory, err) < 0)
        return -1;
    return spec_sort_disks(spec, c->origin, err);
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

static int parse(const char *text, struct member_context *c, struct vm_spec *spec,
                 struct error **err)
{
    CLEANUP(cleanup_json) json_object *object = NULL;
    CLEANUP_SPEC struct vm_spec parsed = { 0 };

    if (parse_json(text, c->origin, &object, err) < 0 || parse_vm(c, object, &parsed, err) < 0)
        return -1;
    *spec = parsed;
    parsed = (struct vm_spec){ 0 };
    return 0;
}

int spec_parse(const char *text, const char *origin, const char *folder, struct vm_spec *spec,
               struct error **err)
{
    struct member_context c = { .origin = origin, .folder = folder };

    return parse(text, &c, spec, err);
}

int spec_parse_stored(const char *text, const char *origin, struct vm_spec *spec,
                      struct error **err)
{
    struct member_context c = { .origin = origin, .folder = "/", .stored = true };

    return parse(text, &c, spec, err);
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
