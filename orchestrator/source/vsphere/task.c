/* Waiting for tasks; see session.h. The server tells of changes (a property filter and
 * WaitForUpdatesEx); when it can't, the task is looked at from time to time. */
#include "source/vsphere/task.h"

#include <string.h>
#include <time.h>

#include "source/vsphere/envelope.h"

#define WAIT_S       20 /* of one WaitForUpdatesEx; then it answers that nothing happened */
#define LIMIT_S      (12 * 3600U)
#define BUSY_S       120
#define BUSY_LAST_MS 8000U /* between two tries while another task is in progress */
#define POLL_MS      250U
#define POLL_LAST_MS 3000U
#define BREATH_MS    100 /* between two updates: no server can keep us busy */
#define CLEANUP_S    10

typedef void task_progress_fn(void *opaque, const char *what, unsigned percent);

void task_info_read(const xmlNode *node, struct task_info *info)
{
    static const char *const states[] = { "", "queued", "running", "success", "error" };
    char type[64];
    int64_t percent;

    *info = (struct task_info){ 0 };
    for (int i = TASK_QUEUED; i <= TASK_ERROR; i++) {
        if (xml_text_is(node, "state", states[i]))
            info->state = (enum task_state)i;
    }
    if (xml_int64(node, "progress", &percent) == 0 && percent >= 0 && percent <= 100)
        info->percent = (unsigned)percent;
    envelope_fault_name(xml_at(node, "error/fault"), info->fault, sizeof info->fault);
    xml_text(node, "error/localizedMessage", info->text, sizeof info->text);
    xml_type(xml_child(node, "result"), type, sizeof type);
    if (strcmp(type, "ManagedObjectReference") == 0)
        moref_read(xml_child(node, "result"), &info->result);
}

bool task_update_read(const xmlNode *returnval, const struct moref *task, struct task_info *info)
{
    bool whole = false;

    for (xmlNode *f = xml_child(returnval, "filterSet"); f; f = xml_next(f)) {
        for (xmlNode *o = xml_child(f, "objectSet"); o; o = xml_next(o)) {
            if (!xml_text_is(o, "obj", task->id))
                continue;
            for (xmlNode *c = xml_child(o, "changeSet"); c; c = xml_next(c)) {
                xmlNode *val = xml_child(c, "val");

                /* A later change of a member makes what was read before stale. */
                whole = xml_text_is(c, "name", "info") && val;
                if (whole)
                    task_info_read(val, info);
            }
        }
    }
    return whole;
}

static int64_t now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

struct waiting {
    struct session *session;
    const struct moref *task;
    const char *what;
    task_progress_fn *progress;
    void *opaque;
    int64_t deadline_s;
    struct moref filter; /* id is "" while there is none */
    char version[256];   /* of the updates seen */
    bool lost;           /* the session, and nothing was heard since */
    bool shown;          /* the last look found something */
    struct task_info info;
};

static void tell(const struct waiting *w)
{
    if (w->progress)
        w->progress(w->opaque, w->what, w->info.state == TASK_SUCCESS ? 100 : w->info.percent);
}

static int check_deadline(const struct waiting *w, struct error **err)
{
    static const char *const words[] = { "in a state unknown to us", "still queued",
                                         "still running", "done", "failed" };

    if (now_s() < w->deadline_s)
        return 0;
    return error_set_kind(err, ERROR_PAUSED,
                          "%s: the time for it is over; it goes on at the server",
                          words[w->info.state]);
}

static int take_info(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                     struct error **err)
{
    struct waiting *w = opaque;

    (void)object, (void)err;
    if (strcmp(name, "info") == 0) {
        task_info_read(val, &w->info);
        w->shown = true;
    }
    return 0;
}

static int look(struct waiting *w, struct error **err)
{
    w->info = (struct task_info){ 0 };
    w->shown = false;
    if (session_properties(w->session, w->task, "info", take_info, w, err) < 0)
        return -1;
    if (!w->shown)
        return error_set(err, "the server shows nothing of it; may the user read tasks?");
    tell(w);
    return 0;
}

