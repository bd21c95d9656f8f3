/* Finding a VM; see find.h.
 *
 * A name or uuid that the store knows is what it says: a replica is reached by it though its
 * source is down. A path may have passed on to another VM since, so sources are asked first. */
#include "job/find.h"

#include <string.h>

#include "job/connect.h"
#include "job/discover.h"

struct search {
    struct store *store;
    const char *state_dir;
    const char *reference;
    const char *source;       /* or NULL */
    char uuid[SPEC_UUID];     /* found; "": not yet */
    char where[STORE_NAME];   /* the source that has it */
    size_t asked;             /* sources */
    struct error *unanswered; /* the first source that could not be asked */
};

static void search_free(struct search *search)
{
    error_free(search->unanswered);
}

struct found {
    int64_t source_id;
    const struct vm_spec *spec;
};

static int write_down(struct store *store, void *opaque, struct error **err)
{
    const struct found *found = opaque;
    struct store_vm vm;

    return job_discover(store, found->source_id, found->spec, &vm, err);
}

static int discover(struct search *search, struct connection *from, struct error **err)
{
    CLEANUP_SPEC struct vm_spec spec = { 0 };
    struct found found = { from->row.id, &spec };

    if (from->source->kind->find(from->source, search->uuid, &spec, err) < 0)
        return -1;
    return store_transaction(search->store, write_down, &found, err);
}

/* 0 also when it has no such VM. */
static int ask(struct search *search, const struct store_source *source, struct error **err)
{
    CLEANUP_CONNECTION struct connection from = { 0 };
    CLEANUP_ERROR struct error *none = NULL;
    char uuid[SPEC_UUID];

    if (connection_open(search->store, source->id, search->state_dir, &from, err) < 0)
        return -1;
    if (from.source->kind->resolve(from.source, search->reference, uuid, &none) < 0)
        return none->errnum == ENOENT
                   ? 0
                   : (error_move(err, &none), error_prefix(err, "source '%s'", source->name));
    if (search->uuid[0] && strcmp(search->uuid, uuid) != 0)
        return error_set_kind(err, ERROR_USAGE,
                              "'%s' is a VM of both source '%s' (%s) and source '%s' (%s): say "
                              "which by uuid",
                              search->reference, search->where, search->uuid, source->name, uuid);
    memcpy(search->uuid, uuid, sizeof search->uuid);
    snprintf(search->where, sizeof search->where, "%s", source->name);
    return discover(search, &from, err);
}

/* All sources that can look a VM up; one that does not answer is remembered. */
static int ask_all(struct search *search, struct error **err)
{
    CLEANUP_FREE struct store_source *sources = NULL;
    size_t count;

    if (store_sources(search->store, &sources, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        CLEANUP_ERROR struct error *problem = NULL;
        const struct source_kind *kind;

        if ((search->source && strcmp(search->source, sources[i].name) != 0) ||
            source_kind_find(sources[i].kind, &kind, err) < 0 || !kind->resolve)
            continue;
        search->asked++;
        if (ask(search, &sources[i], &problem) == 0)
            continue;
        if (problem->kind == ERROR_USAGE)
            return error_move(err, &problem); /* ambiguous: an answer */
        if (!search->unanswered)
            error_move(&search->unanswered, &problem);
    }
    return 0;
}

int job_find_vm(struct store *store, const char *state_dir, const char *reference,
                const char *source, struct store_vm *vm, struct error **err)
{
    CLEANUP(search_free)
    struct search search = {
        .store = store, .state_dir = state_dir, .reference = reference, .source = source
    };
    CLEANUP_ERROR struct error *unknown = NULL;

    if (reference[0] != '/') {
        if (store_vm_find(store, reference, vm, &unknown) == 0)
            return 0;
        if (unknown->errnum != ENOENT)
            return error_move(err, &unknown);
    }
    if (ask_all(&search, err) < 0)
        return -1;
    if (search.uuid[0])
        return store_vm_by_uuid(store, search.uuid, vm, err);
    if (search.unanswered) /* it may be there */
        return error_move(err, &search.unanswered);
    error_clear(&unknown);
    if (store_vm_find(store, reference, vm, err) == 0)
        return 0;
    return search.asked ? error_prefix(err, "not in any source's inventory either") : -1;
}
