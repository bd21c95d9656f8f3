/* Checks by a command that the guest's agent runs; see check.h. A try that fails is repeated, for
 * services take their time; one that runs is waited for. */
#include <string.h>

#include "escape.h"
#include "failover/check.h"
#include "failover/guest.h"

#define AGENT_TIMEOUT_S 5
#define OUTPUT_MOST     4096

static void start(struct check_try *try, virDomainPtr domain)
{
    json_object *arguments = json_object_new_object(), *words = json_object_new_array();
    CLEANUP_ERROR struct error *err = NULL;
    json_object *answer = NULL, *pid;

    for (char **word = try->check->argv + 1; *word; word++)
        json_object_array_add(words, json_object_new_string(*word));
    json_object_object_add(arguments, "path", json_object_new_string(try->check->argv[0]));
    json_object_object_add(arguments, "arg", words);
    json_object_object_add(arguments, "capture-output", json_object_new_boolean(true));
    try->tries++;
    if (guest_call(domain, "guest-exec", arguments, AGENT_TIMEOUT_S, &answer, &err) < 0) {
        snprintf(try->why, sizeof try->why, "%s", error_message(err));
        /* "Command guest-exec has been disabled", as some systems ship it. */
        try->hopeless = strstr(error_message(err), "disabled") != NULL;
        return;
    }
    if (json_object_object_get_ex(answer, "pid", &pid))
        try->process = json_object_get_int64(pid);
    json_object_put(answer);
}

static void keep_output(struct check_try *try, json_object *status)
{
    CLEANUP_FREE char *out = guest_text(json_object_object_get(status, "out-data"));
    CLEANUP_FREE char *err = guest_text(json_object_object_get(status, "err-data"));
    CLEANUP_FREE char *both = NULL;
    char *cut = malloc(OUTPUT_MOST);

    if (cut && asprintf(&both, "%s%s", out ? out : "", err ? err : "") >= 0) {
        free(try->output);
        copy_utf8(cut, OUTPUT_MOST, both);
        try->output = cut;
    } else {
        free(cut);
    }
}

static void judge(struct check_try *try, json_object *status)
{
    json_object *code;

    keep_output(try, status);
    if (json_object_object_get_ex(status, "exitcode", &code)) {
        try->exit_code = json_object_get_int(code);
        snprintf(try->why, sizeof try->why, "it exits with %d", try->exit_code);
    } else if (json_object_object_get_ex(status, "signal", &code)) {
        snprintf(try->why, sizeof try->why, "signal %d ends it", json_object_get_int(code));
    } else {
        snprintf(try->why, sizeof try->why, "the guest does not say how it ended");
    }
    try->passed = try->exit_code == 0;
}

/* A guest that was busy for a moment is asked again: its process still runs. */
static void look(struct check_try *try, virDomainPtr domain)
{
    json_object *arguments = json_object_new_object();
    CLEANUP_ERROR struct error *err = NULL;
    json_object *status = NULL, *exited;

    json_object_object_add(arguments, "pid", json_object_new_int64(try->process));
    if (guest_call(domain, "guest-exec-status", arguments, AGENT_TIMEOUT_S, &status, &err) < 0) {
        snprintf(try->why, sizeof try->why, "%s", error_message(err));
        return;
    }
    if (json_object_object_get_ex(status, "exited", &exited) && json_object_get_boolean(exited)) {
        try->process = 0;
        judge(try, status);
    } else {
        strcpy(try->why, "it does not end");
    }
    json_object_put(status);
}

void check_command(struct check_try *try, const struct check_place *place)
{
    strcpy(try->way, "agent");
    try->exit_code = -1;
    if (!try->process)
        start(try, place->domain);
    if (try->process)
        look(try, place->domain);
}
