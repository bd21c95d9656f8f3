/* Rows for a report; see report.h. */
#include "store/report.h"

#include <string.h>

#include "store/statement.h"

#define CELLS_MAX 24

/* Parameters: v the VM's id, j the job's, 0 for all, s the job as a subject. Columns in the order
 * of report/tables.c. */
static const struct query {
    const char *sql;
    const char *parameters;
} queries[] = {
    [ROWS_VM] = { "SELECT v.name AS name, v.uuid AS uuid, v.path AS path, s.name AS source, "
                  "s.kind AS source_kind, s.location AS source_location, v.state AS state, "
                  "v.keep AS keep, p.name AS pool, p.kind AS pool_kind, p.location AS "
                  "pool_location, "
                  "v.created_at AS created, v.updated_at AS updated "
                  "FROM vms v JOIN sources s ON s.id = v.source_id LEFT JOIN pools p ON p.id = "
                  "v.pool_id "
                  "WHERE v.id = ?",
                  "v" },
    [ROWS_SUMMARY] = { "SELECT (SELECT count(*) FROM cbt_history h JOIN vm_disks d ON d.id = "
                       "h.disk_id "
                       "WHERE d.vm_id = ? AND (? = 0 OR h.job_id = ?) AND h.outcome = 'completed') "
                       "AS syncs_completed, "
                       "(SELECT count(*) FROM cbt_history h JOIN vm_disks d ON d.id = h.disk_id "
                       "WHERE d.vm_id = ? AND (? = 0 OR h.job_id = ?) AND h.outcome <> "
                       "'completed') "
                       "AS syncs_not_completed, "
                       "(SELECT ifnull(sum(h.bytes), 0) FROM cbt_history h "
                       "JOIN vm_disks d ON d.id = h.disk_id WHERE d.vm_id = ? AND (? = 0 OR "
                       "h.job_id = ?)) "
                       "AS bytes, "
                       "(SELECT count(*) FROM restore_points WHERE vm_id = ? AND complete = 1 "
                       "AND (? = 0 OR job_id = ?)) AS points, "
                       "(SELECT count(*) FROM restore_points WHERE vm_id = ? AND complete = 1 "
                       "AND (? = 0 OR job_id = ?) AND verified_at IS NOT NULL AND verify_error IS "
                       "NULL) "
                       "AS points_verified, "
                       "(SELECT count(*) FROM restore_points WHERE vm_id = ? AND complete = 1 "
                       "AND (? = 0 OR job_id = ?) AND verify_error IS NOT NULL) AS points_damaged, "
                       "(SELECT max(completed_at) FROM restore_points WHERE vm_id = ? AND complete "
                       "= 1 "
                       "AND (? = 0 OR job_id = ?)) AS newest_point, "
                       "(SELECT count(*) FROM failover_jobs WHERE vm_id = ? "
                       "AND (? = 0 OR replication_job_id = ?)) AS failovers",
                       "vjjvjjvjjvjjvjjvjjvjjvjj" },
    [ROWS_DISKS] = { "SELECT d.disk_key AS disk_id, d.unit_number AS unit, d.capacity AS capacity, "
                     "d.backing_uuid AS backing_uuid, d.disk_change_id AS change_id, "
                     "d.replica_volume AS replica, e.export_name AS export_name, e.status AS "
                     "export_status "
                     "FROM vm_disks d LEFT JOIN vm_export_mappings e "
                     "ON e.vm_id = d.vm_id AND e.disk_unit_number = d.unit_number "
                     "WHERE d.vm_id = ? ORDER BY d.unit_number",
                     "v" },
    [ROWS_JOBS] = { "SELECT id AS job, replication_type AS type, sync_type AS sync_type, status AS "
                    "status, "
                    "bytes_done AS bytes, owner_host AS host, created_at AS created, started_at AS "
                    "started, "
                    "completed_at AS completed, error AS error FROM replication_jobs "
                    "WHERE vm_id = ? AND (? = 0 OR id = ?) ORDER BY created_at, id",
                    "vjj" },
    [ROWS_STEPS] = { "SELECT s.step AS step, d.disk_key AS disk_id, s.state AS state, "
                     "s.started_at AS started, s.completed_at AS completed, s.detail AS detail "
                     "FROM job_steps s LEFT JOIN vm_disks d ON d.id = s.disk_id "
                     "WHERE s.job_id = ? ORDER BY s.started_at, s.id",
                     "j" },
    [ROWS_SYNCS] = { "SELECT h.created_at AS time, h.job_id AS job, d.disk_key AS disk_id, "
                     "h.sync_type AS sync_type, h.outcome AS outcome, h.bytes AS bytes, h.areas AS "
                     "areas, "
                     "h.duration_ms AS duration_ms, h.change_id_before AS change_id_before, "
                     "h.change_id_after AS change_id_after "
                     "FROM cbt_history h JOIN vm_disks d ON d.id = h.disk_id "
                     "WHERE d.vm_id = ? AND (? = 0 OR h.job_id = ?) "
                     "ORDER BY h.created_at, d.unit_number, h.id",
                     "vjj" },
    [ROWS_POINTS] = { "SELECT number AS point, job_id AS job, created_at AS created, "
                      "completed_at AS completed, pinned AS pinned, going AS going, note AS note, "
                      "verified_at AS verified, verify_error AS verify_error FROM restore_points "
                      "WHERE vm_id = ? AND complete = 1 AND (? = 0 OR job_id = ?) ORDER BY number",
                      "vjj" },
    [ROWS_POINT_DISKS] = { "SELECT p.number AS point, d.disk_key AS disk_id, r.capacity AS "
                           "capacity, "
                           "r.sync_type AS sync_type, r.bytes AS bytes, r.change_id AS change_id, "
                           "r.digest AS digest, r.format AS format, r.overlay AS image "
                           "FROM restore_points p JOIN restore_point_disks r ON r.point_id = p.id "
                           "JOIN vm_disks d ON d.id = r.disk_id "
                           "WHERE p.vm_id = ? AND p.complete = 1 AND (? = 0 OR p.job_id = ?) "
                           "ORDER BY p.number, d.unit_number",
                           "vjj" },
    [ROWS_FAILOVERS] = { "SELECT id AS failover, kind AS kind, state AS state, point_number AS "
                         "point, "
                         "replication_job_id AS job, domain_name AS domain_name, domain_uuid AS "
                         "domain_uuid, "
                         "network AS network, created_at AS created, completed_at AS completed, "
                         "error AS error, "
                         "evidence AS evidence FROM failover_jobs "
                         "WHERE vm_id = ? AND (? = 0 OR replication_job_id = ?) ORDER BY "
                         "created_at, id",
                         "vjj" },
    [ROWS_AUDIT] = { "SELECT created_at AS time, what AS what, who AS who, host AS host, "
                     "subject AS subject, `before` AS `before`, `after` AS `after`, command AS "
                     "command "
                     "FROM audit_log WHERE vm_uuid = (SELECT uuid FROM vms WHERE id = ?) "
                     "AND (? = 0 OR subject = ?) ORDER BY created_at, id",
                     "vjs" },
    [ROWS_LOG] = { "SELECT l.created_at AS time, l.level AS level, l.part AS part, d.disk_key AS "
                   "disk_id, "
                   "l.message AS message FROM job_log l LEFT JOIN vm_disks d ON d.id = l.disk_id "
                   "WHERE l.job_id = ? ORDER BY l.created_at, l.id",
                   "j" },
};

