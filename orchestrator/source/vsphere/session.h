/* A login, and calls that outlive it: when the server has forgotten the session in the
 * middle of anything, log in again once and repeat that call. */
#ifndef VMFERRY_VSPHERE_SESSION_H
#define VMFERRY_VSPHERE_SESSION_H

#include "source/vsphere/soap.h"

struct credentials {
    char user[256];
    char password[512]; /* wiped by session_close() */
};

struct session {
    struct soap *soap;
    struct credentials credentials;
    bool is_vcenter;
    char about[256]; /* "VMware vCenter Server 7.0.3 build-19193900" */
    char api_version[32];
    char build[32];
    struct moref root, collector, search, manager, view_manager;
    struct moref authorization;

    /* The fault that the last error came from, "ApplicationQuiesceFault" (of a call or of a
     * task); "" when it was none. */
    char fault[64];
    unsigned logins;       /* how many there were: what lives in a session dies with it */
    unsigned task_limit_s; /* give up waiting for a task; 0: 12 hours */
    unsigned task_busy_s;  /* how long "another task is in progress" is waited out; 0: 120 */
};

/* Nothing has to be closed when it fails. */
int session_open(const struct soap_settings *settings, const struct credentials *credentials,
                 struct session *session, struct error **err);
/* Logs out, within seconds, cancelled or not; nothing to do on one that was never opened. */
void session_close(struct session *session);
/* After a cancel, for what still has to be done (removing a snapshot): the cancel flag is not
 * looked at. Returns what it was. */
bool session_ignore_cancel(struct session *session, bool ignore);

/* As soap_call(), with a new login when it is needed. A fault that the caller did not ask
 * for is turned into an error: "OP: NAME: text". `expected`: names of faults, separated by
 * blanks, that the caller looks at itself; "*": all; NULL: none. With "NotAuthenticated" (or
 * all) among them there is no new login. */
int session_call(struct session *session, const struct moref *self, const char *op,
                 const char *arguments, bool safe, unsigned wait_s, const char *expected,
                 struct soap_answer *answer, struct error **err);

/* For those that look at NotAuthenticated themselves. */
int session_login(struct session *session, struct error **err);
/* Turn a fault into an error, "NAME: text", and remember it in session->fault. */
int session_fault(struct session *session, const char *name, const char *text, struct error **err);

/* Properties of one object (`paths`: separated by blanks). For each that is there,
 * `got` is called with its name and its <val> element; what is missing or forbidden is
 * passed over. A return of `got` other than 0 ends it and is returned: -1 with *err set, or
 * a positive number to stop early. `got` may make calls of its own. */
typedef int property_fn(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                        struct error **err);
int session_properties(struct session *session, const struct moref *object, const char *paths,
                       property_fn *got, void *opaque, struct error **err);
/* The same for every object of `type` below `root`, page by page (a container view; the
 * view is destroyed afterwards). In memory is one page. All of an object's properties come
 * one after the other, and every object once, also when the session is lost in between. */
int session_all(struct session *session, const char *type, const char *paths, property_fn *got,
                void *opaque, struct error **err);

/* Wait until a task has ended. `what` names it in errors: "CreateSnapshot_Task on VM app01".
 * On success its info.result is in *result, when that is an object (else *result is empty).
 * `progress` and `result` may be NULL. A cancel ends the waiting, not the task. */
int session_task(struct session *session, const struct moref *task, const char *what,
                 void (*progress)(void *opaque, const char *what, unsigned percent), void *opaque,
                 struct moref *result, struct error **err);
/* Start OP, which returns a task, and wait for it; "another task is already in progress" is
 * waited out, a bounded time. */
int session_run_task(struct session *session, const struct moref *self, const char *op,
                     const char *arguments, const char *what,
                     void (*progress)(void *opaque, const char *what, unsigned percent),
                     void *opaque, struct moref *result, struct error **err);

#endif
