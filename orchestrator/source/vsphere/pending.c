/* Waiting for snapshots in the making, or being removed; see pending.h. */
#include "source/vsphere/pending.h"

#include <string.h>

#define TASKS_MAX 64
#define WAIT_S    600
#define MERGE_S   (12 * 3600U) /* a merge copies what was written since */

struct tasks {
    struct moref list[TASKS_MAX];
    size_t count;
};

static int take_tasks(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                      struct error **err)
{
    struct tasks *tasks = opaque;

    (void)object, (void)name, (void)err;
    for (const xmlNode *node = xml_child(val, "ManagedObjectReference");
         node && tasks->count < TASKS_MAX; node = xml_next(node)) {
        if (moref_read(node, &tasks->list[tasks->count]) == 0)
            tasks->count++;
    }
    return 0;
}

struct facts {
    char description[128];
    bool ended;
};

static int take_fact(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                     struct error **err)
{
    struct facts *facts = opaque;

    (void)object, (void)err;
    if (strcmp(name, "info.descriptionId") == 0)
        xml_text(val, "", facts->description, sizeof facts->description);
    else if (strcmp(name, "info.state") == 0)
        facts->ended = xml_text_is(val, "", "success") || xml_text_is(val, "", "error");
    return 0;
}

/* Servers have it as "VirtualMachine.createSnapshot", and as "vim.vm.Snapshot.remove",
 * "vm.Snapshot.remove" or "VirtualMachine.removeSnapshot". */
static bool is_making(const char *description)
{
    return strcasestr(description, "createSnapshot") != NULL;
}

static bool is_removing(const char *description)
{
    return strcasestr(description, "Snapshot.remove") ||
           strcasestr(description, "removeSnapshot") ||
           strcasestr(description, "removeAllSnapshots") || strcasestr(description, "consolidate");
}

struct wanted {
    bool (*fits)(const char *description);
    const char *what; /* for messages */
    void (*progress)(void *opaque, const char *what, unsigned percent);
    void *opaque;
};

/* A task that fails is no error here: it has ended. */
static int wait_for(struct session *session, const struct moref *task, struct wanted *wanted,
                    struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;
    struct facts facts = { 0 };

    /* Only the server's own word ends the waiting: a fault, as a task that is forgotten has
     * ended. An answer that is lost or makes no sense says nothing. */
    if (session_properties(session, task, "info.descriptionId info.state", take_fact, &facts,
                           &problem) < 0)
        return session->fault[0] ? 0 : error_move(err, &problem);
    if (facts.ended || !wanted->fits(facts.description))
        return 0;
    if (session_task(session, task, wanted->what, wanted->progress, wanted->opaque, NULL,
                     &problem) == 0)
        return 0;
    return session->fault[0] ? 0 : error_move(err, &problem);
}

static int wait_for_all(struct session *session, const struct moref *vm, struct wanted *wanted,
                        unsigned seconds, struct error **err)
{
    struct tasks tasks = { .count = 0 };
    unsigned limit = session->task_limit_s;
    int r = 0;

    if (session_properties(session, vm, "recentTask", take_tasks, &tasks, err) < 0)
        return -1;
    session->task_limit_s = seconds;
    for (size_t i = 0; r == 0 && i < tasks.count; i++)
        r = wait_for(session, &tasks.list[i], wanted, err);
    session->task_limit_s = limit;
    return r;
}

int pending_snapshots_wait(struct session *session, const struct moref *vm, struct error **err)
{
    struct wanted wanted = { .fits = is_making, .what = "a dead job's CreateSnapshot_Task" };

    return wait_for_all(session, vm, &wanted, WAIT_S, err);
}

int pending_removals_wait(const struct snapshot_vm *vm, struct error **err)
{
    char what[512];
    struct wanted wanted = { .fits = is_removing,
                             .what = what,
                             .progress = vm->settings->task,
                             .opaque = vm->settings->opaque };

    snprintf(what, sizeof what, "RemoveSnapshot_Task on VM %s", vm->name);
    return wait_for_all(vm->session, &vm->ref, &wanted, MERGE_S, err);
}
