-- See sql/sqlite/0010-live.sql.
ALTER TABLE failover_jobs
    ADD COLUMN IF NOT EXISTS source_was TEXT AFTER keep_until,
    ADD COLUMN IF NOT EXISTS off_at BIGINT AFTER source_was,
    ADD COLUMN IF NOT EXISTS options TEXT AFTER off_at;
