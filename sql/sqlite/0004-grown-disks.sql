-- A disk may grow from one restore point to the next: each has its own size.

ALTER TABLE restore_point_disks ADD COLUMN capacity INTEGER CHECK (capacity > 0);
UPDATE restore_point_disks
   SET capacity = (SELECT d.capacity FROM vm_disks d WHERE d.id = disk_id);
