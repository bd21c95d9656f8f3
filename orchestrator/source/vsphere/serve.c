/* Serving the disks of a snapshot; see serve.h. */
#include "source/vsphere/serve.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "source/vsphere/thumbprint.h"

/* Files in STATE/run are named vsphere-<pid>.*: those of processes that were killed go. */
#define PREFIX "vsphere-"

static void sweep(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int pid;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        if (sscanf(entry->d_name, PREFIX "%d.", &pid) == 1 && pid > 0 && kill(pid, 0) < 0 &&
            errno == ESRCH)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

static int run_folder(const struct serving *serving, char path[PATH_MAX], struct error **err)
{
    if (snprintf(path, PATH_MAX, "%s/run", serving->state_dir) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s/run", serving->state_dir);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", path);
    return 0;
}

/* Ours alone, and never half of it under its name. */
static int write_private(const char *path, const char *text, struct error **err)
{
    CLEANUP_CLOSE int fd = -1;
    char temporary[PATH_MAX + 8];
    size_t length = strlen(text);

    snprintf(temporary, sizeof temporary, "%s.new", path);
    unlink(temporary);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length || rename(temporary, path) < 0)
        return error_set_errno(err, errno, "writing %s", path);
    return 0;
}

static int name_file(const char *folder, const char *name, char path[PATH_MAX], struct error **err)
{
    if (snprintf(path, PATH_MAX, "%s/" PREFIX "%d.%s", folder, (int)getpid(), name) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", folder);
    return 0;
}

int serving_renew_cookie(struct serving *serving, struct error **err)
{
    const char *cookie = soap_cookie(serving->session->soap);
    char *kept;

    if (!serving->cookie_file[0] || (serving->cookie && strcmp(serving->cookie, cookie) == 0))
        return 0;
    kept = strdup(cookie);
    if (!kept)
        return error_set_errno(err, ENOMEM, "renewing the cookie");
    free(serving->cookie);
    serving->cookie = kept;
    return write_private(serving->cookie_file, cookie, err);
}

/* A session may be logged in without being asked for: by a password file of our own. */
static int write_password(struct serving *serving, const char *folder, struct error **err)
{
    if (serving->options->password_file[0]) {
        strcpy(serving->password_file, serving->options->password_file);
        return 0;
    }
    if (name_file(folder, "password", serving->password_file, err) < 0)
        return -1;
    return write_private(serving->password_file, serving->session->credentials.password, err);
}

/* What VMware's library wants to be told, where it is there at all. */
static int prepare_vddk(struct serving *serving, const char *folder, struct error **err)
{
    CLEANUP_ERROR struct error *unknown = NULL;
    char why[512];

    if (serving->options->transport.wanted != TRANSPORT_VDDK &&
        (serving->options->transport.wanted != TRANSPORT_AUTO ||
         !transport_has_vddk(&serving->options->transport, why)))
        return 0;
    if (thumbprint_verified(serving->location, serving->options->ca_file,
                            serving->options->fingerprint, serving->thumbprint, &unknown) < 0) {
        snprintf(serving->no_thumbprint, sizeof serving->no_thumbprint, "%s",
                 error_message(unknown));
        return 0;
    }
    return write_password(serving, folder, err);
}

/* Everything that the servers of this transport read from files, once. */
static int prepare(struct serving *serving, struct error **err)
{
    char folder[PATH_MAX];

    if (serving->cookie_file[0])
        return serving_renew_cookie(serving, err);
    if (run_folder(serving, folder, err) < 0)
        return -1;
    sweep(folder);
    if (soap_ca_file(serving->session->soap, folder, serving->ca_file, sizeof serving->ca_file,
                     err) < 0)
        return -1;
    if (snprintf(serving->no_cas, PATH_MAX, "%s/no-cas", folder) >= PATH_MAX)
        return error_set_errno(err, ENAMETOOLONG, "%s", folder);
    if (mkdir(serving->no_cas, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", serving->no_cas);
    if (prepare_vddk(serving, folder, err) < 0 ||
        name_file(folder, "cookie", serving->cookie_file, err) < 0)
        return -1;
    return serving_renew_cookie(serving, err);
}

/* "/folder/DC0/vm/web/app01" → "folder/DC0": what dcPath= names. */
static void datacenter_of(const struct session *session, const char *path, char *buf, size_t size)
{
    const char *end = path[0] == '/' ? strstr(path + 1, "/vm/") : NULL;

    if (!session->is_vcenter)
        snprintf(buf, size, "ha-datacenter");
    else if (end)
        snprintf(buf, size, "%.*s", (int)(end - path - 1), path + 1);
    else
        buf[0] = '\0';
}

/* The host's name alone: "esx1 (VMware ESXi 7.0.3 …)"; without a vCenter it is the server. */
static void esxi_of(const struct serving *serving, const struct vm_spec *spec, char *buf,
                    size_t size)
{
    const char *from = serving->session->is_vcenter ? spec->inventory.host : serving->location;

    snprintf(buf, size, "%.*s", (int)strcspn(from, serving->session->is_vcenter ? " " : ":"), from);
}

struct names {
    char datacenter[1024];
    char esxi[256];
};

static struct transport_access access_of(const struct serving *serving, const struct vm_spec *spec,
                                         struct names *names)
{
    datacenter_of(serving->session, spec->path, names->datacenter, sizeof names->datacenter);
    esxi_of(serving, spec, names->esxi, sizeof names->esxi);
    return (struct transport_access){
        .server = serving->location,
        .user = serving->options->user,
        .esxi = names->esxi,
        .ca_file = serving->ca_file,
        .no_cas = serving->no_cas,
        .thumbprint = serving->thumbprint,
        .no_thumbprint = serving->no_thumbprint,
        .cookie_file = serving->cookie_file,
        .password_file = serving->password_file,
        .state_dir = serving->state_dir,
    };
}

static struct transport_disk disk_of(const struct vm_spec *spec, const struct vsphere_disk *frozen,
                                     const struct names *names)
{
    return (struct transport_disk){
        .key = frozen->key,
        .capacity = frozen->capacity,
        .uuid = spec->uuid,
        .datacenter = names->datacenter,
        .file = frozen->file,
        .flat = frozen->backing == BACKING_FLAT,
        .parents = frozen->parents,
        .map = "",
    };
}

static int add_server(struct serving *serving, struct transport_server **server, struct error **err)
{
    struct transport_server *grown =
        reallocarray(serving->servers, serving->count + 1, sizeof *grown);

    if (!grown)
        return error_set_errno(err, ENOMEM, "starting nbdkit");
    serving->servers = grown;
    *server = &grown[serving->count];
    return 0;
}

int serving_start(struct serving *serving, const struct serve_disk *disk, char said[1024],
                  struct error **err)
{
    CLEANUP_FREE char *uri = NULL;
    struct spec_disk *offered = disk->offered;
    struct transport_server *server = NULL;
    struct transport_access access;
    struct transport_disk target;
    struct names names;

    said[0] = '\0';
    if (prepare(serving, err) < 0 || add_server(serving, &server, err) < 0)
        return -1;
    access = access_of(serving, disk->spec, &names);
    target = disk_of(disk->spec, disk->frozen, &names);
    target.vm = disk->vm->id;
    target.snapshot = disk->snapshot->id;
    target.map = offered->changes;
    target.map_is_used = strcmp(offered->since, "*") == 0;
    if (transport_serve(&serving->options->transport, &access, &target, server, said, err) < 0)
        return -1;
    serving->count++;
    uri = run_socket_uri(&server->socket, "");
    if (!uri || strlen(uri) >= sizeof offered->place)
        return error_set_errno(err, ENOMEM, "serving %s", disk->frozen->file);
    strcpy(offered->place, uri);
    if (strcmp(said, serving->said) == 0)
        said[0] = '\0';
    else
        strcpy(serving->said, said);
    return 0;
}

bool serving_possible(struct serving *serving, const struct vm_spec *spec,
                      const struct vsphere_disk *disk, char text[1024])
{
    struct names names;
    struct transport_access access = access_of(serving, spec, &names);
    struct transport_disk target = disk_of(spec, disk, &names);

    return transport_possible(&serving->options->transport, &access, &target, text);
}

static bool is_at(const struct transport_server *server, const char *place)
{
    CLEANUP_FREE char *uri = run_socket_uri(&server->socket, "");

    return !place || (uri && strcmp(uri, place) == 0);
}

void serving_explain(const struct serving *serving, const char *place, struct error **err)
{
    for (size_t i = 0; *err && i < serving->count; i++) {
        char text[512];

        if (!is_at(&serving->servers[i], place))
            continue;
        transport_complaint(&serving->servers[i], text, sizeof text);
        if (text[0])
            error_append(err, "nbdkit said: %s", text);
    }
}

void serving_stop(struct serving *serving)
{
    for (size_t i = 0; i < serving->count; i++)
        transport_stop(&serving->servers[i]);
    free(serving->servers);
    serving->servers = NULL;
    serving->count = 0;
    if (serving->cookie_file[0])
        unlink(serving->cookie_file);
    if (serving->password_file[0] && !serving->options->password_file[0])
        unlink(serving->password_file);
    free(serving->cookie);
    serving->cookie = NULL;
    serving->cookie_file[0] = serving->password_file[0] = '\0';
}
