/* A stand-in for nbdkit's vddk plugin, which Debian does not have: it takes the same
 * parameters, is as strict about them and about requests as the library is, writes down what
 * it was given, and serves the file that VDDK_FIND names for a VM, a snapshot and a disk.
 *
 *   VDDK_LOG       a line for each parameter; of the password only whether it is
 *                  VDDK_PASSWORD
 *   VDDK_FIND      a program: its arguments are vm, snapshot and file, its output is a path */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define SECTOR       512
#define CHUNK        (128 * SECTOR) /* in which the library says what is allocated */
#define NFC_MAX      (2 << 20)

static const char *const known[] = { "libdir",     "server",      "port",        "user",
                                     "thumbprint", "vm",          "snapshot",    "file",
                                     "transports", "compression", "single-link", NULL };
static char *values[16];
static bool password_is_right;

static void note(const char *key, const char *value)
{
    const char *path = getenv("VDDK_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;

    if (log) {
        fprintf(log, "%s=%s\n", key, value);
        fclose(log);
    }
}

static const char *value_of(const char *key)
{
    for (size_t i = 0; known[i]; i++) {
        if (strcmp(known[i], key) == 0)
            return values[i];
    }
    return NULL;
}

static int config(const char *key, const char *value)
{
    if (strcmp(key, "password") == 0) {
        char *password = NULL;

        if (value[0] != '+' || nbdkit_read_password(value, &password) < 0) {
            nbdkit_error("the password is not in a file");
            return -1;
        }
        password_is_right = strcmp(password, getenv("VDDK_PASSWORD")) == 0;
        free(password);
        note("password", password_is_right ? "right" : "wrong");
        return 0;
    }
    for (size_t i = 0; known[i]; i++) {
        if (strcmp(known[i], key) == 0) {
            values[i] = strdup(value);
            note(key, value);
            return values[i] ? 0 : -1;
        }
    }
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
}

static int config_complete(void)
{
    static const char *const needed[] = { "server",   "user", "thumbprint", "vm",
                                          "snapshot", "file", NULL };

    for (size_t i = 0; needed[i]; i++) {
        if (!value_of(needed[i])) {
            nbdkit_error("parameter '%s' is missing", needed[i]);
            return -1;
        }
    }
    if (strncmp(value_of("vm"), "moref=", 6) != 0 || strlen(value_of("thumbprint")) != 59 ||
        value_of("single-link") || !password_is_right) {
        nbdkit_error("VixDiskLib_ConnectEx: Cannot connect to host");
        return -1;
    }
    return 0;
}

static char *find_file(void)
{
    char *command = NULL, *path = NULL;
    FILE *found;
    size_t size;

    if (asprintf(&command, "%s '%s' '%s' '%s'", getenv("VDDK_FIND"), value_of("vm") + 6,
                 value_of("snapshot"), value_of("file")) < 0)
        return NULL;
    found = popen(command, "r");
    free(command);
    if (!found)
        return NULL;
    if (getline(&path, &size, found) <= 0)
        path[0] = '\0';
    pclose(found);
    path[strcspn(path, "\n")] = '\0';
    return path;
}

static void *open_disk(int readonly)
{
    int *fd = malloc(sizeof *fd);
    char *path = find_file();

    *fd = readonly && path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    free(path);
    if (*fd >= 0)
        return fd;
    free(fd);
    nbdkit_error("VixDiskLib_Open: The specified virtual disk could not be opened");
    return NULL;
}

static void close_disk(void *handle)
{
    close(*(int *)handle);
    free(handle);
}

static int64_t get_size(void *handle)
{
    struct stat st;

    return fstat(*(int *)handle, &st) < 0 ? -1 : st.st_size;
}

static int block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    (void)handle;
    *minimum = SECTOR;
    *preferred = CHUNK;
    *maximum = UINT32_MAX;
    return 0;
}

static int pread_disk(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)flags;
    if (count % SECTOR || offset % SECTOR || count > NFC_MAX) {
        nbdkit_error("VixDiskLib_Read: One of the parameters was invalid (%u at %llu)", count,
                     (unsigned long long)offset);
        return -1;
    }
    return pread(*(int *)handle, buf, count, (off_t)offset) == (ssize_t)count ? 0 : -1;
}

static int can_extents(void *handle)
{
    (void)handle;
    return 1;
}

/* Whole chunks; what is after the last whole one is data. */
static int extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                   struct nbdkit_extents *list)
{
    uint64_t end = offset + count, whole = (uint64_t)get_size(handle) / CHUNK * CHUNK;

    (void)flags;
    for (uint64_t at = offset / CHUNK * CHUNK; at < end; at += CHUNK) {
        off_t data = lseek(*(int *)handle, (off_t)at, SEEK_DATA);
        bool hole = at < whole && (data < 0 || (uint64_t)data >= at + CHUNK);
        uint64_t from = at < offset ? offset : at, to = at + CHUNK < end ? at + CHUNK : end;

        if (nbdkit_add_extent(list, from, to - from,
                              hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0) < 0)
            return -1;
    }
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "vddk",
    .config = config,
    .config_complete = config_complete,
    .open = open_disk,
    .close = close_disk,
    .get_size = get_size,
    .block_size = block_size,
    .pread = pread_disk,
    .can_extents = can_extents,
    .extents = extents,
};

NBDKIT_REGISTER_PLUGIN(plugin)
