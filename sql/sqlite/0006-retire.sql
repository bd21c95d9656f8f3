-- A failover's row is evidence and outlives the restore point that it stood on;
-- point_number says which one that was.
CREATE TABLE failover_jobs_new (
    id                 INTEGER PRIMARY KEY,
    vm_id              INTEGER NOT NULL REFERENCES vms (id),
    kind               TEXT NOT NULL CHECK (kind IN ('test', 'live')),
    state              TEXT NOT NULL,
    point_id           INTEGER REFERENCES restore_points (id) ON DELETE SET NULL,
    point_number       INTEGER,
    domain_uuid        TEXT,
    domain_name        TEXT,
    network            TEXT,
    replication_job_id INTEGER REFERENCES replication_jobs (id),
    source_vm_spec     TEXT NOT NULL,
    evidence           TEXT,
    error              TEXT,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    completed_at       INTEGER
);
INSERT INTO failover_jobs_new (id, vm_id, kind, state, point_id, point_number, domain_uuid,
    domain_name, network, replication_job_id, source_vm_spec, evidence, error, created_at,
    updated_at, completed_at)
SELECT id, vm_id, kind, state, point_id,
    (SELECT number FROM restore_points WHERE restore_points.id = point_id), domain_uuid,
    domain_name, network, replication_job_id, source_vm_spec, evidence, error, created_at,
    updated_at, completed_at
FROM failover_jobs;
DROP TABLE failover_jobs;
ALTER TABLE failover_jobs_new RENAME TO failover_jobs;
