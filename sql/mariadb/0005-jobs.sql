-- Jobs that other workers can take over, restore points that go, pools, throttles.

ALTER TABLE replication_jobs
    ADD COLUMN IF NOT EXISTS paused_by  TEXT AFTER error,
    ADD COLUMN IF NOT EXISTS wanted     VARCHAR(16) AFTER paused_by,
    ADD COLUMN IF NOT EXISTS rate       BIGINT AFTER wanted,
    ADD COLUMN IF NOT EXISTS options    MEDIUMTEXT AFTER rate,
    ADD COLUMN IF NOT EXISTS fence      BIGINT NOT NULL DEFAULT 0 AFTER options,
    ADD COLUMN IF NOT EXISTS owner_host VARCHAR(255) AFTER lease_expires_at,
    ADD COLUMN IF NOT EXISTS started_at BIGINT AFTER created_at,
    DROP CONSTRAINT IF EXISTS replication_jobs_status,
    ADD CONSTRAINT replication_jobs_status CHECK (status IN ('queued', 'running', 'paused',
        'completed', 'failed', 'cancelled')),
    DROP CONSTRAINT IF EXISTS replication_jobs_wanted,
    ADD CONSTRAINT replication_jobs_wanted CHECK (wanted IN ('pause', 'cancel')),
    DROP CONSTRAINT IF EXISTS replication_jobs_rate,
    ADD CONSTRAINT replication_jobs_rate CHECK (rate >= 0);
UPDATE replication_jobs SET started_at = created_at WHERE started_at IS NULL;
UPDATE replication_jobs SET status = 'failed' WHERE status = 'paused';
-- Of a VM's jobs only one is not at its end.
ALTER TABLE replication_jobs
    DROP INDEX IF EXISTS one_running_job_a_vm,
    DROP INDEX IF EXISTS one_open_job_a_vm,
    DROP COLUMN IF EXISTS open_vm_id;
ALTER TABLE replication_jobs
    ADD COLUMN IF NOT EXISTS open_vm_id BIGINT
        AS (CASE WHEN status IN ('queued', 'running', 'paused') THEN vm_id END) PERSISTENT,
    ADD UNIQUE INDEX IF NOT EXISTS one_open_job_a_vm (open_vm_id),
    ADD INDEX IF NOT EXISTS replication_jobs_by_status (status, created_at);

CREATE TABLE IF NOT EXISTS job_disks (
    job_id            BIGINT NOT NULL,
    disk_id           BIGINT NOT NULL,
    sync_type         VARCHAR(16) NOT NULL,
    current_operation TEXT,
    bytes_total       BIGINT NOT NULL DEFAULT 0,
    bytes_done        BIGINT NOT NULL DEFAULT 0,
    throughput        BIGINT NOT NULL DEFAULT 0,
    eta_seconds       BIGINT,
    percent           DOUBLE NOT NULL DEFAULT 0,
    error             MEDIUMTEXT,
    updated_at        BIGINT NOT NULL,
    PRIMARY KEY (job_id, disk_id),
    KEY job_disks_by_disk (disk_id),
    CONSTRAINT job_disks_job FOREIGN KEY (job_id) REFERENCES replication_jobs (id)
        ON DELETE CASCADE,
    CONSTRAINT job_disks_disk FOREIGN KEY (disk_id) REFERENCES vm_disks (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS job_log (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id     BIGINT,
    disk_id    BIGINT,
    level      VARCHAR(16) NOT NULL,
    part       VARCHAR(64) NOT NULL,
    message    MEDIUMTEXT NOT NULL,
    created_at BIGINT NOT NULL,
    KEY job_log_by_job (job_id, id),
    CONSTRAINT job_log_level CHECK (level IN ('debug', 'info', 'notice', 'warning', 'error'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- History and points outlive the job that made them.
ALTER TABLE cbt_history DROP FOREIGN KEY IF EXISTS cbt_history_job;
ALTER TABLE cbt_history
    MODIFY COLUMN job_id BIGINT,
    ADD CONSTRAINT cbt_history_job FOREIGN KEY IF NOT EXISTS (job_id)
        REFERENCES replication_jobs (id) ON DELETE SET NULL;
ALTER TABLE restore_points DROP FOREIGN KEY IF EXISTS restore_points_job;
ALTER TABLE restore_points
    MODIFY COLUMN job_id BIGINT,
    ADD CONSTRAINT restore_points_job FOREIGN KEY IF NOT EXISTS (job_id)
        REFERENCES replication_jobs (id) ON DELETE SET NULL,
    ADD COLUMN IF NOT EXISTS pinned       BIGINT NOT NULL DEFAULT 0 AFTER complete,
    ADD COLUMN IF NOT EXISTS going        BIGINT NOT NULL DEFAULT 0 AFTER pinned,
    ADD COLUMN IF NOT EXISTS note         TEXT AFTER going,
    ADD COLUMN IF NOT EXISTS verified_at  BIGINT AFTER note,
    ADD COLUMN IF NOT EXISTS verify_error TEXT AFTER verified_at,
    DROP CONSTRAINT IF EXISTS restore_points_pinned,
    ADD CONSTRAINT restore_points_pinned CHECK (pinned IN (0, 1)),
    DROP CONSTRAINT IF EXISTS restore_points_going,
    ADD CONSTRAINT restore_points_going CHECK (going IN (0, 1));

CREATE TABLE IF NOT EXISTS pools (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name       VARCHAR(255) NOT NULL,
    kind       VARCHAR(16) NOT NULL,
    location   TEXT NOT NULL,
    options    MEDIUMTEXT,
    created_at BIGINT NOT NULL,
    UNIQUE KEY pools_by_name (name),
    CONSTRAINT pools_kind CHECK (kind IN ('dir', 'libvirt', 'block', 'lvm', 'rbd'))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

ALTER TABLE vms
    ADD COLUMN IF NOT EXISTS keep       TEXT,
    ADD COLUMN IF NOT EXISTS pool_id    BIGINT,
    ADD COLUMN IF NOT EXISTS next_point BIGINT NOT NULL DEFAULT 1,
    ADD CONSTRAINT vms_pool FOREIGN KEY IF NOT EXISTS (pool_id) REFERENCES pools (id);
UPDATE vms SET next_point = 1 + ifnull((SELECT max(number) FROM restore_points
                                        WHERE vm_id = vms.id), 0);

CREATE TABLE IF NOT EXISTS settings (
    name       VARCHAR(255) NOT NULL PRIMARY KEY,
    value      TEXT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS transactions (
    token      VARCHAR(64) NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
