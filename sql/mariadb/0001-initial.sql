-- The first schema; what the columns mean is told in sql/sqlite, which this follows.
--
-- MariaDB commits each of these statements by itself, and a migration that was cut off is
-- gone on with at the statement it was at: so each may be done twice (IF NOT EXISTS; a
-- constraint is dropped and added in one ALTER), and a table is made with all it needs.
-- Texts compare by their bytes, like SQLite's. No two unique keys by chance: an upsert
-- changes the row of whichever collides (orchestrator/store/upsert.c guards that).

CREATE TABLE IF NOT EXISTS sources (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name       VARCHAR(255) NOT NULL,
    kind       VARCHAR(64) NOT NULL,
    location   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE KEY sources_by_name (name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS vms (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    uuid       VARCHAR(40) NOT NULL,
    source_id  BIGINT NOT NULL,
    name       VARCHAR(255) NOT NULL,
    path       TEXT,
    state      VARCHAR(24) NOT NULL DEFAULT 'discovered',
    spec       LONGTEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE KEY vms_by_uuid (uuid),
    KEY vms_by_name (name),
    CONSTRAINT vms_source FOREIGN KEY (source_id) REFERENCES sources (id),
    CONSTRAINT vms_state CHECK (state IN ('discovered', 'replicating', 'ready_for_failover',
        'failed_over_test', 'failed_over_live', 'committed', 'rolled_back'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS vm_disks (
    id             BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    vm_id          BIGINT NOT NULL,
    disk_key       BIGINT NOT NULL,
    unit_number    BIGINT NOT NULL,
    backing_uuid   VARCHAR(255) NOT NULL,
    capacity       BIGINT NOT NULL,
    disk_change_id TEXT,
    replica_volume TEXT,
    source_place   TEXT,
    UNIQUE KEY vm_disks_by_key (vm_id, disk_key),
    CONSTRAINT vm_disks_vm FOREIGN KEY (vm_id) REFERENCES vms (id) ON DELETE CASCADE,
    CONSTRAINT vm_disks_capacity CHECK (capacity > 0)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS vm_export_mappings (
    id               BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    vm_id            BIGINT NOT NULL,
    disk_unit_number BIGINT NOT NULL,
    vm_name          VARCHAR(255) NOT NULL,
    export_name      VARCHAR(255) NOT NULL,
    device_path      TEXT NOT NULL,
    identity         TEXT,
    lease            TEXT,
    status           VARCHAR(16) NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    UNIQUE KEY vm_export_mappings_by_name (export_name),
    UNIQUE KEY vm_export_mappings_by_disk (vm_id, disk_unit_number),
    CONSTRAINT vm_export_mappings_vm FOREIGN KEY (vm_id) REFERENCES vms (id) ON DELETE CASCADE,
    CONSTRAINT vm_export_mappings_status CHECK (status IN ('active', 'inactive'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- open_vm_id has a value only where SQLite's partial unique index has a row.
CREATE TABLE IF NOT EXISTS replication_jobs (
    id                BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    vm_id             BIGINT NOT NULL,
    replication_type  VARCHAR(32) NOT NULL,
    sync_type         VARCHAR(16) NOT NULL,
    status            VARCHAR(16) NOT NULL,
    current_operation TEXT,
    bytes_total       BIGINT NOT NULL DEFAULT 0,
    bytes_done        BIGINT NOT NULL DEFAULT 0,
    throughput        BIGINT NOT NULL DEFAULT 0,
    eta_seconds       BIGINT,
    percent           DOUBLE NOT NULL DEFAULT 0,
    error             MEDIUMTEXT,
    lease             TEXT,
    lease_expires_at  BIGINT,
    owner_boot        VARCHAR(40),
    owner_pid         BIGINT,
    owner_start       BIGINT,
    source_snapshot   TEXT,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    completed_at      BIGINT,
    open_vm_id        BIGINT AS (CASE WHEN status = 'running' THEN vm_id END) PERSISTENT,
    UNIQUE KEY one_running_job_a_vm (open_vm_id),
    KEY replication_jobs_by_vm (vm_id),
    CONSTRAINT replication_jobs_vm FOREIGN KEY (vm_id) REFERENCES vms (id) ON DELETE CASCADE,
    CONSTRAINT replication_jobs_status
        CHECK (status IN ('running', 'completed', 'failed', 'paused'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- step_disk_id: disk_id that can be in a unique key when there is none.
CREATE TABLE IF NOT EXISTS job_steps (
    id           BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id       BIGINT NOT NULL,
    disk_id      BIGINT,
    step         VARCHAR(64) NOT NULL,
    state        VARCHAR(16) NOT NULL,
    started_at   BIGINT NOT NULL,
    completed_at BIGINT,
    detail       MEDIUMTEXT,
    step_disk_id BIGINT AS (ifnull(disk_id, 0)) PERSISTENT,
    UNIQUE KEY one_row_a_step (job_id, step_disk_id, step),
    KEY job_steps_by_disk (disk_id),
    CONSTRAINT job_steps_job FOREIGN KEY (job_id) REFERENCES replication_jobs (id)
        ON DELETE CASCADE,
    CONSTRAINT job_steps_disk FOREIGN KEY (disk_id) REFERENCES vm_disks (id),
    CONSTRAINT job_steps_state CHECK (state IN ('running', 'done', 'failed'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS cbt_history (
    id               BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    disk_id          BIGINT NOT NULL,
    job_id           BIGINT NOT NULL,
    change_id_before TEXT,
    change_id_after  TEXT,
    sync_type        VARCHAR(16) NOT NULL,
    bytes            BIGINT NOT NULL,
    areas            BIGINT,
    duration_ms      BIGINT NOT NULL,
    outcome          VARCHAR(32) NOT NULL,
    created_at       BIGINT NOT NULL,
    KEY cbt_history_by_disk (disk_id, id),
    KEY cbt_history_by_job (job_id),
    CONSTRAINT cbt_history_disk FOREIGN KEY (disk_id) REFERENCES vm_disks (id) ON DELETE CASCADE,
    CONSTRAINT cbt_history_job FOREIGN KEY (job_id) REFERENCES replication_jobs (id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS restore_points (
    id           BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    vm_id        BIGINT NOT NULL,
    job_id       BIGINT NOT NULL,
    number       BIGINT NOT NULL,
    complete     BIGINT NOT NULL DEFAULT 0,
    created_at   BIGINT NOT NULL,
    completed_at BIGINT,
    UNIQUE KEY restore_points_by_number (vm_id, number),
    KEY restore_points_by_job (job_id),
    CONSTRAINT restore_points_vm FOREIGN KEY (vm_id) REFERENCES vms (id) ON DELETE CASCADE,
    CONSTRAINT restore_points_job FOREIGN KEY (job_id) REFERENCES replication_jobs (id),
    CONSTRAINT restore_points_number CHECK (number > 0),
    CONSTRAINT restore_points_complete CHECK (complete IN (0, 1))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS restore_point_disks (
    id        BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    point_id  BIGINT NOT NULL,
    disk_id   BIGINT NOT NULL,
    parent_id BIGINT,
    overlay   TEXT NOT NULL,
    format    VARCHAR(16) NOT NULL,
    leaves    TEXT NOT NULL,
    sync_type VARCHAR(16) NOT NULL,
    change_id TEXT,
    digest    TEXT,
    bytes     BIGINT NOT NULL DEFAULT 0,
    complete  BIGINT NOT NULL DEFAULT 0,
    UNIQUE KEY restore_point_disks_by_disk (point_id, disk_id),
    KEY restore_point_disks_of_disk (disk_id),
    KEY restore_point_disks_by_parent (parent_id),
    CONSTRAINT restore_point_disks_point FOREIGN KEY (point_id) REFERENCES restore_points (id)
        ON DELETE CASCADE,
    CONSTRAINT restore_point_disks_disk FOREIGN KEY (disk_id) REFERENCES vm_disks (id),
    CONSTRAINT restore_point_disks_parent FOREIGN KEY (parent_id)
        REFERENCES restore_point_disks (id),
    CONSTRAINT restore_point_disks_format CHECK (format IN ('raw', 'qcow2')),
    CONSTRAINT restore_point_disks_sync CHECK (sync_type IN ('initial', 'incremental', 'resync')),
    CONSTRAINT restore_point_disks_complete CHECK (complete IN (0, 1)),
    CONSTRAINT restore_point_disks_digest CHECK (complete = 0 OR digest IS NOT NULL)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS failover_jobs (
    id                 BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    vm_id              BIGINT NOT NULL,
    kind               VARCHAR(16) NOT NULL,
    state              VARCHAR(32) NOT NULL,
    point_id           BIGINT NOT NULL,
    domain_uuid        VARCHAR(40),
    domain_name        VARCHAR(255),
    network            VARCHAR(255),
    replication_job_id BIGINT,
    source_vm_spec     LONGTEXT NOT NULL,
    evidence           LONGTEXT,
    error              MEDIUMTEXT,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    completed_at       BIGINT,
    KEY failover_jobs_by_vm (vm_id),
    KEY failover_jobs_by_point (point_id),
    KEY failover_jobs_by_job (replication_job_id),
    CONSTRAINT failover_jobs_vm FOREIGN KEY (vm_id) REFERENCES vms (id),
    CONSTRAINT failover_jobs_point FOREIGN KEY (point_id) REFERENCES restore_points (id),
    CONSTRAINT failover_jobs_job FOREIGN KEY (replication_job_id) REFERENCES replication_jobs (id),
    CONSTRAINT failover_jobs_kind CHECK (kind IN ('test', 'live'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS audit_log (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    who        TEXT NOT NULL,
    what       TEXT NOT NULL,
    subject    TEXT,
    `before`   MEDIUMTEXT,
    `after`    MEDIUMTEXT,
    created_at BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
