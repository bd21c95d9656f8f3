/* Network maps; see netmap.h. */
#include "failover/netmap.h"

#include <ctype.h>
#include <net/if.h>
#include <string.h>

static const struct {
    const char *prefix; /* a whole word when it has no ':' */
    enum net_kind kind;
} words[] = {
    { "isolated", NET_ISOLATED },
    { "none", NET_NONE },
    { "net:", NET_NETWORK },
    { "bridge:", NET_BRIDGE },
};

static bool is_name(const char *name, size_t most)
{
    if (!*name || strlen(name) >= most || isspace((unsigned char)*name))
        return false;
    for (; *name; name++) {
        if ((unsigned char)*name < ' ' || *name == 0x7f || *name == '/')
            return false;
    }
    return true;
}

int net_target_parse(const char *text, struct net_target *target, struct error **err)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t length = strlen(words[i].prefix);
        bool has_name = words[i].prefix[length - 1] == ':';

        if (strncmp(text, words[i].prefix, length) != 0 || (!has_name && text[length]))
            continue;
        *target = (struct net_target){ .kind = words[i].kind };
        if (!has_name)
            return 0;
        if (!is_name(text + length, words[i].kind == NET_BRIDGE ? IFNAMSIZ : NET_NAME))
            return error_set_kind(err, ERROR_USAGE, "'%s': '%s' can't be the name of a %s", text,
                                  text + length,
                                  words[i].kind == NET_BRIDGE ? "bridge" : "network");
        strcpy(target->name, text + length);
        return 0;
    }
    return error_set_kind(
        err, ERROR_USAGE,
        "'%s' is none of net:NAME (a libvirt network), bridge:NAME (of the host), "
        "isolated, none",
        text);
}

void net_target_text(const struct net_target *target, char text[NET_TEXT])
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].kind == target->kind)
            snprintf(text, NET_TEXT, "%s%s", words[i].prefix, target->name);
    }
}

int netmap_load(struct store *store, const struct store_vm *vm, struct netmap *map,
                struct error **err)
{
    return store_netmaps_of_vm(store, vm, &map->entries, &map->count, err);
}

void netmap_free(struct netmap *map)
{
    free(map->entries);
    *map = (struct netmap){ 0 };
}

static const struct store_netmap *find(const struct netmap *map, int64_t vm_id, const char *network)
{
    for (size_t i = 0; i < map->count && network[0]; i++) {
        if (map->entries[i].vm_id == vm_id && strcmp(map->entries[i].network, network) == 0)
            return &map->entries[i];
    }
    return NULL;
}

const struct store_netmap *netmap_find(const struct netmap *map, const struct store_vm *vm,
                                       const struct spec_nic *nic)
{
    const struct store_netmap *found = find(map, vm->id, nic->mac);

    if (!found)
        found = find(map, vm->id, nic->network);
    return found ? found : find(map, 0, nic->network);
}

int netmap_blockers(const struct netmap *map, const struct store_vm *vm, const struct vm_spec *spec,
                    struct findings *findings, struct error **err)
{
    for (size_t i = 0; i < spec->nic_count; i++) {
        const struct spec_nic *nic = &spec->nics[i];
        const char *name = nic->network[0] ? nic->network : nic->mac;
        char check[48], remedy[1024];

        if (netmap_find(map, vm, nic))
            continue;
        snprintf(check, sizeof check, "nic-%u: network", (unsigned)(i + 1));
        snprintf(remedy, sizeof remedy,
                 "vmferry network map %s '%s' = net:NAME (or bridge:NAME, isolated, none)",
                 nic->network[0] ? vm->source : vm->name, name);
        if (findings_add(findings, FINDING_BLOCKER, check, remedy,
                         "NIC %s of %s is in '%s', which is mapped to no network here",
                         nic->mac[0] ? nic->mac : "without a MAC", vm->name, name) < 0)
            return error_set_errno(err, ENOMEM, "looking at the NICs of %s", vm->name);
    }
    return 0;
}
