#!/bin/bash
# The export map of replicas: rows, map files and disks that disagree, one by one, and devices
# that come back under other names.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/../../plugins/exportmap/server/tests/server.sh"

# shellcheck disable=SC2034
clients=$top/plugins/exportmap/server/tests/clients.py
cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
uuid=4e1a3c52-1f0a-4c0e-9d55-0c8f5a1d2e30
map=$VMFERRY_STATE/exports
name=migration-vm-$uuid-disk

run() {
    status=0
    out=$(timeout 120 vmferry "$@" 2>&1) || status=$?
}

# "FAULT EXPORT" of each difference; without the prefix that all names have.
faults() {
    vmferry export check --json 2>/dev/null |
        jq -r '.findings[] | .fault + " " + (.export | ltrimstr("'"$name"'"))' | sort | paste -sd,
}

# What a repair did: "FAULT EXPORT done" or "… refused".
repairs() {
    vmferry export repair --json 2>/dev/null |
        jq -r '.findings[] | .fault + " " + (.export | ltrimstr("'"$name"'")) +
            (if .done then " done" else "" end) + (if .refused then " refused" else "" end)' |
        sort | paste -sd,
}

db() {
    sqlite3 "$VMFERRY_STATE/vmferry.db" ".timeout 10000" "$1"
}

# Change a map file, as an accident might.
edit() { # UNIT JQ-EXPRESSION
    jq "$2" "$map/$name$1" >.edited && cat .edited >"$map/$name$1"
}

for disk in 0 1 2; do
    head -c $((3 + disk))M /dev/urandom >disk$disk
    truncate -s 8M disk$disk
done
jq -n --arg uuid "$uuid" '{uuid: $uuid, name: "app01", firmware: "bios", cpus: 1,
    memory: 1073741824, nics: [], disks: [range(3) |
    {key: (2000 + .), unit: ., capacity: 8388608, backing_uuid: "b\(.)", file: "disk\(.)",
     change_id: "u/1"}]}' >vm.json
vmferry source add nbd lab --file vm.json >/dev/null
vmferry replicate app01 --progress=none >/dev/null 2>&1
rows=$(db "SELECT id, export_name FROM vm_export_mappings ORDER BY id")

is "$(vmferry export list --json | jq -r '[.[].export] | join(" ")')" "${name}0 ${name}1 ${name}2" \
    "export list"
is "$(vmferry export list | wc -l)" 4 "for people, too"
run export show "${name}1"
like "$out" "inactive.*replicas/$uuid/disk-2001/base.raw.*inode" "export show"
run export show nobody
is "$status" 1 "one that is not there"
run export check
is "$status" 0 "nothing differs"
like "$out" "3 exports checked, 0 differences" "and check says so"

# Another job: the same mapping, and a server that nobody has to tell.

start_server --map="$map" --grace=1
started() { cut -d')' -f2 "/proc/$server/stat" | cut -d' ' -f21; }
before=$(started)
hold "nbd://127.0.0.1:$port/${name}1"
head -c 64K /dev/urandom | dd of=disk0 conv=notrunc status=none
printf '[{"start": 0, "length": 65536}]' >map0.json
jq '.disks[0] += {change_id: "u/2", changes: {since: "u/1", map: "map0.json"}}' vm.json >new.json
mv new.json vm.json
run replicate app01 --progress=none
is "$status" 0 "a second job"
is "$(db "SELECT id, export_name FROM vm_export_mappings ORDER BY id")" "$rows" \
    "writes by the mappings that there are"
like "$(vmferry export show "${name}0")" "point-0002.qcow2" "which lead to the new image"
is "$(nbdinfo --size "nbd://127.0.0.1:$port/${name}0")" 8388608 "and the running server knows"
is "$(started)" "$before" "it was not started again"
tell read
is "$answer" ok "and an open export of another disk goes on"

