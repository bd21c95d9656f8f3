#!/bin/bash
# Test failover on a real libvirt: boots, refusals, and kill -9 of vmferry at any
# moment, after which a rollback leaves nothing behind and the points as they were.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export VMFERRY_DEMO=$tmp/demo VMFERRY_VIRT_TYPE=qemu
# shellcheck source=scripts/demo-lib.sh
. "$top/scripts/demo-lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for libvirt's system daemon"

[ -z "${SANITIZE:-}" ] || [ -x "$top/build/vmferry" ] || skip_all "needs a plain build beside this one"

ROUNDS=${FAILOVER_ROUNDS:-10}

mkdir -p "$demo"
start_libvirt
at_exit "stop_libvirt"
at_exit "vmferry failover rollback guest"

make-guest "$tmp" --payload 8 --data-size 64
cat >"$tmp/guest.json" <<JSON
{ "uuid": "5c0ffee5-0000-4000-8000-$(printf %012d $$)", "name": "guest", "firmware": "uefi",
  "cpus": 2, "memory": 268435456,
  "nics": [ { "mac": "52:54:00:76:66:02", "network": "LAN" } ],
  "disks": [
    { "key": 2000, "unit": 0, "capacity": $(stat -c %s "$tmp/system.raw"),
      "backing_uuid": "system", "file": "$tmp/system.raw" },
    { "key": 2001, "unit": 1, "capacity": $(stat -c %s "$tmp/data.raw"),
      "backing_uuid": "data", "file": "$tmp/data.raw" } ] }
JSON
# Under a sanitizer only the failover is looked at: the nbdkit that a replication starts
# could not load modules that need the sanitizer's library.
replicate() {
    local vmferry=vmferry
    [ -z "${SANITIZE:-}" ] || vmferry=$top/build/vmferry
    "$vmferry" replicate guest --progress=none
}

vmferry source add nbd test --file "$tmp/guest.json" >/dev/null
replicate >/dev/null
printf changed | dd of="$tmp/data.raw" bs=1 seek=60000000 conv=notrunc status=none
replicate >/dev/null
is "$(vmferry point list guest --json | jq length)" 2 "a VM with two points is replicated"

# What identifies every file of the replica: owner, mode, times, content.
replica_state() {
    find "$VMFERRY_STATE/replicas" -type f | sort | while read -r file; do
        echo "$(stat -c '%n %u:%g %a %Y %s' "$file") $(sha256sum <"$file")"
    done
}
points=$(replica_state)

# All that our test failovers made, wherever it may be; others may have theirs.
left_behind() {
    local ids
    ids=$(vmferry failover list --json | jq -r '[.[].domain_uuid[:8]] | join("|")')
    find "$VMFERRY_STATE/failovers" -name '*.qcow2'
    {
        virsh --quiet list --all --name
        virsh --quiet net-list --all --name
        ip -brief link
        compgen -G '/var/lib/libvirt/qemu/nvram/*'
        pgrep -a qemu-system
    } | grep -E "(vmferry-test|vft)-(${ids:-none})"
}

vm_state() {
    vmferry vm show guest --json | jq -r .state
}

test_now() {
    vmferry failover test guest "$@" >"$tmp/out" 2>"$tmp/err"
}

# Refusals make nothing.

test_now --expect='(' && status=0 || status=$?
is "$status" 2 "a bad regular expression is wrong use"
test_now --point=7 && status=0 || status=$?
is "$status $(left_behind)" "1 " "a point that is not there is refused, nothing is made"
test_now --virt-type=xen && status=0 || status=$?
is "$status $(left_behind)" "2 " "an unknown virt type is wrong use"
is "$(vmferry failover list --json | jq length)" 0 "nothing of it is written down"

# Nothing is started on a point while one below it is being merged away.

sqlite3 "$VMFERRY_STATE/vmferry.db" "UPDATE restore_points SET going = 1 WHERE number = 1"
test_now && status=0 || status=$?
sqlite3 "$VMFERRY_STATE/vmferry.db" "UPDATE restore_points SET going = 0"
is "$status $(left_behind)" "1 " "a point that stands on one that is going is not started"
like "$(cat "$tmp/err")" "restore point 1 of guest is just being deleted" "and it is said why"

# An error on the way is taken back.

LIBVIRT_DEFAULT_URI=qemu:///nowhere test_now && status=0 || status=$?
is "$status" 1 "without libvirt it fails"
like "$(cat "$tmp/err")" "libvirt" "and names libvirt"
base=$(compgen -G "$VMFERRY_STATE/replicas/*/disk-2001/base.raw")
mv "$base" "$base.aside"
test_now && status=0 || status=$?
mv "$base.aside" "$base"
is "$status $(left_behind)" "1 " "a missing image fails the test, and what was made is taken back"
is "$(vm_state)" ready_for_failover "the VM is ready for the next try"

# No sign of life: the verdict is no, the domain stays for a look at it.

