/* A vsphere source's options as JSON; see options.h. */
#include "source/vsphere/options.h"

#include <string.h>

#include "source/members.h"

#define TEXTS 12

/* JSON members and where they go; the last one's name is NULL. */
static void slots_of(struct vsphere_options *options, struct member_slot slots[TEXTS + 1])
{
    struct transport_options *transport = &options->transport;
    const struct member_slot all[TEXTS + 1] = {
        { "user", options->user, sizeof options->user },
        { "password_file", options->password_file, sizeof options->password_file },
        { "ca_file", options->ca_file, sizeof options->ca_file },
        { "fingerprint", options->fingerprint, sizeof options->fingerprint },
        { "vddk_libdir", transport->vddk_libdir, sizeof transport->vddk_libdir },
        { "vddk_transports", transport->vddk_transports, sizeof transport->vddk_transports },
        { "vddk_compression", transport->vddk_compression, sizeof transport->vddk_compression },
        { "ssh_host", transport->ssh_host, sizeof transport->ssh_host },
        { "ssh_port", transport->ssh_port, sizeof transport->ssh_port },
        { "ssh_user", transport->ssh_user, sizeof transport->ssh_user },
        { "ssh_identity", transport->ssh_identity, sizeof transport->ssh_identity },
        { "ssh_known_hosts", transport->ssh_known_hosts, sizeof transport->ssh_known_hosts },
        { NULL, NULL, 0 },
    };

    memcpy(slots, all, sizeof all);
}

static void put_object(json_object **object)
{
    json_object_put(*object);
}

int vsphere_options_parse(const char *json, struct vsphere_options *options, struct error **err)
{
    CLEANUP(put_object) json_object *object = json_tokener_parse(json ? json : "");
    const struct member_context c = { .origin = "the source's stored options" };
    struct member_slot slots[TEXTS + 1];
    char transport[16];

    *options = (struct vsphere_options){ 0 };
    if (!json_object_is_type(object, json_type_object))
        return error_set(err, "%s: not a JSON object", c.origin);
    slots_of(options, slots);
    if (member_texts(&c, object, slots, err) < 0 ||
        member_text(&c, object, "user", true, options->user, sizeof options->user, err) < 0 ||
        member_text(&c, object, "transport", false, transport, sizeof transport, err) < 0)
        return -1;
    return transport[0] ? transport_parse(transport, &options->transport.wanted, err) : 0;
}

char *vsphere_options_to_json(const struct vsphere_options *options)
{
    CLEANUP(put_object) json_object *object = json_object_new_object();
    struct vsphere_options copy = *options;
    struct member_slot slots[TEXTS + 1];

    slots_of(&copy, slots);
    for (const struct member_slot *slot = slots; slot->name; slot++) {
        if (slot->buf[0])
            json_object_object_add(object, slot->name, json_object_new_string(slot->buf));
    }
    json_object_object_add(object, "transport",
                           json_object_new_string(transport_name(options->transport.wanted)));
    return strdup(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                             JSON_C_TO_STRING_NOSLASHESCAPE));
}
