-- Who did it from where and how, and to which VM: by uuid and name, as a row outlives its VM.

ALTER TABLE audit_log
    ADD COLUMN IF NOT EXISTS host    TEXT,
    ADD COLUMN IF NOT EXISTS command TEXT,
    ADD COLUMN IF NOT EXISTS vm_uuid VARCHAR(64),
    ADD COLUMN IF NOT EXISTS vm_name TEXT,
    ADD INDEX IF NOT EXISTS audit_log_by_time (created_at),
    ADD INDEX IF NOT EXISTS audit_log_by_vm (vm_uuid, created_at);
UPDATE audit_log
   SET vm_name = (SELECT v.name FROM vms v WHERE v.uuid = subject), vm_uuid = subject
 WHERE vm_uuid IS NULL AND subject IN (SELECT uuid FROM vms);
