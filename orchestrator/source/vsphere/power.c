/* The power of one VM; see power.h. A request whose answer was lost may have been heard: the
 * server is asked what became of it, and asked again only when nothing did. */
#include "source/vsphere/power.h"

#include <string.h>

#include "source/vsphere/read.h"

#define TRIES     5
#define PAUSE_MS  1000U
#define LIMIT_S   600U  /* of a task: powering on may wait for an answer that nobody gives */
#define NOTE_MAX  65536 /* bytes that vSphere keeps of what is written about a VM */
#define NAME_TEXT 1024

/* ---- what it is ---- */

struct state {
    enum power power;
    char word[32]; /* vSphere's for the power; "" : it was not told */
    char connection[32];
};

static int take_state(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                      struct error **err)
{
    static const char *const words[] = {
        [POWER_OFF] = "poweredOff", [POWER_ON] = "poweredOn", [POWER_SUSPENDED] = "suspended"
    };
    struct state *state = opaque;

    (void)object, (void)err;
    if (strcmp(name, "runtime.connectionState") == 0) {
        read_exact(val, "", state->connection, sizeof state->connection);
        return 0;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (xml_text_is(val, "", words[i])) {
            state->power = (enum power)i;
            strcpy(state->word, words[i]);
        }
    }
    return 0;
}

int power_read(const struct snapshot_vm *vm, enum power *power, struct error **err)
{
    struct state state = { .power = POWER_OFF };

    if (session_properties(vm->session, &vm->ref, "runtime.powerState runtime.connectionState",
                           take_state, &state, err) < 0)
        return error_prefix(err, "reading the power state of VM %s", vm->name);
    /* Of a host that does not answer the server tells what it heard last. */
    if (state.connection[0] && strcmp(state.connection, "connected") != 0)
        return error_set(err,
                         "VM %s: vSphere calls it '%s', so that nobody knows whether it runs: "
                         "reconnect its host",
                         vm->name, state.connection);
    if (!state.word[0])
        return error_set(err, "VM %s: vSphere does not tell its power state", vm->name);
    *power = state.power;
    return 0;
}

/* ---- changing it ---- */

/* Whether it may have been done although there is no good answer. */
static bool is_unknown(const struct snapshot_vm *vm, const struct error *problem)
{
    return !vm->session->fault[0] && problem->kind == ERROR_PAUSED;
}

static bool is_fault(const struct snapshot_vm *vm, const char *name)
{
    return strcmp(vm->session->fault, name) == 0;
}

static int run_task(const struct snapshot_vm *vm, const char *op, const char *arguments,
                    struct error **err)
{
    unsigned limit = vm->session->task_limit_s;
    char what[512];
    int r;

    snprintf(what, sizeof what, "%s on VM %s", op, vm->name);
    if (!limit || limit > LIMIT_S)
        vm->session->task_limit_s = LIMIT_S;
    vm->session->fault[0] = '\0';
    r = session_run_task(vm->session, &vm->ref, op, arguments, what, vm->settings->task,
                         vm->settings->opaque, NULL, err);
    vm->session->task_limit_s = limit;
    return r;
}

/* One request; 0 also when the server says that it is so already. *again: it may be asked for
 * once more, if it turns out that nothing was done. */
static int request(const struct snapshot_vm *vm, const char *op, bool *again, struct error **err)
{
    CLEANUP_ERROR struct error *problem = NULL;

    *again = false;
    if (run_task(vm, op, NULL, &problem) == 0)
        return 0;
    *again = is_unknown(vm, problem) || is_fault(vm, "InvalidPowerState");
    return error_move(err, &problem);
}

static int reach(const struct snapshot_vm *vm, enum power wanted, const char *op,
                 struct error **err)
{
    enum power now;

    for (int tries = 1;; tries++) {
        CLEANUP_ERROR struct error *problem = NULL;
        bool again = true;
        int r;

        if (power_read(vm, &now, err) < 0)
            return -1;
        if (now == wanted)
            return 0;
        r = request(vm, op, &again, &problem);
        if (r < 0 && (!again || tries == TRIES))
            return error_move(err, &problem);
        if (r == 0) {
            if (power_read(vm, &now, err) < 0)
                return -1;
            if (now == wanted)
                return 0;
            if (tries == TRIES)
                return error_set(err, "%s on VM %s: vSphere says that it is done, and it is not",
                                 op, vm->name);
        }
        if (soap_pause(vm->session->soap, PAUSE_MS, err) < 0)
            return error_prefix(err, "%s on VM %s", op, vm->name);
    }
}

int power_off(const struct snapshot_vm *vm, struct error **err)
{
    return reach(vm, POWER_OFF, "PowerOffVM_Task", err);
}

int power_on(const struct snapshot_vm *vm, struct error **err)
{
    bool was = session_ignore_cancel(vm->session, true);
    int r = reach(vm, POWER_ON, "PowerOnVM_Task", err);

    session_ignore_cancel(vm->session, was);
    return r;
}

/* ---- asking the guest ---- */

#define GUEST_FAULTS "ToolsUnavailable NotSupported InvalidPowerState TaskInProgress"

static int nobody_there(const struct snapshot_vm *vm, const struct soap_answer *answer,
                        struct error **err)
{
    error_set(err,
              "VM %s: its guest can't be asked to shut down (%s): start VMware Tools "
              "(open-vm-tools) in it, shut it down from inside, or let it be powered off",
              vm->name, answer->fault);
    (*err)->errnum = ENOTSUP;
    return -1;
}

