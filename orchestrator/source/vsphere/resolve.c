/* Which VM an operator means; see inventory.h. */
#include <ctype.h>
#include <string.h>

#include "source/vsphere/inventory.h"
#include "source/vsphere/read.h"
#include "source/vsphere/tree.h"
#include "table.h"

#define CHOICES_SHOWN 20
/* Of a server that can't search: all VMs are looked at instead. */
#define LACKING "MethodNotFound NotSupported NotImplemented"

struct choice {
    struct moref vm, parent;
    char name[SPEC_TEXT];
    char uuid[SPEC_UUID];
    char path[TREE_PATH];
    bool is_template;
};

/* A search through all VMs. */
struct search {
    const char *name; /* NULL: by uuid */
    const char *id;   /* or this moref */
    const char *uuid;
    struct choice now;
    struct choice *choices;
    size_t count;
    size_t silent; /* VMs that can't tell their uuid now; the first one's name: */
    char silent_name[SPEC_TEXT];
};

static void search_free(struct search *search)
{
    free(search->choices);
}

/* In names the server writes %2f, %5c and %25 for /, \ and %. */
static void plain_name(const char *name, char plain[SPEC_TEXT])
{
    size_t n = 0;

    while (*name && n < SPEC_TEXT - 1) {
        unsigned value;

        if (name[0] == '%' && isxdigit((unsigned char)name[1]) &&
            isxdigit((unsigned char)name[2]) && sscanf(name + 1, "%2x", &value) == 1 &&
            strchr("/\\%", (int)value)) {
            plain[n++] = (char)value;
            name += 3;
        } else {
            plain[n++] = *name++;
        }
    }
    plain[n] = '\0';
}

static bool is_name(const char *name, const char *wanted)
{
    char plain[SPEC_TEXT], plain_wanted[SPEC_TEXT];

    plain_name(name, plain);
    plain_name(wanted, plain_wanted);
    return strcmp(name, wanted) == 0 || strcmp(plain, plain_wanted) == 0;
}

static bool is_wanted(const struct search *search)
{
    const struct choice *now = &search->now;

    if (!now->vm.id[0] || now->is_template)
        return false;
    return (search->name && is_name(now->name, search->name)) ||
           (search->id && strcmp(now->vm.id, search->id) == 0) ||
           (search->uuid && strcmp(now->uuid, search->uuid) == 0);
}

static int end_choice(struct search *search, struct error **err)
{
    struct choice *grown;

    if (search->now.vm.id[0] && !search->now.is_template && !search->now.uuid[0] &&
        search->silent++ == 0)
        strcpy(search->silent_name, search->now.name);
    if (is_wanted(search)) {
        grown = reallocarray(search->choices, search->count + 1, sizeof *grown);
        if (!grown)
            return error_set_errno(err, ENOMEM, "reading the inventory");
        search->choices = grown;
        search->choices[search->count++] = search->now;
    }
    search->now = (struct choice){ 0 };
    return 0;
}

static int take_choice(struct choice *choice, const char *name, xmlNode *val)
{
    char text[64];

    if (strcmp(name, "name") == 0) {
        read_exact(val, "", choice->name, sizeof choice->name);
    } else if (strncmp(name, "parent", 6) == 0) {
        if (moref_read(val, &choice->parent) < 0)
            choice->parent = (struct moref){ 0 };
    } else if (strcmp(name, "config.instanceUuid") == 0) {
        read_text(val, "", text, sizeof text);
        vm_uuid(text, choice->uuid);
    } else if (strcmp(name, "config.template") == 0) {
        choice->is_template = xml_bool(val, "");
    }
    return 0;
}

static int search_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                           struct error **err)
{
    struct search *search = opaque;

    if (strcmp(object->id, search->now.vm.id) != 0) {
        if (end_choice(search, err) < 0)
            return -1;
        search->now.vm = *object;
    }
    return take_choice(&search->now, name, val);
}

#define CHOICE_PATHS "name parent parentVApp config.instanceUuid config.template"

static int search_all(struct session *session, struct search *search, struct error **err)
{
    CLEANUP_TREE struct tree tree;

    tree_init(session, &tree);
    if (session_all(session, "VirtualMachine", CHOICE_PATHS, search_property, search, err) < 0 ||
        end_choice(search, err) < 0)
        return -1;
    for (size_t i = 0; i < search->count; i++) {
        struct choice *choice = &search->choices[i];

        if (tree_path(session, &tree, &choice->parent, choice->name, choice->path, err) < 0)
            return -1;
    }
    return 0;
}

static int no_such_vm(const char *reference, struct error **err)
{
    error_set(err, "there is no VM '%s': `vmferry vm list` shows what there is", reference);
    (*err)->errnum = ENOENT;
    return -1;
}

static int ambiguous(const char *reference, const struct search *search, struct error **err)
{
    CLEANUP_TABLE struct table table = TABLE("PATH", "ID", "UUID");
    CLEANUP_FREE char *text = NULL;
    size_t size;
    FILE *memory = open_memstream(&text, &size);

    for (size_t i = 0; i < search->count && i < CHOICES_SHOWN; i++) {
        const struct choice *choice = &search->choices[i];

        table_cell(&table, "%s", choice->path[0] ? choice->path : choice->name);
        table_cell(&table, "%s", choice->vm.id);
        table_cell(&table, "%s", choice->uuid);
    }
    if (memory) {
        table_print(&table, memory);
        fclose(memory);
    }
    return error_set_kind(err, ERROR_USAGE,
                          "'%s' can mean %zu VMs: name one by its path or uuid\n\n%s", reference,
                          search->count, text ? text : "");
}

