/* Looking at storage through libvirt; see storage.h. */
#include "failover/storage.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "failover/xmltree.h"
#include "replica/volume.h"

#define HEAD_BYTES 65536 /* of each file are compared, besides its size and time */
#define POOLS_MOST 1000
#define POOL_NAME  64
#define OUR_POOLS  "vmferry-look-"

#define PROBES      "look-"
#define PROBE_BYTES 32
#define LOCK_MS     120000 /* more than a host takes that does not answer */
#define LOCK_POLL   50

static void free_pool(virStoragePoolPtr *pool)
{
    if (*pool)
        virStoragePoolFree(*pool);
}
static void free_volume(virStorageVolPtr *volume)
{
    if (*volume)
        virStorageVolFree(*volume);
}
static void free_stream(virStreamPtr *stream)
{
    if (*stream)
        virStreamFree(*stream);
}
#define CLEANUP_POOL   CLEANUP(free_pool)
#define CLEANUP_VOLUME CLEANUP(free_volume)
#define CLEANUP_STREAM CLEANUP(free_stream)

struct look {
    virConnectPtr connection;
    const char *uuid; /* of the domain */
    char host[256];
    unsigned pools; /* that were made */
    bool changing;  /* images may be, as nothing keeps others from it yet */
};

static void pool_name(char name[POOL_NAME], const char *uuid, unsigned index)
{
    snprintf(name, POOL_NAME, OUR_POOLS "%.8s-%u", uuid, index);
}

/* One of ours that is not this look's: nobody else looks now, so its process is dead. */
static virStoragePoolPtr find_pool(const struct look *look, const char *directory)
{
    CLEANUP_POOL virStoragePoolPtr pool =
        virStoragePoolLookupByTargetPath(look->connection, directory);
    const char *name = pool ? virStoragePoolGetName(pool) : "";

    if (strncmp(name, OUR_POOLS, strlen(OUR_POOLS)) == 0 &&
        strncmp(name + strlen(OUR_POOLS), look->uuid, 8) != 0) {
        virStoragePoolDestroy(pool);
        return NULL;
    }
    return steal_ptr(pool);
}

static virStoragePoolPtr make_pool(const struct look *look, const char *directory)
{
    CLEANUP_DOCUMENT xmlDocPtr document = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewNode(NULL, BAD_CAST "pool");
    CLEANUP_FREE char *xml = NULL;
    char name[POOL_NAME];

    pool_name(name, look->uuid, look->pools);
    xmlDocSetRootElement(document, root);
    node_set(root, "type", "dir");
    node_add_text(root, "name", "%s", name);
    node_add_text(node_add(root, "target", NULL), "path", "%s", directory);
    xml = node_dump(document);
    return xml ? virStoragePoolCreateXML(look->connection, xml, 0) : NULL;
}

/* libvirt knows what is in the directory, as it is now. */
static int open_directory(struct look *look, const char *directory, struct error **err)
{
    CLEANUP_POOL virStoragePoolPtr pool = find_pool(look, directory);

    if (!pool) {
        if (look->pools >= POOLS_MOST)
            return error_set(err, "the images are in more than %d directories", POOLS_MOST);
        pool = make_pool(look, directory);
        look->pools += pool != NULL;
    }
    if (!pool || virStoragePoolRefresh(pool, 0) < 0)
        return libvirt_error(err,
                             "host %s does not see the directory %s, where images of the VM are "
                             "(storage of both hosts, at the same path, is needed)",
                             look->host, directory);
    return 0;
}

static void read_text(xmlDocPtr document, const char *xpath, char *buf, size_t size)
{
    xmlXPathContextPtr context = xmlXPathNewContext(document);
    xmlXPathObjectPtr found = context ? xmlXPathEvalExpression(BAD_CAST xpath, context) : NULL;
    xmlChar *text = found ? xmlXPathCastToString(found) : NULL;

    snprintf(buf, size, "%s", text ? (char *)text : "");
    xmlFree(text);
    xmlXPathFreeObject(found);
    xmlXPathFreeContext(context);
}

/* "1700000000.123456789", and bytes; "" and 0 when libvirt does not say them. */
static int read_facts(virStorageVolPtr volume, char mtime[64], unsigned long long *size,
                      struct error **err)
{
    char *xml = virStorageVolGetXMLDesc(volume, 0);
    CLEANUP_DOCUMENT xmlDocPtr document = xml ? xmlParseDoc(BAD_CAST xml) : NULL;
    char text[64];

