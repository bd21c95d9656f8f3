/* nbdkit's command lines; see transport.h. What comes in: a transport and a disk. What goes
 * out: words. Nothing is started here, and nothing secret is in them.
 *
 * The filters, from the client's side:
 *
 *   cbt        what the map or the plugin calls zero is answered here and never read
 *   blocksize  requests of at most 2 MiB: vCenter's NFC service allots its buffers by request
 *   retry      beside the plugin, so that a lost connection costs one such request */
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "program.h"
#include "source/vsphere/transport.h"

#define CBT_FILTER "nbdkit-cbt-filter.so"
#define NFC_MAX    "2M"
/* Less than the copy engine waits, so that the reason is told. */
#define CURL_TIMEOUT_S "50"
#define SSH_TIMEOUT_S  "50"
/* The file is written anew whenever we had to log in again. */
#define COOKIE_RENEW_S "3"

static void add(struct command_line *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct command_line *command, const char *fmt, ...)
{
    size_t last = sizeof command->words / sizeof command->words[0] - 1;
    va_list args;

    if (command->failed || command->count == last) {
        command->failed = true;
        return;
    }
    va_start(args, fmt);
    command->failed = vasprintf(&command->words[command->count], fmt, args) < 0;
    va_end(args);
    if (command->failed)
        command->words[command->count] = NULL;
    else
        command->count++;
}

static void add_option(struct command_line *command, const char *name, const char *value)
{
    if (value && value[0])
        add(command, "%s=%s", name, value);
}

void command_free(struct command_line *command)
{
    for (size_t i = 0; i < command->count; i++)
        free(command->words[i]);
    *command = (struct command_line){ 0 };
}

/* For a URL: all but the plainest characters as %XX; '/' stays when it is in `also`. The
 * caller frees it. */
static char *escape(const char *text, const char *also)
{
    char *escaped = malloc(3 * strlen(text) + 1), *to = escaped;

    for (; escaped && *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("-._~", *text) || strchr(also, *text))
            *to++ = *text;
        else
            to += sprintf(to, "%%%02X", (unsigned char)*text);
    }
    if (escaped)
        *to = '\0';
    return escaped;
}

/* For a command that nbdkit hands to the shell: 'it'\''s'. The caller frees it. */
static char *quote(const char *text)
{
    char *quoted = malloc(4 * strlen(text) + 3), *to = quoted;

    if (!quoted)
        return NULL;
    *to++ = '\'';
    for (; *text; text++) {
        if (*text == '\'')
            to = stpcpy(to, "'\\''");
        else
            *to++ = *text;
    }
    strcpy(to, "'");
    return quoted;
}

/* libssh expands % in file names. */
static char *double_percents(const char *text)
{
    char *doubled = malloc(2 * strlen(text) + 1), *to = doubled;

    for (; doubled && *text; text++) {
        if (*text == '%')
            *to++ = '%';
        *to++ = *text;
    }
    if (doubled)
        *to = '\0';
    return doubled;
}

/* "[ds1] app01/app01.vmdk" → "ds1", "app01/app01-flat.vmdk". */
static int split_file(const char *file, char datastore[256], char path[1024], struct error **err)
{
    const char *end = file[0] == '[' ? strchr(file, ']') : NULL;
    size_t length, name = end ? (size_t)(end - file - 1) : 0;

    if (!end || name == 0 || name >= 256 || end[1] != ' ' || !end[2])
        return error_set(err, "'%s' is no name of a datastore's file", file);
    memcpy(datastore, file + 1, name);
    datastore[name] = '\0';
    length = strlen(end + 2);
    if (length <= 5 || strcmp(end + 2 + length - 5, ".vmdk") != 0 || length + 6 > 1024)
        return error_set(err, "'%s' is no name of a disk's descriptor", file);
    sprintf(path, "%.*s-flat.vmdk", (int)length - 5, end + 2);
    return 0;
}

static void add_filters(struct command_line *command)
{
    char path[PATH_MAX];
    const char *cbt = program_find(CBT_FILTER, path);

    add(command, "--filter=%s", cbt == path ? path : "cbt");
    add(command, "--filter=blocksize");
    add(command, "--filter=retry");
}

static void add_filter_options(struct command_line *command, const struct transport_disk *disk)
{
    add(command, "maxdata=" NFC_MAX);
    /* A lost connection is made again; the copy engine tries for longer, and says why. */
    add(command, "retries=1");
    add(command, "retry-delay=1");
    if (!disk->map || !disk->map[0])
        return;
    add(command, "cbt-map=%s", disk->map);
    add(command, "cbt-size=%llu", (unsigned long long)disk->capacity);
    /* Outside of what is in use there are zeroes; outside of what changed there is something
     * that the replica has. */
    add(command, "cbt-unchanged=%s", disk->map_is_used ? "zero" : "hole");
}

