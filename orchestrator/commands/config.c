/* vmferry.conf; see context.h. */
#include <ini.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "commands/context.h"
#include "commands/options.h"
#include "convert/convert.h"
#include "job/retention.h"
#include "size.h"

enum kind { TEXT, NUMBER, BOOLEAN, KEEP, RESERVE, WINDOW };

static const struct key {
    const char *section;
    const char *name;
    enum kind kind;
    size_t offset;
    uint64_t minimum, maximum; /* of a NUMBER; maximum is the field's size for TEXT */
    const char *allowed;       /* of a TEXT: words separated by |, or NULL */
} keys[] = {
#define FIELD(member) offsetof(struct config, member)
    { "general", "state", TEXT, FIELD(state), 0, PATH_MAX, NULL },
    { "general", "database", TEXT, FIELD(database), 0, STORE_PLACE, NULL },
    { "general", "database_password_file", TEXT, FIELD(database_password_file), 0, PATH_MAX, NULL },
    { "general", "database_ca", TEXT, FIELD(database_ca), 0, PATH_MAX, NULL },
    { "replicate", "rate", NUMBER, FIELD(rate), 0, INT64_MAX, NULL },
    { "replicate", "parallel_disks", NUMBER, FIELD(parallel_disks), 1, 64, NULL },
    { "replicate", "connections", NUMBER, FIELD(connections), 0, 64, NULL },
    { "replicate", "verify", BOOLEAN, FIELD(verify), 0, 0, NULL },
    { "replicate", "cbt_lost", TEXT, FIELD(cbt_lost), 0, 16, "resync|full|fail" },
    { "replicate", "pool", TEXT, FIELD(pool), 0, STORE_NAME, NULL },
    { "replicate", "base", TEXT, FIELD(base), 0, 16, "raw|qcow2" },
    { "replicate", "reserve", RESERVE, FIELD(reserve), 0, 0, NULL },
    { "retention", "keep", KEEP, FIELD(keep), 0, STORE_NAME, NULL },
    { "verify", "rate", NUMBER, FIELD(scrub_rate), 0, INT64_MAX, NULL },
    { "failover", "virt_type", TEXT, FIELD(virt_type), 0, 16, "auto|kvm|qemu" },
    { "jobs", "lease_seconds", NUMBER, FIELD(lease_seconds), 3, 86400, NULL },
    { "failover", "uri", TEXT, FIELD(uri), 0, STORE_PATH, NULL },
    { "limits", "total", NUMBER, FIELD(limit_total), 0, 10000, NULL },
    { "limits", "per_source", NUMBER, FIELD(limit_source), 0, 10000, NULL },
    { "limits", "per_host", NUMBER, FIELD(limit_host), 0, 10000, NULL },
    { "limits", "per_target", NUMBER, FIELD(limit_target), 0, 10000, NULL },
    { "throttle", "window", WINDOW, FIELD(windows), 0, THROTTLE_TEXT, NULL },
    { "failover", "conversion", TEXT, FIELD(conversion), 0, 16, CONVERT_ENGINES },
    { "failover", "virtio_win", TEXT, FIELD(virtio_win), 0, PATH_MAX, NULL },
    { "failover", "virt_tools", TEXT, FIELD(virt_tools), 0, PATH_MAX, NULL },
    { "failover", "boot_timeout", NUMBER, FIELD(boot_timeout), 1, 86400, NULL },
    { "failover", "check_timeout", NUMBER, FIELD(check_timeout), 1, 86400, NULL },
    { "failover", "checks", TEXT, FIELD(checks), 0, STORE_TEXT, NULL },
    { "log", "level", TEXT, FIELD(log_level), 0, 256, NULL },
#undef FIELD
};

struct parsing {
    FILE *file;
    char *line; /* as it is in the file */
    size_t room;
    char *value; /* of a line that is too long for inih, else NULL */
    struct config *config;
    struct error **err;
};

/* As inih does it: blanks around it go, and a comment, a semicolon behind a blank. */
static char *trim(char *value)
{
    size_t length;

    for (char *c = value; *c; c++) {
        if (*c == ';' && c > value && strchr(" \t", c[-1]))
            *c = '\0';
    }
    value += strspn(value, " \t");
    length = strlen(value);
    while (length && strchr(" \t\r\n", value[length - 1]))
        value[--length] = '\0';
    return value;
}

/* inih's lines have 200 bytes. Of a longer one it gets the name, and handle() the value. */
static char *read_line(char *text, int size, void *stream)
{
    struct parsing *p = stream;
    size_t name;
    char *start;

    p->value = NULL;
    if (getline(&p->line, &p->room, p->file) < 0)
        return NULL;
    if (strlen(p->line) < (size_t)size)
        return strcpy(text, p->line);
    start = p->line + strspn(p->line, " \t");
    name = start > p->line ? 0 : strcspn(p->line, "=");
    if (*start == '#' || *start == ';')
        return strcpy(text, "\n");
    if (p->line[name] && name + sizeof "= -\n" < (size_t)size)
        p->value = trim(p->line + name + (p->line[name] == '='));
    snprintf(text, (size_t)size, name ? "%.*s= -\n" : "%.*s -\n", (int)name, p->line);
    return text;
}

