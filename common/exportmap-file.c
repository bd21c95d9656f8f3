/* Map files; see exportmap-file.h. */
#include "exportmap-file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "qcow2-header.h"

#define OPEN_ATTEMPTS 100
#define JSON_DEPTH    4
#define WAIT_STEP_MS  5

static void cleanup_json(json_object **object)
{
    json_object_put(*object);
}
#define CLEANUP_JSON CLEANUP(cleanup_json)

static void cleanup_tokener(json_tokener **tokener)
{
    if (*tokener)
        json_tokener_free(*tokener);
}

void exportmap_file_free(struct exportmap_file *map)
{
    free(map->path);
    free(map->lease);
    free(map->description);
    exportmap_identity_free(&map->identity);
    *map = (struct exportmap_file){ 0 };
}

const char *exportmap_format_name(enum exportmap_format format)
{
    return format == EXPORTMAP_QCOW2 ? "qcow2" : "raw";
}

/* The length of the UTF-8 character at `p`, 0 when it is none. */
static size_t utf8_length(const unsigned char *p)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t code;

    if (length <= 1)
        return length;
    code = p[0] & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fU);
    }
    if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    return length;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

bool exportmap_name_ignored(const char *name)
{
    return name[0] == '.' || ends_with(name, "~") || ends_with(name, ".tmp");
}

const char *exportmap_name_problem(const char *name)
{
    size_t step;

    if (name[0] == '\0')
        return "is empty";
    if (strlen(name) > EXPORTMAP_NAME_MAX)
        return "is too long";
    if (exportmap_name_ignored(name))
        return "is that of a hidden or temporary file";
    for (const char *p = name; *p; p += step) {
        step = utf8_length((const unsigned char *)p);
        if (step == 0)
            return "is not UTF-8";
        /* U+0080 to U+009F are control characters too: some terminals obey them. */
        if ((unsigned char)*p < 0x20 || *p == 0x7f ||
            (step == 2 && (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] < 0xa0))
            return "holds a control character";
        if (*p == '/' || *p == '@')
            return "holds a '/' or '@'";
    }
    return NULL;
}

bool exportmap_lease_ok(const char *lease)
{
    size_t length = strlen(lease);

    return length > 0 && length <= EXPORTMAP_LEASE_MAX &&
           strspn(lease, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               length;
}

/* ---- JSON to struct ---- */

/* The value as new text; NULL with an error when it is not a string or holds a NUL. */
static char *take_string(json_object *value, struct error **err)
{
    char *text;

    if (!json_object_is_type(value, json_type_string) ||
        strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value)) {
        error_set(err, "is not a string");
        return NULL;
    }
    text = strdup(json_object_get_string(value));
    if (!text)
        error_set_errno(err, ENOMEM, "reading it");
    return text;
}

static int take_number(json_object *value, uint64_t *number, struct error **err)
{
    /* json-c answers the largest number there is for any that is larger. */
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0 ||
        json_object_get_uint64(value) == UINT64_MAX)
        return error_set(err, "is not a whole number from 0 on");
    *number = json_object_get_uint64(value);
    return 0;
}

/* A device number may also be given as stat(2) counts it. */
static int parse_device(json_object *value, char **text, struct error **err)
{
    uint64_t number;

    if (take_number(value, &number, err) < 0)
        return -1;
    if (asprintf(text, "%u:%u", major((dev_t)number), minor((dev_t)number)) < 0) {
        *text = NULL;
        return error_set_errno(err, ENOMEM, "reading it");
    }
    return 0;
}

static int parse_identity_value(enum exportmap_key key, json_object *value, char **text,
                                struct error **err)
{
    uint64_t number;

    if ((key == EXPORTMAP_DEV || key == EXPORTMAP_BACKING_DEV) &&
        json_object_is_type(value, json_type_int))
        return parse_device(value, text, err);
    if (!exportmap_key_is_number(key)) {
        *text = take_string(value, err);
        return *text ? 0 : -1;
    }
    if (take_number(value, &number, err) < 0)
        return -1;
    if (asprintf(text, "%" PRIu64, number) < 0) {
        *text = NULL;
        return error_set_errno(err, ENOMEM, "reading it");
    }
    return 0;
}

static int parse_identity(json_object *value, struct exportmap_file *map, struct error **err)
{
    if (!json_object_is_type(value, json_type_object))
        return error_set(err, "is not an object");
    json_object_object_foreach(value, name, member)
    {
        enum exportmap_key key = exportmap_key_find(name);

        if (key == EXPORTMAP_KEYS)
            return error_set(err, "%s: no such key", name);
        if (parse_identity_value(key, member, &map->identity.value[key], err) < 0)
            return error_prefix(err, "%s", name);
    }
    return 0;
}