static int add_https(struct command_line *command, const struct transport_access *access,
                     const struct transport_disk *disk, struct error **err)
{
    char datastore[256], path[1024];
    CLEANUP_FREE char *url_path = NULL, *url_datacenter = NULL, *url_datastore = NULL;
    CLEANUP_FREE char *cookie = quote(access->cookie_file);

    if (split_file(disk->file, datastore, path, err) < 0)
        return -1;
    url_path = escape(path, "/");
    url_datacenter = escape(disk->datacenter, "");
    url_datastore = escape(datastore, "");
    if (!url_path || !url_datacenter || !url_datastore || !cookie)
        return error_set_errno(err, ENOMEM, "starting nbdkit");
    add(command, "curl");
    add(command, "url=https://%s/folder/%s?dcPath=%s&dsName=%s", access->server, url_path,
        url_datacenter, url_datastore);
    add(command, "protocols=https");
    /* The cookie goes to this server and to no other. */
    add(command, "followlocation=false");
    add(command, "cookie-script=cat %s", cookie);
    add(command, "cookie-script-renew=" COOKIE_RENEW_S);
    if (access->ca_file[0]) {
        add(command, "cainfo=%s", access->ca_file);
        /* Debian's curl would trust the system's CAs beside it. */
        add(command, "capath=%s", access->no_cas);
    }
    add(command, "timeout=" CURL_TIMEOUT_S);
    return 0;
}

static int add_ssh(struct command_line *command, const struct transport_options *options,
                   const struct transport_access *access, const struct transport_disk *disk,
                   struct error **err)
{
    char datastore[256], path[1024];
    CLEANUP_FREE char *identity = double_percents(options->ssh_identity);
    CLEANUP_FREE char *known_hosts = double_percents(options->ssh_known_hosts);

    if (split_file(disk->file, datastore, path, err) < 0)
        return -1;
    if (!identity || !known_hosts)
        return error_set_errno(err, ENOMEM, "starting nbdkit");
    add(command, "ssh");
    add(command, "host=%s", options->ssh_host[0] ? options->ssh_host : access->esxi);
    add_option(command, "port", options->ssh_port);
    add(command, "user=%s", options->ssh_user[0] ? options->ssh_user : "root");
    add_option(command, "identity", identity);
    add_option(command, "known-hosts", known_hosts);
    add(command, "timeout=" SSH_TIMEOUT_S);
    add(command, "path=/vmfs/volumes/%s/%s", datastore, path);
    return 0;
}

static void add_vddk(struct command_line *command, const struct transport_options *options,
                     const struct transport_access *access, const struct transport_disk *disk)
{
    const char *bracket = strchr(access->server, ']'); /* [::1]:443 */
    const char *colon = strchr(bracket ? bracket : access->server, ':');
    size_t host = colon ? (size_t)(colon - access->server) : strlen(access->server);

    add(command, "vddk");
    add_option(command, "libdir", options->vddk_libdir);
    add(command, "server=%.*s", (int)host, access->server);
    if (colon && strcmp(colon, ":443") != 0)
        add(command, "port=%s", colon + 1);
    add(command, "user=%s", access->user);
    add(command, "password=+%s", access->password_file);
    add(command, "thumbprint=%s", access->thumbprint);
    add(command, "vm=moref=%s", disk->vm);
    add(command, "snapshot=%s", disk->snapshot);
    add_option(command, "transports", options->vddk_transports);
    add_option(command, "compression", options->vddk_compression);
    add(command, "file=%s", disk->file);
}

int transport_command(enum transport transport, const struct transport_options *options,
                      const struct transport_access *access, const struct transport_disk *disk,
                      struct command_line *command, struct error **err)
{
    int r = 0;

    add(command, "nbdkit");
    add(command, "--foreground");
    add(command, "--exit-with-parent");
    add(command, "--readonly");
    add_filters(command);
    if (transport == TRANSPORT_HTTPS)
        r = add_https(command, access, disk, err);
    else if (transport == TRANSPORT_SSH)
        r = add_ssh(command, options, access, disk, err);
    else
        add_vddk(command, options, access, disk);
    if (r < 0)
        return -1;
    add_filter_options(command, disk);
    return command->failed ? error_set_errno(err, ENOMEM, "starting nbdkit") : 0;
}