test_now --expect='never said' --timeout=2 && status=0 || status=$?
is "$status" 1 "a guest that does not say what is expected did not boot"
is "$(vm_state)" failed_over_test "the VM is in its test"
domain=$(vmferry failover show guest --json | jq -r .domain)
is "$(virsh domstate "$domain" | head -n 1)" running "its domain is left running"
is "$(stat -c %U "/proc/$(pgrep -f "guest=$domain,")")" libvirt-qemu "QEMU runs as an unprivileged user"
network=$(vmferry failover show guest --json | jq -r .network)
is "$(virsh net-dumpxml "$network" | grep -cE '<(forward|ip|dhcp)')" 0 "its network leads nowhere"
is "$(virsh domiflist "$domain" | awk 'NR > 2 && NF { print $3, $5 }')" \
    "$network 52:54:00:76:66:02" "its NIC is in that network, with the MAC of the source"
out=$(vmferry point delete guest 1 2>&1) && status=0 || status=$?
like "$status $out" "1 .*test failover [0-9]+ .*domain $domain. .*stands on restore point 2" \
    "no point below it is deleted"
test_now --point=1 --network=none --expect='never said' --timeout=1 && status=0 || status=$?
second=$(vmferry failover show guest --json | jq -r .id)
is "$(vmferry failover list --json | jq '[.[] | select(.state == "not booted")] | length')" 2 \
    "a second test of the VM runs beside the first one"
ok vmferry failover rollback guest --id="$second" -- "it is rolled back alone"
is "$(virsh domstate "$domain" | head -n 1), $(vm_state)" "running, failed_over_test" \
    "the first one still runs"
ok vmferry failover rollback guest -- "it is rolled back, too"
is "$(left_behind)" "" "nothing is left"
is "$(vm_state)" ready_for_failover "the VM is ready for failover again"
ok vmferry failover rollback guest -- "another rollback has nothing to do"
late=$(vmferry failover show guest --json | jq -r .domain_uuid)
virsh --quiet define /dev/stdin <<END
<domain type='qemu'><name>vmferry-test-late</name><uuid>$late</uuid><memory>1024</memory>
<os><type>hvm</type></os></domain>
END
ok vmferry failover rollback guest -- "a rollback after libvirt made the domain of a dead test late"
ok test -z "$(virsh --quiet list --all --uuid | grep "$late")" -- "removes it"

# kill -9 of the test, and of the rollback, at random moments.

failed=
for ((round = 0; round < ROUNDS; round++)); do
    vmferry failover test guest --point=$((1 + round % 2)) --timeout=60 >/dev/null 2>&1 &
    pid=$!
    sleep "$(awk -v r=$RANDOM -v round=$round 'BEGIN { print (round % 3 + 1) * r / 32768 }')"
    kill -9 $pid
    wait $pid 2>/dev/null
    reached=$(vmferry failover list --json | jq -r '.[0] | "\(.id) \(.state)"')
    vmferry failover rollback guest >/dev/null 2>&1 &
    pid=$!
    sleep "$(awk -v r=$RANDOM 'BEGIN { print r / 32768 / 3 }')"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    diag "round $round: killed at '$reached'"
    vmferry failover rollback guest >/dev/null 2>"$tmp/err" ||
        failed+="round $round ($reached): $(cat "$tmp/err"); "
    left=$(left_behind)
    [ -z "$left" ] || failed+="round $round ($reached) left: $left; "
    [ "$(vm_state)" = ready_for_failover ] || failed+="round $round ($reached): $(vm_state); "
done
is "$failed" "" "$ROUNDS times killed and rolled back: nothing is left, the VM is ready"

# A real boot, UEFI, seen by the guest agent.

ok vmferry failover test guest --timeout="$BOOT_LIMIT" --json -- "the VM boots by UEFI from point 2"
vmferry failover show guest --json >"$tmp/show.json"
is "$(jq -r '.state, .evidence.booted, .evidence.by' "$tmp/show.json" | xargs)" \
    "booted true agent" "the guest agent is the evidence"
ok jq -e '.evidence.guest.os["kernel-release"] and (.evidence.guest.filesystems | length >= 2)' "$tmp/show.json" -- \
    "with the system that runs and its file systems"
like "$(vmferry failover show guest)" "mounted   [2-9] file systems" "which is shown"
console=$(jq -r .evidence.console "$tmp/show.json")
like "$(cat "$console")" "disk data device=vdb serial=disk-2001" "the guest sees its disks by their keys"
ok replicate -- "replication goes on during a test"
ok vmferry failover rollback guest -- "it is rolled back"
is "$(left_behind)" "" "nothing is left"
ok test -s "$console" -- "but the console log"
is "$(vm_state)" ready_for_failover "the VM is ready for failover"
is "$(replica_state | grep -v point-0003)" "$points" "no file of a point has another owner, mode, time or content"

done_testing
