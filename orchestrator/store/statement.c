/* Statements; see statement.h. */
#include "store/statement.h"

#include <string.h>
#include <strings.h>

struct statement statement(struct store *store, const char *sql)
{
    return (struct statement){ .store = store, .sql = sql };
}

static void stop(struct statement *s)
{
    if (s->rows)
        s->store->driver->end(s);
    s->started = s->has_row = false;
    s->next_column = 0;
}

static void forget_values(struct statement *s)
{
    for (int i = 0; i < s->count; i++)
        free((char *)s->values[i].text);
    s->count = 0;
}

void statement_again(struct statement *s)
{
    forget_values(s);
    s->started = false;
}

void statement_end(struct statement *s)
{
    stop(s);
    forget_values(s);
    free(s->own_sql);
}

void bind_value(struct statement *s, const struct value *value)
{
    struct value *own = &s->values[s->count];

    if (s->count == STATEMENT_VALUES) {
        s->wrong = "has more values than STATEMENT_VALUES";
        return;
    }
    s->count++;
    *own = *value;
    own->text = NULL;
    if (value->kind == VALUE_TEXT && !(own->text = strdup(value->text)))
        s->wrong = "is too long for the memory";
}

void bind_int(struct statement *s, int64_t value)
{
    bind_value(s, &(struct value){ .kind = VALUE_INT, .number = value });
}

void bind_id(struct statement *s, int64_t id)
{
    bind_value(s, &(struct value){ .kind = id ? VALUE_INT : VALUE_NULL, .number = id });
}

void bind_double(struct statement *s, double value)
{
    bind_value(s, &(struct value){ .kind = VALUE_DOUBLE, .real = value });
}

void bind_text(struct statement *s, const char *text)
{
    bind_value(s, &(struct value){ .kind = text && *text ? VALUE_TEXT : VALUE_NULL, .text = text });
}

static struct value take(struct statement *s)
{
    return s->store->driver->column(s, s->next_column++);
}

int64_t take_int(struct statement *s)
{
    struct value value = take(s);

    switch (value.kind) {
    case VALUE_INT:
        return value.number;
    case VALUE_DOUBLE:
        return (int64_t)value.real;
    case VALUE_TEXT:
        return strtoll(value.text, NULL, 10);
    case VALUE_NULL:
        break;
    }
    return 0;
}

double take_double(struct statement *s)
{
    struct value value = take(s);

    switch (value.kind) {
    case VALUE_INT:
        return (double)value.number;
    case VALUE_DOUBLE:
        return value.real;
    case VALUE_TEXT:
        return strtod(value.text, NULL);
    case VALUE_NULL:
        break;
    }
    return 0;
}

void take_text(struct statement *s, char *buf, size_t size)
{
    int column = s->next_column;
    struct value value = take(s);
    int length = 0;

    buf[0] = '\0';
    switch (value.kind) {
    case VALUE_INT:
        length = snprintf(buf, size, "%lld", (long long)value.number);
        break;
    case VALUE_DOUBLE:
        length = snprintf(buf, size, "%.17g", value.real);
        break;
    case VALUE_TEXT:
        length = snprintf(buf, size, "%s", value.text);
        break;
    case VALUE_NULL:
        break;
    }
    if ((size_t)length >= size) { /* never cut a path short */
        buf[0] = '\0';
        s->long_column = s->store->driver->column_name(s, column);
    }
}

static int check_columns(struct statement *s, struct error **err)
{
    if (s->long_column)
        return error_set(err, "%s: a text in column '%s' is longer than this program can hold",
                         s->store->path, s->long_column);
    return 0;
}

static bool only_reads(const struct statement *s)
{
    return strncasecmp(s->sql, "SELECT", 6) == 0 || strncasecmp(s->sql, "PRAGMA", 6) == 0 ||
           strncasecmp(s->sql, "SHOW", 4) == 0;
}

/* A deadlock or a lost connection undoes the whole transaction, not only its statement:
 * what came after it would stand alone. */
static void note_failure(struct store *store)
{
    if (store->in_transaction)
        store->doomed |= store->failure == STORE_BUSY || store->failure == STORE_LOST;
}

