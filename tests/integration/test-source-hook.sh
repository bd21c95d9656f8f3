#!/bin/bash
# A nbd source with a hook, which holds a moment of the VM for each sync: moment-hook is a real
# one. What it is called for, and that it is called on every way out: failing, hanging, killed.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f
here=$top/tests/integration

run() { # Exit status and all output of vmferry, in $status and $out
    status=0
    out=$(timeout 120 vmferry "$@" 2>&1) || status=$?
}

# What the hook was asked for since it was looked at last.
calls() {
    cut -d ' ' -f 1 vms/log 2>/dev/null | xargs
    rm -f vms/log
}

# shellcheck disable=SC2317 # called by same_as_live
newest() { # KEY; what the newest point's disk holds
    local image
    image=$(vmferry point list app01 --json | jq -r ".[-1].disks[] | select(.disk_id == \"disk-$1\") | .image")
    qemu-img convert -O raw "$VMFERRY_STATE/$image" readback && sha256sum <readback
}

# shellcheck disable=SC2317
same_as_live() {
    [ "$(newest 2000)" = "$(sha256sum <vms/live-2000)" ] && [ "$(newest 2001)" = "$(sha256sum <vms/live-2001)" ]
}

guest_writes() { # KEY AT-MIB
    head -c 64K /dev/urandom | dd of="vms/live-$1" bs=64K seek=$(($2 * 16)) conv=notrunc status=none
}

# shellcheck disable=SC2317 # called by wait_for
has_ended() { # PID; nobody may be there to reap it
    ! grep -qv '^[0-9]* (sleep) Z' "/proc/$1/stat" 2>/dev/null
}

named() { # Snapshots that jobs' rows name
    sqlite3 "$VMFERRY_STATE/vmferry.db" "SELECT count(*) FROM replication_jobs WHERE source_snapshot <> ''"
}

sync_types() {
    vmferry point list app01 --json | jq -r '.[-1].disks[].sync_type' | xargs
}

mkdir vms
head -c 6M /dev/urandom >vms/live-2000
truncate -s 12M vms/live-2000
head -c 2M /dev/urandom >vms/live-2001
touch vms/old
cat >vms/app01.json <<END
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 1, "memory": 1073741824,
  "disks": [ { "key": 2000, "unit": 0, "capacity": 12582912, "backing_uuid": "b-0", "file": "old" },
             { "key": 2001, "unit": 1, "capacity": 2097152, "backing_uuid": "b-1", "file": "old2" } ] }
END
cp "$here/moment-hook" hook

# Adding it

run source add nbd lab --file vms/app01.json --hook ./hook
is "$status" 2 "a hook that is no absolute path"
run source add nbd lab --file vms/app01.json --hook "$tmp/nothing"
like "$status $out" "^1 .*nothing: No such file" "a hook that is not there"
run source add nbd lab --file vms/app01.json --hook "$tmp/vms/app01.json"
like "$status $out" "^1 .*no program that can be started" "a hook that is no program"
run source add nbd lab --file vms/app01.json --hook-timeout 3
is "$status" 2 "a time limit without a hook"
run source add nbd lab --file vms/app01.json --hook "$tmp/hook" --hook-timeout 0
is "$status" 2 "a time limit of nothing"
run source add vsphere lab --server x --user y --hook "$tmp/hook"
is "$status" 2 "a hook of another kind of source"
run source add nbd lab --file vms/app01.json --hook "$tmp/hook"
is "$status" 0 "source add --hook"
run source check lab
like "$out" "1 VM at $tmp/vms/app01.json, hook $tmp/hook" "source check"
is "$(calls)" "" "none of this called it"

# A sync is one moment

run replicate app01
is "$status" 0 "a first copy"
is "$(cat vms/log)" "begin app01 $uuid vmferry-…
end app01 $uuid vmferry-…" "the hook is called before and after it"
rm vms/log
ok same_as_live -- "the replica is that moment"
is "$(named) $(find "$VMFERRY_STATE/run" -name '*.moment*' | wc -l)" "0 0" "nothing is left to be done"
guest_writes 2000 3
run replicate app01
is "$status $(sync_types)" "0 incremental incremental" "an incremental sync"
like "$(head -n 1 vms/log)" "^begin app01 $uuid vmferry-… 2000 life/1 2001 life/1$" "the hook was told what the replica has"
calls >/dev/null
ok same_as_live -- "... which is right"
like "$(vmferry point list app01 --json | jq '.[-1].disks[0].bytes')" "^65536$" "... and sent what was written"
echo warn >vms/begin
guest_writes 2001 1
run replicate app01
like "$status $out" "^0 .*the storage is slow" "what a hook says is said"
rm vms/begin
run verify app01 --source
like "$status $out" "^2 .*only while a job holds its snapshot" "between syncs there is no moment to verify with"
calls >/dev/null

# Hooks that fail

for how in fail unavailable; do
    echo $how >vms/begin
    guest_writes 2000 5
    run replicate app01
    like "$status $out" "^1 .*hook $tmp/hook, begin of VM app01: the storage is away" "begin: $how: its last line says why"
    is "$(calls)" "begin end" "... and it is ended"
    is "$(named)" 0 "... so that nothing is left"
