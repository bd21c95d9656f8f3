-- How a VM is tested, where it is not as others are. test_checks: what it must do once it has
-- booted, as --checks says it. test_expect: the console line by which it booted. NULL: as others.
ALTER TABLE vms ADD COLUMN test_checks TEXT;
ALTER TABLE vms ADD COLUMN test_expect TEXT;
