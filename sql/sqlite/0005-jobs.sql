-- Jobs that other workers can take over, restore points that go, pools, throttles.
-- SQLite can't change a CHECK or a reference in place: three tables are made anew
-- (this runs with foreign keys unchecked, and they are checked before it commits).

-- owner_*: host, boot id, process id and that process's start time of the worker. It
-- owns the job until lease_expires_at (the database's clock) and moves that on as it
-- lives. fence: grows with every worker that takes the job; the lease of the exports
-- carries it. wanted: what the operator asks of the running worker. options: how to
-- run it, as JSON, so that any worker can. paused_by: operator, source, target,
-- space, window, worker: who has to do something before it goes on.
CREATE TABLE replication_jobs_new (
    id                INTEGER PRIMARY KEY,
    vm_id             INTEGER NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    replication_type  TEXT NOT NULL,
    sync_type         TEXT NOT NULL,
    status            TEXT NOT NULL CHECK (status IN ('queued', 'running', 'paused', 'completed',
                      'failed', 'cancelled')),
    current_operation TEXT,
    bytes_total       INTEGER NOT NULL DEFAULT 0,
    bytes_done        INTEGER NOT NULL DEFAULT 0,
    throughput        INTEGER NOT NULL DEFAULT 0,
    eta_seconds       INTEGER,
    percent           REAL NOT NULL DEFAULT 0,
    error             TEXT,
    paused_by         TEXT,
    wanted            TEXT CHECK (wanted IN ('pause', 'cancel')),
    rate              INTEGER CHECK (rate >= 0),
    options           TEXT,
    fence             INTEGER NOT NULL DEFAULT 0,
    lease             TEXT,
    lease_expires_at  INTEGER,
    owner_host        TEXT,
    owner_boot        TEXT,
    owner_pid         INTEGER,
    owner_start       INTEGER,
    source_snapshot   TEXT,
    created_at        INTEGER NOT NULL,
    started_at        INTEGER,
    updated_at        INTEGER NOT NULL,
    completed_at      INTEGER
);
INSERT INTO replication_jobs_new (id, vm_id, replication_type, sync_type, status,
    current_operation, bytes_total, bytes_done, throughput, eta_seconds, percent, error, lease,
    lease_expires_at, owner_boot, owner_pid, owner_start, source_snapshot, created_at, started_at,
    updated_at, completed_at)
SELECT id, vm_id, replication_type, sync_type, iif(status = 'paused', 'failed', status), current_operation, bytes_total, bytes_done,
    throughput, eta_seconds, percent, error, lease, lease_expires_at, owner_boot, owner_pid,
    owner_start, source_snapshot, created_at, created_at, updated_at, completed_at
FROM replication_jobs;
DROP TABLE replication_jobs;
ALTER TABLE replication_jobs_new RENAME TO replication_jobs;
-- Of a VM's jobs only one is not at its end.
CREATE UNIQUE INDEX one_open_job_a_vm ON replication_jobs (vm_id)
    WHERE status IN ('queued', 'running', 'paused');
CREATE INDEX replication_jobs_by_status ON replication_jobs (status, created_at);

-- What each disk of a job does now.
CREATE TABLE job_disks (
    job_id            INTEGER NOT NULL REFERENCES replication_jobs (id) ON DELETE CASCADE,
    disk_id           INTEGER NOT NULL REFERENCES vm_disks (id) ON DELETE CASCADE,
    sync_type         TEXT NOT NULL,
    current_operation TEXT,
    bytes_total       INTEGER NOT NULL DEFAULT 0,
    bytes_done        INTEGER NOT NULL DEFAULT 0,
    throughput        INTEGER NOT NULL DEFAULT 0,
    eta_seconds       INTEGER,
    percent           REAL NOT NULL DEFAULT 0,
    error             TEXT,
    updated_at        INTEGER NOT NULL,
    PRIMARY KEY (job_id, disk_id)
);

-- One line of the log; job_id and disk_id may be of rows that are gone.
CREATE TABLE job_log (
    id         INTEGER PRIMARY KEY,
    job_id     INTEGER,
    disk_id    INTEGER,
    level      TEXT NOT NULL CHECK (level IN ('debug', 'info', 'notice', 'warning', 'error')),
    part       TEXT NOT NULL,
    message    TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX job_log_by_job ON job_log (job_id, id);

-- History and points outlive the job that made them.
CREATE TABLE cbt_history_new (
    id               INTEGER PRIMARY KEY,
    disk_id          INTEGER NOT NULL REFERENCES vm_disks (id) ON DELETE CASCADE,
    job_id           INTEGER REFERENCES replication_jobs (id) ON DELETE SET NULL,
    change_id_before TEXT,
    change_id_after  TEXT,
    sync_type        TEXT NOT NULL,
    bytes            INTEGER NOT NULL,
    areas            INTEGER,
    duration_ms      INTEGER NOT NULL,
    outcome          TEXT NOT NULL,
    created_at       INTEGER NOT NULL
);
INSERT INTO cbt_history_new SELECT * FROM cbt_history;
DROP TABLE cbt_history;
ALTER TABLE cbt_history_new RENAME TO cbt_history;
CREATE INDEX cbt_history_by_disk ON cbt_history (disk_id, id);

-- pinned: retention leaves it alone. going: it is being merged away and can't be used
-- any more; only the end of that is missing. verified_at, verify_error: the last check
-- of its data against its digests; an error of NULL is a clean one.
CREATE TABLE restore_points_new (
    id           INTEGER PRIMARY KEY,
    vm_id        INTEGER NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    job_id       INTEGER REFERENCES replication_jobs (id) ON DELETE SET NULL,
    number       INTEGER NOT NULL CHECK (number > 0),
    complete     INTEGER NOT NULL DEFAULT 0 CHECK (complete IN (0, 1)),
    pinned       INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    going        INTEGER NOT NULL DEFAULT 0 CHECK (going IN (0, 1)),
    note         TEXT,
    verified_at  INTEGER,
    verify_error TEXT,
    created_at   INTEGER NOT NULL,
    completed_at INTEGER,
    UNIQUE (vm_id, number)
);
INSERT INTO restore_points_new (id, vm_id, job_id, number, complete, created_at, completed_at)
SELECT id, vm_id, job_id, number, complete, created_at, completed_at FROM restore_points;
DROP TABLE restore_points;
ALTER TABLE restore_points_new RENAME TO restore_points;

-- keep: retention, "last:7 daily:14"; NULL: the configuration's. pool: where new
-- replicas go; NULL: the state directory. next_point: numbers are not given twice.
ALTER TABLE vms ADD COLUMN keep TEXT;
ALTER TABLE vms ADD COLUMN pool_id INTEGER REFERENCES pools (id);
ALTER TABLE vms ADD COLUMN next_point INTEGER NOT NULL DEFAULT 1;
UPDATE vms SET next_point = 1 + ifnull((SELECT max(number) FROM restore_points
                                        WHERE vm_id = vms.id), 0);

-- kind: dir (location: a directory), libvirt (a pool's name), block (devices are given
-- disk by disk), lvm (a volume group), rbd (pool/namespace). options: JSON, no secrets.
CREATE TABLE pools (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL CHECK (kind IN ('dir', 'libvirt', 'block', 'lvm', 'rbd')),
    location   TEXT NOT NULL,
    options    TEXT,
    created_at INTEGER NOT NULL
);

-- Changed while things run: the rate of all jobs together, time windows.
CREATE TABLE settings (
    name       TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    updated_at INTEGER NOT NULL
);

-- The last transactions of each client, by a random token: one whose connection was
-- lost in its COMMIT finds out here whether it happened.
CREATE TABLE transactions (
    token      TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
);
