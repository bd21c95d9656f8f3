# Live failovers to a real libvirt of $vm, a guest that boots in a second (tiny-guest) and says what
# its two disks hold: $world/disk0.raw and disk1.raw. Sourced after lib.sh by test-failover-live*.sh,
# which set $vm and $world before, and afterwards $uuid (the VM's) and source_power().
# shellcheck shell=bash disable=SC2154
export VMFERRY_DEMO=$tmp/demo VMFERRY_VIRT_TYPE=qemu
# shellcheck source=scripts/demo-lib.sh
. "$top/scripts/demo-lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for libvirt's system daemon"
[ -z "${SANITIZE:-}" ] || skip_all "an nbdkit could not load modules that need a sanitizer's library"

mkdir -p "$demo" "$world"
start_libvirt
at_exit "stop_libvirt"
at_exit "virsh destroy $vm; virsh undefine --nvram $vm; vmferry failover rollback $vm --discard --leave-off"

truncate -s 2M "$world/disk0.raw" "$world/disk1.raw"
"$top/tests/e2e/tiny-guest" "$world/disk0.raw"
record() { # TEXT: into both disks, as the guest at the source would
    printf '%s-a\0' "$1" | dd of="$world/disk0.raw" bs=512 seek=1 conv=notrunc status=none
    printf '%s-b\0' "$1" | dd of="$world/disk1.raw" bs=512 seek=1 conv=notrunc status=none
}

live() { # OPTIONS…
    vmferry failover live "$vm" --expect=READY --timeout=60 --shutdown-timeout=5s "$@"
}
target() {
    virsh --quiet domstate "$vm" 2>/dev/null | head -n 1
}
vm_state() {
    vmferry vm show "$uuid" --json | jq -r .state
}
where() { # what runs where, and what vmferry says of it
    echo "source $(source_power), target $(target), $(vm_state)"
}
failover_state() { # of the newest one, in the tables
    sqlite3 "$VMFERRY_STATE/vmferry.db" 'SELECT state FROM failover_jobs ORDER BY id DESC LIMIT 1'
}

# The guest says one line a boot.
all_said() {
    grep -a '^GUEST' "$(vmferry failover show "$uuid" --json | jq -r .evidence.console)" | tr -d '\r'
}
said() {
    all_said | tail -n 1
}
booted() { # TIMES
    [ "$(all_said | grep -c ' READY$')" -ge "$1" ]
}
