/* VM descriptions as JSON, and what else is done with a read one; see spec.h. */
#include "source/spec.h"

#include <json.h>
#include <string.h>

static void cleanup_json(json_object **object)
{
    json_object_put(*object);
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

static void put_true(json_object *object, const char *member, bool value)
{
    if (value)
        json_object_object_add(object, member, json_object_new_boolean(true));
}

static json_object *nic_to_json(const struct spec_nic *nic)
{
    json_object *object = json_object_new_object();

    put_text(object, "mac", nic->mac);
    put_text(object, "network", nic->network);
    put_text(object, "model", nic->model);
    return object;
}

/* Only when it says something. */
static void put_object(json_object *object, const char *member, json_object *value)
{
    if (json_object_object_length(value))
        json_object_object_add(object, member, value);
    else
        json_object_put(value);
}

static json_object *disk_inventory_to_json(const struct spec_disk_inventory *disk)
{
    json_object *object = json_object_new_object();

    put_text(object, "label", disk->label);
    put_text(object, "controller", disk->controller);
    put_text(object, "address", disk->address);
    put_text(object, "backing", disk->backing);
    put_text(object, "mode", disk->mode);
    return object;
}

static json_object *inventory_to_json(const struct spec_inventory *vm)
{
    json_object *object = json_object_new_object();

    put_text(object, "id", vm->id);
    put_text(object, "power", vm->power);
    if (vm->used)
        put_number(object, "used", vm->used);
    put_text(object, "tracking", vm->tracking);
    put_text(object, "tools", vm->tools);
    put_text(object, "guest", vm->guest);
    put_text(object, "hardware", vm->hardware);
    put_text(object, "host", vm->host);
    return object;
}

static json_object *disk_to_json(const struct spec_disk *disk)
{
    json_object *object = json_object_new_object();

    put_number(object, "key", (uint64_t)disk->key);
    put_number(object, "unit", (uint64_t)disk->unit);
    put_number(object, "capacity", disk->capacity);
    if (disk->boot)
        put_number(object, "boot", (uint64_t)disk->boot);
    put_text(object, "backing_uuid", disk->backing_uuid);
    put_text(object, disk->is_file ? "file" : "uri", disk->place);
    put_text(object, "change_id", disk->change_id);
    if (disk->since[0]) {
        json_object *changes = json_object_new_object();

        put_text(changes, "since", disk->since);
        put_text(changes, disk->changes_is_file ? "map" : "context", disk->changes);
        json_object_object_add(object, "changes", changes);
    }
    put_object(object, "inventory", disk_inventory_to_json(&disk->inventory));
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
    put_true(object, "secure_boot", spec->secure_boot);
    put_true(object, "tpm", spec->tpm);
    put_text(object, "os", spec->os);
    put_number(object, "cpus", spec->cpus);
    if (spec->cores)
        put_number(object, "cores", spec->cores);
    put_number(object, "memory", spec->memory);
    for (size_t i = 0; i < spec->nic_count; i++)
        json_object_array_add(nics, nic_to_json(&spec->nics[i]));
    json_object_object_add(object, "nics", nics);
    for (size_t i = 0; i < spec->disk_count; i++)
        json_object_array_add(disks, disk_to_json(&spec->disks[i]));
    json_object_object_add(object, "disks", disks);
    put_object(object, "inventory", inventory_to_json(&spec->inventory));
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
