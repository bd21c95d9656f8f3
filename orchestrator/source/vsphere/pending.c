/* Waiting for snapshots in the making; see pending.h. */
#include "source/vsphere/pending.h"

#include <string.h>

#define TASKS_MAX 64
#define WAIT_S    600

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
    bool makes_snapshot;
    bool ended;
};

static int take_fact(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                     struct error **err)
{
    struct facts *facts = opaque;

    (void)object, (void)err;
    if (strcmp(name, "info.descriptionId") == 0)
        facts->makes_snapshot = xml_text_is(val, "", "VirtualMachine.createSnapshot");
    else if (strcmp(name, "info.state") == 0)
        facts->ended = xml_text_is(val, "", "success") || xml_text_is(val, "", "error");
    return 0;
}

static int wait_for(struct session *session, const struct moref *task, struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;
    struct facts facts = { 0 };

    /* Only the server's own word ends the waiting: a fault, as a task that is forgotten has
     * ended. An answer that is lost or makes no sense says nothing. */
    if (session_properties(session, task, "info.descriptionId info.state", take_fact, &facts,
                           &problem) < 0)
        return session->fault[0] ? 0 : error_move(err, &problem);
    if (!facts.makes_snapshot || facts.ended ||
        session_task(session, task, "a dead job's CreateSnapshot_Task", NULL, NULL, NULL,
                     &problem) == 0)
        return 0;
    return session->fault[0] ? 0 : error_move(err, &problem);
}

int pending_snapshots_wait(struct session *session, const struct moref *vm, struct error **err)
{
    struct tasks tasks = { .count = 0 };
    unsigned limit = session->task_limit_s;
    int r = 0;

    if (session_properties(session, vm, "recentTask", take_tasks, &tasks, err) < 0)
        return -1;
    session->task_limit_s = WAIT_S;
    for (size_t i = 0; r == 0 && i < tasks.count; i++)
        r = wait_for(session, &tasks.list[i], err);
    session->task_limit_s = limit;
    return r;
}
