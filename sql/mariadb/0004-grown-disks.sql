-- A disk may grow from one restore point to the next: each has its own size.

ALTER TABLE restore_point_disks
    ADD COLUMN IF NOT EXISTS capacity BIGINT,
    DROP CONSTRAINT IF EXISTS restore_point_disks_capacity,
    ADD CONSTRAINT restore_point_disks_capacity CHECK (capacity > 0);
UPDATE restore_point_disks
   SET capacity = (SELECT d.capacity FROM vm_disks d WHERE d.id = disk_id)
 WHERE capacity IS NULL;
