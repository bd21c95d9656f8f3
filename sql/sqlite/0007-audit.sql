-- Who did it from where and how, and to which VM: by uuid and name, as a row outlives its VM.

ALTER TABLE audit_log ADD COLUMN host TEXT;
ALTER TABLE audit_log ADD COLUMN command TEXT;
ALTER TABLE audit_log ADD COLUMN vm_uuid TEXT;
ALTER TABLE audit_log ADD COLUMN vm_name TEXT;
UPDATE audit_log
   SET vm_uuid = subject, vm_name = (SELECT v.name FROM vms v WHERE v.uuid = subject)
 WHERE subject IN (SELECT uuid FROM vms);
CREATE INDEX audit_log_by_time ON audit_log (created_at);
CREATE INDEX audit_log_by_vm ON audit_log (vm_uuid, created_at);