    free(xml);
    if (!document)
        return libvirt_error(err, "looking at %s", virStorageVolGetName(volume));
    read_text(document, "string(/volume/target/timestamps/mtime)", mtime, 64);
    read_text(document, "string(/volume/physical)", text, sizeof text);
    *size = strtoull(text, NULL, 10);
    return 0;
}

static int read_head(const struct look *look, virStorageVolPtr volume, char *head, size_t length,
                     struct error **err)
{
    CLEANUP_STREAM virStreamPtr stream = virStreamNew(look->connection, 0);
    size_t done = 0;
    int got = 1;

    if (!stream || virStorageVolDownload(volume, stream, 0, length, 0) < 0)
        return libvirt_error(err, "reading %s", virStorageVolGetName(volume));
    while (done < length && (got = virStreamRecv(stream, head + done, length - done)) > 0)
        done += (size_t)got;
    if (got < 0 || done < length) {
        virStreamAbort(stream);
        return libvirt_error(err, "reading %s", virStorageVolGetName(volume));
    }
    /* What is behind is of no interest; an end that fails is none either. */
    if (virStreamFinish(stream) < 0)
        virStreamAbort(stream);
    return 0;
}

static int read_own_head(const char *path, char *head, size_t length, struct error **err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? pread(fd, head, length, 0) : -1;

    if (got < 0)
        return error_set_errno(err, errno, "reading %s", path);
    return (size_t)got == length ? 0 : error_set(err, "reading %s: it is too short", path);
}

static int same_content(const struct look *look, virStorageVolPtr volume, const char *path,
                        size_t length, bool *same, struct error **err)
{
    CLEANUP_FREE char *theirs = malloc(length + 1);
    CLEANUP_FREE char *ours = malloc(length + 1);

    if (!theirs || !ours)
        return error_set_errno(err, ENOMEM, "looking at %s", path);
    if (length && (read_own_head(path, ours, length, err) < 0 ||
                   read_head(look, volume, theirs, length, err) < 0))
        return -1;
    *same = memcmp(ours, theirs, length) == 0;
    return 0;
}

/* Of one that changes while it is looked at nothing can be said. */
static bool is_changing(const struct look *look, const char *path, const struct stat *before)
{
    struct stat now;

    return look->changing && stat(path, &now) == 0 &&
           (now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != before->st_mtim.tv_nsec);
}

static int check_file(const struct look *look, const char *path, struct error **err)
{
    CLEANUP_VOLUME virStorageVolPtr volume = virStorageVolLookupByPath(look->connection, path);
    unsigned long long size = 0;
    char theirs[64], ours[64];
    struct stat st;
    bool same = false;

    if (!volume)
        return libvirt_error(err, "host %s does not see %s", look->host, path);
    if (stat(path, &st) < 0)
        return error_set_errno(err, errno, "looking at %s", path);
    if (read_facts(volume, theirs, &size, err) < 0 ||
        same_content(look, volume, path,
                     (size_t)(st.st_size < HEAD_BYTES ? st.st_size : HEAD_BYTES), &same, err) < 0)
        return -1;
    snprintf(ours, sizeof ours, "%lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    if ((!same || (size && size != (unsigned long long)st.st_size) ||
         (theirs[0] && strcmp(theirs, ours) != 0)) &&
        !is_changing(look, path, &st))
        return error_set(err,
                         "what host %s sees as %s is another file: %llu bytes, changed at %s, not "
                         "%lld and %s",
                         look->host, path, size, theirs, (long long)st.st_size, ours);
    return 0;
}

static int check_image(struct look *look, const char *path, struct error **err)
{
    CLEANUP_FREE char *directory = strdup(path);

    if (volume_is_rbd(path)) /* the cluster is named, and the same from everywhere */
        return 0;
    if (volume_is_device(path))
        return error_set(err,
                         "%s is a device of this host: whether host %s has the same one by this "
                         "name can't be known",
                         path, look->host);
    if (!directory)
        return error_set_errno(err, ENOMEM, "looking at %s", path);
    if (open_directory(look, dirname(directory), err) < 0)
        return -1;
    return check_file(look, path, err);
}

static int check_chain(struct look *look, const struct domain_disk *disk, struct error **err)
{
    for (size_t i = 0; i < disk->chain_length; i++) {
        if (check_image(look, disk->chain[i].path, err) < 0)
            return -1;
    }
    return 0;
}

static int check_chains(struct look *look, const struct domain_plan *plan, struct error **err)
{
    for (size_t i = 0; i < plan->disk_count; i++) {
        if (check_chain(look, &plan->disks[i], err) < 0)
            return -1;
    }
    return 0;
}