static int poll_task(struct waiting *w, struct error **err)
{
    unsigned pause_ms = POLL_MS;

    for (;;) {
        if (look(w, err) < 0)
            return -1;
        if (task_has_ended(&w->info))
            return 0;
        if (check_deadline(w, err) < 0 || soap_pause(w->session->soap, pause_ms, err) < 0)
            return -1;
        pause_ms = pause_ms * 2 > POLL_LAST_MS ? POLL_LAST_MS : pause_ms * 2;
    }
}

static void write_filter(struct xml_writer *writer, const struct moref *task)
{
    xml_open(writer, "spec", NULL);
    xml_open(writer, "propSet", NULL);
    xml_element(writer, "type", task->type);
    xml_element(writer, "pathSet", "info");
    xml_close(writer, "propSet");
    xml_open(writer, "objectSet", NULL);
    moref_write(writer, "obj", task);
    xml_element(writer, "skip", "false");
    xml_close(writer, "objectSet");
    xml_close(writer, "spec");
    xml_element(writer, "partialUpdates", "false");
}

/* 0 also when the server refuses: then there is no filter. */
static int create_filter(struct waiting *w, struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer writer = { 0 };
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    CLEANUP_ERROR struct error *why = NULL;

    w->version[0] = '\0';
    write_filter(&writer, w->task);
    if (xml_writer_check(&writer, "CreateFilter", err) < 0)
        return -1;
    if (session_call(w->session, &w->session->collector, "CreateFilter", writer.text, true, 0, NULL,
                     &answer, &why) < 0) {
        bool refused = w->session->fault[0] != '\0';

        if (!refused)
            error_move(err, &why);
        return refused ? 0 : -1;
    }
    if (moref_read(xml_child(answer.body, "returnval"), &w->filter) < 0)
        w->filter = (struct moref){ 0 };
    return 0;
}

/* Also after a cancel; when it can't be, the filter goes with the session. */
static void destroy_filter(struct waiting *w)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    CLEANUP_ERROR struct error *ignored = NULL;
    unsigned before;

    if (!w->filter.id[0])
        return;
    before = soap_hurry(w->session->soap, CLEANUP_S);
    soap_call(w->session->soap, &w->filter, "DestroyPropertyFilter", NULL, false, 0, &answer,
              &ignored);
    soap_hurry(w->session->soap, before);
    w->filter = (struct moref){ 0 };
}

enum heard {
    HEARD_LOST = -2, /* the session is: log in, filter anew */
    HEARD_FAILED,    /* *err is set */
    HEARD_SOMETHING, /* or that nothing happened */
    HEARD_NONSENSE,  /* updates do not work with this server */
};

static enum heard understand(struct waiting *w, const xmlNode *returnval, struct error **err)
{
    if (!returnval) /* the server's time was up: no news */
        return HEARD_SOMETHING;
    if (xml_whole_text(returnval, "version", w->version, sizeof w->version) < 0 || !w->version[0])
        return HEARD_NONSENSE;
    if (!task_update_read(returnval, w->task, &w->info))
        return look(w, err) < 0 ? HEARD_FAILED : HEARD_SOMETHING;
    tell(w);
    return HEARD_SOMETHING;
}

static enum heard wait_for_update(struct waiting *w, struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer writer = { 0 };
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    char seconds[16];

    snprintf(seconds, sizeof seconds, "%d", WAIT_S);
    xml_element(&writer, "version", w->version);
    xml_open(&writer, "options", NULL);
    xml_element(&writer, "maxWaitSeconds", seconds);
    xml_close(&writer, "options");
    if (xml_writer_check(&writer, "WaitForUpdatesEx", err) < 0 ||
        session_call(w->session, &w->session->collector, "WaitForUpdatesEx", writer.text, true,
                     WAIT_S, "*", &answer, err) < 0)
        return HEARD_FAILED;
    if (strcmp(answer.fault, "NotAuthenticated") == 0)
        return HEARD_LOST;
    if (answer.fault[0])
        return HEARD_NONSENSE;
    return understand(w, xml_child(answer.body, "returnval"), err);
}

/* The filter went with the session; the task did not. */
static int find_again(struct waiting *w, struct error **err)
{
    if (w->lost)
        return session_fault(w->session, "NotAuthenticated", "the session is lost again", err);
    w->lost = true;
    w->filter = (struct moref){ 0 };
    return session_login(w->session, err);
}

