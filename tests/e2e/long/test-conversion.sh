#!/bin/bash
# A Debian that knows no virtio, from VMware say, in a test failover: it does not boot as it is,
# and boots when it is converted. CONVERSION=v2v tests that engine (make check-convert).
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../lib.sh"
export VMFERRY_DEMO=$tmp/demo VMFERRY_VIRT_TYPE=qemu
# shellcheck source=scripts/demo-lib.sh
. "$top/scripts/demo-lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for libvirt's system daemon"
[ -z "${SANITIZE:-}" ] || [ -x "$top/build/vmferry" ] || skip_all "needs a plain build beside this one"
engine=${CONVERSION:-native}
[ "$engine" != v2v ] || {
    # shellcheck source=tests/convert/appliance.sh
    . "$top/tests/convert/appliance.sh"
}

mkdir -p "$demo"
start_libvirt
at_exit "stop_libvirt"
at_exit "vmferry failover rollback debian"

# With virt-v2v, initramfs-tools decides itself which drivers there are.
[ "$engine" = v2v ] && modules=most || modules=list
"$top/tests/convert/make-debian-guest" "$tmp/debian.raw" "$modules" >"$tmp/made" 2>&1 || explain "$(tail -n 5 "$tmp/made")"
cat >"$tmp/debian.json" <<JSON
{ "uuid": "5c0ffee5-0000-4000-8000-$(printf %012d $$)", "name": "debian", "firmware": "bios",
  "cpus": 1, "memory": 536870912,
  "disks": [ { "key": 2000, "unit": 0, "capacity": $(stat -c %s "$tmp/debian.raw"),
      "backing_uuid": "debian", "file": "$tmp/debian.raw" } ] }
JSON
vmferry source add nbd test --file "$tmp/debian.json" >/dev/null
# As in test-failover.sh: an nbdkit could not load modules that need a sanitizer's library.
plain=vmferry
[ -z "${SANITIZE:-}" ] || plain=$top/build/vmferry
"$plain" replicate debian --progress=none >/dev/null

replica_state() {
    find "$VMFERRY_STATE/replicas" -type f | sort | while read -r file; do
        echo "$(stat -c '%n %u:%g %a %Y %s' "$file") $(sha256sum <"$file")"
    done
}
points=$(replica_state)

evidence() { # JQ-PATH
    vmferry failover show debian --json | jq -r ".evidence$1"
}

fails=$(vmferry failover test debian --conversion=none --expect='VMFERRY-DEBIAN root' --timeout=180 2>&1) &&
    status=0 || status=$?
is "$status" 1 "it does not boot on virtio as it is"
like "$fails" "stuck at .*initramfs" "it stops in its initramfs"
is "$(evidence .conversion.engine)" none "nothing was converted"
vmferry failover rollback debian >/dev/null

out=$(vmferry failover test debian --conversion="$engine" --timeout=180 \
    --expect='VMFERRY-DEBIAN root /dev/vda3 fstab fits' 2>&1) && status=0 || status=$?
is "$status" 0 "converted, it boots, and its fstab names the disk as it is called now" || explain "$out"
like "$out" "was converted by $engine .*has no virtio_pci driver" "which is said, with the reason"
is "$(evidence '.conversion | .engine, .needed' | xargs)" "$engine true" "and kept in the evidence"
ok [ "$(evidence '.conversion.seconds > 0')" = true ] -- "with how long it took"
log=$(evidence .conversion.log)
ok grep -q "has no virtio_pci driver" "$log" -- "and a log"
vmferry failover rollback debian >/dev/null
ok [ -s "$log" ] -- "which stays after the rollback"
is "$(find "$VMFERRY_STATE/failovers" -name '*.qcow2' -o -name 'convert.??????')" "" "but nothing else"
is "$(replica_state)" "$points" "the restore point was not touched"

# Killed while it converts: recover takes it back.
vmferry failover test debian --conversion="$engine" --timeout=180 >/dev/null 2>&1 &
pid=$!
wait_for 60 eval 'vmferry failover list --json | jq -e "any(.state == \"converting\")"'
sleep 0.5
kill -9 $pid
wait $pid 2>/dev/null
ok vmferry failover rollback debian -- "killed in the middle, it can be rolled back"
# shellcheck disable=SC2317 # by wait_for
nothing_left() {
    [ -z "$(find "$VMFERRY_STATE/failovers" -name '*.qcow2' -o -name 'convert.??????')" ] &&
        ! grep -q " $VMFERRY_STATE" /proc/mounts && ! pgrep -f "$VMFERRY_STATE/failovers"
}
ok wait_for 20 nothing_left -- "and nothing of it is left"
is "$(replica_state)" "$points" "nor was the restore point touched"
done_testing
