#!/bin/bash
# Live failovers of a Debian that knows no virtio, each converted on its overlay: undone when the
# conversion fails, is interrupted or killed, rolled back, and committed. Its source is a hook that says
# what a hypervisor would; it never runs there.
# shellcheck disable=SC2016,SC2119,SC2120,SC2317 # eval and wait_for call it
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../lib.sh"
export VMFERRY_DEMO=$tmp/demo VMFERRY_VIRT_TYPE=qemu
# shellcheck source=scripts/demo-lib.sh
. "$top/scripts/demo-lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for libvirt's system daemon"
[ -z "${SANITIZE:-}" ] || skip_all "an nbdkit could not load modules that need a sanitizer's library"

vm=old-$$
world=$tmp/world
mkdir -p "$demo" "$world"
"$top/tests/convert/make-debian-guest" "$world/disk" >"$tmp/made" 2>&1 || explain "$(tail -n 5 "$tmp/made")"
cat >"$world/hook" <<END
#!/bin/bash
set -eu
cd $world
case \$1 in
    begin)
        cp --sparse=always disk moment
        cat >$vm.json.new <<JSON
{ "uuid": "5c0ffee7-0000-4000-8000-$(printf %012d $$)", "name": "$vm", "firmware": "bios", "cpus": 1, "memory": 536870912,
  "disks": [ { "key": 2000, "unit": 0, "capacity": $(stat -c %s "$world/disk"), "backing_uuid": "debian", "file": "$world/moment" } ] }
JSON
        mv $vm.json.new $vm.json ;;
    state) cat power ;;
    shutdown | power-off) echo off >power ;;
    power-on) echo on >power ;;
    retire) echo "\$4" >retired ;;
esac
END
chmod +x "$world/hook"
echo on >"$world/power"
"$world/hook" begin
start_libvirt
at_exit "stop_libvirt"
at_exit "virsh destroy $vm; virsh undefine --nvram $vm; vmferry failover rollback $vm --discard --leave-off"
vmferry source add nbd old --file "$world/$vm.json" --hook "$world/hook" >/dev/null
vmferry replicate "$vm" --progress=none >/dev/null 2>&1

live=(vmferry failover live "$vm" --conversion=native --expect='VMFERRY-DEBIAN root /dev/vda3 fstab fits' --timeout=240)
where() {
    echo "source $(cat "$world/power"), target $(virsh --quiet domstate "$vm" 2>/dev/null | head -n 1), $(vmferry vm show "$vm" --json | jq -r .state)"
}
left_behind() {
    find "$VMFERRY_STATE/failovers" -name '*.qcow2' -o -name 'convert.??????'
    virsh --quiet list --all --name | grep "$vm"
    grep -E " $VMFERRY_STATE" /proc/mounts
    losetup --noheadings --output BACK-FILE | grep "$VMFERRY_STATE"
    pgrep -fa "$VMFERRY_STATE/failovers"
}
nothing_is_left() {
    [ -z "$(left_behind)" ]
}
evidence() { # JQ-PATH
    vmferry failover show "$vm" --json | jq -r ".evidence$1"
}
back="source on, target , ready_for_failover"

# In the middle: a signal, a kill at its beginning, and in the guest's own program.

begin_and_wait() { # CONDITION
    "${live[@]}" >"$tmp/out" 2>&1 &
    pid=$!
    wait_for 120 eval "$1" || explain "$(cat "$tmp/out")"
}
converting='vmferry failover list --json | jq -e "any(.state == \"converting\")" >/dev/null'
begin_and_wait "$converting"
is "$(cat "$world/power"), $(virsh --quiet domstate "$vm" 2>/dev/null)" "off, " "while it is converted the source is off, and there is no target"
kill -TERM $pid
wait $pid && status=0 || status=$?
is "$status $(where)" "1 $back" "interrupted then, it is undone and the source is powered on" || explain "$(cat "$tmp/out")"
is "$(left_behind)" "" "nothing is left"
for moment in "$converting" 'pgrep -f "update-initramfs -u -k"'; do
    begin_and_wait "$moment"
    kill -9 $pid
    wait $pid 2>/dev/null
    is "$(cat "$world/power"), $(virsh --quiet domstate "$vm" 2>/dev/null)" "off, " "killed then, no side runs"
    out=$(vmferry recover 2>&1) || explain "$out"
    is "$(where)" "$back" "recover powers the source on" || explain "$out"
    ok wait_for 20 nothing_is_left -- "and leaves nothing behind" || explain "$(left_behind)"
done

# A conversion that fails.

cp --sparse=always "$world/disk" "$tmp/good"
debugfs -w -R 'rm /usr/sbin/update-initramfs' "$world/disk?offset=$((6 << 20))" >/dev/null 2>&1
out=$("${live[@]}" 2>&1) && status=0 || status=$?
is "$status $(where)" "1 $back" "a conversion that fails is undone, and the source is powered on"
like "$out" "neither update-initramfs nor dracut" "why is said"
is "$(left_behind)" "" "nothing is left"
mv "$tmp/good" "$world/disk"

# Back.

ok eval '"${live[@]}" >"$tmp/out" 2>&1' -- "converted, it runs here" || explain "$(cat "$tmp/out")"
is "$(where)" "source off, target running, failed_over_live" "and not at its source"
is "$(evidence '.conversion | .engine, .needed' | xargs)" "native true" "the evidence has the conversion"
ok vmferry failover rollback "$vm" --shutdown-timeout=1s -- "rollback"
is "$(where) $(left_behind)" "$back " "goes back to the source"
qemu-img convert -O raw "$VMFERRY_STATE/$(vmferry point list "$vm" --json | jq -r 'max_by(.point).disks[0].image')" "$tmp/point.raw"
ok qemu-img compare -q -f raw -F raw "$tmp/point.raw" "$world/disk" -- "the restore point is the source's disk: the conversion was on its overlay"
ok vmferry failover rollback "$vm" --discard -- "what was kept is discarded"

# For good.

ok eval '"${live[@]}" >"$tmp/out" 2>&1' -- "over once more" || explain "$(cat "$tmp/out")"
ok vmferry failover commit "$vm" --yes -- "commit"
is "$(where)" "source off, target running, committed" "stays here"
virsh --quiet destroy "$vm"
base=$(virsh --quiet domblklist "$vm" | awk '{ print $2 }')
like "$(qemu-img info "$base")" "file format: raw" "its disk stands on the base alone"
ok vmferry-virtio-inject --check --format=raw "$base" -- "which is the converted guest"
virsh --quiet start "$vm"
ok wait_for 240 eval '[ "$(grep -ac "VMFERRY-DEBIAN root /dev/vda3" "$(evidence .console)")" -ge 2 ]' -- "and boots again"
done_testing
