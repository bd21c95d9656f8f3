/* The audit log; see store.h. */
#include <fcntl.h>
#include <pwd.h>
#include <string.h>

#include "escape.h"
#include "json-writer.h"
#include "store/statement.h"

#define NOBODY_LOGGED_IN 4294967295UL

static void user_name(uid_t uid, char *name, size_t size)
{
    char buffer[4096];
    struct passwd entry, *found = NULL;

    if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found)
        snprintf(name, size, "%s (uid %u)", found->pw_name, (unsigned)uid);
    else
        snprintf(name, size, "uid %u", (unsigned)uid);
}

/* The one who logged in, as the kernel remembers it over su and sudo. */
static bool login_user(uid_t *uid)
{
    CLEANUP_FCLOSE FILE *file = fopen("/proc/self/loginuid", "re");
    unsigned long value;

    if (!file || fscanf(file, "%lu", &value) != 1 || value == NOBODY_LOGGED_IN)
        return false;
    *uid = (uid_t)value;
    return true;
}

static void find_who(char who[STORE_NAME])
{
    const char *sudo = getenv("SUDO_USER");
    char user[96], login[96] = "", text[STORE_NAME];
    uid_t uid;

    user_name(getuid(), user, sizeof user);
    if (login_user(&uid) && uid != getuid())
        user_name(uid, login, sizeof login);
    snprintf(text, sizeof text, "%s%s%s%s%.40s", user, *login ? ", logged in as " : "", login,
             sudo ? ", sudo by " : "", sudo ? sudo : "");
    copy_utf8(who, STORE_NAME, text);
}

/* "vmferry replicate app01": the words that this process was started with. */
static void find_command(char command[STORE_PATH])
{
    CLEANUP_CLOSE int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    char words[STORE_PATH];
    ssize_t n = fd < 0 ? -1 : read(fd, words, sizeof words - 1);
    const char *base;

    command[0] = '\0';
    if (n <= 0)
        return;
    words[n] = '\0';
    base = strrchr(words, '/'); /* of the first word */
    base = base ? base + 1 : words;
    for (ssize_t i = 0; i + 1 < n; i++) {
        if (words[i] == '\0')
            words[i] = ' ';
    }
    mask_secrets((char *)base);
    copy_utf8(command, STORE_PATH, base);
}

static int add(struct store *store, int64_t vm_id, const char *what, const char *subject,
               const char *before, const char *after, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "INSERT INTO audit_log (who, host, command, what, subject, vm_uuid, vm_name, "
               "`before`, `after`, created_at) VALUES (?, ?, ?, ?, ?, "
               "(SELECT uuid FROM vms WHERE id = ?), (SELECT name FROM vms WHERE id = ?), "
               "?, ?, ?)");
    char who[STORE_NAME], host[STORE_NAME] = "", command[STORE_PATH], text[STORE_PLACE];

    find_who(who);
    find_command(command);
    gethostname(host, sizeof host - 1);
    bind_text(&s, who);
    bind_text(&s, host);
    bind_text(&s, command);
    bind_text(&s, what);
    copy_utf8(text, STORE_PATH, subject ? subject : "");
    mask_secrets(text);
    bind_text(&s, text);
    bind_int(&s, vm_id);
    bind_int(&s, vm_id);
    copy_utf8(text, sizeof text, before ? before : "");
    mask_secrets(text);
    bind_text(&s, text);
    copy_utf8(text, sizeof text, after ? after : "");
    mask_secrets(text);
    bind_text(&s, text);
    bind_int(&s, store_now_ms());
    return run(&s, err);
}

static void read_id(struct statement *s, void *id)
{
    *(int64_t *)id = take_int(s);
}

#define EXPORT_PREFIX "migration-vm-"
#define UUID_LENGTH   36

