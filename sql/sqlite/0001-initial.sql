-- The first schema. Times are milliseconds since 1970 UTC, sizes are bytes, paths
-- are relative to the state directory. A NULL means "not known" or "not yet".

CREATE TABLE sources (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    location   TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE TABLE vms (
    id         INTEGER PRIMARY KEY,
    uuid       TEXT NOT NULL UNIQUE,
    source_id  INTEGER NOT NULL REFERENCES sources (id),
    name       TEXT NOT NULL,
    path       TEXT,
    state      TEXT NOT NULL DEFAULT 'discovered' CHECK (state IN ('discovered', 'replicating',
               'ready_for_failover', 'failed_over_test', 'failed_over_live', 'committed',
               'rolled_back')),
    spec       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX vms_by_name ON vms (name);

-- The row and its id live as long as the disk: it is only ever upserted.
-- source_place: the URI or file that the newest complete point was read from.
CREATE TABLE vm_disks (
    id             INTEGER PRIMARY KEY,
    vm_id          INTEGER NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    disk_key       INTEGER NOT NULL,
    unit_number    INTEGER NOT NULL,
    backing_uuid   TEXT NOT NULL,
    capacity       INTEGER NOT NULL CHECK (capacity > 0),
    disk_change_id TEXT,
    replica_volume TEXT,
    source_place   TEXT,
    UNIQUE (vm_id, disk_key)
);

CREATE TABLE vm_export_mappings (
    id               INTEGER PRIMARY KEY,
    vm_id            INTEGER NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    disk_unit_number INTEGER NOT NULL,
    vm_name          TEXT NOT NULL,
    export_name      TEXT NOT NULL UNIQUE,
    device_path      TEXT NOT NULL,
    identity         TEXT,
    lease            TEXT,
    status           TEXT NOT NULL CHECK (status IN ('active', 'inactive')),
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    UNIQUE (vm_id, disk_unit_number)
);

-- owner_*: who runs it: boot id, process id and that process's start time.
CREATE TABLE replication_jobs (
    id                INTEGER PRIMARY KEY,
    vm_id             INTEGER NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    replication_type  TEXT NOT NULL,
    sync_type         TEXT NOT NULL,
    status            TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'paused')),
    current_operation TEXT,
    bytes_total       INTEGER NOT NULL DEFAULT 0,
    bytes_done        INTEGER NOT NULL DEFAULT 0,
    throughput        INTEGER NOT NULL DEFAULT 0,
    eta_seconds       INTEGER,
    percent           REAL NOT NULL DEFAULT 0,
    error             TEXT,
    lease             TEXT,
    lease_expires_at  INTEGER,
    owner_boot        TEXT,
    owner_pid         INTEGER,
    owner_start       INTEGER,
    source_snapshot   TEXT,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    completed_at      INTEGER
);
CREATE UNIQUE INDEX one_running_job_a_vm ON replication_jobs (vm_id) WHERE status = 'running';

CREATE TABLE job_steps (
    id           INTEGER PRIMARY KEY,
    job_id       INTEGER NOT NULL REFERENCES replication_jobs (id) ON DELETE CASCADE,
    disk_id      INTEGER REFERENCES vm_disks (id),
    step         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    started_at   INTEGER NOT NULL,
    completed_at INTEGER,
    detail       TEXT
);
CREATE UNIQUE INDEX one_row_a_step ON job_steps (job_id, ifnull(disk_id, 0), step);

-- The audit of every sync of every disk.
CREATE TABLE cbt_history (
    id               INTEGER PRIMARY KEY,
    disk_id          INTEGER NOT NULL REFERENCES vm_disks (id) ON DELETE CASCADE,
    job_id           INTEGER NOT NULL REFERENCES replication_jobs (id),
    change_id_before TEXT,
    change_id_after  TEXT,
    sync_type        TEXT NOT NULL,
    bytes            INTEGER NOT NULL,
    areas            INTEGER,
    duration_ms      INTEGER NOT NULL,
    outcome          TEXT NOT NULL,
    created_at       INTEGER NOT NULL
);
CREATE INDEX cbt_history_by_disk ON cbt_history (disk_id, id);

-- A point's row is written before its files are made; complete says that all of
-- its disks are durable. A complete point never changes.
CREATE TABLE restore_points (
    id           INTEGER PRIMARY KEY,
    vm_id        INTEGER NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    job_id       INTEGER NOT NULL REFERENCES replication_jobs (id),
    number       INTEGER NOT NULL CHECK (number > 0),
    complete     INTEGER NOT NULL DEFAULT 0 CHECK (complete IN (0, 1)),
    created_at   INTEGER NOT NULL,
    completed_at INTEGER,
    UNIQUE (vm_id, number)
);

CREATE TABLE restore_point_disks (
    id        INTEGER PRIMARY KEY,
    point_id  INTEGER NOT NULL REFERENCES restore_points (id) ON DELETE CASCADE,
    disk_id   INTEGER NOT NULL REFERENCES vm_disks (id),
    parent_id INTEGER REFERENCES restore_point_disks (id),
    overlay   TEXT NOT NULL,
    format    TEXT NOT NULL CHECK (format IN ('raw', 'qcow2')),
    leaves    TEXT NOT NULL,
    sync_type TEXT NOT NULL CHECK (sync_type IN ('initial', 'incremental', 'resync')),
    change_id TEXT,
    digest    TEXT,
    bytes     INTEGER NOT NULL DEFAULT 0,
    complete  INTEGER NOT NULL DEFAULT 0 CHECK (complete IN (0, 1)),
    UNIQUE (point_id, disk_id),
    CHECK (complete = 0 OR digest IS NOT NULL)
);

CREATE TABLE failover_jobs (
    id                 INTEGER PRIMARY KEY,
    vm_id              INTEGER NOT NULL REFERENCES vms (id),
    kind               TEXT NOT NULL CHECK (kind IN ('test', 'live')),
    state              TEXT NOT NULL,
    point_id           INTEGER NOT NULL REFERENCES restore_points (id),
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

CREATE TABLE audit_log (
    id         INTEGER PRIMARY KEY,
    who        TEXT NOT NULL,
    what       TEXT NOT NULL,
    subject    TEXT,
    before     TEXT,
    after      TEXT,
    created_at INTEGER NOT NULL
);
