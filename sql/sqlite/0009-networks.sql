-- Where the NICs of a source's VMs go, or of one VM. scope: "source 3" or "vm 17", whose
-- row goes with it. network: the source's name of it, of a VM also a MAC address.
-- target: net:NAME, bridge:NAME, isolated, none.
CREATE TABLE network_maps (
    id         INTEGER PRIMARY KEY,
    scope      TEXT NOT NULL,
    network    TEXT NOT NULL,
    source_id  INTEGER REFERENCES sources (id) ON DELETE CASCADE,
    vm_id      INTEGER REFERENCES vms (id) ON DELETE CASCADE,
    target     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (scope, network)
);

-- host: whose state directory has the overlays. uri: which libvirt has the domain; NULL:
-- that host's own. keep_until: rolled back after it.
ALTER TABLE failover_jobs ADD COLUMN host TEXT;
ALTER TABLE failover_jobs ADD COLUMN uri TEXT;
ALTER TABLE failover_jobs ADD COLUMN keep_until INTEGER;
