/* Asking guest agents; see guest.h. */
#include "failover/guest.h"

#include <libvirt/libvirt-qemu.h>
#include <string.h>

#define ASK_TIMEOUT_S 5
#define ANSWER_MOST   (256 << 10) /* a guest says what it wants to */

static char *command(virDomainPtr domain, const char *name, int timeout_s)
{
    char text[128];

    snprintf(text, sizeof text, "{\"execute\":\"%s\"}", name);
    return virDomainQemuAgentCommand(domain, text, timeout_s, 0);
}

bool guest_answers(virDomainPtr domain, int timeout_s)
{
    char *answer = command(domain, "guest-ping", timeout_s);
    bool answered = answer != NULL;

    free(answer);
    return answered;
}

static void add_answer(json_object *object, const char *member, virDomainPtr domain,
                       const char *name)
{
    char *answer = command(domain, name, ASK_TIMEOUT_S);
    json_object *parsed =
        answer && strlen(answer) <= ANSWER_MOST ? json_tokener_parse(answer) : NULL;
    json_object *returned;

    if (json_object_object_get_ex(parsed, "return", &returned))
        json_object_object_add(object, member, json_object_get(returned));
    json_object_put(parsed);
    free(answer);
}

json_object *guest_ask(virDomainPtr domain)
{
    json_object *object;

    if (!guest_answers(domain, ASK_TIMEOUT_S))
        return NULL;
    object = json_object_new_object();
    add_answer(object, "os", domain, "guest-get-osinfo");
    add_answer(object, "hostname", domain, "guest-get-host-name");
    add_answer(object, "filesystems", domain, "guest-get-fsinfo");
    add_answer(object, "interfaces", domain, "guest-network-get-interfaces");
    return object;
}
