#!/bin/bash
# Live failovers from nbd sources: without a hook, where the operator says that the source is off,
# and with one, which is a script here that says what a hypervisor would. Networks that are made,
# sources that come back, commits that are killed.
# shellcheck disable=SC2016 # eval calls it
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
vm=hook-$$
world=$tmp/world
# shellcheck source=tests/e2e/live.sh
. "$(dirname "$0")/live.sh"

uuid=11c0ffee-0000-4000-8000-$(printf %012d $$)
describe() { # FILE-0 FILE-1 CHANGE-ID
    jq -n --arg name "$vm" --arg uuid "$uuid" --arg a "$1" --arg b "$2" --arg id "$3" '
        { $uuid, $name, firmware: "bios", cpus: 1, memory: 67108864,
          nics: [{ mac: "52:54:00:76:44:01", network: "LAN" }],
          disks: [{ key: 2000, unit: 0, capacity: 2097152, backing_uuid: "one", boot: 1, file: $a, change_id: "a/\($id)" },
                  { key: 2001, unit: 1, capacity: 2097152, backing_uuid: "two", boot: 2, file: $b, change_id: "b/\($id)" }] }' \
        >"$world/$vm.json.new"
    mv "$world/$vm.json.new" "$world/$vm.json"
}
declare -f describe >"$world/describe"
cat >"$world/hook" <<END
#!/bin/bash
set -eu
cd $world
vm=$vm uuid=$uuid world=$world
. ./describe
echo "\$1" >>verbs
case \$1 in
    begin)
        cp disk0.raw moment0
        cp disk1.raw moment1
        describe "$world/moment0" "$world/moment1" "\$VMFERRY_MOMENT" ;;
    end) [ ! -e comes-back ] || [ "\$(cat power)" = on ] || { rm comes-back; echo on >power; } ;;
    state) cat power ;;
    shutdown) [ ! -e deaf ] || exit 69; [ -e slow ] || echo off >power ;;
    power-off) echo off >power ;;
    power-on) echo on >power ;;
    retire) echo "\$4: \$5" >retired ;;
esac
END
chmod +x "$world/hook"
echo on >"$world/power"

source_power() {
    cat "$world/power"
}
left_behind() {
    local ids
    ids=$(vmferry failover list --json | jq -r '[.[].domain_uuid[:8]] | join("|")')
    find "$VMFERRY_STATE/failovers" -name '*.qcow2'
    virsh --quiet net-list --all --name | grep -E "vft-(${ids:-none})"
    virsh --quiet list --all --name | grep "$vm"
}

# No hook: the operator vouches.