static int wait_by_updates(struct waiting *w, struct error **err)
{
    for (;;) {
        unsigned logins;

        if (!w->filter.id[0] && create_filter(w, err) < 0)
            return -1;
        if (!w->filter.id[0])
            return poll_task(w, err);
        logins = w->session->logins;
        switch (wait_for_update(w, err)) {
        case HEARD_FAILED:
            return -1;
        case HEARD_NONSENSE:
            destroy_filter(w);
            return poll_task(w, err);
        case HEARD_LOST:
            if (find_again(w, err) < 0)
                return -1;
            continue;
        case HEARD_SOMETHING:
            w->lost = false;
        }
        if (task_has_ended(&w->info))
            return 0;
        if (logins != w->session->logins) /* by look(): the filter is gone */
            w->filter = (struct moref){ 0 };
        if (check_deadline(w, err) < 0 || soap_pause(w->session->soap, BREATH_MS, err) < 0)
            return -1;
    }
}

static int wait_until_ended(struct session *session, const struct moref *task, const char *what,
                            task_progress_fn *progress, void *opaque, struct task_info *info,
                            struct error **err)
{
    unsigned limit_s = session->task_limit_s ? session->task_limit_s : LIMIT_S;
    struct waiting w = { .session = session,
                         .task = task,
                         .what = what,
                         .progress = progress,
                         .opaque = opaque,
                         .deadline_s = now_s() + limit_s };
    int r = wait_by_updates(&w, err);

    destroy_filter(&w);
    *info = w.info;
    return r < 0 ? error_prefix(err, "%s: waiting for the task", what) : 0;
}

static int conclude(struct session *session, const char *what, const struct task_info *info,
                    struct moref *result, struct error **err)
{
    if (result)
        *result = info->result;
    if (info->state == TASK_SUCCESS)
        return 0;
    session_fault(session, info->fault[0] ? info->fault : "TaskError",
                  info->text[0] ? info->text : "the server gives no reason", err);
    return error_prefix(err, "%s", what);
}

int session_task(struct session *session, const struct moref *task, const char *what,
                 task_progress_fn *progress, void *opaque, struct moref *result, struct error **err)
{
    struct task_info info;

    session->fault[0] = '\0';
    if (wait_until_ended(session, task, what, progress, opaque, &info, err) < 0)
        return -1;
    return conclude(session, what, &info, result, err);
}

/* One try. 1: another task is in progress, *err says so. */
static int try_task(struct session *session, const struct moref *self, const char *op,
                    const char *arguments, const char *what, task_progress_fn *progress,
                    void *opaque, struct moref *result, struct error **err)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    struct moref task;
    int r;

    if (session_call(session, self, op, arguments, false, 0, NULL, &answer, err) < 0)
        r = error_prefix(err, "%s", what);
    else if (moref_read(xml_child(answer.body, "returnval"), &task) < 0)
        return error_set(err, "%s: the answer names no task", what);
    else
        r = session_task(session, &task, what, progress, opaque, result, err);
    return r < 0 && strcmp(session->fault, "TaskInProgress") == 0 ? 1 : r;
}

int session_run_task(struct session *session, const struct moref *self, const char *op,
                     const char *arguments, const char *what, task_progress_fn *progress,
                     void *opaque, struct moref *result, struct error **err)
{
    unsigned busy_s = session->task_busy_s ? session->task_busy_s : BUSY_S;
    int64_t deadline_s = now_s() + busy_s;
    unsigned pause_ms = 1000;

    for (;;) {
        CLEANUP_ERROR struct error *why = NULL;
        int r = try_task(session, self, op, arguments, what, progress, opaque, result, &why);

        if (r == 0)
            return 0;
        if (r < 0 || now_s() >= deadline_s) {
            error_move(err, &why);
            return r < 0 ? -1 : error_prefix(err, "gave up after waiting %u s", busy_s);
        }
        if (soap_pause(session->soap, pause_ms, err) < 0)
            return error_prefix(err, "%s: another task is in progress", what);
        pause_ms = pause_ms * 2 > BUSY_LAST_MS ? BUSY_LAST_MS : pause_ms * 2;
    }
}
