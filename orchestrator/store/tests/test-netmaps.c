/* Network maps, over both databases. */
#include "store/tests/databases.h"

static void map(struct store *store, int64_t source_id, int64_t vm_id, const char *network,
                const char *target)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store_netmap netmap = { .source_id = source_id, .vm_id = vm_id };

    strcpy(netmap.network, network);
    strcpy(netmap.target, target);
    if (store_netmap_set(store, &netmap, &err) < 0)
        fail_msg("%s", error_message(err));
}

static const char *target_of(const struct store_netmap *list, size_t count, int64_t vm_id,
                             const char *network)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].vm_id == vm_id && strcmp(list[i].network, network) == 0)
            return list[i].target;
    }
    return "";
}

static void test_netmaps(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_FREE struct store_netmap *list = NULL;
    CLEANUP_FREE struct store_netmap *all = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    struct store_netmap gone = { .network = "LAN" };
    struct store_vm vm;
    size_t count;
    bool found;

    add_vm(store, &vm);
    map(store, vm.source_id, 0, "LAN", "net:old");
    map(store, vm.source_id, 0, "LAN", "net:prod");   /* changes */
    map(store, vm.source_id, 0, "lan", "bridge:br0"); /* another one */
    map(store, 0, vm.id, "LAN", "isolated");
    assert_int_equal(store_netmaps_of_vm(store, &vm, &list, &count, &err), 0);
    assert_int_equal(count, 3);
    assert_string_equal(target_of(list, count, 0, "LAN"), "net:prod");
    assert_string_equal(target_of(list, count, 0, "lan"), "bridge:br0");
    assert_string_equal(target_of(list, count, vm.id, "LAN"), "isolated");

    gone.vm_id = vm.id;
    assert_int_equal(store_netmap_remove(store, &gone, &found, &err), 0);
    assert_true(found);
    assert_int_equal(store_netmap_remove(store, &gone, &found, &err), 0);
    assert_false(found);
    assert_int_equal(store_netmaps(store, &all, &count, &err), 0);
    assert_int_equal(count, 2);
}

static void test_maps_go_with_their_source(void **state)
{
    CLEANUP_STORE struct store *store = database_open(*state);
    CLEANUP_FREE struct store_netmap *all = NULL;
    CLEANUP_ERROR struct error *err = NULL;
    struct store_vm vm;
    size_t count;

    add_vm(store, &vm);
    map(store, vm.source_id, 0, "LAN", "none");
    map(store, 0, vm.id, "LAN", "none");
    if (store_source_remove(store, vm.source_id, &err) < 0)
        fail_msg("%s", error_message(err));
    assert_int_equal(store_netmaps(store, &all, &count, &err), 0);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_netmaps),
        BOTH(test_maps_go_with_their_source),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    database_server_stop();
    return failed;
}
