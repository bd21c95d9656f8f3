/* The keys of overrides; see override.h. */
#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "failover/override.h"
#include "size.h"

#define CPUS_MOST   4096
#define MEMORY_MOST ((uint64_t)1 << 50)

enum kind { NUMBER, SIZE, YES_NO, CHOICE, WORD, NAME, FIRMWARE, DISK };

/* vmferry-failover(1) lists them, too. */
static const struct key {
    const char *name;
    enum kind kind;
    size_t offset, size;
    const char *choices; /* of a CHOICE, and what an error says of the others */
} keys[] = {
#define FIELD(member) offsetof(struct hardware, member), sizeof((struct hardware *)0)->member
    { "name", NAME, FIELD(name), "a name without '/'" },
    { "vcpus", NUMBER, FIELD(vcpus), "a number from 1 to 4096" },
    { "cores", NUMBER, FIELD(cores), "a number from 1 to 4096" },
    { "memory", SIZE, FIELD(memory), "a size from 1M to 1P, such as 8G" },
    { "cpu", WORD, FIELD(cpu), "host-passthrough, host-model, maximum, or a CPU model" },
    { "firmware", FIRMWARE, FIELD(uefi), "bios, uefi" },
    { "secure-boot", YES_NO, FIELD(secure_boot), "yes, no" },
    { "tpm", YES_NO, FIELD(tpm), "yes, no" },
    { "clock", CHOICE, FIELD(clock), "utc, localtime" },
    { "disk-bus", CHOICE, FIELD(disk_bus), "virtio, scsi, sata" },
    { "nic-model", WORD, FIELD(nic_model), "a model that QEMU has, such as virtio or e1000" },
    { "video", CHOICE, FIELD(video), "vga, virtio, qxl, cirrus, bochs, none" },
    { "graphics", CHOICE, FIELD(graphics), "none, vnc" },
    { "boot", DISK, FIELD(boot_key), "a disk, such as disk-2000" },
#undef FIELD
};

static int refuse(const struct override_line *line, const struct key *key, struct error **err)
{
    return error_set_kind(err, ERROR_USAGE, "%s: %s = %s: it takes %s", line->where, line->left,
                          line->right, key->choices);
}

/* Whether `value` is one of the words in "a, b, c". */
static bool is_choice(const char *choices, const char *value)
{
    size_t length = strlen(value);

    for (const char *word = choices; word; word = strchr(word, ',')) {
        word += *word == ',' ? 2 : 0;
        if (length && !strchr(value, ',') && strncmp(word, value, length) == 0 &&
            strchr(",", word[length]))
            return true;
    }
    return false;
}

static bool is_word(const char *value)
{
    for (const char *p = value; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
            return false;
    }
    return value[0] != '\0';
}

static int set_number(const struct override_line *line, const struct key *key, uint64_t most,
                      uint64_t least, uint64_t *number, struct error **err)
{
    if (size_parse(line->right, number) || *number < least || *number > most)
        return refuse(line, key, err);
    return 0;
}

static int set_disk(const struct override_line *line, const struct key *key, int *field,
                    struct error **err)
{
    struct override_line number = *line;
    uint64_t value;

    if (strncmp(line->right, "disk-", 5) != 0)
        return refuse(line, key, err);
    number.right += 5;
    if (set_number(&number, key, INT32_MAX, 0, &value, err) < 0) {
        error_clear(err);
        return refuse(line, key, err);
    }
    *field = (int)value;
    return 0;
}

static int set_text(const struct override_line *line, const struct key *key, char *field,
                    struct error **err)
{
    char fitting[SPEC_TEXT];

    if (strlen(line->right) >= key->size)
        return refuse(line, key, err);
    if (key->kind == NAME) {
        hardware_domain_name(line->right, fitting);
        if (strcmp(fitting, line->right) != 0 || !xmlCheckUTF8((const xmlChar *)line->right))
            return refuse(line, key, err);
    } else if (key->kind == WORD ? !is_word(line->right) : !is_choice(key->choices, line->right)) {
        return refuse(line, key, err);
    }
    strcpy(field, line->right);
    return 0;
}

static int set_key(const struct override_line *line, const struct key *key, void *field,
                   struct error **err)
{
    uint64_t number;

    switch (key->kind) {
    case NUMBER:
        if (set_number(line, key, CPUS_MOST, 1, &number, err) < 0)
            return -1;
        *(unsigned *)field = (unsigned)number;
        return 0;
    case SIZE:
        return set_number(line, key, MEMORY_MOST, 1 << 20, field, err);
    case YES_NO:
    case FIRMWARE:
        if (!is_choice(key->choices, line->right))
            return refuse(line, key, err);
        *(bool *)field = strcmp(line->right, "yes") == 0 || strcmp(line->right, "uefi") == 0;
        return 0;
    case DISK:
        return set_disk(line, key, field, err);
    case CHOICE:
    case WORD:
    case NAME:
        break;
    }
    return set_text(line, key, field, err);
}

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    }
    return NULL;
}

static int no_such_key(const struct override_line *line, struct error **err)
{
    char names[512] = "";

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        strcat(names, i ? ", " : "");
        strcat(names, keys[i].name);
    }
    return error_set_kind(err, ERROR_USAGE,
                          "%s: there is no key '%s'; the keys are: %s; anything else is said by a "
                          "path: /domain/... = VALUE",
                          line->where, line->left, names);
}

int override_choose(const struct override *override, struct hardware *hardware, struct error **err)
{
    bool cores_given = false, secure_given = false;

    for (size_t i = 0; i < override->count; i++) {
        const struct override_line *line = &override->lines[i];
        const struct key *key = find_key(line->left);

        if (line->verb != OVERRIDE_KEY)
            continue;
        if (!key)
            return no_such_key(line, err);
        if (set_key(line, key, (char *)hardware + key->offset, err) < 0)
            return -1;
        cores_given |= strcmp(line->left, "cores") == 0;
        secure_given |= strcmp(line->left, "secure-boot") == 0;
    }
    /* What goes with a choice that was changed. */
    if (!cores_given && hardware->cores && hardware->vcpus % hardware->cores)
        hardware->cores = 0;
    if (!secure_given && !hardware->uefi)
        hardware->secure_boot = false;
    if (hardware->secure_boot && !hardware->uefi)
        return error_set_kind(err, ERROR_USAGE, "secure-boot = yes needs firmware = uefi");
    return hardware_check(hardware, err);
}
