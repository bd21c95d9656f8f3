/* Storage pools of libvirt; see pool.h. Bases are made and removed through libvirt, and
 * the pool is refreshed after overlays, so that `virsh vol-list` shows all of them. Only
 * pools of this machine whose volumes are files; those of LVM and RBD become pools of
 * that kind. */
#include <inttypes.h>
#include <json.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>
#include <sys/stat.h>

#include "replica/pool-ops.h"
#include "replica/volume.h"

#define DEFAULT_URI "qemu:///system"

struct storage {
    virConnectPtr connection;
    virStoragePoolPtr pool;
};

static void storage_close(struct storage *storage)
{
    if (storage->pool)
        virStoragePoolFree(storage->pool);
    if (storage->connection)
        virConnectClose(storage->connection);
}

static void ignore(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

static int failed(struct error **err, const char *what)
{
    return error_set(err, "%s: %s", what, virGetLastErrorMessage());
}

static int connect_to(const char *uri, struct storage *storage, struct error **err)
{
    virSetErrorFunc(NULL, ignore);
    storage->connection = virConnectOpen(uri);
    return storage->connection
               ? 0
               : error_set(err, "connecting to libvirt at %s (does libvirtd run?): %s", uri,
                           virGetLastErrorMessage());
}

/* The text of the element at `path` ("target/path") below `node`, or "". */
static void element_text(xmlNodePtr node, const char *path, char *text, size_t size)
{
    size_t length = strcspn(path, "/");

    text[0] = '\0';
    for (xmlNodePtr child = node ? node->children : NULL; child; child = child->next) {
        xmlChar *content;

        if (child->type != XML_ELEMENT_NODE || strlen((const char *)child->name) != length ||
            strncmp((const char *)child->name, path, length) != 0)
            continue;
        if (path[length]) {
            element_text(child, path + length + 1, text, size);
            return;
        }
        content = xmlNodeGetContent(child);
        snprintf(text, size, "%s", content ? (const char *)content : "");
        xmlFree(content);
        return;
    }
}

struct facts {
    char type[32];
    char source[256];
    char target[STORE_PATH / 2];
    char uuid[64];
};

static int read_facts(virStoragePoolPtr pool, struct facts *facts, struct error **err)
{
    CLEANUP_FREE char *xml = virStoragePoolGetXMLDesc(pool, 0);
    xmlDocPtr document =
        xml ? xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET) : NULL;
    xmlNodePtr root = document ? xmlDocGetRootElement(document) : NULL;
    xmlChar *type = root ? xmlGetProp(root, BAD_CAST "type") : NULL;

    *facts = (struct facts){ 0 };
    snprintf(facts->type, sizeof facts->type, "%s", type ? (const char *)type : "");
    element_text(root, "source/name", facts->source, sizeof facts->source);
    element_text(root, "target/path", facts->target, sizeof facts->target);
    element_text(root, "uuid", facts->uuid, sizeof facts->uuid);
    xmlFree(type);
    xmlFreeDoc(document);
    return facts->type[0] ? 0 : failed(err, "reading the storage pool");
}

static int check_active(virStoragePoolPtr pool, struct error **err)
{
    const char *name = virStoragePoolGetName(pool);

    if (virStoragePoolIsActive(pool) == 1)
        return 0;
    return error_set(err, "libvirt's storage pool %s does not run: virsh pool-start %s", name,
                     name);
}

static int write_options(struct store_pool *row, const char *uri, const struct facts *facts,
                         struct error **err)
{
    json_object *json = json_object_new_object();
    int r;

    json_object_object_add(json, "uri", json_object_new_string(uri));
    json_object_object_add(json, "uuid", json_object_new_string(facts->uuid));
    json_object_object_add(json, "target", json_object_new_string(facts->target));
    r = pool_set_options(row, json, err);
    json_object_put(json);
    return r;
}

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A pool of logical volumes or RBD images is one of ours of that kind. */
static int describe_as(struct store_pool *row, const char *kind, const struct facts *facts,
                       const struct pool_wishes *wishes, struct error **err)
{
    struct pool_wishes other = *wishes;

    strcpy(row->kind, kind);
    other.location = facts->source;
    return pool_describe(row, &other, err);
}

static int libvirt_describe(struct store_pool *row, const struct pool_wishes *wishes,
                            struct error **err)
{
    CLEANUP(storage_close) struct storage storage = { 0 };
    const char *uri = wishes->uri ? wishes->uri : DEFAULT_URI;
    const char *authority = strstr(uri, "://");
    struct facts facts;