static int parse_path(json_object *value, struct exportmap_file *map, struct error **err)
{
    map->path = take_string(value, err);
    if (!map->path)
        return -1;
    if (map->path[0] != '/')
        return error_set(err, "'%s' does not start with '/'", map->path);
    return 0;
}

static int parse_format(json_object *value, struct exportmap_file *map, struct error **err)
{
    CLEANUP_FREE char *text = take_string(value, err);

    if (!text)
        return -1;
    if (strcmp(text, "raw") != 0 && strcmp(text, "qcow2") != 0)
        return error_set(err, "'%s' is not raw or qcow2", text);
    map->format = strcmp(text, "raw") == 0 ? EXPORTMAP_RAW : EXPORTMAP_QCOW2;
    return 0;
}

static int parse_size(json_object *value, struct exportmap_file *map, struct error **err)
{
    if (take_number(value, &map->size, err) < 0)
        return -1;
    if (map->size > INT64_MAX)
        return error_set(err, "is larger than a disk can be");
    return 0;
}

static int parse_mode(json_object *value, struct exportmap_file *map, struct error **err)
{
    CLEANUP_FREE char *text = take_string(value, err);

    if (!text)
        return -1;
    if (strcmp(text, "ro") != 0 && strcmp(text, "rw") != 0)
        return error_set(err, "'%s' is not ro or rw", text);
    map->writable = strcmp(text, "rw") == 0;
    return 0;
}

static int parse_lease(json_object *value, struct exportmap_file *map, struct error **err)
{
    if (json_object_is_type(value, json_type_null))
        return 0;
    map->lease = take_string(value, err);
    if (!map->lease)
        return -1;
    if (!exportmap_lease_ok(map->lease))
        return error_set(err, "is not 1 to %zu characters of A-Z a-z 0-9 . _ -",
                         EXPORTMAP_LEASE_MAX);
    return 0;
}

static int parse_description(json_object *value, struct exportmap_file *map, struct error **err)
{
    if (json_object_is_type(value, json_type_null))
        return 0;
    map->description = take_string(value, err);
    if (!map->description)
        return -1;
    if (strlen(map->description) > EXPORTMAP_DESCRIPTION_MAX)
        return error_set(err, "is longer than %zu bytes", EXPORTMAP_DESCRIPTION_MAX);
    return 0;
}

static const struct {
    const char *name;
    bool required;
    int (*parse)(json_object *value, struct exportmap_file *map, struct error **err);
} members[] = {
    { "path", true, parse_path },
    { "format", true, parse_format },
    { "size", true, parse_size },
    { "identity", false, parse_identity },
    { "mode", true, parse_mode },
    { "lease", false, parse_lease },
    { "description", false, parse_description },
};
#define MEMBERS (sizeof members / sizeof members[0])

static int parse_member(const char *name, json_object *value, struct exportmap_file *map,
                        struct error **err)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        if (strcmp(members[i].name, name) != 0)
            continue;
        if (members[i].parse(value, map, err) < 0)
            return error_prefix(err, "%s", name);
        return 0;
    }
    return error_set(err, "%s: no such key", name);
}

