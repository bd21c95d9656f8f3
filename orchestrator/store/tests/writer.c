/* Write to a store that others write to, too, and say how it went:
 *
 *     writer DATABASE NAME COUNT      COUNT transactions, each leaving the line "NAME i" and
 *                                     adding 1 to one of three counters that all writers share
 *     writer DATABASE check COUNT     whether COUNT transactions are there, each once
 *
 * Each reads its counter and writes what it makes of it: an update that is lost, or done
 * twice, shows in the sum. VMFERRY_TEST_CA: the CA of the server's certificate. */
#include <string.h>

#include "store/statement.h"

#define COUNTERS 3

struct job {
    const char *name;
    int number;
    int attempts;
};

static void take_number(struct statement *s, void *number)
{
    *(int64_t *)number = take_int(s);
}

static int read_number(struct statement *s, int64_t *number, struct error **err)
{
    bool found;

    if (read_first(s, take_number, number, &found, err) < 0)
        return -1;
    return found ? 0 : error_set(err, "no row: %s", s->sql);
}

static int set_counter(struct store *store, const char *name, int64_t value, struct error **err)
{
    static const struct upsert upsert = {
        .table = "settings", .columns = "name, value, updated_at", .key = "name", .has_no_id = true
    };
    CLEANUP_STATEMENT struct statement s = statement_upsert(store, &upsert);

    bind_text(&s, name);
    bind_int(&s, value);
    bind_int(&s, store_now_ms());
    return run(&s, err);
}

static int write_line(struct store *store, const struct job *job, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "INSERT INTO job_log (level, part, message, created_at) "
                         "VALUES ('info', 'writer', ?, ?)");
    char text[64];

    snprintf(text, sizeof text, "%s %d", job->name, job->number);
    bind_text(&s, text);
    bind_int(&s, store_now_ms());
    return run(&s, err);
}

static int work(struct store *store, void *opaque, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "SELECT ifnull(max(CAST(value AS DECIMAL)), 0) FROM settings "
                         "WHERE name = ?");
    struct job *job = opaque;
    char counter[32];
    int64_t value;

    job->attempts++;
    snprintf(counter, sizeof counter, "counter-%d", job->number % COUNTERS);
    bind_text(&s, counter);
    if (read_number(&s, &value, err) < 0 || set_counter(store, counter, value + 1, err) < 0)
        return -1;
    return write_line(store, job, err);
}

static int write_all(struct store *store, const char *name, int count, struct error **err)
{
    int again = 0;

    for (int i = 0; i < count; i++) {
        struct job job = { name, i, 0 };

        if (store_transaction(store, work, &job, err) < 0)
            return error_prefix(err, "%s %d", name, i);
        again += job.attempts - 1;
    }
    printf("%s: %d transactions, %d attempts were for nothing\n", name, count, again);
    return 0;
}

static int check(struct store *store, int64_t count, struct error **err)
{
    static const char *const sums[] = {
        "SELECT count(*) FROM job_log WHERE part = 'writer'",
        "SELECT count(DISTINCT message) FROM job_log WHERE part = 'writer'",
        "SELECT sum(CAST(value AS DECIMAL)) FROM settings WHERE name LIKE 'counter-%'",
    };

    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        CLEANUP_STATEMENT struct statement s = statement(store, sums[i]);
        int64_t is;

        if (read_number(&s, &is, err) < 0)
            return -1;
        if (is != count)
            return error_set(err, "%lld, not %lld: %s", (long long)is, (long long)count, sums[i]);
    }
    return 0;
}

static int run_writer(char *argv[], struct error **err)
{
    struct store_place place = { .database = argv[1], .ca = getenv("VMFERRY_TEST_CA") };
    CLEANUP_STORE struct store *store = NULL;

    if (store_open_place(&place, &store, err) < 0)
        return -1;
    return strcmp(argv[2], "check") == 0 ? check(store, atoi(argv[3]), err)
                                         : write_all(store, argv[2], atoi(argv[3]), err);
}

int main(int argc, char *argv[])
{
    CLEANUP_ERROR struct error *err = NULL;

    if (argc != 4)
        return 2;
    if (run_writer(argv, &err) == 0)
        return 0;
    fprintf(stderr, "writer: %s\n", error_message(err));
    return 1;
}
