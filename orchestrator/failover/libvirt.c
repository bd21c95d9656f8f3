/* Connection and errors; see libvirt.h. */
#include "failover/libvirt.h"

#include <libvirt/virterror.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* libvirt prints errors to stderr unless somebody takes them. */
static void ignore(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

int libvirt_connect(const char *uri, virConnectPtr *connection, struct error **err)
{
    if (!uri || !*uri)
        uri = getenv("LIBVIRT_DEFAULT_URI");
    if (!uri || !*uri)
        uri = geteuid() == 0 ? "qemu:///system" : "qemu:///session";
    virSetErrorFunc(NULL, ignore);
    *connection = virConnectOpen(uri);
    if (!*connection)
        return libvirt_error(err, "connecting to libvirt at %s (does libvirtd run?)", uri);
    return 0;
}

/* driver[+transport]://[user@][host][:port]/path */
bool libvirt_is_remote(virConnectPtr connection)
{
    char *uri = virConnectGetURI(connection);
    const char *scheme_end = uri ? strstr(uri, "://") : NULL;
    const char *plus = uri ? strchr(uri, '+') : NULL;
    bool remote = !scheme_end || scheme_end[3] != '/';

    if (scheme_end && plus && plus < scheme_end && strncmp(plus, "+unix:", 6) != 0)
        remote = true;
    free(uri);
    return remote;
}

int libvirt_error(struct error **err, const char *fmt, ...)
{
    CLEANUP_FREE char *context = NULL;
    va_list args;
    int length;

    va_start(args, fmt);
    length = vasprintf(&context, fmt, args);
    va_end(args);
    if (length < 0) {
        context = NULL;
        return error_set(err, "libvirt: %s", virGetLastErrorMessage());
    }
    return error_set(err, "%s: %s", context, virGetLastErrorMessage());
}