/* 0: it was asked, or it is off. 1: the VM is busy. */
static int ask_guest(const struct snapshot_vm *vm, struct error **err)
{
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
    enum power now;

    /* Asked twice, a guest shuts down once. */
    if (session_call(vm->session, &vm->ref, "ShutdownGuest", NULL, true, 0, GUEST_FAULTS, &answer,
                     err) < 0)
        return error_prefix(err, "VM %s", vm->name);
    if (!answer.fault[0])
        return 0;
    if (strcmp(answer.fault, "TaskInProgress") == 0)
        return 1;
    if (strcmp(answer.fault, "InvalidPowerState") != 0)
        return nobody_there(vm, &answer, err);
    if (power_read(vm, &now, err) < 0)
        return -1;
    return now == POWER_OFF ? 0
                            : error_set(err, "VM %s: ShutdownGuest: %s: %s", vm->name, answer.fault,
                                        answer.fault_text);
}

int power_shut_down(const struct snapshot_vm *vm, struct error **err)
{
    enum power now;
    int r;

    if (power_read(vm, &now, err) < 0)
        return -1;
    if (now == POWER_OFF)
        return 0;
    for (int tries = 1; (r = ask_guest(vm, err)) > 0; tries++) {
        if (tries == TRIES)
            return error_set_kind(err, ERROR_PAUSED,
                                  "VM %s: ShutdownGuest: another task is in progress: try again "
                                  "when it has ended",
                                  vm->name);
        if (soap_pause(vm->session->soap, PAUSE_MS, err) < 0)
            return error_prefix(err, "VM %s: ShutdownGuest", vm->name);
    }
    return r;
}

/* ---- out of service ---- */

struct written {
    char name[NAME_TEXT];
    xmlChar *note; /* NULL: none */
};

static void written_free(struct written *written)
{
    xmlFree(written->note);
}

static int take_written(void *opaque, const struct moref *object, const char *name, xmlNode *val,
                        struct error **err)
{
    struct written *written = opaque;

    (void)object, (void)err;
    if (strcmp(name, "name") == 0) {
        read_exact(val, "", written->name, sizeof written->name);
    } else {
        xmlFree(written->note);
        written->note = xmlNodeGetContent(val);
    }
    return 0;
}

static int read_written(const struct snapshot_vm *vm, struct written *written, struct error **err)
{
    return session_properties(vm->session, &vm->ref, "name config.annotation", take_written,
                              written, err) < 0
               ? error_prefix(err, "reading the name of VM %s", vm->name)
               : 0;
}

/* Behind what others wrote. What does not fit any more is not put in their place. */
static int add_note(const struct snapshot_vm *vm, const struct written *written, const char *note,
                    struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer arguments = { 0 };
    CLEANUP_FREE char *text = NULL;
    const char *old = written->note ? (const char *)written->note : "";

    if (strstr(old, note))
        return 0;
    if (strlen(old) + 1 + strlen(note) > NOTE_MAX)
        return error_set(err, "VM %s: there is no room for a note in its annotation", vm->name);
    if (asprintf(&text, "%s%s%s", old, old[0] ? "\n" : "", note) < 0)
        return error_set_errno(err, ENOMEM, "VM %s", vm->name);
    xml_open(&arguments, "spec", NULL);
    xml_element(&arguments, "annotation", text);
    xml_close(&arguments, "spec");
    return xml_writer_check(&arguments, "the VM's annotation", err) < 0
               ? -1
               : run_task(vm, "ReconfigVM_Task", arguments.text, err);
}

static bool begins_escape(const char *text)
{
    return strncmp(text, "%2f", 3) == 0 || strncmp(text, "%5c", 3) == 0 ||
           strncmp(text, "%25", 3) == 0;
}

/* As the server has names: with escape sequences for / and \, and for a % that begins none. */
static int escape_name(const char *name, char escaped[NAME_TEXT], struct error **err)
{
    size_t used = 0;

    for (const char *c = name; *c; c++) {
        const char *sequence = *c == '/'                        ? "%2f"
                               : *c == '\\'                     ? "%5c"
                               : *c == '%' && !begins_escape(c) ? "%25"
                                                                : NULL;

        if (used + 4 > NAME_TEXT)
            return error_set(err, "the name is too long");
        if (sequence) {
            memcpy(escaped + used, sequence, 3);
            used += 3;
        } else {
            escaped[used++] = *c;
        }
    }
    escaped[used] = '\0';
    return 0;
}

static int rename_vm(const struct snapshot_vm *vm, const struct written *written, const char *name,
                     struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer arguments = { 0 };
    char escaped[NAME_TEXT];

    if (escape_name(name, escaped, err) < 0)
        return -1;
    if (strcmp(written->name, escaped) == 0)
        return 0;
    xml_element(&arguments, "newName", escaped);
    return xml_writer_check(&arguments, "the VM's new name", err) < 0
               ? -1
               : run_task(vm, "Rename_Task", arguments.text, err);
}

static int retire_once(const struct snapshot_vm *vm, const char *name, const char *note,
                       struct error **err)
{
    CLEANUP(written_free) struct written written = { .note = NULL };

    return read_written(vm, &written, err) < 0 || add_note(vm, &written, note, err) < 0 ||
                   rename_vm(vm, &written, name, err) < 0
               ? -1
               : 0;
}

int power_retire(const struct snapshot_vm *vm, const char *name, const char *note,
                 struct error **err)
{
    for (int tries = 1;; tries++) {
        CLEANUP_ERROR struct error *problem = NULL;

        if (retire_once(vm, name, note, &problem) == 0)
            return 0;
        if (!is_unknown(vm, problem) || tries == TRIES ||
            soap_pause(vm->session->soap, PAUSE_MS, err) < 0)
            return error_clear(err), error_move(err, &problem);
    }
}