/* The descriptor holds it. */
static int lock_looks(const char *directory, struct error **err)
{
    const struct timespec pause = { .tv_nsec = LOCK_POLL * 1000000L };
    CLEANUP_CLOSE int fd = -1;
    char path[PATH_MAX];

    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, errno, "making %s", directory);
    if (snprintf(path, sizeof path, "%s/look.lock", directory) >= (int)sizeof path)
        return error_set_errno(err, ENAMETOOLONG, "%s", directory);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "opening %s", path);
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_POLL) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return error_set_errno(err, errno, "locking %s", path);
        if (waited >= LOCK_MS)
            return error_set(err, "another vmferry looks at storage, and takes long");
        nanosleep(&pause, NULL);
    }
    return steal_fd(fd);
}

static int begin(struct look *look, const char *directory, struct error **err)
{
    char *host = virConnectGetHostname(look->connection);

    snprintf(look->host, sizeof look->host, "%s", host ? host : "of libvirt");
    free(host);
    return lock_looks(directory, err);
}

static int end(const struct look *look, int status, struct error **err)
{
    CLEANUP_ERROR struct error *ignored = NULL;

    return storage_remove_pools(look->connection, look->uuid, status < 0 ? &ignored : err) < 0
               ? -1
               : status;
}

int storage_check(virConnectPtr connection, const struct domain_plan *plan, const char *directory,
                  struct error **err)
{
    struct look look = { .connection = connection, .uuid = plan->uuid };
    CLEANUP_CLOSE int lock = begin(&look, directory, err);
    int status = 0;

    if (lock < 0)
        return -1;
    for (size_t i = 0; i < plan->disk_count && status == 0; i++)
        status = check_image(&look, plan->disks[i].overlay, err);
    return end(&look, status < 0 ? status : check_chains(&look, plan, err), err);
}

static void remove_probe(const char *probe)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/seen", probe) < (int)sizeof path)
        unlink(path);
    rmdir(probe);
}

/* Of processes that died: nobody else looks now. */
static void remove_old_probes(const char *directory)
{
    DIR *all = opendir(directory);

    if (!all)
        return;
    for (struct dirent *entry; (entry = readdir(all));) {
        char path[PATH_MAX];

        if (strncmp(entry->d_name, PROBES, strlen(PROBES)) == 0 &&
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) < (int)sizeof path)
            remove_probe(path);
    }
    closedir(all);
}

/* What nobody can have a copy of. A directory of its own: a network file system may remember
 * for a minute what was in an old one. */
static int make_probe(const char *directory, char probe[PATH_MAX], char file[PATH_MAX],
                      struct error **err)
{
    unsigned char bytes[PROBE_BYTES];
    CLEANUP_CLOSE int fd = -1;

    if (snprintf(probe, PATH_MAX, "%s/" PROBES "XXXXXX", directory) >= PATH_MAX - 8)
        return error_set_errno(err, ENAMETOOLONG, "%s", directory);
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes || !mkdtemp(probe))
        return error_set_errno(err, errno, "making %s", probe);
    snprintf(file, PATH_MAX, "%.*s/seen", PATH_MAX - 8, probe);
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, sizeof bytes) != sizeof bytes || fsync(fd) < 0) {
        error_set_errno(err, errno, "writing %s", file);
        remove_probe(probe);
        return -1;
    }
    return 0;
}

static int check_probe(struct look *look, const char *directory, struct error **err)
{
    char probe[PATH_MAX], file[PATH_MAX];
    int status;

    remove_old_probes(directory);
    if (make_probe(directory, probe, file, err) < 0)
        return -1;
    status = check_image(look, file, err);
    remove_probe(probe);
    return status;
}

int storage_preview(virConnectPtr connection, const struct domain_plan *plan, const char *directory,
                    struct error **err)
{
    struct look look = { .connection = connection, .uuid = plan->uuid, .changing = true };
    CLEANUP_CLOSE int lock = begin(&look, directory, err);
    int status;

    if (lock < 0)
        return -1;
    status = check_probe(&look, directory, err);
    return end(&look, status < 0 ? status : check_chains(&look, plan, err), err);
}

int storage_remove_pools(virConnectPtr connection, const char *domain_uuid, struct error **err)
{
    for (unsigned i = 0; i < POOLS_MOST; i++) {
        CLEANUP_POOL virStoragePoolPtr pool = NULL;
        char name[POOL_NAME];

        pool_name(name, domain_uuid, i);
        pool = virStoragePoolLookupByName(connection, name);
        if (!pool && virGetLastErrorCode() == VIR_ERR_NO_STORAGE_POOL)
            break;
        if (!pool || virStoragePoolDestroy(pool) < 0)
            return libvirt_error(err, "removing storage pool %s", name);
    }
    return 0;
}
