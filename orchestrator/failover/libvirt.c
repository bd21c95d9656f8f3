/* Connection and errors; see libvirt.h. */
#include "failover/libvirt.h"

#include <libvirt/virterror.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* libvirt prints errors to stderr unless somebody takes them. */
static void ignore(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

int libvirt_connect(virConnectPtr *connection, struct error **err)
{
    const char *uri = getenv("LIBVIRT_DEFAULT_URI");

    if (!uri || !*uri)
        uri = geteuid() == 0 ? "qemu:///system" : "qemu:///session";
    virSetErrorFunc(NULL, ignore);
    *connection = virConnectOpen(uri);
    if (!*connection)
        return libvirt_error(err, "connecting to libvirt at %s (does libvirtd run?)", uri);
    return 0;
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