static struct store_cell cell_at(const struct statement *s, int column)
{
    const struct driver *driver = s->store->driver;
    struct value value = driver->column(s, column);
    struct store_cell cell = { .name = driver->column_name(s, column) };

    switch (value.kind) {
    case VALUE_NULL:
        cell.is_null = true;
        break;
    case VALUE_INT:
        cell.number = value.number;
        break;
    case VALUE_DOUBLE:
        cell.number = (int64_t)value.real;
        break;
    case VALUE_TEXT:
        cell.text = value.text;
        cell.number = strtoll(value.text, NULL, 10);
        break;
    }
    return cell;
}

static void bind(struct statement *s, const char *parameters, const struct store_about *about)
{
    char subject[32];

    snprintf(subject, sizeof subject, "job %lld", (long long)about->job_id);
    for (; *parameters; parameters++) {
        if (*parameters == 's')
            bind_text(s, subject);
        else
            bind_int(s, *parameters == 'v' ? about->vm_id : about->job_id);
    }
}

int store_rows(struct store *store, enum store_rows which, const struct store_about *about,
               store_row *row, void *opaque, struct error **err)
{
    const struct query *query = &queries[which];
    CLEANUP_STATEMENT struct statement s = statement(store, query->sql);
    int more;

    bind(&s, query->parameters, about);
    s.stream = true;
    while ((more = read_next(&s, err)) > 0) {
        struct store_cell cells[CELLS_MAX];
        int count = store->driver->columns(&s);

        for (int i = 0; i < count && i < CELLS_MAX; i++)
            cells[i] = cell_at(&s, i);
        if (row(opaque, cells, (size_t)count, err) < 0)
            return -1;
    }
    return more;
}
