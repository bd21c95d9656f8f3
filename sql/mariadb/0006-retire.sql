-- A failover's row is evidence and outlives the restore point that it stood on.

ALTER TABLE failover_jobs DROP FOREIGN KEY IF EXISTS failover_jobs_point;
ALTER TABLE failover_jobs
    MODIFY COLUMN point_id BIGINT,
    ADD COLUMN IF NOT EXISTS point_number BIGINT AFTER point_id,
    ADD CONSTRAINT failover_jobs_point FOREIGN KEY IF NOT EXISTS (point_id)
        REFERENCES restore_points (id) ON DELETE SET NULL;
UPDATE failover_jobs
   SET point_number = (SELECT number FROM restore_points WHERE restore_points.id = point_id)
 WHERE point_number IS NULL;