/* Of a uuid, or of an export's name, which has it. */
static void uuid_of(const char *subject, char uuid[STORE_UUID])
{
    if (subject && strncmp(subject, EXPORT_PREFIX, strlen(EXPORT_PREFIX)) == 0)
        subject += strlen(EXPORT_PREFIX);
    snprintf(uuid, STORE_UUID, "%.*s", UUID_LENGTH, subject ? subject : "");
}

int store_audit(struct store *store, const char *what, const char *subject, const char *before,
                const char *after, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, "SELECT id FROM vms WHERE uuid = ?");
    char uuid[STORE_UUID];
    int64_t vm_id = 0;
    bool found;

    uuid_of(subject, uuid);
    bind_text(&s, uuid);
    if (read_first(&s, read_id, &vm_id, &found, err) < 0)
        return -1;
    return add(store, vm_id, what, subject, before, after, err);
}

static void read_uuid(struct statement *s, void *uuid)
{
    take_text(s, uuid, STORE_UUID);
}

int store_audit_vm(struct store *store, int64_t vm_id, const char *what, const char *subject,
                   const char *before, const char *after, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(store, "SELECT uuid FROM vms WHERE id = ?");
    char uuid[STORE_UUID] = "";
    bool found;

    bind_int(&s, vm_id);
    if (!subject && read_first(&s, read_uuid, uuid, &found, err) < 0)
        return -1;
    return add(store, vm_id, what, subject ? subject : uuid, before, after, err);
}

/* NULL: there is none, or no memory for it. */
static char *source_json(const struct store_source *source)
{
    char *text = NULL;
    size_t size;
    FILE *out = source ? open_memstream(&text, &size) : NULL;
    struct json_writer json = { .out = out, .compact = true };

    if (!out)
        return NULL;
    json_open(&json, NULL, '{');
    json_put_text(&json, "kind", source->kind);
    json_put_text(&json, "location", source->location);
    json_put_raw(&json, "options", source->options[0] ? source->options : "null");
    json_close(&json, '}');
    fclose(out);
    return text;
}

int store_audit_source(struct store *store, const char *what, const struct store_source *before,
                       const struct store_source *after, struct error **err)
{
    CLEANUP_FREE char *was = source_json(before);
    CLEANUP_FREE char *is = source_json(after);

    return add(store, 0, what, before ? before->name : after->name, was, is, err);
}

static void read_audit(struct statement *s, void *record)
{
    struct store_audit_row *row = record;

    row->id = take_int(s);
    take_text(s, row->who, sizeof row->who);
    take_text(s, row->host, sizeof row->host);
    take_text(s, row->command, sizeof row->command);
    take_text(s, row->what, sizeof row->what);
    take_text(s, row->subject, sizeof row->subject);
    take_text(s, row->vm_uuid, sizeof row->vm_uuid);
    take_text(s, row->vm_name, sizeof row->vm_name);
    take_text(s, row->before, sizeof row->before);
    take_text(s, row->after, sizeof row->after);
    row->created_ms = take_int(s);
}

#define AUDIT_SELECT                                                                               \
    "SELECT id, who, host, command, what, subject, vm_uuid, vm_name, `before`, `after`, "          \
    "created_at FROM audit_log WHERE (created_at > ? OR (created_at = ? AND id > ?)) "

int store_audits(struct store *store, const char *vm, int64_t after_ms, int64_t after_id,
                 unsigned limit, struct store_audit_row **rows, size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, vm ? AUDIT_SELECT "AND (vm_uuid = ? OR vm_name = ?) "
                                           "ORDER BY created_at, id LIMIT ?"
                            : AUDIT_SELECT "ORDER BY created_at, id LIMIT ?");

    bind_int(&s, after_ms);
    bind_int(&s, after_ms);
    bind_int(&s, after_id);
    if (vm) {
        bind_text(&s, vm);
        bind_text(&s, vm);
    }
    bind_int(&s, limit);
    return read_all(&s, read_audit, sizeof **rows, rows, count, err);
}
