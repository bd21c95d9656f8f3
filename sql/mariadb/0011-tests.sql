-- See sql/sqlite/0011-tests.sql.
ALTER TABLE vms
    ADD COLUMN IF NOT EXISTS test_checks TEXT,
    ADD COLUMN IF NOT EXISTS test_expect TEXT;
