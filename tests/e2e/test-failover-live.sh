#!/bin/bash
# Live failovers between the vSphere simulator and a real libvirt, of a guest that boots in a second
# (tiny-guest) and says what its disks hold. What is checked after each: what runs where, and that
# it is one of the two.
# shellcheck disable=SC2016 # eval calls it
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
vm=live-$$
world=$tmp/vm
# shellcheck source=tests/e2e/live.sh
. "$(dirname "$0")/live.sh"

net=vmferry-live-$$
at_exit "virsh net-destroy $net; virsh net-undefine $net"
record first
jq -n --arg path "/DC0/vm/$vm" '{$path, memory_mb: 64, cpus: 1, cbt: true, shutdown_seconds: 0.5,
    boot_order: [2000, 2001], # the BIOS sees no disk that is not in it
    nics: [{mac: "52:54:00:76:55:01", network: "LAN"}],
    disks: [{file: "disk0.raw"}, {file: "disk1.raw"}]}' >"$world/vm.json"
VSPHERE_SIM_PASSWORD=secret background "$top/tests/vsphere-sim/sim" --listen 127.0.0.1:0 --vm "$world" >"$tmp/sim.log" 2>&1
wait_for 20 grep -q '^listening' "$tmp/sim.log"
server=$(sed -n 's|^listening https://\([^ ]*\) .*|\1|p' "$tmp/sim.log")
(umask 077 && echo secret >"$tmp/password")
vmferry source add vsphere vc --server "$server" --user administrator@vsphere.local \
    --fingerprint "$(sed -n 's/.* fingerprint SHA256:\([0-9A-F:]*\) .*/\1/p' "$tmp/sim.log")" \
    --password-file "$tmp/password" >/dev/null
sim() { # JSON
    curl -sk -d "$1" "https://$server/control"
}
vmferry replicate "/DC0/vm/$vm" --progress=none >/dev/null 2>"$tmp/err" || cat "$tmp/err" >&2
uuid=$(vmferry vm list --json | jq -r --arg name $vm '.[] | select(.name == $name) | .uuid')
virsh --quiet net-define <(echo "<network><name>$net</name><bridge name='vfl$((RANDOM % 10000))'/></network>") >/dev/null
virsh --quiet net-start "$net" >/dev/null

source_power() {
    curl -sk "https://$server/control" | jq -r --arg path "/DC0/vm/$vm" '.vms[] | select(.path == $path) | .power'
}
open_failovers() {
    vmferry failover list "$vm" --json | jq '[.[] | select(.completed_ms == 0)] | length'
}

# Refusals, which touch nothing.

