/* Hives of a Windows registry: looked into, and changed in place. Keys are named by paths
 * with backslashes, whatever their case. Texts are ASCII. */
#ifndef VMFERRY_CONVERT_REGISTRY_H
#define VMFERRY_CONVERT_REGISTRY_H

#include <hivex.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct hive {
    hive_h *handle;
    const char *path; /* the caller's */
};

int hive_load(const char *path, bool writable, struct hive *hive, struct error **err);
/* Write what was changed. */
int hive_save(struct hive *hive, struct error **err);
void hive_unload(struct hive *hive);
#define CLEANUP_HIVE CLEANUP(hive_unload)

/* 0: it is not there. */
hive_node_h hive_find(const struct hive *hive, const char *key);
bool hive_get_dword(const struct hive *hive, const char *key, const char *name, uint32_t *value);
/* The caller's to free; NULL: it is not there. */
char *hive_get_text(const struct hive *hive, const char *key, const char *name);

/* Each makes the keys that are missing. */
int hive_make(struct hive *hive, const char *key, struct error **err);
int hive_set_dword(struct hive *hive, const char *key, const char *name, uint32_t value,
                   struct error **err);
/* `type`: hive_t_string, hive_t_expand_string, hive_t_multiple_strings (one string). */
int hive_set_text(struct hive *hive, const char *key, const char *name, hive_type type,
                  const char *value, struct error **err);
int hive_set_bytes(struct hive *hive, const char *key, const char *name, const void *value,
                   size_t length, struct error **err);

#endif