static int parse_object(json_object *object, struct exportmap_file *map, struct error **err)
{
    if (!json_object_is_type(object, json_type_object))
        return error_set(err, "is not a JSON object");
    json_object_object_foreach(object, name, value)
    {
        if (parse_member(name, value, map, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        if (members[i].required && !json_object_object_get_ex(object, members[i].name, NULL))
            return error_set(err, "%s: is missing", members[i].name);
    }
    return 0;
}

int exportmap_file_parse(const char *text, size_t length, struct exportmap_file *map,
                         struct error **err)
{
    CLEANUP(cleanup_tokener) json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH);
    CLEANUP_JSON json_object *object = NULL;
    enum json_tokener_error status;

    *map = (struct exportmap_file){ 0 };
    if (!tokener)
        return error_set_errno(err, ENOMEM, "reading JSON");
    if (length > EXPORTMAP_FILE_MAX)
        return error_set(err, "is longer than %zu bytes", EXPORTMAP_FILE_MAX);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    object = json_tokener_parse_ex(tokener, text, (int)length);
    status = json_tokener_get_error(tokener);
    if (status != json_tokener_success)
        return error_set(err, "is not JSON: %s",
                         status == json_tokener_continue ? "it ends too early"
                                                         : json_tokener_error_desc(status));
    if (parse_object(object, map, err) < 0) {
        exportmap_file_free(map);
        return -1;
    }
    return 0;
}

/* ---- struct to JSON ---- */

/* Takes `value`, which is NULL when memory ran out. */
static int put(json_object *object, const char *name, json_object *value)
{
    if (!value)
        return -1;
    if (json_object_object_add(object, name, value) < 0) {
        json_object_put(value);
        return -1;
    }
    return 0;
}

static json_object *format_identity(const struct exportmap_identity *identity)
{
    CLEANUP_JSON json_object *object = json_object_new_object();

    for (enum exportmap_key key = 0; object && key < EXPORTMAP_KEYS; key++) {
        const char *text = identity->value[key];

        if (text &&
            put(object, exportmap_key_name(key),
                exportmap_key_is_number(key) ? json_object_new_uint64(strtoull(text, NULL, 10))
                                             : json_object_new_string(text)) < 0)
            return NULL;
    }
    return steal_ptr(object);
}

static json_object *format_terms(const struct exportmap_file *map)
{
    CLEANUP_JSON json_object *object = json_object_new_object();

    if (!object || put(object, "path", json_object_new_string(map->path)) < 0 ||
        put(object, "format", json_object_new_string(exportmap_format_name(map->format))) < 0 ||
        put(object, "size", json_object_new_uint64(map->size)) < 0 ||
        put(object, "identity", format_identity(&map->identity)) < 0)
        return NULL;
    if (map->lease && put(object, "lease", json_object_new_string(map->lease)) < 0)
        return NULL;
    return steal_ptr(object);
}

static char *to_text(json_object *object, int flags)
{
    const char *json =
        json_object_to_json_string_ext(object, flags | JSON_C_TO_STRING_NOSLASHESCAPE);
    char *text;

    if (!json || asprintf(&text, "%s\n", json) < 0)
        return NULL;
    return text;
}

char *exportmap_file_terms(const struct exportmap_file *map)
{
    CLEANUP_JSON json_object *object = format_terms(map);

    return object ? to_text(object, JSON_C_TO_STRING_PLAIN) : NULL;
}

char *exportmap_file_format(const struct exportmap_file *map)
{
    CLEANUP_JSON json_object *object = format_terms(map);

    if (!object || put(object, "mode", json_object_new_string(map->writable ? "rw" : "ro")) < 0)
        return NULL;
    if (!map->lease && json_object_object_add(object, "lease", NULL) < 0)
        return NULL;
    if (map->description &&
        put(object, "description", json_object_new_string(map->description)) < 0)
        return NULL;
    return to_text(object, JSON_C_TO_STRING_PRETTY);
}

/* ---- files ---- */

/* Opened without following a link out of the directory, and never waiting for a
 * FIFO's other end. */
static int open_beneath(int dirfd, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd = -1;

    /* EAGAIN: something was renamed while ".." in a link was looked up. */
    for (int i = 0; i < OPEN_ATTEMPTS; i++) {
        fd = syscall(SYS_openat2, dirfd, name, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    if (fd < 0 && errno == ENOSYS) /* before Linux 5.6, or under valgrind: no links at all */
        fd = openat(dirfd, name, (int)how.flags | O_NOFOLLOW);
    return (int)fd;
}

static int check_status(const struct stat *st, struct error **err)
{
    if (!S_ISREG(st->st_mode))
        return error_set(err, "is not a regular file");
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return error_set(err, "is owned by user %u, not by root or the server's own user",
                         st->st_uid);
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return error_set(err, "may be written by others (mode %03o); chmod go-w it",
                         st->st_mode & 0777);
    return 0;
}

/* The whole file, one byte more than allowed at most. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t length = 0;

    while (length < size) {
        ssize_t n = read(fd, buf + length, size - length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        length += (size_t)n;
    }
    return (ssize_t)length;
}

int exportmap_file_read(int dirfd, const char *name, struct exportmap_file *map, struct stat *st,
                        struct error **err)
{
    CLEANUP_CLOSE int fd = open_beneath(dirfd, name);
    CLEANUP_FREE char *text = malloc(EXPORTMAP_FILE_MAX + 1);
    ssize_t length;

    *map = (struct exportmap_file){ 0 };
    if (fd < 0 && errno == EXDEV)
        return error_set(err, "is a symbolic link that leads out of the map directory or is not "
                              "relative");
    if (fd < 0)
        return error_set_errno(err, errno, "opening it");
    if (!text)
        return error_set_errno(err, ENOMEM, "reading it");
    if (fstat(fd, st) < 0)
        return error_set_errno(err, errno, "fstat");
    if (check_status(st, err) < 0)
        return -1;
    length = read_all(fd, text, EXPORTMAP_FILE_MAX + 1);
    if (length < 0)
        return error_set_errno(err, errno, "reading it");
    if (exportmap_file_parse(text, (size_t)length, map, err) < 0)
        return -1;
    return steal_fd(fd);
}

int exportmap_file_probe(const char *path, enum exportmap_format format, struct exportmap_file *map,
                         struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct exportmap_disk disk;

    *map = (struct exportmap_file){ .format = format };
    if (fd < 0)
        return error_set_errno(err, errno, "%s", path);
    if (exportmap_disk_probe(fd, &disk, err) < 0)
        return error_prefix(err, "%s", path);
    map->size = disk.size;
    map->identity = disk.identity;
    if (disk.block) { /* its own number is given anew at every start */
        free(map->identity.value[EXPORTMAP_DEV]);
        map->identity.value[EXPORTMAP_DEV] = NULL;
    }
    /* Symbolic links stay: /dev/disk/by-id names are links, and good ones. */
    if (path[0] == '/') {
        map->path = strdup(path);
    } else {
        CLEANUP_FREE char *here = getcwd(NULL, 0);

        if (!here || asprintf(&map->path, "%s/%s", here, path) < 0)
            map->path = NULL;
    }
    if (!map->path)
        error_set_errno(err, ENOMEM, "%s", path);
    else if (format != EXPORTMAP_QCOW2 || qcow2_chain_check(path, &map->size, err) == 0)
        return 0;
    exportmap_file_free(map);
    return -1;
}

static int open_directory(const char *dir, struct error **err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, errno, "%s", dir);
    return fd;
}

