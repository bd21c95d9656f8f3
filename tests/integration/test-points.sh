#!/bin/bash
# `vmferry point` as an operator meets it: list, show, pin, keep, prune, delete, and what is
# refused; then random histories (points-model.py) and kill -9 at any call (points-kill.py).
# STEPS, KILLS and SEED change those.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state VMFERRY_CONFIG=$tmp/vmferry.conf
: >vmferry.conf
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e40

run() {
    status=0
    out=$(timeout 60 vmferry "$@" 2>&1) || status=$?
}

numbers() {
    vmferry point list app01 --json | jq -r 'map(.point) | join(" ")'
}

# Change the disk and sync; the nth time its change id is u/n.
moment=0
sync() {
    moment=$((moment + 1))
    head -c 200000 /dev/urandom | dd of=disk bs=1 seek=$((moment * 100000)) conv=notrunc status=none
    cat >vm.json <<JSON
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 1, "memory": 1048576, "nics": [],
  "disks": [ { "key": 2000, "unit": 0, "capacity": 4194304, "backing_uuid": "b", "file": "disk",
               "change_id": "u/$moment", "changes": { "since": "u/$((moment - 1))", "map": "map" } } ] }
JSON
    echo "$((moment * 100000)) 200000" >map
    [ "$moment" != 1 ] || vmferry source add nbd lab --file vm.json >/dev/null
    run replicate app01 --progress=none
}

db() {
    sqlite3 "$VMFERRY_STATE/vmferry.db" "$1"
}

# All that must not change when something is refused.
everything() {
    find "$VMFERRY_STATE/replicas" "$VMFERRY_STATE/exports" -type f -printf '%p %s %T@ %m\n' | sort
    db "SELECT * FROM restore_points; SELECT * FROM restore_point_disks; SELECT * FROM vm_disks;
        SELECT count(*) FROM replication_jobs"
}

truncate -s 4M disk
for _ in 1 2 3 4 5; do sync; done
is "$(numbers)" "1 2 3 4 5" "without rules every point stays"

# list and show

run point list app01
like "$out" "POINT +TIME +AGE +SYNC" "list is a table"
like "$out" "    1 .*initial .*never +point 2" "with the point that stands on each"
like "$out" "    5 .*incremental .* -" "the newest has nothing above"
json=$(vmferry point list app01 --json)
is "$(jq -r '.[1] | [.point, .sync_type, .pinned, .verified, .above, (.failovers | length)] | @csv' <<<"$json")" \
    '2,"incremental",false,,3,0' "list --json"
ok jq -e '.[0].own_bytes >= 200000 and .[0].own_bytes < 1000000 and .[0].age_seconds < 600' <(echo "$json") \
    -- "own bytes are those on the target"
run point show app01 3
like "$out" "disk-2000 .*u/3 .*xxh3-64k:" "show has change ids and digests"
is "$(vmferry point show app01 3 --json | jq -r '.disks[0].chain | map(.point) | join(" ")')" "3 2 1" \
    "show has the chain"
run point show app01 9
like "$status $out" "1 .*no restore point 9" "a point that is not there"
run point show app01 x
is "$status" 2 "no number"
run point delete app01
is "$status" 2 "delete needs a number"
run point prune
is "$status" 2 "prune needs a VM, or --all"
run point list app01 --dry-run
is "$status" 2 "an option of another verb"

# What is refused changes nothing.

before=$(everything)
run point delete app01 5
like "$status $out" "1 .*is the newest one.*--newest" "the newest, unless asked for"
run point pin app01 2
run point delete app01 2
like "$status $out" "1 .*is pinned.*unpin" "a pinned one"
run point unpin app01 2
db "INSERT INTO failover_jobs (vm_id, kind, state, point_id, point_number, source_vm_spec,
    domain_name, created_at, updated_at) SELECT 1, 'test', 'booted', id, 3, '{}', 'vmferry-test-x', 1, 1
    FROM restore_points WHERE number = 3"