done
echo hang >vms/begin
run source add nbd lab --file vms/app01.json --hook "$tmp/hook" --hook-timeout 1
SECONDS=0
run replicate app01
like "$status $out" "^1 .*did not end within 1 s" "begin hangs: the time limit"
ok test $SECONDS -lt 20 -- "... is kept"
ok wait_for 10 has_ended "$(cat vms/sleeping)" -- "... and nothing of it is left running"
run source add nbd lab --file vms/app01.json --hook "$tmp/hook"
is "$(calls)" "begin end" "... it is ended, too"
vmferry replicate app01 >interrupted 2>&1 &
replication=$!
wait_for 20 grep -q begin vms/log
kill -TERM $replication
status=0
wait $replication || status=$?
is "$status $(calls)" "3 begin end" "a sync that is interrupted while it hangs"
rm vms/begin
run replicate app01
is "$status $(sync_types)" "0 incremental incremental" "after all that, a sync is incremental"
ok same_as_live -- "... and right"
calls >/dev/null

echo fail >vms/end
guest_writes 2000 7
run replicate app01
like "$status $out" "^0 .*can't be removed: hook .*end of VM app01: the storage is away" "end fails: the point is good, and it is said"
is "$(named)" 1 "... and written down"
rm vms/end
run recover
is "$status $(named)" "0 0" "recover tries again"
is "$(calls)" "begin end end" "... by calling it"
echo fail >vms/end
guest_writes 2000 8
run replicate app01
rm vms/end
calls >/dev/null
guest_writes 2000 9
run replicate app01
is "$status $(calls) $(named)" "0 end begin end 0" "... or the next sync does, once, and not during its own moment"
ok same_as_live -- "... and is right"
mv hook elsewhere
run replicate app01
like "$status $out" "^1 .*hook: No such file" "a hook that is gone"
is "$(calls)$(vmferry preflight app01 --json | jq -r '.findings[]? | select(.check == "hook").level')" blocker "preflight says so"
mv elsewhere hook
run recover
calls >/dev/null

# Killed in between

start_slowly() {
    head -c 6M /dev/urandom | dd of=vms/live-2000 bs=1M conv=notrunc status=none
    vmferry replicate app01 --rate=2M >killed 2>&1 &
    replication=$!
    wait_for 60 sh -c "find $VMFERRY_STATE/replicas -name '*.journal' -size +0 | grep -q ." && sleep 0.5
    kill -9 $replication
    wait $replication 2>/dev/null
    is "$(calls)" "begin" "killed in mid-copy"
}
start_slowly
guest_writes 2000 9
run replicate app01
like "$status $out" "^0 .*going on with snapshot" "the moment stands: the next run goes on"
is "$(calls)" "end" "... with the moment that was begun"
cp vms/live-2000 keep
guest_writes 2000 10
run replicate app01
ok same_as_live -- "what was written meanwhile comes with the next sync"
calls >/dev/null
start_slowly
for moment in vms/moment-*; do mv "$moment" "${moment/moment/old}"; done
run replicate app01
is "$status $(calls)" "0 end begin end" "the moment is gone: it is ended, and a new one begun"
ok same_as_live -- "... and is right"
start_slowly
run recover
is "$status $(calls)" "0 end" "recover goes on, too"
echo hang >vms/begin
rm -f vms/sleeping
vmferry replicate app01 >killed 2>&1 &
replication=$!
wait_for 20 test -s vms/sleeping
kill -9 $replication
wait $replication 2>/dev/null
kill "$(cat vms/sleeping)"
rm vms/begin
calls >/dev/null
guest_writes 2000 4
run replicate app01
is "$status $(calls) $(sync_types)" "0 end begin end incremental incremental" "killed while a moment is begun"
ok same_as_live -- "... the next sync is right"
start_slowly
run job cancel "$(sqlite3 "$VMFERRY_STATE/vmferry.db" 'SELECT max(id) FROM replication_jobs')"
is "$status $(calls) $(named)" "0 end 0" "a dead job that is cancelled is ended"
run replicate app01
ok same_as_live -- "a sync after that"
calls >/dev/null

# What changes meanwhile

guest_writes 2000 2
vmferry replicate app01 --rate=32K >disturbed 2>&1 &
replication=$!
wait_for 60 grep -q begin vms/log && sleep 0.5
jq -c '.disks[].change_id = "life/77"' vms/app01.json >vms/app01.json.new && mv vms/app01.json.new vms/app01.json
status=0
wait $replication || status=$?
like "$status $(cat disturbed)" "^1 .*somebody began another moment" "another moment is begun by somebody else: nothing of it is used"
truncate -s 13M vms/live-2000
guest_writes 2000 12
run replicate app01
is "$status $(sync_types)" "0 resync incremental" "a disk that has grown"
ok same_as_live -- "... is right in the same run"
jq -c '.disks[1].backing_uuid = "b-9"' vms/app01.json >vms/app01.json.new && mv vms/app01.json.new vms/app01.json
calls >/dev/null
run replicate app01
like "$status $(calls) $out" "^1  .*backing uuid" "another disk is refused before any moment is begun"
jq -c '.disks[1].backing_uuid = "b-1"' vms/app01.json >vms/app01.json.new && mv vms/app01.json.new vms/app01.json

# Without the hook again

run source add nbd lab --file vms/app01.json
run replicate app01
is "$(calls)" "" "the source without its hook: as it is described"
done_testing
