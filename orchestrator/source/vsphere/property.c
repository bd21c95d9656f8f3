/* Properties of one object, or of all that a view holds; see session.h.
 *
 * A retrieval in pages lives in its session. When the session is lost, or an answer is
 * (and with it, perhaps, a page), the whole retrieval starts again, and what was handed
 * out before is passed over. */
#include "source/vsphere/property.h"

#include <search.h>
#include <string.h>

#include "source/vsphere/envelope.h"

#define PAGE_OBJECTS 500
#define FRUITLESS    2 /* starts in a row that brought nothing new */
#define CLEANUP_S    10

/* Beside 0, -1 and what the caller's function returns. */
#define START_AGAIN (-2)

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

void seen_free(struct seen *seen)
{
    tdestroy(seen->tree, free);
    *seen = (struct seen){ 0 };
}

/* 1: it is new; 0: it was there; -1: no memory. */
static int seen_add(struct seen *seen, const char *id)
{
    CLEANUP_FREE char *copy = strdup(id);
    void *node = copy ? tsearch(copy, &seen->tree, compare) : NULL;

    if (!node)
        return -1;
    if (*(char **)node != copy)
        return 0;
    (void)steal_ptr(copy);
    seen->count++;
    return 1;
}

bool page_is_lost(const xmlNode *returnval)
{
    for (xmlNode *o = xml_child(returnval, "objects"); o; o = xml_next(o)) {
        for (xmlNode *m = xml_child(o, "missingSet"); m; m = xml_next(m)) {
            char fault[64];

            envelope_fault_name(xml_at(m, "fault/fault"), fault, sizeof fault);
            if (strcmp(fault, "NotAuthenticated") == 0)
                return true;
        }
    }
    return false;
}

static int hand_out_object(const xmlNode *object, const struct moref *moref, property_fn *got,
                           void *opaque, struct error **err)
{
    for (xmlNode *p = xml_child(object, "propSet"); p; p = xml_next(p)) {
        char name[256];
        xmlNode *val = xml_child(p, "val");
        int r;

        if (!val || xml_whole_text(p, "name", name, sizeof name) < 0)
            continue;
        r = got(opaque, moref, name, val, err);
        if (r != 0)
            return r;
    }
    return 0;
}

int page_hand_out(const xmlNode *returnval, struct seen *seen, property_fn *got, void *opaque,
                  struct error **err)
{
    for (xmlNode *o = xml_child(returnval, "objects"); o; o = xml_next(o)) {
        struct moref moref;
        int r;

        if (moref_read(xml_child(o, "obj"), &moref) < 0)
            return error_set(err, "the server lists an object without a reference");
        r = seen_add(seen, moref.id);
        if (r < 0)
            return error_set_errno(err, ENOMEM, "reading properties");
        if (r == 0)
            continue;
        r = hand_out_object(o, &moref, got, opaque, err);
        if (r != 0)
            return r;
    }
    return 0;
}

static void write_paths(struct xml_writer *writer, const char *type, const char *paths)
{
    xml_open(writer, "propSet", NULL);
    xml_element(writer, "type", type);
    while (*paths) {
        char path[256];
        size_t length = strcspn(paths, " ");

        snprintf(path, sizeof path, "%.*s", (int)length, paths);
        if (length > 0)
            xml_element(writer, "pathSet", path);
        paths += length;
        paths += *paths == ' ';
    }
    xml_close(writer, "propSet");
}

/* From a view to what it holds. */
static void write_traversal(struct xml_writer *writer)
{
    xml_open(writer, "selectSet", "xsi:type=\"TraversalSpec\"");
    xml_element(writer, "type", "ContainerView");
    xml_element(writer, "path", "view");
    xml_element(writer, "skip", "false");
    xml_close(writer, "selectSet");
}

static void write_step(struct xml_writer *writer, const char *name, const char *type,
                       const char *path, const char *const *next)
{
    xml_open(writer, "selectSet", "xsi:type=\"TraversalSpec\"");
    xml_element(writer, "name", name);
    xml_element(writer, "type", type);
    xml_element(writer, "path", path);
    xml_element(writer, "skip", "false");
    for (; *next; next++) {
        xml_open(writer, "selectSet", NULL);
        xml_element(writer, "name", *next);
        xml_close(writer, "selectSet");
    }
    xml_close(writer, "selectSet");
}

/* From the root folder down to all VMs. */
static void write_descent(struct xml_writer *writer)
{
    static const char *const below_folder[] = { "folder", "datacenter", "vapp", NULL };
    static const char *const below_datacenter[] = { "folder", NULL };
    static const char *const below_vapp[] = { "vapp", NULL };

    write_step(writer, "folder", "Folder", "childEntity", below_folder);
    write_step(writer, "datacenter", "Datacenter", "vmFolder", below_datacenter);
    write_step(writer, "vapp", "VirtualApp", "vm", below_vapp);
}