record first
describe "$world/disk0.raw" "$world/disk1.raw" 1
vmferry source add nbd kvm --file "$world/$vm.json" >/dev/null
vmferry network map kvm LAN = isolated >/dev/null
vmferry replicate "$vm" --progress=none >/dev/null 2>&1
out=$(live 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*--source-is-off" "a source that can't tell its power is refused"
record second
describe "$world/disk0.raw" "$world/disk1.raw" 2
ok eval 'live --source-is-off >"$tmp/out" 2>&1' -- "unless the operator says that it is off"
is "$(said)" "GUEST one=second-a two=second-b before= READY" "what it has last is synced"
network=$(vmferry failover show "$vm" --json | jq -r .network)
is "$(virsh net-info "$network" | awk '/^(Active|Persistent|Autostart)/ { print $2 }' | xargs)" "yes yes yes" \
    "an isolated network of its own survives a restart of its host"
vmferry failover rollback "$vm" --discard >"$tmp/out" 2>&1 && status=0 || status=$?
is "$status $(left_behind)" "0 " "rollback leaves nothing behind"
like "$(cat "$tmp/out")" "has to be powered on by you" "and says who powers the source on"

# With one.

vmferry source add nbd kvm --file "$world/$vm.json" --hook "$world/hook" >/dev/null
record third
ok eval 'live >"$tmp/out" 2>&1' -- "with a hook it is shut down"
is "$(where)" "source off, target running, failed_over_live" "and runs here"
is "$(said)" "GUEST one=third-a two=third-b before= READY" "with what it had last"
is "$(tr '\n' ' ' <"$world/verbs" | sed 's/state //g')" "begin end shutdown begin end " "there were two moments, one of them after the shutdown"
vmferry failover rollback "$vm" --discard >/dev/null 2>&1
is "$(where) $(left_behind)" "source on, target , ready_for_failover " "rollback powers it on"
touch "$world/deaf"
out=$(live 2>&1) && status=0 || status=$?
is "$status $(where)" "1 source on, target , ready_for_failover" "a guest that can't be asked is left alone"
ok eval 'live --allow-power-off >"$tmp/out" 2>&1' -- "and powered off if that is allowed"
rm "$world/deaf"
ok vmferry failover rollback "$vm" --shutdown-timeout=1s --leave-off -- "rollback --leave-off"
is "$(where)" "source off, target , ready_for_failover" "leaves it off"
ok vmferry failover rollback "$vm" --discard -- "what was kept is discarded"
is "$(find "$VMFERRY_STATE/failovers" -name '*.kept')" "" "and gone"

# A guest that does not shut down, and an operator that does not wait for it.

echo on >"$world/power"
touch "$world/slow"
out=$(live --shutdown-timeout=1s 2>&1) && status=0 || status=$?
is "$status $(where) $(left_behind)" "1 source on, target , ready_for_failover " "a guest that takes too long goes on"
like "$out" "not shut down within 1 s" "and why is said"
: >"$world/verbs"
vmferry failover live "$vm" --expect=READY --shutdown-timeout=5s >"$tmp/out" 2>&1 &
victim=$!
wait_for 30 grep -q shutdown "$world/verbs"
kill -TERM $victim
wait $victim && status=0 || status=$?
is "$status $(where) $(left_behind)" "1 source on, target , ready_for_failover " "one that is interrupted is undone"
rm "$world/slow"

# Killed on the way back.

ok eval 'live >"$tmp/out" 2>&1' -- "it runs here again"
vmferry failover rollback "$vm" --shutdown-timeout=2s >/dev/null 2>&1 &
victim=$!
until [ "$(failover_state)" = "rolling back" ] ||
    ! kill -0 $victim 2>/dev/null; do :; done
kill -9 $victim 2>/dev/null
wait $victim 2>/dev/null
ok vmferry recover -- "a rollback that was killed is gone on with"
is "$(where) $(left_behind)" "source on, target , ready_for_failover " "to its end"
is "$(find "$VMFERRY_STATE/failovers" -name '*.kept' | wc -l)" 2 "with what it was to keep"
vmferry failover rollback "$vm" --discard >/dev/null

# It is powered on by somebody while the last sync runs.

touch "$world/comes-back"
out=$(live 2>&1) && status=0 || status=$?
is "$status $(where) $(left_behind)" "1 source on, target , ready_for_failover " "a source that comes back stops it before the target starts"
like "$out" "somebody has powered it on" "which is said"

# For good, killed on the way.

record fourth
ok eval 'live >"$tmp/out" 2>&1' -- "over once more"
for _ in 1 2 3; do
    vmferry failover commit "$vm" >/dev/null 2>&1 &
    victim=$!
    until [ "$(failover_state)" != "failed over" ] ||
        ! kill -0 $victim 2>/dev/null; do :; done
    kill -9 $victim 2>/dev/null
    wait $victim 2>/dev/null
done
out=$(vmferry failover rollback "$vm" 2>&1) && status=0 || status=$?
is "$status" "$([ "$(vmferry vm show "$vm" --json | jq -r .state)" = committed ] && echo 0 || echo 1)" "there is no way back"
ok vmferry recover -- "recover goes on with a commit"
is "$(where)" "source off, target running, committed" "to its end"
like "$(cat "$world/retired")" "^$vm-moved-by-vmferry: Moved by vmferry" "the source is retired"
is "$(find "$VMFERRY_STATE" -name '*.qcow2')" "" "it stands on its bases alone"
is "$(vmferry point list "$vm" --json | jq length)" 0 "and has no restore points"
virsh --quiet destroy "$vm"
virsh --quiet start "$vm"
wait_for 30 booted 2
is "$(said)" "GUEST one=fourth-a two=fourth-b before=here READY" "it boots with what it had and wrote"
out=$(vmferry recover 2>&1) && status=0 || status=$?
is "$status" 0 "nothing is left to be recovered"
virsh --quiet destroy "$vm"
virsh --quiet undefine "$vm"
virsh --quiet net-destroy "$(vmferry failover show "$vm" --json | jq -r .network)"
virsh --quiet net-undefine "$(vmferry failover show "$vm" --json | jq -r .network)"

done_testing