run point delete app01 2
like "$status $out" "1 .*test failover 1 .booted, domain vmferry-test-x.* stands on restore point 3" \
    "one below a failover"
run point delete app01 3
like "$status $out" "1 .*failover 1 " "the failover's own"
run point delete app01 --all
like "$status $out" "1 .*failover 1 " "the whole replica"
like "$(vmferry point list app01)" "    3 .*point 4, failover 1" "list shows the failover"
run point prune app01 --dry-run
is "$status" 0 "prune --dry-run"
is "$(everything)" "$before" "nothing of this changed anything"

run point delete app01 4
is "$status $(numbers)" "0 1 2 3 5" "one above the failover goes"
run point keep app01 last:1
run point prune app01 --json
is "$status $(jq -r '.[0].points | map(.outcome) | join(" ")' <<<"$out")" "0 waits waits waits stays" \
    "prune waits for the failover, and says so"
db "UPDATE failover_jobs SET completed_at = 1"
run point keep app01 default

# A reader and a merge keep out of each other's way.

exec 9>"$VMFERRY_STATE/locks/$uuid.images"
flock -s 9
run point delete app01 2
like "$status $out" "1 .*being read by .vmferry verify" "nothing is merged under a reader"
run point keep app01 last:1
run point prune app01 --json
is "$status $(jq -r '.[0].points | map(.outcome) | join(" ")' <<<"$out")" "0 waits waits waits stays" "prune waits for it"
like "$(jq -r '.[0].points[0].why' <<<"$out")" "being read by .vmferry verify" "... and says so"
run point keep app01 default
flock -x 9
run verify app01
like "$status $out" "1 .*being merged or repaired" "nothing is verified under a merge"
exec 9>&-
qemu-nbd -r -t -k "$tmp/look.sock" -f qcow2 "$VMFERRY_STATE/replicas/$uuid/disk-2000/point-0003.qcow2" &
looker=$!
wait_for 10 test -S look.sock
run point delete app01 2
like "$status $out" "1 .*lock" "an image that somebody has open is not merged"
is "$(numbers)" "1 2 3 5" "and the point is still there"
kill $looker
wait $looker

run point delete app01 1
is "$status $(numbers)" "0 2 3 5" "the oldest goes into the base"
is "$(vmferry point show app01 2 --json | jq -r '.disks[0].image | split("/")[-1]')" base.raw "which is now of the next"
is "$(db "SELECT point_id IS NULL, point_number FROM failover_jobs")" "0|3" "failovers keep their point"
run point delete app01 3
is "$(db "SELECT point_id IS NULL, point_number FROM failover_jobs")" "1|3" "or at least its number"
for point in 2 5; do
    ok vmferry verify app01 --point=$point -- "point $point verifies"
done

# Rules

run point keep app01 "last:2 dayly:3"
like "$status $out" "2 .*position 8: no rule" "a wrong rule is named by position"
run point keep app01 "last:2"
like "$status $out" "0 .*keep last:2 .its own" "rules of its own"
run point keep app01 last:2 daily:4
like "$status $out" "0 .*keep last:2 daily:4 .its own" "as words of their own, too"
run point keep app01 "  "
like "$status $out" "0 .*keep all .there are no rules" "none"
run vm set app01 keep="daily:3 last:2"
like "$status $(vmferry point keep app01)" "0 .*keep daily:3 last:2" "vm set does the same"
run vm set app01 keep=last:0
like "$status $out" "2 .*position 6: 0 keeps nothing" "and refuses the same"
run point keep app01 last:2
printf '[retention]\nkeep = last:x\n' >vmferry.conf
run point list app01
like "$status $out" "2 .*line 2: keep: .*position 6" "the configuration's rules are checked, too"
printf '[retention]\nkeep = last:3\n' >vmferry.conf
run point keep app01
like "$out" "last:2" "its own rules win"
run point keep app01 default
like "$out" "last:3 .of vmferry.conf" "default: those of the configuration"
sync
is "$(numbers)" "2 5 6" "three points"
run point pin app01 2
sync
like "$out" "last:3: 0 deleted|complete" "a pinned point takes no place"
is "$(numbers)" "2 5 6 7" "so that four stay"
sync
like "$out" "1 deleted: 5" "each sync prunes, and says so"
is "$(numbers)" "2 6 7 8" "the rules hold after each sync"
is "$(db "SELECT state || ' ' || detail FROM job_steps WHERE step = 'prune' ORDER BY id DESC LIMIT 1")" \
    "done last:3: 1 deleted: 5" "it is a step of the job"
