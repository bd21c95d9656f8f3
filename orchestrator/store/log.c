/* The log of jobs; see store.h. */
#include <string.h>

#include "escape.h"
#include "log/log.h"
#include "store/statement.h"

int store_log_add(struct store *store, const struct log_line *line, struct error **err)
{
    CLEANUP_STATEMENT struct statement s =
        statement(store, "INSERT INTO job_log (job_id, disk_id, level, part, message, created_at) "
                         "VALUES (?, ?, ?, ?, ?, ?)");
    char message[STORE_LOG_MESSAGE];

    copy_utf8(message, sizeof message, line->text); /* MariaDB takes no other */
    bind_int(&s, line->job);
    bind_id(&s, line->disk_id);
    bind_text(&s, log_level_name(line->level));
    bind_text(&s, line->part);
    bind_text(&s, message[0] ? message : "-");
    bind_int(&s, line->time_ms);
    return run(&s, err);
}

static void read_line(struct statement *s, void *record)
{
    struct store_log_line *line = record;

    line->id = take_int(s);
    line->job_id = take_int(s);
    line->disk_id = take_int(s);
    line->key = (int)take_int(s);
    take_text(s, line->level, sizeof line->level);
    take_text(s, line->part, sizeof line->part);
    take_text(s, line->message, sizeof line->message);
    line->created_ms = take_int(s);
}

int store_job_log(struct store *store, int64_t job_id, int64_t after_ms, int64_t after_id,
                  unsigned limit, struct store_log_line **lines, size_t *count, struct error **err)
{
    CLEANUP_STATEMENT struct statement s = statement(
        store, "SELECT l.id, l.job_id, l.disk_id, ifnull(d.disk_key, -1), l.level, l.part, "
               "l.message, l.created_at FROM job_log l LEFT JOIN vm_disks d ON d.id = l.disk_id "
               "WHERE l.job_id = ? AND (l.created_at > ? OR (l.created_at = ? AND l.id > ?)) "
               "ORDER BY l.created_at, l.id LIMIT ?");

    bind_int(&s, job_id);
    bind_int(&s, after_ms);
    bind_int(&s, after_ms);
    bind_int(&s, after_id);
    bind_int(&s, limit);
    return read_all(&s, read_line, sizeof **lines, lines, count, err);
}
