/* Windows registry hives by libhivex; see registry.h. */
#include "convert/registry.h"

#include <string.h>

#define NAME_MOST 256

int hive_load(const char *path, bool writable, struct hive *hive, struct error **err)
{
    *hive = (struct hive){ .path = path };
    hive->handle = hivex_open(path, writable ? HIVEX_OPEN_WRITE : 0);
    if (!hive->handle)
        return error_set_errno(err, errno, "reading the registry hive %s", path);
    return 0;
}

int hive_save(struct hive *hive, struct error **err)
{
    if (hivex_commit(hive->handle, NULL, 0) < 0)
        return error_set_errno(err, errno, "writing the registry hive %s", hive->path);
    return 0;
}

void hive_unload(struct hive *hive)
{
    if (hive->handle)
        hivex_close(hive->handle);
    hive->handle = NULL;
}

/* The next part of a path; false at its end. */
static bool next_part(const char **path, char part[NAME_MOST])
{
    size_t length;

    *path += strspn(*path, "\\");
    length = strcspn(*path, "\\");
    if (length == 0)
        return false;
    snprintf(part, NAME_MOST, "%.*s", (int)length, *path);
    *path += length;
    return true;
}

hive_node_h hive_find(const struct hive *hive, const char *key)
{
    hive_node_h node = hivex_root(hive->handle);
    char part[NAME_MOST];

    while (node && next_part(&key, part))
        node = hivex_node_get_child(hive->handle, node, part);
    return node;
}

bool hive_get_dword(const struct hive *hive, const char *key, const char *name, uint32_t *value)
{
    hive_node_h node = hive_find(hive, key);
    hive_value_h found = node ? hivex_node_get_value(hive->handle, node, name) : 0;
    hive_type type;
    size_t length;

    if (!found || hivex_value_type(hive->handle, found, &type, &length) < 0 ||
        type != hive_t_dword || length != 4)
        return false;
    *value = (uint32_t)hivex_value_dword(hive->handle, found);
    return true;
}

char *hive_get_text(const struct hive *hive, const char *key, const char *name)
{
    hive_node_h node = hive_find(hive, key);
    hive_value_h found = node ? hivex_node_get_value(hive->handle, node, name) : 0;

    return found ? hivex_value_string(hive->handle, found) : NULL;
}

static hive_node_h make(struct hive *hive, const char *key, struct error **err)
{
    hive_node_h node = hivex_root(hive->handle);
    const char *rest = key;
    char part[NAME_MOST];

    while (node && next_part(&rest, part)) {
        hive_node_h child = hivex_node_get_child(hive->handle, node, part);

        node = child ? child : hivex_node_add_child(hive->handle, node, part);
    }
    if (!node)
        error_set_errno(err, errno, "making the registry key %s", key);
    return node;
}

int hive_make(struct hive *hive, const char *key, struct error **err)
{
    return make(hive, key, err) ? 0 : -1;
}

static int set(struct hive *hive, const char *key, const char *name, hive_type type,
               const void *value, size_t length, struct error **err)
{
    hive_node_h node = make(hive, key, err);
    hive_set_value one = {
        .key = (char *)(uintptr_t)name, .t = type, .len = length, .value = (char *)(uintptr_t)value
    };

    if (!node)
        return -1;
    if (hivex_node_set_value(hive->handle, node, &one, 0) < 0)
        return error_set_errno(err, errno, "setting %s of the registry key %s", name, key);
    return 0;
}

int hive_set_dword(struct hive *hive, const char *key, const char *name, uint32_t value,
                   struct error **err)
{
    const unsigned char bytes[] = { value & 0xff, value >> 8 & 0xff, value >> 16 & 0xff,
                                    value >> 24 };

    return set(hive, key, name, hive_t_dword, bytes, sizeof bytes, err);
}

int hive_set_text(struct hive *hive, const char *key, const char *name, hive_type type,
                  const char *value, struct error **err)
{
    size_t length = strlen(value);
    size_t ends = type == hive_t_multiple_strings ? 2 : 1;
    CLEANUP_FREE char *wide = calloc(length + ends, 2); /* UTF-16, little-endian */

    if (!wide)
        return error_set_errno(err, ENOMEM, "setting %s", name);
    for (size_t i = 0; i < length; i++)
        wide[2 * i] = value[i];
    return set(hive, key, name, type, wide, 2 * (length + ends), err);
}

int hive_set_bytes(struct hive *hive, const char *key, const char *name, const void *value,
                   size_t length, struct error **err)
{
    return set(hive, key, name, hive_t_binary, value, length, err);
}
