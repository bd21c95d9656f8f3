-- Network maps; and where a failover's domain is, for how long.

CREATE TABLE IF NOT EXISTS network_maps (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    scope      VARCHAR(64) NOT NULL,
    network    VARCHAR(255) NOT NULL,
    source_id  BIGINT,
    vm_id      BIGINT,
    target     VARCHAR(255) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE KEY network_maps_by_name (scope, network),
    KEY network_maps_by_source (source_id),
    KEY network_maps_by_vm (vm_id),
    CONSTRAINT network_maps_source FOREIGN KEY (source_id) REFERENCES sources (id)
        ON DELETE CASCADE,
    CONSTRAINT network_maps_vm FOREIGN KEY (vm_id) REFERENCES vms (id) ON DELETE CASCADE
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

ALTER TABLE failover_jobs
    ADD COLUMN IF NOT EXISTS host TEXT AFTER network,
    ADD COLUMN IF NOT EXISTS uri TEXT AFTER host,
    ADD COLUMN IF NOT EXISTS keep_until BIGINT AFTER uri;