    if (!wishes->location)
        return error_set_kind(err, ERROR_USAGE, "say which of libvirt's storage pools");
    if (!authority || authority[3] != '/')
        return error_set_kind(err, ERROR_USAGE,
                              "--uri=%s: only storage of this machine can be written; run vmferry "
                              "there",
                              uri);
    if (connect_to(uri, &storage, err) < 0)
        return -1;
    storage.pool = virStoragePoolLookupByName(storage.connection, wishes->location);
    if (!storage.pool)
        return failed(err, wishes->location);
    if (check_active(storage.pool, err) < 0 || read_facts(storage.pool, &facts, err) < 0)
        return -1;
    if (strcmp(facts.type, "logical") == 0)
        return describe_as(row, "lvm", &facts, wishes, err);
    if (strcmp(facts.type, "rbd") == 0)
        return describe_as(row, "rbd", &facts, wishes, err);
    if (strcmp(facts.type, "dir") && strcmp(facts.type, "fs") && strcmp(facts.type, "netfs"))
        return error_set(err,
                         "%s is a pool of type %s; dir, fs, netfs, logical and rbd can be used",
                         wishes->location, facts.type);
    if (!is_directory(facts.target))
        return error_set(err, "%s: %s is no directory here", wishes->location, facts.target);
    if (snprintf(row->location, sizeof row->location, "%s", wishes->location) >= STORE_NAME)
        return error_set_errno(err, ENAMETOOLONG, "%s", wishes->location);
    return write_options(row, uri, &facts, err);
}

/* By its uuid: a name may be given anew. */
static int find_pool(const struct pool *pool, struct storage *storage, struct error **err)
{
    json_object *json = pool_options(&pool->row, err);
    int r;

    if (!json)
        return -1;
    r = connect_to(pool_option(json, "uri"), storage, err);
    if (r == 0) {
        storage->pool =
            virStoragePoolLookupByUUIDString(storage->connection, pool_option(json, "uuid"));
        r = storage->pool ? check_active(storage->pool, err)
                          : failed(err, "libvirt's storage pool is gone");
    }
    json_object_put(json);
    return r;
}

/* Its files can be read whether libvirt runs or not. */
static int libvirt_open(struct pool *pool, struct error **err)
{
    json_object *json = pool_options(&pool->row, err);

    if (!json)
        return -1;
    snprintf(pool->folder, sizeof pool->folder, "%s", pool_option(json, "target"));
    json_object_put(json);
    if (!is_directory(pool->folder))
        return error_set(err, "%s is no directory", pool->folder);
    return 0;
}

static int libvirt_space(const struct pool *pool, struct pool_space *space, struct error **err)
{
    return folder_space(pool->folder, space, err);
}

/* Allocation 0: sparse. NULL without memory. */
static char *volume_xml(const char *path, const struct pool_disk *disk)
{
    char *xml;

    if (asprintf(&xml,
                 "<volume><name>%s</name><capacity>%" PRIu64 "</capacity><allocation>0</allocation>"
                 "<target><format type='%s'/><permissions><mode>0600</mode></permissions>%s"
                 "</target></volume>",
                 strrchr(path, '/') + 1, disk->capacity, disk->format,
                 strcmp(disk->format, "qcow2") == 0 ? "<compat>1.1</compat>" : "") < 0)
        return NULL;
    return xml;
}

static int libvirt_create(const struct pool *pool, const struct pool_disk *disk, const char *path,
                          struct error **err)
{
    CLEANUP(storage_close) struct storage storage = { 0 };
    CLEANUP_FREE char *xml = NULL;
    virStorageVolPtr volume;

    xml = volume_xml(path, disk);
    if (!xml)
        return error_set_errno(err, ENOMEM, "making %s", path);
    if (find_pool(pool, &storage, err) < 0)
        return -1;
    if (volume_exists(path))
        return error_set_errno(err, EEXIST, "making %s", path);
    volume = virStorageVolCreateXML(storage.pool, xml, 0);
    if (!volume)
        return failed(err, path);
    virStorageVolFree(volume);
    return volume_sync(path, err);
}

static int libvirt_grow(const struct pool *pool, const struct pool_disk *disk, const char *path,
                        struct error **err)
{
    (void)pool;
    return volume_grow(path, disk->format, disk->capacity, err);
}

static int libvirt_remove(const struct pool *pool, const struct pool_disk *disk, const char *path,
                          struct error **err)
{
    CLEANUP(storage_close) struct storage storage = { 0 };
    virStorageVolPtr volume;
    int r = 0;

    (void)disk;
    if (find_pool(pool, &storage, err) < 0)
        return -1;
    volume = virStorageVolLookupByPath(storage.connection, path);
    if (!volume)
        return volume_remove(path, err);
    if (virStorageVolDelete(volume, 0) < 0)
        r = failed(err, path);
    virStorageVolFree(volume);
    return r;
}

/* Only for those who look: no failure of ours. */
static void libvirt_changed(const struct pool *pool)
{
    CLEANUP(storage_close) struct storage storage = { 0 };
    CLEANUP_ERROR struct error *ignored = NULL;

    if (find_pool(pool, &storage, &ignored) == 0)
        virStoragePoolRefresh(storage.pool, 0);
}

const struct pool_ops pool_libvirt_ops = {
    .kind = "libvirt",
    .files = true,
    .reads_zero = true,
    .describe = libvirt_describe,
    .open = libvirt_open,
    .space = libvirt_space,
    .create = libvirt_create,
    .grow = libvirt_grow,
    .remove = libvirt_remove,
    .changed = libvirt_changed,
};