out=$(live 2>&1) && status=0 || status=$?
is "$status $(where)" "1 source poweredOn, target , ready_for_failover" "a network without a mapping is a blocker"
like "$out" "vmferry network map vc 'LAN' = net:NAME" "and what maps it is said"
vmferry network map vc LAN = "net:there-is-none" >/dev/null
out=$(live 2>&1) && status=0 || status=$?
is "$status $(where)" "1 source poweredOn, target , ready_for_failover" "so is a network that libvirt does not have"
vmferry network map vc LAN = "net:$net" >/dev/null
sim "{\"do\": \"vm\", \"vm\": \"$vm\", \"power\": \"suspended\"}" >/dev/null
out=$(live 2>&1) && status=0 || status=$?
is "$status" 1 "and a suspended source"
sim "{\"do\": \"vm\", \"vm\": \"$vm\", \"power\": \"poweredOn\"}" >/dev/null
out=$(live --source-is-off 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*powered on" "a source that is on is not off because somebody says so"
out=$(live --source-lost 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*is not lost" "and not lost"
is "$(open_failovers) $(where)" "0 source poweredOn, target , ready_for_failover" "nothing was begun"

# The plan.

record second
vmferry replicate "$vm" --progress=none >/dev/null 2>&1
record third
vmferry replicate "$vm" --progress=none >/dev/null 2>&1
jobs=$(vmferry job list --json | jq length)
ok eval 'live --dry-run --json >"$tmp/plan.json"' -- "--dry-run"
is "$(jq -r '.source_power, .domain, (.downtime_seconds > 0), (.findings | length)' "$tmp/plan.json" | xargs)" \
    "on $vm true 0" "says what it would do, and how long the VM would be down"
is "$(vmferry job list --json | jq length) $(open_failovers) $(where)" \
    "$jobs 0 source poweredOn, target , ready_for_failover" "and does nothing"

# It can't be done in the time, or not at all: nothing changes.

out=$(live --max-downtime=1s 2>&1) && status=0 || status=$?
is "$status $(open_failovers) $(where)" "1 0 source poweredOn, target , ready_for_failover" \
    "a downtime that does not fit is not begun"
sim "{\"do\": \"vm\", \"vm\": \"$vm\", \"tools\": \"guestToolsNotRunning\"}" >/dev/null
out=$(live 2>&1) && status=0 || status=$?
is "$status $(open_failovers) $(where)" "1 0 source poweredOn, target , ready_for_failover" \
    "a guest that nobody can ask is not powered off"
like "$out" "--allow-power-off" "unless that is allowed, which is said"
sim "{\"do\": \"vm\", \"vm\": \"$vm\", \"tools\": \"guestToolsRunning\"}" >/dev/null
out=$(vmferry failover live "$vm" --expect=never --timeout=2 2>&1) && status=0 || status=$?
is "$status $(open_failovers) $(where)" "1 0 source poweredOn, target , ready_for_failover" \
    "what does not boot is taken back, and the source is powered on"
like "$out" "the source is powered on again" "which is said"
is "$(find "$VMFERRY_STATE/failovers" -name '*.qcow2')" "" "nothing is left of it"

# Over, and back.

record fourth
ok eval 'live --json >"$tmp/live.json" 2>"$tmp/err"' -- "a live failover"
is "$(where)" "source poweredOff, target running, failed_over_live" "the source is off, the target runs"
is "$(said)" "GUEST one=fourth-a two=fourth-b before= READY" "with what both disks had last"
is "$(jq -r '.state, (.downtime_seconds > 0), .evidence.source_was' "$tmp/live.json" | xargs)" "failed over true on" \
    "the downtime is measured"
is "$(jq '.evidence.downtime | .seconds >= .shutdown_seconds + .sync_seconds + .start_seconds' "$tmp/live.json")" true \
    "with its parts"
virsh --quiet dumpxml --inactive "$vm" >"$tmp/domain.xml"
is "$(xmllint --xpath 'string(//interface/source/@network)' "$tmp/domain.xml") $(xmllint --xpath 'string(//interface/mac/@address)' "$tmp/domain.xml")" \
    "$net 52:54:00:76:55:01" "it is on its real network, with its MAC"
out=$(vmferry replicate "$vm" --progress=none 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*failover rollback" "nothing is replicated from the source now"
out=$(live 2>&1) && status=0 || status=$?
is "$status" 1 "and there is no second live failover"
virsh --quiet destroy "$vm"
ok virsh --quiet start "$vm" -- "its host starts it again, without vmferry"
wait_for 30 booted 2
is "$(said)" "GUEST one=fourth-a two=fourth-b before=here READY" "with what it wrote"
sim "{\"do\": \"vm\", \"vm\": \"$vm\", \"power\": \"poweredOn\"}" >/dev/null
out=$(vmferry recover 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*ALARM" "a source that somebody powers on beside it is an alarm"
sim "{\"do\": \"vm\", \"vm\": \"$vm\", \"power\": \"poweredOff\"}" >/dev/null
ok vmferry recover -- "and none when it is off"
ok eval 'vmferry failover rollback "$vm" --shutdown-timeout=1s --json >"$tmp/back.json"' -- "rollback"
is "$(where)" "source poweredOn, target , ready_for_failover" "the target is gone, the source runs"
kept=$(jq -r .kept "$tmp/back.json")
like "$kept" "^live-[0-9]+$" "what the guest wrote here is kept"
like "$(vmferry point list "$vm")" "$kept.*$kept .* live " "... and listed, at its point and by its name"
is "$(vmferry point list "$vm" --json | jq -r '.[-1] | "\(.kept[]) \(.failovers | length)"')" "$kept 0" "... also for programs"
vmferry point delete "$vm" "$kept" 2>"$tmp/err" && status=0 || status=$?
is "$status $(grep -c -- "--id=${kept#live-} --discard" "$tmp/err")" "2 1" "... and \`point delete\` says what removes it"
ok vmferry failover test "$vm" --point="$kept" --expect='before=here READY' --timeout=60 -- "and boots in a test"
vmferry failover rollback "$vm" >/dev/null
record fifth
ok vmferry replicate "$vm" --progress=none -- "it is replicated again"
is "$(sqlite3 "$VMFERRY_STATE/vmferry.db" 'SELECT sync_type FROM replication_jobs ORDER BY id DESC LIMIT 1')" incremental "by its changes"
ok vmferry failover rollback "$vm" --discard -- "what was kept is discarded"
is "$(find "$VMFERRY_STATE/failovers" -name '*.qcow2' -o -name '*.kept')" "" "and gone"

# Killed in every phase: exactly one of the two is able to run, and recover leaves one that does.

is_at() { # STATE
    sqlite3 "$VMFERRY_STATE/vmferry.db" "SELECT 1 FROM failover_jobs WHERE completed_at IS NULL AND state = '$1'" | grep -q 1
}
both_run() {
    [ "$(source_power) $(target)" = "poweredOn running" ]
}
for phase in "syncing ahead" "shutting source down" "final sync" "starting domain" "booting"; do
    vmferry failover live "$vm" --expect=READY --timeout=60 --shutdown-timeout=5s >/dev/null 2>&1 & # no function: a shell would be killed
    victim=$!
    twice=no
    until is_at "$phase" || ! kill -0 $victim 2>/dev/null; do :; done
    kill -9 $victim 2>/dev/null
    wait $victim 2>/dev/null
    both_run && twice=yes
    vmferry recover >"$tmp/out" 2>&1 || cat "$tmp/out" >&2
    both_run && twice=yes
    if [ "$(target)" = running ]; then
        is "$twice $(where)" "no source poweredOff, target running, failed_over_live" "killed at '$phase': recover finishes it"
        vmferry failover rollback "$vm" --discard >/dev/null 2>&1
    else
        is "$twice $(where)" "no source poweredOn, target , ready_for_failover" "killed at '$phase': recover undoes it"
    fi
    is "$(open_failovers) $(find "$VMFERRY_STATE/failovers" -name '*.qcow2')" "0 " "nothing is left"
done

# A lost source, and for good.

record lost
sim "{\"do\": \"fault\", \"op\": \"*\", \"how\": \"drop\", \"times\": -1}" >/dev/null
ok eval 'live --source-lost --json >"$tmp/lost.json" 2>"$tmp/err"' -- "a lost source: the newest point is booted"
sim '{"do": "clear-faults"}' >/dev/null
is "$(jq '.rpo_seconds > 0' "$tmp/lost.json")" true "what is lost is said"
like "$(said)" "GUEST one=fifth-a two=fifth-b" "it is what the last sync had"
sim "{\"do\": \"vm\", \"vm\": \"$vm\", \"power\": \"poweredOff\"}" >/dev/null
vmferry failover rollback "$vm" --discard >/dev/null 2>&1
is "$(where)" "source poweredOn, target , ready_for_failover" "a source that is back after all is gone back to"

record sixth
ok eval 'live >/dev/null 2>"$tmp/err"' -- "over once more"
ok eval 'vmferry failover commit "$vm" >"$tmp/out" 2>&1' -- "commit"
is "$(source_power) $(target) $(vm_state)" \
    " running committed" "the target runs, and no source has that name"
like "$(curl -sk "https://$server/control" | jq -r '.vms[] | "\(.path) \(.power)"')" "/$vm-moved-by-vmferry poweredOff" \
    "the source is renamed, and off"
like "$(virsh --quiet domblklist "$vm")" "base" "it stands on its bases"
is "$(find "$VMFERRY_STATE" -name '*.qcow2')" "" "and on nothing else"
virsh --quiet destroy "$vm"
virsh --quiet start "$vm"
wait_for 30 booted 2
is "$(said)" "GUEST one=sixth-a two=sixth-b before=here READY" "it boots from them, with what it wrote"
out=$(vmferry replicate "$uuid" --progress=none 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*moved for good" "it is not replicated any more"
ok eval 'vmferry report "$uuid" --format=text | grep -q "failover commit"' -- "the report has it"
virsh --quiet destroy "$vm"
virsh --quiet undefine "$vm" --nvram

done_testing
