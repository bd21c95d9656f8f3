/* Looking for listeners; see listener.h. */
#include "failover/listener.h"

#include <json.h>
#include <string.h>

#include "failover/guest.h"

#define AGENT_TIMEOUT_S 5
#define FILE_MOST       (512 << 10)
#define PART            32768 /* an answer of it is below what guest_call() takes */
#define LISTENS         0x0a  /* of the kernel's states */

/* "0100007F", "00000000000000000000000001000000": nobody else gets there. */
static bool is_loopback(const char *address, size_t length)
{
    if (length == 8)
        return strncmp(address + 6, "7F", 2) == 0;
    return strncmp(address, "000000000000000000000000", 24) == 0 &&
           strncmp(address + 24, "01000000", 8) == 0;
}

static bool is_listener(const char *line, unsigned port)
{
    char local[33], remote[33];
    unsigned local_port, remote_port, state;

    return sscanf(line, " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %x", local, &local_port, remote,
                  &remote_port, &state) == 5 &&
           local_port == port && state == LISTENS && !is_loopback(local, strlen(local));
}

bool listener_in(const char *table, unsigned port)
{
    for (const char *line = table; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (is_listener(line, port))
            return true;
    }
    return false;
}

static json_object *with_handle(int64_t handle)
{
    json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "handle", json_object_new_int64(handle));
    return arguments;
}

/* Up to its end, or FILE_MOST. */
static int read_all(virDomainPtr domain, int64_t handle, FILE *out, struct error **err)
{
    bool ended = false;

    while (!ended && ftell(out) < FILE_MOST) {
        json_object *arguments = with_handle(handle), *answer = NULL;
        CLEANUP_FREE char *part = NULL;

        json_object_object_add(arguments, "count", json_object_new_int(PART));
        if (guest_call(domain, "guest-file-read", arguments, AGENT_TIMEOUT_S, &answer, err) < 0)
            return -1;
        part = guest_text(json_object_object_get(answer, "buf-b64"));
        ended = !part || !*part || json_object_get_boolean(json_object_object_get(answer, "eof"));
        json_object_put(answer);
        fputs(part ? part : "", out);
    }
    return 0;
}

/* The caller's to free. */
static char *read_file(virDomainPtr domain, const char *path, struct error **err)
{
    json_object *arguments = json_object_new_object(), *answer = NULL;
    CLEANUP_ERROR struct error *ignored = NULL;
    char *text = NULL;
    int64_t handle;
    size_t size;
    FILE *out;
    int r;

    json_object_object_add(arguments, "path", json_object_new_string(path));
    if (guest_call(domain, "guest-file-open", arguments, AGENT_TIMEOUT_S, &answer, err) < 0)
        return NULL;
    handle = json_object_get_int64(answer);
    json_object_put(answer);
    out = open_memstream(&text, &size);
    r = out ? read_all(domain, handle, out, err) : error_set_errno(err, errno, "reading %s", path);
    if (out)
        fclose(out);
    answer = NULL;
    guest_call(domain, "guest-file-close", with_handle(handle), AGENT_TIMEOUT_S, &answer, &ignored);
    json_object_put(answer);
    if (r < 0) {
        free(text);
        return NULL;
    }
    return text;
}

int listener_find(virDomainPtr domain, unsigned port, bool *found, struct error **err)
{
    static const char *const paths[] = { "/proc/net/tcp", "/proc/net/tcp6" };

    *found = false;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0] && !*found; i++) {
        CLEANUP_ERROR struct error *none = NULL;
        CLEANUP_FREE char *table = read_file(domain, paths[i], &none);

        if (table)
            *found = listener_in(table, port);
        else if (i == 0) /* a guest may have no IPv6 */
            return error_move(err, &none);
    }
    return 0;
}