int parse_size(const char *text, uint64_t *bytes, struct error **err)
{
    const char *problem = size_parse(text, bytes);

    if (problem)
        return error_set_kind(err, ERROR_USAGE, "'%s' %s", text, problem);
    return 0;
}

static int set_boolean(bool *field, const char *value)
{
    static const char *const words[] = { "no", "yes", "false", "true", "0", "1", "off", "on" };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *field = i % 2;
            return 0;
        }
    }
    return -1;
}

/* Each line, also one that goes on below, is one more rule, or several. */
static int add_window(char *field, const char *value, struct error **err)
{
    struct throttle throttle;
    size_t used = strlen(field);

    if (used + strlen(value) + 2 > THROTTLE_TEXT)
        return error_set(err, "the rules are too long");
    sprintf(field + used, "%s%s", used ? ";" : "", value);
    return throttle_parse(field, &throttle, err);
}

static int set_key(const struct key *key, void *field, const char *value, struct error **err)
{
    struct retention rules;
    uint64_t number;

    switch (key->kind) {
    case BOOLEAN:
        if (set_boolean(field, value) < 0)
            return error_set(err, "'%s' is neither yes nor no", value);
        return 0;
    case NUMBER:
        if (parse_size(value, &number, err) < 0)
            return -1;
        if (number < key->minimum || number > key->maximum)
            return error_set(err, "%s is not between %llu and %llu", value,
                             (unsigned long long)key->minimum, (unsigned long long)key->maximum);
        *(uint64_t *)field = number;
        return 0;
    case WINDOW:
        return add_window(field, value, err);
    case RESERVE:
        return space_reserve_parse(value, field, err);
    case KEEP:
        if (retention_parse(value, &rules, err) < 0)
            return -1;
        /* fall through */
    case TEXT:
        if (strlen(value) >= key->maximum)
            return error_set(err, "the value is too long");
        if (key->allowed && !is_one_of(key->allowed, value))
            return error_set(err, "'%s' is none of %s", value, key->allowed);
        strcpy(field, value);
        return 0;
    }
    return 0;
}

/* inih's callback: 0 stops at this line. */
static int handle(void *user, const char *section, const char *name, const char *value)
{
    struct parsing *p = user;

    if (*p->err)
        return 0; /* inih goes on after an error; the first one is the one to tell */
    if (p->value)
        value = p->value;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(keys[i].section, section) || strcmp(keys[i].name, name))
            continue;
        if (set_key(&keys[i], (char *)p->config + keys[i].offset, value ? value : "", p->err) < 0) {
            error_prefix(p->err, "%s", name);
            return 0;
        }
        return 1;
    }
    error_set(p->err, "there is no key '%s' in section [%s]; vmferry.conf(5) lists them", name,
              section);
    return 0;
}

static int default_path(char *path, size_t size, bool *required)
{
    const char *given = getenv("VMFERRY_CONFIG");
    const char *xdg = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");

    *required = given && *given;
    if (*required)
        return snprintf(path, size, "%s", given);
    if (geteuid() == 0)
        return snprintf(path, size, "/etc/vmferry/vmferry.conf");
    if (xdg && xdg[0] == '/')
        return snprintf(path, size, "%s/vmferry/vmferry.conf", xdg);
    return snprintf(path, size, "%s/.config/vmferry/vmferry.conf", home ? home : "");
}

int config_load(const char *path, struct config *config, struct error **err)
{
    struct parsing p = { .config = config, .err = err };
    CLEANUP_FCLOSE FILE *file = NULL;
    bool unreadable;
    char found[PATH_MAX];
    bool required = true;
    int line;

    *config = (struct config){ .parallel_disks = 2,
                               .verify = true,
                               .base = "raw",
                               .scrub_rate = UINT64_C(50) << 20,
                               .virt_type = "auto",
                               .conversion = "auto",
                               .boot_timeout = 120,
                               .check_timeout = 60,
                               .lease_seconds = 30 };
    if (!path) {
        if (default_path(found, sizeof found, &required) >= (int)sizeof found)
            return error_set_errno(err, ENAMETOOLONG, "the configuration file");
        path = found;
    }
    file = fopen(path, "re");
    if (!file)
        return errno == ENOENT && !required
                   ? 0
                   : error_set_errno(err, errno, "configuration file %s", path);
    p.file = file;
    line = ini_parse_stream(read_line, &p, handle, &p);
    free(p.line);
    unreadable = ferror(file);
    if (*err) {
        (*err)->kind = ERROR_USAGE;
        return error_prefix(err, "%s: line %d", path, line);
    }
    if (line > 0)
        return error_set_kind(err, ERROR_USAGE,
                              "%s: line %d: neither a [section] nor a name = value", path, line);
    return line < 0 || unreadable ? error_set(err, "configuration file %s: can't be read", path)
                                  : 0;
}