static int start(struct store *store, void *statement, struct error **err)
{
    struct statement *s = statement;

    if (s->started)
        stop(s);
    if (store->doomed)
        return error_set(err, "%s: the database has undone this transaction", store->path);
    store->failure = STORE_FINE;
    if (s->wrong) {
        store->failure = STORE_OTHER;
        return error_set(err, "%s: a statement %s", store->path, s->wrong);
    }
    if (!store->in_transaction && store->driver->connect(store, err) < 0)
        return -1;
    s->started = true;
    if (store->driver->start(s, err) == 0) {
        store->wrote |= !only_reads(s);
        return 0;
    }
    note_failure(store);
    return -1;
}

int read_next(struct statement *s, struct error **err)
{
    struct store *store = s->store;
    int r;

    if (!s->started &&
        (store->in_transaction ? start(store, s, err) : store_retry(store, start, s, err)) < 0)
        return -1;
    s->next_column = 0;
    r = store->driver->step(s, err);
    s->has_row = r > 0;
    if (r < 0)
        note_failure(store);
    return r;
}

/* Start it and go through its rows. */
static int run_once(struct store *store, void *statement, struct error **err)
{
    struct statement *s = statement;
    int64_t id = 0;
    int r;

    if (start(store, s, err) < 0)
        return -1;
    do {
        s->next_column = 0;
        r = store->driver->step(s, err);
        s->has_row = r > 0;
        if (s->has_row && store->driver->columns(s) == 1)
            id = take_int(s); /* what RETURNING tells */
    } while (r > 0);
    if (id)
        s->insert_id = id;
    if (r < 0)
        note_failure(store);
    return r;
}

int run(struct statement *s, struct error **err)
{
    struct store *store = s->store;

    if (store->in_transaction)
        return run_once(store, s, err);
    if (store->driver->needs_token && !only_reads(s))
        return store_transaction(store, run_once, s, err);
    return store_retry(store, run_once, s, err);
}

int run_insert(struct statement *s, int64_t *id, struct error **err)
{
    if (run(s, err) < 0)
        return -1;
    *id = s->insert_id;
    return 0;
}

int run_count(struct statement *s, int64_t *count, struct error **err)
{
    if (run(s, err) < 0)
        return -1;
    *count = s->changes;
    return 0;
}

int run_on_one(struct statement *s, struct error **err)
{
    if (run(s, err) < 0)
        return -1;
    if (s->changes == 0)
        return error_set(err, "%s: the row to change is not there, or may not change",
                         s->store->path);
    return 0;
}

int read_all(struct statement *s, read_row read, size_t record_size, void *records, size_t *count,
             struct error **err)
{
    CLEANUP_FREE char *list = NULL;
    size_t n = 0, room = 0;
    int more;

    while ((more = read_next(s, err)) > 0) {
        if (n == room) {
            char *bigger;

            room = room ? room * 2 : 4;
            bigger = reallocarray(list, room, record_size);
            if (!bigger)
                return error_set_errno(err, ENOMEM, "reading %s", s->store->path);
            list = bigger;
        }
        memset(list + n * record_size, 0, record_size);
        read(s, list + n * record_size);
        n++;
    }
    if (more < 0 || check_columns(s, err) < 0)
        return -1;
    *(void **)records = steal_ptr(list);
    *count = n;
    return 0;
}

int read_first(struct statement *s, read_row read, void *record, bool *found, struct error **err)
{
    int more = read_next(s, err);

    if (more < 0)
        return -1;
    *found = more > 0;
    if (*found)
        read(s, record);
    if (check_columns(s, err) < 0)
        return -1;
    stop(s);
    return 0;
}

int read_only_text(struct statement *s, char **text, struct error **err)
{
    struct value value = { .kind = VALUE_NULL };
    int more = read_next(s, err);

    if (more < 0)
        return -1;
    if (more)
        value = take(s);
    if (value.kind != VALUE_TEXT) {
        error_set(err, "%s: the row is not there", s->store->path);
        (*err)->errnum = ENOENT;
        return -1;
    }
    *text = strdup(value.text);
    stop(s);
    return *text ? 0 : error_set_errno(err, ENOMEM, "reading %s", s->store->path);
}
