-- A live failover. source_was: the source's power before anything was done to it: on, off, lost,
-- or vouched (the operator says that it is off). off_at: when it was asked to shut down. options:
-- JSON, how to go on with it after a crash.
ALTER TABLE failover_jobs ADD COLUMN source_was TEXT;
ALTER TABLE failover_jobs ADD COLUMN off_at INTEGER;
ALTER TABLE failover_jobs ADD COLUMN options TEXT;
