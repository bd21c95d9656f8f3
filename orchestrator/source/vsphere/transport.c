/* Which way a disk is read; see transport.h. */
#include "source/vsphere/transport.h"

#include <string.h>

#include "process.h"

#define ASK_MS 20000

static const char *const names[TRANSPORT_COUNT] = { "auto", "vddk", "https", "ssh" };

const char *transport_name(enum transport transport)
{
    return names[transport];
}

int transport_parse(const char *name, enum transport *transport, struct error **err)
{
    for (int i = 0; i < TRANSPORT_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            *transport = (enum transport)i;
            return 0;
        }
    }
    return error_set_kind(err, ERROR_USAGE, "'%s' is no transport: say auto, vddk, https or ssh",
                          name);
}

bool transport_has_vddk(const struct transport_options *options, char why[512])
{
    CLEANUP_ERROR struct error *missing = NULL;
    char libdir[PATH_MAX + 8];
    const char *argv[] = { "nbdkit", "vddk", "--dump-plugin", NULL, NULL };

    if (options->vddk_libdir[0]) {
        snprintf(libdir, sizeof libdir, "libdir=%s", options->vddk_libdir);
        argv[3] = libdir;
    }
    if (process_run(argv, ASK_MS, NULL, &missing) == 0)
        return true;
    if (strstr(error_message(missing), "cannot open plugin 'vddk'"))
        snprintf(why, 512, "nbdkit has no vddk plugin here");
    else
        snprintf(why, 512, "nbdkit's vddk plugin does not work: %s", error_message(missing));
    return false;
}

bool transport_fits(enum transport transport, const struct transport_options *options,
                    const struct transport_access *access, const struct transport_disk *disk,
                    char why[512])
{
    why[0] = '\0';
    if (transport == TRANSPORT_VDDK && access->no_thumbprint && access->no_thumbprint[0]) {
        snprintf(why, 512, "%s", access->no_thumbprint);
        return false;
    }
    if (transport == TRANSPORT_VDDK)
        return transport_has_vddk(options, why);
    if (disk->parents > 0)
        snprintf(why, 512,
                 "the disk had a snapshot before this one: its data is in sparse files on top of "
                 "the flat one, which only vddk reads");
    else if (!disk->flat)
        snprintf(why, 512, "%s is no flat file of a datastore, and only vddk reads it", disk->file);
    else if (transport == TRANSPORT_HTTPS && !disk->datacenter[0])
        snprintf(why, 512, "the VM's datacenter is not to be seen, and its files are named by it");
    else if (transport == TRANSPORT_SSH && !options->ssh_host[0] && !access->esxi[0])
        snprintf(why, 512, "it is not known which ESXi host runs the VM: say --ssh-host");
    return !why[0];
}

/* ssh needs a key on the host; nobody has that by accident. */
static bool is_offered(enum transport transport, const struct transport_options *options)
{
    return transport != TRANSPORT_SSH || options->ssh_identity[0] || options->ssh_user[0] ||
           options->ssh_host[0];
}

/* vddk first: it reads every disk, only what is allocated, and takes requests in parallel. Then
 * https: it needs nothing that the session does not have. */
static const enum transport order[] = { TRANSPORT_VDDK, TRANSPORT_HTTPS, TRANSPORT_SSH };
#define ORDER_COUNT (sizeof order / sizeof order[0])

static void append(char text[1024], const char *a, const char *b)
{
    size_t used = strlen(text);

    snprintf(text + used, 1024 - used, "%s%s", a, b);
}

bool transport_possible(const struct transport_options *options,
                        const struct transport_access *access, const struct transport_disk *disk,
                        char text[1024])
{
    char tried[1024] = "", why[512];

    text[0] = '\0';
    for (size_t i = 0; i < ORDER_COUNT; i++) {
        bool wanted = options->wanted == order[i] ||
                      (options->wanted == TRANSPORT_AUTO && is_offered(order[i], options));

        if (!wanted)
            continue;
        if (transport_fits(order[i], options, access, disk, why)) {
            append(text, transport_name(order[i]), "");
            append(text, tried[0] ? "; not " : "", tried);
            return true;
        }
        append(tried, tried[0] ? "; not " : "", transport_name(order[i]));
        append(tried, ": ", why);
    }
    append(text, "none: ", tried);
    return false;
}

static int try_transport(enum transport transport, const struct transport_options *options,
                         const struct transport_access *access, const struct transport_disk *disk,
                         struct transport_server *server, struct error **err)
{
    char why[512];

    if (!transport_fits(transport, options, access, disk, why))
        return error_set(err, "%s: %s", transport_name(transport), why);
    return transport_start(transport, options, access, disk, server, err);
}

static int serve_auto(const struct transport_options *options,
                      const struct transport_access *access, const struct transport_disk *disk,
                      struct transport_server *server, char said[1024], struct error **err)
{
    char tried[1024] = "";

    for (size_t i = 0; i < ORDER_COUNT; i++) {
        CLEANUP_ERROR struct error *failed = NULL;

        if (!is_offered(order[i], options))
            continue;
        if (try_transport(order[i], options, access, disk, server, &failed) == 0) {
            append(said, "transport ", transport_name(order[i]));
            append(said, tried[0] ? "; " : "", tried);
            return 0;
        }
        append(tried, tried[0] ? "; not " : "not ", error_message(failed));
    }
    return error_set(err, "no transport works: %s", tried);
}

int transport_serve(const struct transport_options *options, const struct transport_access *access,
                    const struct transport_disk *disk, struct transport_server *server,
                    char said[1024], struct error **err)
{
    said[0] = '\0';
    if (options->wanted == TRANSPORT_AUTO)
        return serve_auto(options, access, disk, server, said, err);
    return try_transport(options->wanted, options, access, disk, server, err);
}