/* What is retrieved: of `start` itself, or of all of `type` that is found from there. */
enum reach { REACH_ITSELF, REACH_VIEW, REACH_BELOW };

static void write_retrieval(struct xml_writer *writer, const struct moref *start, const char *type,
                            const char *paths, enum reach reach)
{
    char objects[16];

    snprintf(objects, sizeof objects, "%d", PAGE_OBJECTS);
    xml_open(writer, "specSet", NULL);
    write_paths(writer, type, paths);
    xml_open(writer, "objectSet", NULL);
    moref_write(writer, "obj", start);
    xml_element(writer, "skip", reach == REACH_ITSELF ? "false" : "true");
    if (reach == REACH_VIEW)
        write_traversal(writer);
    else if (reach == REACH_BELOW)
        write_descent(writer);
    xml_close(writer, "objectSet");
    xml_close(writer, "specSet");
    xml_open(writer, "options", NULL);
    if (reach != REACH_ITSELF)
        xml_element(writer, "maxObjects", objects);
    xml_close(writer, "options");
}

/* Tell the server that no more pages are wanted. When it does not hear it, it forgets
 * them with the session. */
static void drop_token(struct session *session, const char *arguments)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    CLEANUP_ERROR struct error *ignored = NULL;
    unsigned before = soap_hurry(session->soap, CLEANUP_S);

    soap_call(session->soap, &session->collector, "CancelRetrievePropertiesEx", arguments, false, 0,
              &answer, &ignored);
    soap_hurry(session->soap, before);
}

struct retrieval {
    struct session *session;
    const struct moref *object; /* one; NULL: all of `type` */
    const char *type, *paths;
    property_fn *got;
    void *opaque;
    struct seen seen;
    char *left;       /* of paths, when the server refused to know one of them; owned */
    char refused[64]; /* that one; "": none */
};

static void cleanup_retrieval(struct retrieval *retrieval)
{
    seen_free(&retrieval->seen);
    free(retrieval->left);
}

/* Without the path that this server does not know, when it is not the only one: what is not
 * there is unknown to the caller, as if it were forbidden. */
static bool drop_refused(struct retrieval *r)
{
    size_t length = strlen(r->refused);
    CLEANUP_FREE char *left = calloc(1, strlen(r->paths) + 1);
    bool dropped = false;

    for (const char *path = r->paths; left && length && *path;) {
        size_t n = strcspn(path, " ");

        if (n == length && strncmp(path, r->refused, n) == 0) {
            dropped = true;
        } else if (n > 0) {
            strcat(left, left[0] ? " " : "");
            strncat(left, path, n);
        }
        path += n + strspn(path + n, " ");
    }
    r->refused[0] = '\0';
    if (!dropped || !left[0])
        return false;
    free(r->left);
    r->paths = r->left = steal_ptr(left);
    return true;
}

/* The next page of a retrieval, or the first. Repeating the call for a NEXT page could skip
 * one, so it is never sent twice. */
static int get_page(struct retrieval *r, const char *token, const char *arguments,
                    struct soap_answer *answer, struct error **err)
{
    const char *op = token ? "ContinueRetrievePropertiesEx" : "RetrievePropertiesEx";
    struct session *session = r->session;
    CLEANUP_ERROR struct error *why = NULL;

    if (session_call(session, &session->collector, op, arguments, !token, 0,
                     "NotAuthenticated InvalidProperty", answer, &why) < 0) {
        bool lost_answer = token && !session->fault[0] && why->kind == ERROR_PAUSED;

        error_move(err, &why);
        return lost_answer ? START_AGAIN : -1;
    }
    if (strcmp(answer->fault, "InvalidProperty") == 0) {
        xml_text(answer->detail, "name", r->refused, sizeof r->refused);
        session_fault(session, answer->fault, answer->fault_text, err);
        return error_prefix(err, "%s: %s", op, r->refused);
    }
    if (!answer->fault[0] && !page_is_lost(xml_child(answer->body, "returnval")))
        return 0;
    session_fault(session, "NotAuthenticated", "the session is lost", err);
    return START_AGAIN;
}

