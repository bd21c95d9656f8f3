#!/bin/bash
# A qemu-nbd whose starter was killed while it started must not hold the disk: not
# against the same lease, not against the next one, and it must end.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

mkdir -m 700 "$tmp/map" "$tmp/bin"
qemu-img create -q -f qcow2 "$tmp/disk.qcow2" 1M
# Slow to start, when asked.
cat >"$tmp/bin/qemu-nbd" <<END
#!/bin/bash
[ ! -e '$tmp/slow' ] || sleep 1
exec $(command -v qemu-nbd) "\$@"
END
chmod +x "$tmp/bin/qemu-nbd"
PATH=$tmp/bin:$PATH

put() { # LEASE
    printf '{"path": "%s", "format": "qcow2", "size": 1048576, "mode": "rw", "lease": "%s",
        "identity": {"inode": %s, "dev": %s}}' "$tmp/disk.qcow2" "$1" \
        "$(stat -c %i "$tmp/disk.qcow2")" "$(stat -c %d "$tmp/disk.qcow2")" >"$tmp/map/.new"
    mv "$tmp/map/.new" "$tmp/map/disk"
}

serve() { # its pid is in $!
    rm -f "$tmp/sock" "$tmp/pid"
    background nbdkit -f -P "$tmp/pid" -U "$tmp/sock" "$EXPORTMAP" "map=$tmp/map"
    wait_for 10 test -s "$tmp/pid"
}

orphan() { # leave a qemu-nbd that starts for LEASE
    touch "$tmp/slow"
    serve
    nbdinfo --size "nbd+unix:///disk@$1?socket=$tmp/sock" >/dev/null 2>&1 &
    wait_for 10 pgrep -f "^/bin/bash $tmp/bin/qemu-nbd .*$tmp/disk.qcow2"
    kill -9 "${background_pids[@]}"
    background_pids=()
    wait 2>/dev/null
    rm "$tmp/slow"
}

# shellcheck disable=SC2317 # called by wait_for
gone() {
    ! pgrep -f "qemu-nbd .*$tmp/disk.qcow2"
}

for lease in one two; do
    put one
    orphan one
    put "$lease"
    serve
    ok timeout 20 nbdinfo --size "nbd+unix:///disk@$lease?socket=$tmp/sock" -- \
        "an orphan of lease one, then lease $lease"
    kill "${background_pids[@]}"
    background_pids=()
    wait 2>/dev/null
    ok wait_for 5 gone -- "the orphan has ended"
done
done_testing
