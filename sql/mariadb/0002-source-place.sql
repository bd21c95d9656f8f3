-- Where an unfinished copy reads from: it is gone on with only from the same place.

ALTER TABLE restore_point_disks ADD COLUMN IF NOT EXISTS source_place TEXT;
