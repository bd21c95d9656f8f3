/* Asking guest agents; see guest.h. */
#include "failover/guest.h"

#include <libvirt/libvirt-qemu.h>
#include <string.h>

#include "escape.h"

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

int guest_call(virDomainPtr domain, const char *name, json_object *arguments, int timeout_s,
               json_object **answer, struct error **err)
{
    json_object *question = json_object_new_object(), *parsed, *returned;
    CLEANUP_FREE char *text = NULL;
    int r = 0;

    json_object_object_add(question, "execute", json_object_new_string(name));
    if (arguments)
        json_object_object_add(question, "arguments", arguments);
    text = virDomainQemuAgentCommand(
        domain, json_object_to_json_string_ext(question, JSON_C_TO_STRING_PLAIN), timeout_s, 0);
    json_object_put(question);
    if (!text)
        return libvirt_error(err, "guest agent, %s", name);
    parsed = strlen(text) <= ANSWER_MOST ? json_tokener_parse(text) : NULL;
    if (json_object_object_get_ex(parsed, "return", &returned))
        *answer = json_object_get(returned);
    else
        r = error_set(err, "guest agent, %s: it answers what is no answer", name);
    json_object_put(parsed);
    return r;
}

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(digits, c) : NULL;

    return found ? (int)(found - digits) : -1;
}

char *guest_text(json_object *base64)
{
    const char *from =
        json_object_is_type(base64, json_type_string) ? json_object_get_string(base64) : NULL;
    size_t length = from ? strlen(from) / 4 * 3 + 4 : 0, used = 0;
    CLEANUP_FREE char *bytes = malloc(length + 1);
    char *text = NULL;
    unsigned bits = 0;

    if (!from || !bytes)
        return NULL;
    for (size_t i = 0; digit_of(from[i]) >= 0; i++) {
        bits = bits << 6 | (unsigned)digit_of(from[i]);
        if (i % 4 == 0)
            continue;
        bytes[used] = (char)(bits >> (6 - 2 * (i % 4)));
        if (!bytes[used])
            bytes[used] = '?';
        used++;
    }
    bytes[used] = '\0';
    text = malloc(3 * used + 8); /* U+FFFD takes three bytes */
    if (text)
        copy_utf8(text, 3 * used + 8, bytes);
    return text;
}
