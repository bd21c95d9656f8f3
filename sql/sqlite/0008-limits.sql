-- The host that holds the VM: jobs may be limited by it.

ALTER TABLE vms ADD COLUMN source_host TEXT;
