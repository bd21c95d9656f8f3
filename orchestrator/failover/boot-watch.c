/* What a guest shows while it boots, and what is kept of it; see boot.h. */
#include <json.h>
#include <stdio.h>
#include <string.h>

#include "failover/boot.h"
#include "failover/guest.h"
#include "failover/overdue.h"
#include "failover/screen.h"

#define LIBVIRT_LATE_S 5 /* more than one look takes */

void boot_watch(struct boot *boot)
{
    const struct failover_options *options = boot->options;
    struct overdue late;

    boot_say(boot, "%s runs as domain %s (%s); waiting at most %u s for %s%s", boot->vm->name,
             boot->result->failover.domain_name, boot->result->virt_type, options->timeout_s,
             boot->expects ? "its console to say " : "its guest agent",
             boot->expects ? options->expect : "");
    overdue_start(&late, options->timeout_s + LIBVIRT_LATE_S, options->say,
                  "the time for the boot is over, but libvirt does not answer: waiting for it");
    evidence_watch(boot->domain, boot->result->console, boot->expects ? &boot->expect : NULL,
                   options->timeout_s, options->tick, &boot->result->evidence);
    overdue_stop(&late);
}

/* What there is to be seen of a guest now; a picture that can't be taken is no failure. */
static void look_at(struct boot *boot, json_object *json)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct failover_result *result = boot->result;
    json_object *guest;

    failover_screen(boot->state_dir, result->failover.id, result->screen);
    if (strcmp(result->evidence.by, "stopped") == 0 ||
        screen_save(boot->domain, result->screen, &err) < 0)
        result->screen[0] = '\0';
    if (err)
        boot_say(boot, "no picture of the screen: %s", error_message(err));
    guest = result->evidence.booted ? guest_ask(boot->domain) : NULL;
    json_object_object_add(json, "screen",
                           *result->screen ? json_object_new_string(result->screen) : NULL);
    json_object_object_add(json, "guest", guest);
}

/* What the steps found worth keeping. */
static void add_more(json_object *json, json_object *more)
{
    if (!more)
        return;
    json_object_object_foreach(more, name, value)
    {
        json_object_object_add(json, name, json_object_get(value));
    }
}

int boot_keep_evidence(struct boot *boot, struct error **err)
{
    const struct evidence *evidence = &boot->result->evidence;
    json_object *json = json_object_new_object();
    char seconds[32];
    int status;

    snprintf(seconds, sizeof seconds, "%.1f", evidence->seconds);
    json_object_object_add(json, "booted", json_object_new_boolean(evidence->booted));
    json_object_object_add(json, "by", json_object_new_string(evidence->by));
    json_object_object_add(json, "line",
                           *evidence->line ? json_object_new_string(evidence->line) : NULL);
    json_object_object_add(json, "seconds", json_object_new_double_s(evidence->seconds, seconds));
    json_object_object_add(json, "virt_type", json_object_new_string(boot->result->virt_type));
    json_object_object_add(json, "console", json_object_new_string(boot->result->console));
    look_at(boot, json);
    add_more(json, boot->more);
    status = store_failover_evidence(boot->store, boot->result->failover.id,
                                     json_object_to_json_string(json), err);
    json_object_put(json);
    return status;
}
