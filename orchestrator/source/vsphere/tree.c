/* What is above a VM; see tree.h. */
#include "source/vsphere/tree.h"

#include <search.h>
#include <string.h>

#include "source/vsphere/read.h"

#define DEPTH_MAX 64
#define NAME      256

struct node {
    struct moref object, parent;
    char name[NAME]; /* "": not to be seen */
};

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct node *)a)->object.id, ((const struct node *)b)->object.id);
}

void tree_init(const struct session *session, struct tree *tree)
{
    *tree = (struct tree){ .root = session->root };
}

void tree_free(struct tree *tree)
{
    tdestroy(tree->nodes, free);
    tree->nodes = NULL;
}

static struct node *look_up(const struct tree *tree, const struct moref *object)
{
    struct node wanted = { .object = *object };
    void *found = tfind(&wanted, &tree->nodes, by_id);

    return found ? *(struct node **)found : NULL;
}

/* The node of this object, a new one if need be; NULL only without memory. */
static struct node *get_node(struct tree *tree, const struct moref *object)
{
    struct node *node = look_up(tree, object);

    if (node)
        return node;
    node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    node->object = *object;
    if (!tsearch(node, &tree->nodes, by_id)) {
        free(node);
        return NULL;
    }
    return node;
}

/* A vApp's parent is a resource pool; in the inventory's paths it stands in its
 * parentFolder, or in another vApp. */
static int got_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                        struct error **err)
{
    struct node *node = get_node(opaque, object);

    if (!node)
        return error_set_errno(err, ENOMEM, "reading the inventory");
    if (strcmp(name, "name") == 0)
        read_exact(val, "", node->name, sizeof node->name);
    else if (strncmp(name, "parent", 6) == 0 && moref_read(val, &node->parent) < 0)
        node->parent = (struct moref){ 0 };
    return 0;
}

int tree_load(struct session *session, struct tree *tree, struct error **err)
{
    return session_all(session, "Folder", "name parent", got_property, tree, err) < 0
               ? -1
               : session_all(session, "Datacenter", "name parent", got_property, tree, err);
}

int tree_add(struct tree *tree, const struct moref *object, const char *name,
             const struct moref *parent, struct error **err)
{
    struct node *node = get_node(tree, object);

    if (!node)
        return error_set_errno(err, ENOMEM, "reading the inventory");
    snprintf(node->name, sizeof node->name, "%s", name);
    node->parent = *parent;
    return 0;
}

static int fetch(struct session *session, struct tree *tree, const struct moref *object,
                 struct node **node, struct error **err)
{
    bool vapp = strcmp(object->type, "VirtualApp") == 0;

    *node = get_node(tree, object); /* also when the server says nothing about it */
    if (!*node)
        return error_set_errno(err, ENOMEM, "reading the inventory");
    return session_properties(session, object,
                              vapp ? "name parentFolder parentVApp" : "name parent", got_property,
                              tree, err);
}

static bool put_before(char path[TREE_PATH], const char *name)
{
    size_t length = strlen(name), used = strlen(path);

    if (length + used + 2 > TREE_PATH)
        return false;
    memmove(path + length + 1, path, used + 1);
    path[0] = '/';
    memcpy(path + 1, name, length);
    return true;
}

int tree_path(struct session *session, struct tree *tree, const struct moref *parent,
              const char *name, char path[TREE_PATH], struct error **err)
{
    struct moref above = *parent;
    bool whole;

    path[0] = '\0';
    whole = name[0] && put_before(path, name);
    for (int depth = 0; whole && strcmp(above.id, tree->root.id) != 0; depth++) {
        struct node *node = look_up(tree, &above);

        whole = above.id[0] && depth < DEPTH_MAX;
        if (whole && !node && fetch(session, tree, &above, &node, err) < 0)
            return -1;
        if (!whole)
            break;
        whole = node->name[0] && put_before(path, node->name);
        above = node->parent;
    }
    if (!whole)
        path[0] = '\0';
    return 0;
}