/* 0, -1, START_AGAIN with *err set, or what the caller's function returned. */
static int get_pages(struct retrieval *retrieval, const char *first, struct error **err)
{
    struct session *session = retrieval->session;
    CLEANUP_XML_WRITER struct xml_writer next = { 0 };
    unsigned logins = session->logins;
    char token[1024] = "";

    for (;;) {
        CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
        bool continued = token[0] != '\0';
        xmlNode *returnval;
        int r;

        r = get_page(retrieval, continued ? token : NULL, continued ? next.text : first, &answer,
                     err);
        if (r != 0)
            return r;
        returnval = xml_child(answer.body, "returnval");
        token[0] = '\0';
        if (xml_child(returnval, "token") &&
            xml_whole_text(returnval, "token", token, sizeof token) < 0)
            return error_set(err, "the server's token for the next page is too long");
        xml_writer_free(&next);
        xml_element(&next, "token", token);
        if (xml_writer_check(&next, "a token", err) < 0)
            return -1;
        r = page_hand_out(returnval, &retrieval->seen, retrieval->got, retrieval->opaque, err);
        if (r != 0 && token[0])
            drop_token(session, next.text);
        if (r != 0 || !token[0])
            return r;
        if (logins != session->logins) { /* by a call that the caller's function made */
            session_fault(session, "NotAuthenticated", "the session was lost", err);
            return START_AGAIN;
        }
    }
}

static int retrieve(struct retrieval *r, const struct moref *start, enum reach reach,
                    struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer writer = { 0 };

    write_retrieval(&writer, start, r->type, r->paths, reach);
    if (xml_writer_check(&writer, "a list of properties", err) < 0)
        return -1;
    return get_pages(r, writer.text, err);
}

/* view->id is "" when this server has no views. */
static int create_view(struct retrieval *r, struct moref *view, struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer writer = { 0 };
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    struct session *session = r->session;

    *view = (struct moref){ 0 };
    if (!session->view_manager.id[0])
        return 0;
    moref_write(&writer, "container", &session->root);
    xml_element(&writer, "type", r->type);
    xml_element(&writer, "recursive", "true");
    if (xml_writer_check(&writer, "CreateContainerView", err) < 0)
        return -1;
    /* One that is made twice is forgotten with the session. */
    if (session_call(session, &session->view_manager, "CreateContainerView", writer.text, true, 0,
                     "MethodNotFound NotSupported NotImplemented", &answer, err) < 0)
        return -1;
    if (answer.fault[0])
        return 0;
    if (moref_read(xml_child(answer.body, "returnval"), view) < 0)
        return error_set(err, "CreateContainerView: the answer names no view");
    return 0;
}

static void destroy_view(struct session *session, const struct moref *view)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    CLEANUP_ERROR struct error *ignored = NULL;
    unsigned before = soap_hurry(session->soap, CLEANUP_S);

    soap_call(session->soap, view, "DestroyView", NULL, false, 0, &answer, &ignored);
    soap_hurry(session->soap, before);
}

/* A view lives in its session, as a token does, so that each start makes its own. */
static int retrieve_once(struct retrieval *r, struct error **err)
{
    struct moref view;
    int result;

    if (r->object)
        return retrieve(r, r->object, REACH_ITSELF, err);
    if (create_view(r, &view, err) < 0)
        return -1;
    if (!view.id[0])
        return retrieve(r, &r->session->root, REACH_BELOW, err);
    result = retrieve(r, &view, REACH_VIEW, err);
    destroy_view(r->session, &view);
    return result;
}

/* Start again as long as that is of use. */
static int retrieve_all(struct retrieval *r, struct error **err)
{
    struct session *session = r->session;
    unsigned fruitless = 0;

    for (;;) {
        CLEANUP_ERROR struct error *why = NULL;
        size_t seen = r->seen.count;
        unsigned logins = session->logins;
        int result = retrieve_once(r, &why);
        bool lost = strcmp(session->fault, "NotAuthenticated") == 0;

        if (result == -1 && drop_refused(r))
            continue;
        fruitless = r->seen.count > seen ? 0 : fruitless + 1;
        if (result != START_AGAIN || fruitless == FRUITLESS) {
            if (result != 0)
                *err = steal_ptr(why);
            return result == START_AGAIN ? -1 : result;
        }
        if (lost && logins == session->logins && session_login(session, err) < 0)
            return error_prefix(err, "the session is lost");
    }
}

int session_properties(struct session *session, const struct moref *object, const char *paths,
                       property_fn *got, void *opaque, struct error **err)
{
    CLEANUP(cleanup_retrieval)
    struct retrieval retrieval = { .session = session,
                                   .object = object,
                                   .type = object->type,
                                   .paths = paths,
                                   .got = got,
                                   .opaque = opaque };

    return retrieve_all(&retrieval, err);
}

int session_all(struct session *session, const char *type, const char *paths, property_fn *got,
                void *opaque, struct error **err)
{
    CLEANUP(cleanup_retrieval)
    struct retrieval retrieval = {
        .session = session, .type = type, .paths = paths, .got = got, .opaque = opaque
    };

    return retrieve_all(&retrieval, err);
}