# On this file system, with its fsyncs: tests say nothing of times, bench/run does.
out=$("$BUILD/orchestrator/replica/tests/export-grant" "$VMFERRY_STATE" app01 20)
diag "an export granted again: $(cut -d' ' -f3- <<<"$out") ms (least, median, p99)"
is "$(cut -d' ' -f1,2 <<<"$out")" "20 3" "twenty more jobs, and no mapping more"
is "$(db "SELECT id, export_name FROM vm_export_mappings ORDER BY id")" "$rows" "nor another one"

# One difference at a time

rm "$map/${name}0"
is "$(faults)" "no-file 0" "a row without a file"
run export check
is "$status" 1 "check fails"
is "$(repairs)" "no-file 0 done" "repaired"
is "$(faults)" "" "and gone"
cp "$map/${name}0" "$map/${name}7"
cp "$map/${name}0" "$map/mine"
is "$(faults)" "no-row 7,no-row mine" "files without a row"
is "$(repairs)" "no-row 7 done,no-row mine refused" "ours is withdrawn, others are left alone"
run export repair
is "$status" 1 "what is left fails the repair"
like "$out" "vmferry export remove --map=$map mine" "and it says what to do"
rm "$map/mine"
edit 1 '.path = "/etc/passwd"'
is "$(faults)" "other-path 1" "another path"
is "$(repairs)" "other-path 1 done" "the row is right"
edit 1 '.identity.inode = 12 | .size = 4096'
is "$(faults)" "other-identity 1" "another identity"
repairs >/dev/null
edit 2 '.mode = "rw" | .lease = "somebody"'
is "$(faults)" "other-lease 2" "a lease that the row does not give"
repairs >/dev/null
is "$(jq -r .mode "$map/${name}2")" ro "is taken away"
echo '{' >"$map/${name}2"
is "$(faults)" "bad-file 2" "a file that no server can read"
chmod 666 "$map/${name}1"
is "$(faults)" "bad-file 1,bad-file 2" "or that everybody may write"
is "$(repairs)" "bad-file 1 done,bad-file 2 done" "both are written anew"
is "$(faults)" "" "and all is well"
db "UPDATE vm_export_mappings SET identity = 'nonsense' WHERE disk_unit_number = 1"
is "$(faults)" "bad-row 1" "a row that is no use"
run replicate app01 --full --progress=none
is "$(faults)" "" "the next job writes it anew"

# A job that died

db "UPDATE vm_export_mappings SET status = 'active', lease = 'dead-job' WHERE disk_unit_number = 1"
edit 1 '.mode = "rw" | .lease = "dead-job"'
is "$(faults)" "dead-lease 1" "the lease of a dead job"
hold "nbd://127.0.0.1:$port/${name}1@dead-job"
tell write
is "$answer" ok "under which somebody writes"
is "$(repairs)" "dead-lease 1 done" "it is taken back"
tell write
like "$answer" '^failed' "and he can't write any more"
is "$(jq -r '.mode + " \(.lease)"' "$map/${name}1")" "ro null" "in the map file, too"
like "$(db "SELECT what, subject FROM audit_log ORDER BY id DESC LIMIT 1")" \
    "export repair: lease of a dead job taken back\|${name}1" "and it is in the audit log"

# Images

image=$(jq -r .path "$map/${name}2")
mv "$image" away
is "$(faults)" "disk-gone 2" "an image that is gone"
is "$(repairs)" "disk-gone 2 refused" "is nothing to repair"
cp away "$image"
is "$(faults)" "disk-other 2" "another file in its place"
is "$(repairs)" "disk-other 2 refused" "is not taken for it"
mv -f away "$image"
is "$(faults)" "" "the old one is"
db "UPDATE vm_export_mappings SET identity = replace(identity, '\"dev\":\"', '\"dev\":\"9') \
    WHERE disk_unit_number = 2"
is "$(faults)" "disk-other 2" "a file system with another number"
is "$(repairs)" "disk-other 2 done" "the file is still the same one"
is "$(faults)" "" "and known by its new number"
rm "$map/${name}0"
run recover
like "$out" "${name}0: it has no map file: the map file was written anew" "recover repairs, too"
stop_server

done_testing
