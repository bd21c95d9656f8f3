/* Pools in the store, over both databases: VMs keep theirs, and of two jobs that want one
 * device, one gets it. */
#include "store/tests/databases.h"

static struct store *fill(struct database *database)
{
    struct store *store = database_open(database); /* makes the tables */

    database_sql(database, "INSERT INTO sources (id, name, kind, location, created_at) VALUES "
                           "(1, 'a', 'nbd', '/a', 0)");
    database_sql(database, "INSERT INTO vms (id, uuid, source_id, name, spec, created_at, "
                           "updated_at) VALUES (1, 'u1', 1, 'vm1', '{}', 0, 0), "
                           "(2, 'u2', 1, 'vm2', '{}', 0, 0)");
    return store;
}

static void add(struct store *store, const char *name, struct store_pool *pool)
{
    CLEANUP_ERROR struct error *err = NULL;

    *pool = (struct store_pool){ .kind = "block", .location = "2 devices" };
    strcpy(pool->name, name);
    strcpy(pool->options, "{ \"devices\": [] }");
    assert_int_equal(store_pool_add(store, pool, &err), 0);
    assert_true(pool->id > 0);
}

static void test_found_again(void **state)
{
    struct store *store = fill(*state);
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE struct store_pool *list = NULL;
    struct store_pool b, a, found;
    size_t count;

    add(store, "b", &b);
    add(store, "a", &a);
    assert_int_equal(store_pool_find(store, "b", &found, &err), 0);
    assert_int_equal(found.id, b.id);
    assert_string_equal(found.kind, "block");
    assert_string_equal(found.options, b.options);
    assert_int_equal(store_pool_find(store, "c", &found, &err), -1);
    assert_int_equal(err->errnum, ENOENT);
    error_clear(&err);
    assert_int_equal(store_pools(store, &list, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "a");
    assert_int_equal(store_pool_add(store, &a, &err), -1); /* the name is given */
    store_close(store);
}

static void test_vms_keep_theirs(void **state)
{
    struct store *store = fill(*state);
    CLEANUP_ERROR struct error *err = NULL;
    CLEANUP_FREE int64_t *vms = NULL;
    struct store_pool pool;
    size_t count;
    int64_t id;

    add(store, "fast", &pool);
    assert_int_equal(store_vm_pool(store, 1, &id, &err), 0);
    assert_int_equal(id, 0);
    assert_int_equal(store_vm_set_pool(store, 1, pool.id, &err), 0);
    assert_int_equal(store_vm_set_pool(store, 1, pool.id, &err), 0);
    assert_int_equal(store_vm_pool(store, 1, &id, &err), 0);
    assert_int_equal(id, pool.id);
    assert_int_equal(store_pool_vms(store, pool.id, &vms, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(vms[0], 1);
    assert_int_equal(store_vm_set_pool(store, 2, 999, &err), -1); /* there is none */
    error_clear(&err);
    assert_int_equal(store_pool_remove(store, pool.id, &err), -1); /* in use */
    error_clear(&err);
    assert_int_equal(store_vm_set_pool(store, 1, 0, &err), 0);
    assert_int_equal(store_pool_remove(store, pool.id, &err), 0);
    store_close(store);
}

static void test_one_device_one_disk(void **state)
{
    struct store *store = fill(*state);
    CLEANUP_ERROR struct error *err = NULL;
    struct store_pool pool, ours, theirs;

    add(store, "devices", &pool);
    assert_int_equal(store_pool_get(store, pool.id, &ours, &err), 0);
    theirs = ours;
    strcpy(theirs.options, "{ \"devices\": [ \"theirs\" ] }");
    assert_int_equal(store_pool_set_options(store, &theirs, ours.options, &err), 0);
    strcpy(pool.options, "{ \"devices\": [ \"ours\" ] }");
    assert_int_equal(store_pool_set_options(store, &pool, ours.options, &err), -1);
    error_clear(&err);
    assert_int_equal(store_pool_get(store, pool.id, &ours, &err), 0);
    assert_string_equal(ours.options, theirs.options);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_found_again),
        BOTH(test_vms_keep_theirs),
        BOTH(test_one_device_one_disk),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    database_server_stop();
    return failed;
}