static int write_all(int fd, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        ssize_t n = write(fd, text, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        text += n;
        left -= (size_t)n;
    }
    return 0;
}

static int write_and_rename(int dirfd, const char *temporary, const char *name, const char *text,
                            struct error **err)
{
    CLEANUP_CLOSE int fd =
        openat(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return error_set_errno(err, errno, "creating %s", temporary);
    if (write_all(fd, text) < 0 || fsync(fd) < 0 || renameat(dirfd, temporary, dirfd, name) < 0 ||
        fsync(dirfd) < 0) {
        error_set_errno(err, errno, "writing %s", temporary);
        unlinkat(dirfd, temporary, 0);
        return -1;
    }
    return 0;
}

/* What we write must be what a server can read: text that is no UTF-8, or too long, would make
 * the export vanish. */
static char *format_checked(const struct exportmap_file *map, struct error **err)
{
    CLEANUP(exportmap_file_free) struct exportmap_file again = { 0 };
    CLEANUP_FREE char *text = exportmap_file_format(map);

    if (!text)
        error_set_errno(err, ENOMEM, "its map file");
    else if (exportmap_file_parse(text, strlen(text), &again, err) < 0)
        error_prefix(err, "its map file");
    return *err ? NULL : steal_ptr(text);
}

int exportmap_file_write(const char *dir, const char *name, const struct exportmap_file *map,
                         struct error **err)
{
    CLEANUP_CLOSE int dirfd = -1;
    CLEANUP_FREE char *text = NULL;
    const char *problem = exportmap_name_problem(name);
    char temporary[EXPORTMAP_NAME_MAX + 32];

    if (problem)
        return error_set(err, "export name '%s' %s", name, problem);
    text = format_checked(map, err);
    if (!text)
        return error_prefix(err, "export %s", name);
    dirfd = open_directory(dir, err);
    if (dirfd < 0)
        return -1;
    /* Same process and thread: the same name; a dead one's leftover is overwritten. */
    snprintf(temporary, sizeof temporary, ".%s.%ld.tmp", name, (long)syscall(SYS_gettid));
    unlinkat(dirfd, temporary, 0);
    if (write_and_rename(dirfd, temporary, name, text, err) < 0)
        return error_prefix(err, "%s/%s", dir, name);
    return 0;
}

int exportmap_file_remove(const char *dir, const char *name, struct error **err)
{
    CLEANUP_CLOSE int dirfd = -1;
    const char *problem = exportmap_name_problem(name);

    if (problem)
        return error_set(err, "export name '%s' %s", name, problem);
    dirfd = open_directory(dir, err);
    if (dirfd < 0)
        return -1;
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "withdrawing %s/%s", dir, name);
    if (fsync(dirfd) < 0)
        return error_set_errno(err, errno, "withdrawing %s/%s", dir, name);
    return 0;
}

int exportmap_wait_unwritten(const char *dir, const char *name, int timeout_ms, struct error **err)
{
    CLEANUP_FREE char *path = NULL;
    CLEANUP_CLOSE int fd = -1;

    if (asprintf(&path, "%s/" EXPORTMAP_STATE_DIR "/" EXPORTMAP_LOCK, dir, name) < 0) {
        path = NULL;
        return error_set_errno(err, ENOMEM, "export %s", name);
    }
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return 0; /* nobody ever wrote to it */
    if (fd < 0)
        return error_set_errno(err, errno, "%s", path);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return error_set_errno(err, errno, "%s", path);
        if (timeout_ms <= 0) {
            error_set(err, "export %s is still held by a writer; `fuser -v %s` finds it", name,
                      path);
            (*err)->errnum = EBUSY;
            return -1;
        }
        nanosleep(&(struct timespec){ .tv_nsec = WAIT_STEP_MS * 1000000L }, NULL);
        timeout_ms -= WAIT_STEP_MS;
    }
    return 0;
}
