/* The same tests over both databases. A test takes a struct database, empty and its own:
 *
 *     static void test_x(void **state)
 *     {
 *         struct database *database = *state;
 *         struct store *store = database_open(database);
 *
 * and BOTH(test_x) in the table of tests is two rows, one for each. The MariaDB is a server
 * of the program's own; database_server_stop() belongs at the end of main(). */
#ifndef VMFERRY_TEST_DATABASES_H
#define VMFERRY_TEST_DATABASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <mysql.h>
#include <sqlite3.h>
#include <string.h>

#include "store/store.h"

struct database {
    const char *kind;
    char directory[64];
    char place[512];
};

static struct database sqlite_database = { .kind = "sqlite" };
static struct database mariadb_database = { .kind = "mariadb" };
static char server[64]; /* directory of the private MariaDB, or "" */

#define ON_SQLITE(test)                                                                            \
    {                                                                                              \
        "sqlite: " #test, test, database_setup, database_teardown, &sqlite_database                \
    }
#define ON_MARIADB(test)                                                                           \
    {                                                                                              \
        "mariadb: " #test, test, database_setup, database_teardown, &mariadb_database              \
    }
#define BOTH(test) ON_SQLITE(test), ON_MARIADB(test)

static inline void command(const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (system(text) != 0)
        fail_msg("%s", text);
}

static inline void temporary(char directory[static 64])
{
    const char *parent = getenv("TMPDIR");

    snprintf(directory, 64, "%s/vmferry-store.XXXXXX", parent ? parent : "/tmp");
    assert_non_null(mkdtemp(directory));
}

static inline void database_server_start(const char *options)
{
    char text[256];
    FILE *out;

    if (server[0])
        return;
    temporary(server);
    snprintf(text, sizeof text, "OWNER=%d tests/mariadb start %s %s", (int)getpid(), server,
             options);
    out = popen(text, "r");
    assert_non_null(fgets(mariadb_database.place, sizeof mariadb_database.place, out));
    assert_int_equal(pclose(out), 0);
    mariadb_database.place[strcspn(mariadb_database.place, "\n")] = '\0';
}

static inline void database_server_stop(void)
{
    if (server[0])
        command("tests/mariadb kill %s && rm -rf %s", server, server);
    server[0] = '\0';
}

/* As the server's administrator, beside the store. */
static inline MYSQL *administrator(void)
{
    MYSQL *mysql = mysql_init(NULL);
    char socket[80];

    snprintf(socket, sizeof socket, "%s/socket", server);
    if (!mysql_real_connect(mysql, "localhost", NULL, NULL, NULL, 0, socket, 0))
        fail_msg("%s", mysql_error(mysql));
    return mysql;
}

/* SQL that has no place in the store. */
static inline void database_sql(const struct database *database, const char *sql)
{
    if (database == &sqlite_database) {
        sqlite3 *db;

        assert_int_equal(sqlite3_open(database->place, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
    } else {
        MYSQL *mysql = administrator();

        mysql_select_db(mysql, "vmferry");
        if (mysql_query(mysql, sql) != 0)
            fail_msg("%s: %s", sql, mysql_error(mysql));
        mysql_close(mysql);
    }
}

static inline int database_setup(void **state)
{
    struct database *database = *state;

    if (database == &mariadb_database) {
        MYSQL *mysql;

        database_server_start("");
        mysql = administrator();
        assert_int_equal(mysql_query(mysql, "DROP DATABASE IF EXISTS vmferry"), 0);
        assert_int_equal(mysql_query(mysql, "CREATE DATABASE vmferry"), 0);
        mysql_close(mysql);
        return 0;
    }
    temporary(database->directory);
    snprintf(database->place, sizeof database->place, "%s/db", database->directory);
    return 0;
}

static inline int database_teardown(void **state)
{
    struct database *database = *state;

    if (database->directory[0])
        command("rm -rf %s", database->directory);
    database->directory[0] = '\0';
    return 0;
}

static inline struct store *database_open(const struct database *database)
{
    CLEANUP_ERROR struct error *err = NULL;
    struct store *store = NULL;

    if (store_open(database->place, &store, &err) < 0)
        fail_msg("%s", error_message(err));
    return store;
}

/* A VM with one disk; returns the disk. */
static inline struct store_disk add_vm(struct store *store, struct store_vm *vm)
{
    struct error *err = NULL;
    struct store_disk disk = { .key = 2000, .unit = 0, .capacity = 1 << 20 };
    struct store_source source = { .name = "lab", .kind = "nbd", .location = "/x" };

    assert_int_equal(store_source_add(store, &source, &err), 0);
    *vm = (struct store_vm){ .source_id = source.id };
    strcpy(vm->uuid, "6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f");
    strcpy(vm->name, "app01");
    assert_int_equal(store_vm_upsert(store, vm, "{}", &err), 0);
    disk.vm_id = vm->id;
    strcpy(disk.backing_uuid, "b0");
    assert_int_equal(store_disk_upsert(store, &disk, &err), 0);
    return disk;
}

static inline struct store_point add_point(struct store *store, const struct store_vm *vm,
                                           const struct store_disk *disk, struct store_job *job,
                                           struct store_point_disk *row)
{
    struct error *err = NULL;
    struct store_point point = { .vm_id = vm->id };

    *job = (struct store_job){ .vm_id = vm->id, .type = "manual", .sync_type = "initial" };
    assert_int_equal(store_job_start(store, job, &err), 0);
    point.job_id = job->id;
    assert_int_equal(store_point_create(store, &point, &err), 0);
    *row = (struct store_point_disk){ .point_id = point.id,
                                      .disk_id = disk->id,
                                      .image = "base.raw",
                                      .format = "raw",
                                      .leaves = "leaves",
                                      .sync_type = "initial" };
    assert_int_equal(store_point_disk_create(store, row, &err), 0);
    return point;
}

#endif