static int take_only(const char *reference, const struct search *search, struct moref *vm,
                     char uuid[SPEC_UUID], struct error **err)
{
    if (search->count == 0)
        return no_such_vm(reference, err);
    if (search->count > 1)
        return ambiguous(reference, search, err);
    if (!search->choices[0].uuid[0])
        return error_set_kind(err, ERROR_PAUSED,
                              "vSphere can't tell the instance uuid of VM '%s' now: reconnect its "
                              "host, and see that this user may read its configuration",
                              reference);
    *vm = search->choices[0].vm;
    strcpy(uuid, search->choices[0].uuid);
    return 0;
}

static int choice_property(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                           struct error **err)
{
    (void)object, (void)err;
    return take_choice(opaque, name, val);
}

/* What a search of the server's found; false when that is no VM. */
static int find_by(struct session *session, const char *op, const struct xml_writer *arguments,
                   struct choice *choice, struct error **err)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };

    *choice = (struct choice){ 0 };
    if (xml_writer_check(arguments, op, err) < 0 ||
        session_call(session, &session->search, op, arguments->text, true, 0, LACKING, &answer,
                     err) < 0)
        return -1;
    if (moref_read(xml_child(answer.body, "returnval"), &choice->vm) < 0 ||
        strcmp(choice->vm.type, "VirtualMachine") != 0) {
        choice->vm = (struct moref){ 0 };
        return 0;
    }
    return session_properties(session, &choice->vm, CHOICE_PATHS, choice_property, choice, err) < 0
               ? -1
               : 0;
}

int inventory_find(struct session *session, const char *uuid, struct moref *vm, struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer arguments = { 0 };
    CLEANUP(search_free) struct search search = { .uuid = uuid };
    char same[SPEC_UUID];
    struct choice choice = { 0 };

    xml_element(&arguments, "uuid", uuid);
    xml_element(&arguments, "vmSearch", "true");
    xml_element(&arguments, "instanceUuid", "true");
    if (session->search.id[0] && find_by(session, "FindByUuid", &arguments, &choice, err) < 0)
        return -1;
    if (choice.vm.id[0] && strcmp(choice.uuid, uuid) == 0) {
        *vm = choice.vm;
        return 0;
    }
    /* A VM whose host does not answer is not found by its uuid, and it would be wrong to say
     * that it is gone. (And some server may answer with a VM of that BIOS uuid.) */
    if (search_all(session, &search, err) < 0)
        return -1;
    if (search.count == 0 && search.silent)
        return error_set_kind(
            err, ERROR_PAUSED,
            "no VM says that its uuid is %s, and %zu can't tell theirs now ('%s'%s): "
            "reconnect their hosts, and see that this user may read them",
            uuid, search.silent, search.silent_name, search.silent > 1 ? " …" : "");
    if (search.count == 0) { /* one that was known: its uuid is no name to look up */
        error_set(
            err,
            "vSphere shows no VM whose uuid is %s: it was deleted, or this user may not see it "
            "any more",
            uuid);
        (*err)->errnum = ENOENT;
        return -1;
    }
    return take_only(uuid, &search, vm, same, err);
}

/* The server is asked first; where it finds nothing, all VMs of that name are looked at:
 * not every server finds VMs in vApps. */
static int resolve_path(struct session *session, const char *path, struct moref *vm,
                        char uuid[SPEC_UUID], struct error **err)
{
    const char *name = strrchr(path, '/') + 1;
    CLEANUP_XML_WRITER struct xml_writer arguments = { 0 };
    CLEANUP(search_free) struct search search = { .name = name };
    struct choice choice = { 0 };
    size_t kept = 0;

    xml_element(&arguments, "inventoryPath", path + strspn(path, "/"));
    if (session->search.id[0] &&
        find_by(session, "FindByInventoryPath", &arguments, &choice, err) < 0)
        return -1;
    if (choice.vm.id[0] && !choice.is_template && is_name(choice.name, name)) {
        search.choices = calloc(1, sizeof choice);
        if (!search.choices)
            return error_set_errno(err, ENOMEM, "reading the inventory");
        search.choices[search.count++] = choice;
        return take_only(path, &search, vm, uuid, err);
    }
    if (search_all(session, &search, err) < 0)
        return -1;
    for (size_t i = 0; i < search.count; i++) {
        if (strcmp(search.choices[i].path, path) == 0)
            search.choices[kept++] = search.choices[i];
    }
    search.count = kept;
    return take_only(path, &search, vm, uuid, err);
}

int inventory_resolve(struct session *session, const char *reference, struct moref *vm,
                      char uuid[SPEC_UUID], struct error **err)
{
    CLEANUP(search_free) struct search search = { .name = reference, .id = reference };
    CLEANUP_ERROR struct error *unknown = NULL;

    if (reference[0] == '/' && reference[strspn(reference, "/")])
        return resolve_path(session, reference, vm, uuid, err);
    vm_uuid(reference, uuid);
    if (uuid[0]) {
        if (inventory_find(session, uuid, vm, &unknown) == 0)
            return 0;
        if (unknown->errnum != ENOENT)
            return error_move(err, &unknown);
    }
    if (search_all(session, &search, err) < 0)
        return -1;
    return take_only(reference, &search, vm, uuid, err);
}