exec 9>"$VMFERRY_STATE/locks/$uuid.images"
flock -s 9
sync
is "$status" 0 "a sync whose retention fails is as good as it is"
like "$out" "1 wait: .*being read" "but it is said"
is "$(numbers)" "2 6 7 8 9" "the next one makes up for it"
exec 9>&-
run point prune --all --dry-run --json
is "$(jq -r '.[0].points | map(.outcome + " " + .why) | join(", ")' <<<"$out")" \
    "stays pinned, goes , stays last, stays last, stays last" "dry run says why"
run point prune --all
is "$status $(numbers)" "0 2 7 8 9" "prune --all"

# The newest

run point delete app01 9 --newest
is "$status $(numbers)" "0 2 7 8" "the newest goes when asked for"
is "$(vmferry vm show app01 --json | jq -r '.disks[0].change_id')" u/8 "the disk is at the point below again"
echo "800000 300000" >map
jq '.disks[0].changes.since = "u/8"' vm.json >vm.json.new && mv vm.json.new vm.json
run replicate app01 --json --progress=none
is "$(jq -r '.disks[0].sync_type + " " + (.point | tostring)' <<<"$out")" "incremental 10" \
    "the next sync goes on from there; the number is not given again"
ok vmferry verify app01 --source -- "and is right"

# Whoever died right after it made a job for itself is in nobody's way.

db "INSERT INTO replication_jobs (vm_id, replication_type, sync_type, status, created_at, updated_at)
    VALUES (1, 'merge', 'incremental', 'queued', 1, 1)"
run replicate app01 --progress=none
is "$status" 0 "a sync after a deletion that was killed before it began"

# What is begun is seen, and finished.

db "UPDATE restore_points SET going = 1 WHERE number = 8"
like "$(vmferry point list app01)" "restore point 8 is being deleted.*vmferry recover" "list names what is going"
run verify app01 --point=8
like "$status $out" "1 .*no restore point 8" "it can't be used any more"
run recover
is "$status $(numbers)" "0 2 7 10" "recover finishes it"
ok vmferry verify app01 -- "the newest verifies"

run point unpin app01 2
for point in 2 7; do run point delete app01 $point; done
run point delete app01 10 --newest
like "$status $out" "1 .*last one.*--all" "the last one stays"
run point delete app01 --all
is "$status $(numbers)" "0 " "the whole replica goes when asked for"
is "$(find "$VMFERRY_STATE/replicas" "$VMFERRY_STATE/exports" -type f ! -path '*/.exportmap/*')" "" \
    "with all its files"
is "$(vmferry vm show app01 --json | jq -r '.state')" discovered "the VM is as it was discovered"
sync
is "$status $(numbers)" "0 11" "and can be replicated anew"
ok vmferry verify app01 --source -- "which is right"

unset VMFERRY_STATE VMFERRY_CONFIG
ok timeout 500 /usr/bin/python3 "$top/tests/integration/points-model.py" "$tmp/model" \
    "${STEPS:-20}" ${SEED:+"$SEED"} -- "random histories of points"
if [ -n "${REPORTS:-}${SANITIZE:-}" ]; then
    skip "killer.so and a sanitizer can't both be first" "kill -9 while a point is deleted"
else
    ok timeout 2000 /usr/bin/python3 "$top/tests/integration/points-kill.py" "$tmp/kills" \
        "${KILLS:-15}" ${SEED:+"$SEED"} -- "kill -9 at any call while a point is deleted"
fi
done_testing
