#!/bin/bash
# `vmferry source`, `vm`, `replicate`, `point` and `verify` as an operator meets them:
# a VM of two disks, its CBT, what is refused, what is interrupted.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f
replicas=$VMFERRY_STATE/replicas/$uuid

# Exit status and all output of vmferry, in $status and $out.
run() {
    status=0
    out=$(timeout 120 vmferry "$@" 2>&1) || status=$?
}

# Change the description.
describe() { # JQ-EXPRESSION
    jq "$1" >vm.json.new <vm.json && mv vm.json.new vm.json
}

sha() {
    sha256sum | cut -d' ' -f1
}

# What the guest of a point's disk would read.
content() { # IMAGE
    case $1 in
    *.raw) sha <"$1" ;;
    *) qemu-img convert -f qcow2 -O raw "$1" readback && sha <readback ;;
    esac
}

# Everything below the state directory but the record of jobs: must not change when something
# is refused.
snapshot() {
    find "$VMFERRY_STATE/replicas" "$VMFERRY_STATE/exports" -type f ! -path "*/.exportmap/*" -printf '%p %s %T@ %i\n' | sort
    sqlite3 "$VMFERRY_STATE/vmferry.db" .dump |
        grep -Ev '^INSERT INTO (replication_jobs|job_steps|job_disks|job_log|audit_log)' |
        sed -E "/^INSERT INTO vms /s/(}',[0-9]+),[0-9]+,/\\1,/" | sha # vms.updated_at apart
}

head -c 5M /dev/urandom >system
truncate -s 24M system
head -c 3M /dev/urandom >data
truncate -s 16M data
cat >vm.json <<END
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 2, "memory": 1073741824,
  "nics": [ { "mac": "52:54:00:12:34:56", "network": "LAN", "model": "virtio" } ],
  "disks": [
    { "key": 2000, "unit": 0, "capacity": 25165824, "backing_uuid": "b-system",
      "file": "system", "change_id": "u/1" },
    { "key": 2001, "unit": 1, "capacity": 16777216, "backing_uuid": "b-data",
      "file": "data", "change_id": "u/1" } ] }
END

# The source and the VM

run source add nbd lab --file vm.json
is "$status" 0 "source add"
run source add nbd lab --file vm.json
is "$status" 0 "source add, the same again"
run source add nbd other --file vm.json
like "$out" "already known as 'app01' from source 'lab'" "a VM belongs to one source"
is "$(vmferry source list --json | jq -r '.[].name')" lab "the other source was not added"
is "$(vmferry vm list --json | jq -r '.[0].state')" discovered "vm list"
run vm show app01
like "$out" "disk-2000 +0 +24.0 MiB +b-system" "vm show prints the disk map"
run vm show nobody
is "$status" 1 "a VM that is not there"
run vm shwo
is "$status" 2 "wrong use"
run replicate app01 --ful1
is "$status" 2 "a misspelt option"
is "$(stat -c %a "$VMFERRY_STATE/vmferry.db")" 600 "the database is private"
run verify app01
like "$out" "no restore point yet" "verify before the first point"

mkfifo fifo.json
run source add nbd fifo --file fifo.json
like "$out" "fifo.json: not a file" "a FIFO is refused, not waited for"

# Full, nothing to do, incremental

run replicate app01
is "$status" 0 "full replication"
like "$out" "disk-2000 +initial" "the first sync is initial"
is "$(content "$replicas/disk-2000/base.raw")" "$(sha <system)" "system disk is the source"
is "$(content "$replicas/disk-2001/base.raw")" "$(sha <data)" "data disk is the source"
ok test "$(stat -c %b "$replicas/disk-2000/base.raw")" -lt 14000 -- "the base is sparse"
is "$(vmferry vm list --json | jq -r '.[0].state')" ready_for_failover "the VM is ready"
run replicate app01
is "$status" 0 "replicate again"
like "$out" "up to date" "nothing to do is said"
is "$(vmferry point list app01 --json | jq length)" 1 "and no point is made"

# As if killed right after the point was complete.
touch "$replicas/disk-2000/point-0001.journal" "$replicas/disk-2000/point-0001.changes"
chmod u+w "$replicas/disk-2000/base.raw"
first=$(content "$replicas/disk-2000/base.raw")
head -c 100000 /dev/urandom | dd of=system bs=1 seek=7000001 conv=notrunc status=none
dd if=/dev/zero of=system bs=1M count=1 conv=notrunc status=none
printf '[{"start": 0, "length": 1048576}, {"start": 7000001, "length": 100000}]' >system.map
describe '.disks[0] += {change_id: "u/2", changes: {since: "u/1", map: "system.map"}}'
json=$(vmferry replicate app01 --json --progress=none)
is "$(jq -r '.disks[0].sync_type' <<<"$json")" incremental "change map of the newest point"
is "$(jq -r '.disks[0].bytes' <<<"$json")" 1148576 "only what changed is moved"
is "$(content "$replicas/disk-2000/point-0002.qcow2")" "$(sha <system)" "the overlay is the source"
is "$(content "$replicas/disk-2001/point-0002.qcow2")" "$(sha <data)" "the unchanged disk too"
is "$(content "$replicas/disk-2000/base.raw")" "$first" "the older point is as it was"
is "$(find "$replicas/disk-2000" -type f -printf '%f\n' | sort | xargs)" \
    "base.raw point-0001.leaves point-0002.leaves point-0002.qcow2" "a killed run is tidied up after"
is "$(stat -c %a "$replicas/disk-2000/base.raw")" 400 "and its images are sealed"
is "$(qemu-img info --output=json "$replicas/disk-2000/point-0002.qcow2" |
    jq -r '."backing-filename", ."backing-filename-format"' | xargs)" "base.raw raw" \
    "the overlay names its backing file and format, relative"
run verify app01 --source
is "$status" 0 "verify, with the source"
digest=$(jq -r '.disks[0].digest' <<<"$json")
is "$(vmferry digest system --progress=none 2>/dev/null | grep -o 'xxh3-64k:[0-9a-f]*')" "$digest" \
    "the point's digest is the source's"

for command in "vm list" "vm show app01" "point list app01" "source list" "verify app01"; do
    # shellcheck disable=SC2086 # words
    vmferry $command >/dev/full 2>/dev/null
    is $? 1 "$command: a result that can't be written is a failure"
done

# Identity

refused() { # NAME JQ-EXPRESSION MARK
    cp vm.json good.json
    describe "$2"
    before=$(snapshot)
    run replicate app01
    is "$status" 1 "$1: refused"
    like "$out" "$3" "$1: marked in the map"
    is "$(snapshot)" "$before" "$1: nothing was written"
    mv good.json vm.json
}
refused "keys swapped" '.disks[0].key = 2001 | .disks[1].key = 2000' \
    "disk-2000 .*<-- backing uuid, capacity"
refused "units swapped" '.disks[0].unit = 1 | .disks[1].unit = 0' "disk-2001 .*<-- unit"
refused "backing uuids swapped" \
    '.disks[0].backing_uuid = "b-data" | .disks[1].backing_uuid = "b-system"' \
    "disk-2000 .*<-- backing uuid"
refused "resized" '.disks[1].capacity = 33554432' "disk-2001 .*<-- capacity"
refused "re-keyed" '.disks[1].key = 2005' "disk-2001 .*<-- gone"
refused "added" '.disks += [{key: 2002, unit: 2, capacity: 512, backing_uuid: "n", file: "new"}]' \
    "disk-2002 .*<-- new"
refused "removed" '.disks |= .[:1]' "disk-2001 .*<-- gone"
refused "another VM" '.uuid = "00000000-1f0a-4c0e-9d55-0c8f5a1d2e3f"' "no longer describes the VM"
truncate -s 16M system2
refused "files exchanged" '.disks[0].file = "data" | .disks[1].file = "system"' \
    "disk-2000 .*<-- reads from where disk-2001 was"
truncate -s 26M longer
before=$(snapshot)
cp vm.json good.json
describe '.disks[0].file = "longer"'
run replicate app01
is "$status" 1 "the source's disk is longer than the description says"
like "$out" "27262976 bytes, but the disk's capacity is 25165824" "and both sizes are named"
is "$(snapshot)" "$before" "nothing was written"
mv good.json vm.json

# CBT lost

change() { # CHANGE-ID
    head -c 70000 /dev/urandom | dd of=data bs=1 seek=$((RANDOM * 400)) conv=notrunc status=none
    describe ".disks[1].change_id = \"$1\""
}
change w/1
run replicate app01
like "$out" "disk-2001: resync.*change tracking was reset: the point is at u/1" "reset is said"
like "$out" "disk-2000 +incremental +24.0 MiB +0 B" "the other disk is not compared"
is "$(content "$replicas/disk-2001/point-0003.qcow2")" "$(sha <data)" "resync: the source"
bytes=$(vmferry point show app01 3 --json | jq '.disks[1].bytes')
result $((bytes < 70000 || bytes > 3 * 65536)) \
    "of 16 MiB only the blocks that differ are sent: 70000 bytes changed, $bytes moved"
change w/2
describe '.disks[1].changes = {since: "w/0", map: "system.map"}'
run replicate app01
like "$out" "the change map starts at w/0, but the newest point is at w/1" "a gap is said"
change w/3
describe '.disks[1].changes = {since: "w/2", map: "nowhere.map"}'
run replicate app01
like "$out" "the change map can't be used: .*nowhere.map" "a missing map is said"
is "$(content "$replicas/disk-2001/point-0005.qcow2")" "$(sha <data)" "and compared"
json=$(vmferry replicate app01 --full --json --progress=none)
is "$(jq -r '[.disks[].sync_type, .disks[].bytes] | @csv' <<<"$json")" '"resync","resync",0,0' \
    "--full compares all and finds nothing"

# Damage

chmod u+w "$replicas/disk-2000/base.raw"
printf X | dd of="$replicas/disk-2000/base.raw" bs=1 seek=3000000 conv=notrunc status=none
run verify app01
is "$status" 1 "a flipped byte is found"
like "$out" "offset 2949120 length 65536" "and where it is"
run verify app01 --json --progress=none --point=1
is "$(sed '/^vmferry/d' <<<"$out" | jq -r '.disks[0].replica.ranges[0].offset')" 2949120 "in JSON too"
json=$(vmferry replicate app01 --full --json --progress=none)
is "$(jq -r '.disks[0].bytes' <<<"$json")" 65536 "--full mends it in a new point"
run verify app01 --source
is "$status" 0 "which is sound"

# Two at once, interruption, and going on

head -c 12M /dev/urandom | dd of=system bs=1M seek=4 conv=notrunc status=none
echo "4194304 12582912" >system.map
describe '.disks[0] += {change_id: "u/3", changes: {since: "u/2", map: "system.map"}}'
background vmferry replicate app01 --rate=2M --progress=none
slow=$!
wait_for 10 grep -qs . "$replicas/disk-2000/point-0008.journal"
run replicate app01
is "$status" 1 "a second one at the same time is refused"
like "$out" "is being replicated by process $slow" "and told by whom"
# shellcheck disable=SC2317 # called by wait_for
has_records() { # more than the header
    [ "$(stat -c %s "$replicas/disk-2000/point-0008.journal")" -gt 64 ]
}
wait_for 20 has_records
kill -TERM "$slow" # a background process of a script ignores SIGINT
status=0
wait "$slow" || status=$?
is "$status" 3 "SIGTERM pauses"
is "$(sqlite3 "$VMFERRY_STATE/vmferry.db" \
    "select status from replication_jobs order by id desc limit 1")" paused "so says the job"
json=$(vmferry replicate app01 --json --progress=none)
ok test "$(jq -r '.disks[0].bytes_resumed' <<<"$json")" -gt 0 -- "the next run goes on from there"
is "$(content "$replicas/disk-2000/point-0008.qcow2")" "$(sha <system)" "and is the source"
run verify app01
is "$status" 0 "with the right digest"
is "$(sqlite3 "$VMFERRY_STATE/vmferry.db" \
    "select count(*) from cbt_history where outcome = 'paused'")" 2 "history has the pause"

# A first copy, stopped; the source moves on; what is there is compared, and that is stopped, too

cp vm.json kept.json
describe 'del(.disks[].changes)'
vmferry vm list --state= >empty.out 2>&1
is $? 2 "an empty --state names no directory"
ok vmferry source add nbd lab --file vm.json --state first -- "another state directory"
stop_while_copying() { # once the base holds something; sets $status and $out
    : >paused.out
    vmferry replicate app01 --rate=2M --progress=json --state first >paused.out 2>&1 &
    slow=$!
    wait_for 20 grep -q '"bytes_done":[1-9]' paused.out
    kill -TERM "$slow"
    status=0
    wait "$slow" || status=$?
    out=$(cat paused.out)
}
stop_while_copying
is "$status" 3 "a first copy is stopped: paused"
like "$out" "paused; run the same command again" "and what to do is said"
describe '.disks[].change_id = "u/4"'
stop_while_copying
like "$out" "stopped on request" "what it left is read, to compare it with the next moment"
is "$status" 3 "stopped there it is paused, too"
ok vmferry replicate app01 --progress=none --state first -- "and goes on"
ok vmferry verify app01 --source --progress=none --state first -- "to the source's bytes"
mv kept.json vm.json

# Change ids without a slash name no life of the tracking; damaged leaves are not handed on

cp system web-system
cp data web-data
jq '.uuid = "00000000-0000-4c0e-9d55-0c8f5a1d2e3f" | .name = "web01" |
    .disks |= map(.change_id = "cp-9" | del(.changes) | .file |= "web-" + .)' vm.json >first.json
web=$VMFERRY_STATE/replicas/00000000-0000-4c0e-9d55-0c8f5a1d2e3f
cp first.json web.json
ok vmferry source add nbd web --file web.json -- "another VM"
background vmferry replicate web01 --rate=1M --parallel=1 --progress=none
slow=$!
wait_for 10 test -e "$web/disk-2000/point-0001.journal"
kill -9 "$slow"
wait "$slow" 2>/dev/null
jq '.disks[0].file = "web-data" | .disks[1].file = "web-system"' first.json >web.json
run replicate web01
like "$out" "disk-2000 .*<-- reads from where disk-2001 was" \
    "files exchanged after an interrupted first copy: refused"
cp first.json web.json
ok vmferry replicate web01 -- "with the right ones it goes on"
printf X | dd of=web-system bs=1 seek=5 conv=notrunc status=none
echo "0 4096" >web.map
jq '.memory = 2147483648 | .disks |= map(.change_id = "cp-10" |
    .changes = {since: "cp-9", map: "web.map"})' first.json >web.json
json=$(vmferry replicate web01 --json --progress=none)
is "$(jq -r '[.disks[].sync_type] | @csv' <<<"$json")" '"incremental","incremental"' \
    "from cp-9 to cp-10 is no reset"
jq '.memory = 4294967296' web.json >web.json.new && mv web.json.new web.json
run replicate web01
like "$out" "up to date" "more memory, the same data"
is "$(vmferry vm show web01 --json | jq .spec.memory)" 4294967296 "is written down"
printf X | dd of="$web/disk-2000/point-0002.leaves" bs=1 seek=2000 conv=notrunc status=none
rm -f "$web/disk-2001/point-0002.leaves"
jq '.disks |= map(.change_id = "cp-11" | .changes.since = "cp-10")' web.json >web.json.new &&
    mv web.json.new web.json
run replicate web01 --progress=none
like "$out" "disk-2000: resync.*the leaves of restore point 2 are damaged" \
    "damaged leaves are found and said"
is "$status" 0 "lost ones do not stop it"
run verify web01 --source
is "$status" 0 "the new point is sound"

head -c 6M /dev/urandom | dd of=web-system bs=1M conv=notrunc status=none
echo "0 4194304" >web.map
jq '.disks |= map(.change_id = "cp-12" | .changes.since = "cp-11")' web.json >web.json.new &&
    mv web.json.new web.json
background vmferry replicate web01 --rate=1M --progress=none
slow=$!
wait_for 10 grep -qs . "$web/disk-2000/point-0004.journal"
kill -TERM "$slow"
wait "$slow" 2>/dev/null
echo "0 6291456" >web.map
ok vmferry replicate web01 -- "the map was corrected while the copy was paused"
run verify web01 --source
is "$status" 0 "and all of the new one is copied"

# A database that is damaged, or older than the images

cp -a state older
cp -a older damaged
dd if=/dev/urandom of=damaged/vmferry.db bs=4096 seek=1 count=20 conv=notrunc status=none
run replicate web01 --state damaged
like "$out" "damaged/vmferry.db: .*malformed; restore it from a backup" "a damaged database"
rm -rf damaged
jq '.disks |= map(.change_id = "cp-13" | .changes.since = "cp-12")' web.json >web.json.new &&
    mv web.json.new web.json
ok vmferry replicate web01 -- "one more point"
cp older/vmferry.db state/vmferry.db
before=$(snapshot)
run replicate web01
is "$status" 1 "an older database: refused"
like "$out" "point-0005.qcow2 belongs to a restore point that vmferry.db does not know" "and why"
is "$(snapshot)" "$before" "nothing was overwritten"
cp -a "$web" kept
rm "$web"/*/point-0005.*
ok vmferry replicate web01 -- "with the image moved away it goes on"
chmod -R u+w "$web"
truncate -s 100 "$web/disk-2000/point-0005.leaves"
run verify web01
is "$status" 1 "leaves cut off"
like "$out" "disk-2000 +replica +LEAVES DAMAGED" "are told from damaged data"

# QEMU's dirty bitmaps over NBD

qemu-img create -q -f qcow2 live.qcow2 16M
qemu-io -f qcow2 -c 'write -P 1 0 8M' live.qcow2 >/dev/null
jq '.uuid = "77777777-1f0a-4c0e-9d55-0c8f5a1d2e3f" | .name = "db01" | .disks |= [.[1] |
    del(.file, .changes) + {uri: "nbd+unix:///?socket='"$tmp"'/live.sock", change_id: "q/1"}]' \
    vm.json >db.json
serve() { # QEMU-NBD-OPTIONS…
    rm -f live.sock
    background qemu-nbd -r -t -f qcow2 -k "$tmp/live.sock" "$@" live.qcow2
    wait_for 10 test -S live.sock
}
serve
ok vmferry source add nbd kvm --file db.json -- "a second source"
ok vmferry replicate db01 --progress=none -- "full from qemu-nbd"
kill $!
wait $! 2>/dev/null
qemu-img bitmap --add -f qcow2 live.qcow2 since-1
qemu-io -f qcow2 -c 'write -P 2 64k 64k' -c 'write -z 1M 128k' live.qcow2 >/dev/null
serve -B since-1
jq '.disks[0] += {change_id: "q/2", changes: {since: "q/1", context: "qemu:dirty-bitmap:since-1"}}' \
    db.json >db.json.new && mv db.json.new db.json
json=$(vmferry replicate db01 --json --progress=none)
is "$(jq -r '.disks[0] | .sync_type, .bytes' <<<"$json" | xargs)" "incremental 196608" \
    "incremental by dirty bitmap moves what is dirty"
ok vmferry verify db01 --source --progress=none -- "and is the source"
jq '.disks[0] += {change_id: "q/3", changes: {since: "q/2", context: "qemu:dirty-bitmap:gone"}}' \
    db.json >db.json.new && mv db.json.new db.json
run replicate db01
like "$out" "disk-2001: resync.*the change map can't be used" "a bitmap that is gone: resync"
kill $!
wait $! 2>/dev/null
run replicate db01
is "$status" 1 "a source that does not answer"
run vm list
is "$status" 0 "does not matter to anything else"

# A full target

if mkdir small && mount -t tmpfs -o size=14M tmpfs small 2>/dev/null; then
    at_exit "umount '$tmp/small'"
    head -c 20M /dev/urandom | dd of=system conv=notrunc status=none
    ok vmferry source add nbd lab --file vm.json --state small/state -- "a small state directory"
    run replicate app01 --state small/state
    is "$status" 3 "no space: paused"
    like "$out" "free, and this sync needs .*make room" "and says why"
    dd if=/dev/zero of=small/rest bs=1k 2>/dev/null
    run vm list --state small/state
    like "$out" "vmferry.db: .*the disk is full: make room" "not even the database can be opened"
    rm small/rest
    mount -o remount,size=64M small
    run replicate app01 --state small/state
    is "$status" 0 "with space it goes on"
    is "$(content small/state/replicas/$uuid/disk-2000/base.raw)" "$(sha <system)" "and is the source"
    run verify app01 --state small/state
    is "$status" 0 "with the right digest"
else
    skip "tmpfs can't be mounted" "a full target"
fi

# Configuration

printf '[replicate]\nrate = fast\n' >bad.conf
VMFERRY_CONFIG=$tmp/bad.conf run vm list
is "$status" 2 "a wrong value in vmferry.conf"
like "$out" "bad.conf: line 2: rate: 'fast'" "is named with its line"
printf '[replicate]\nspeed = 1\n' >bad.conf
VMFERRY_CONFIG=$tmp/bad.conf run vm list
like "$out" "line 2: there is no key 'speed' in section \[replicate\]" "so is an unknown key"
for wrong in 0 2 86401 ten 30s -5 1e3; do
    VMFERRY_LEASE_SECONDS=$wrong run vm list
    like "$status $out" "^2 .*VMFERRY_LEASE_SECONDS: '$wrong' is no number from 3 to 86400" "VMFERRY_LEASE_SECONDS=$wrong"
done
VMFERRY_LEASE_SECONDS='' run vm list
is "$status" 0 "an empty one is none"
printf '[general]\nstate = %s\n' "$tmp/elsewhere" >good.conf
(unset VMFERRY_STATE && VMFERRY_CONFIG=$tmp/good.conf vmferry vm list) >/dev/null
ok test -f elsewhere/vmferry.db -- "the state directory from vmferry.conf"
long=$tmp/$(printf 'x%.0s' {1..240})
printf '# %s state = /nowhere\n[general]\nstate = %s ; a comment\n' "$long" "$long" >long.conf
(unset VMFERRY_STATE && VMFERRY_CONFIG=$tmp/long.conf vmferry vm list) >/dev/null
ok test -f "$long/vmferry.db" -- "lines longer than the parser's, which are comments or values"
printf '[throttle]\nwindow = mon 1M\n  %s\n  * fast\n' "$(printf 'tue 0%d:00-24:00 5000000;' {1..9})* 0" >long.conf
VMFERRY_CONFIG=$tmp/long.conf run vm list
like "$out" "line 4: window: '\* fast'" "or go on from the line before"
VMFERRY_CONFIG=$tmp run vm list
like "$status $out" "^1 .*configuration file $tmp: can't be read" "a directory is no configuration"
deep=$tmp/$(printf 'deep-%.0s' {1..30})/"with space & more"
mkdir -p "$deep"
ok vmferry source add nbd lab --file vm.json --state "$deep" -- "a deep state directory"
ok vmferry replicate app01 --progress=none --state "$deep" -- "its sockets are reached all the same"
describe '.disks[0] += {change_id: "z/3", changes: {since: "u/2", map: "system.map"}}'
ok vmferry replicate app01 --progress=none --state "$deep" -- "overlays too"
ok vmferry verify app01 --progress=none --state "$deep" -- "and can be verified"

# A destination whose server drops connections in mid-handshake, as one that is killed there

mkdir dropping
cat >dropping/nbdkit <<END
#!/bin/bash
# Of the export map's servers, one for each connection, the first is its own trial.
if [[ " \$* " == *" -s "* ]]; then
    echo >>'$tmp/served'
    n=\$(wc -l <'$tmp/served')
    [ "\$n" = 1 ] || [ "\$n" -gt "\$DROP" ] || exit 1
fi
exec '$(command -v nbdkit)' "\$@"
END
chmod +x dropping/nbdkit
describe '.disks[0] += {change_id: "z/4", changes: {since: "u/2", map: "system.map"}}'
DROP=99 PATH=$tmp/dropping:$PATH run replicate app01 --progress=none --patience=1 --state "$deep"
is "$status" 3 "a server that drops every connection: the job is paused"
like "$out" "closed the connection in mid-handshake" "with the reason"
rm -f served
DROP=3 PATH=$tmp/dropping:$PATH run replicate app01 --progress=none --state "$deep"
is "$status" 0 "one that drops the first connections: tried again" || diag "$out"
ok vmferry verify app01 --progress=none --state "$deep" -- "and can be verified"

# A VM whose name is a number: a job's number comes first, as an id does with virsh

describe '.name = "4711"'
ok vmferry replicate app01 --progress=none --state "$deep" -- "a VM whose name is a number"
newest=$(vmferry job list --all --json --state "$deep" | jq 'max_by(.job).job')
is "$(vmferry job watch 4711 --json --state "$deep" | jq -c '[.vm, .job]')" "[\"4711\",$newest]" "job watch finds it by its name"
run job watch 4712 --state "$deep"
like "$status $out" "1 .*there is no job 4712" "a number that nobody has is a job's"
describe '.name = "1"'
ok vmferry replicate 4711 --progress=none --state "$deep" -- "and now that of a job, too"
is "$(vmferry job watch 1 --json --state "$deep" | jq -c .job)" 1 "which is the job then"
is "$(vmferry job watch "$(jq -r .uuid vm.json)" --json --state "$deep" | jq .job)" "$((newest + 1))" "the uuid is the VM"

# The same of a source's server; and one that is not there when an interrupted job is gone on with

describe ".disks[0] |= (del(.file, .changes) + {uri: \"nbd+unix:///?socket=$tmp/drops.sock\", change_id: \"z/5\"})"
run replicate "$(jq -r .uuid vm.json)" --progress=none --state "$deep"
is "$status" 1 "no source at all: failed"
background /usr/bin/python3 "$top/orchestrator/copy/tests/nbd-dropper.py" drops.sock behind.sock 1000000000 1
wait_for 10 test -S drops.sock
run replicate "$(jq -r .uuid vm.json)" --progress=none --patience=1 --state "$deep"
is "$status" 3 "a source that drops every connection: the job is paused"
like "$out" "in mid-handshake: trying again .*in mid-handshake" "with the reason"
is "$(vmferry job list --json --state "$deep" | jq -r '.[0] | .status + " " + .paused_by')" "paused source" "as its row says"
(sleep 1 && exec nbdkit -f -U behind.sock --filter=rate file system rate=20M) &
source=$!
background_pids+=("$source")
timeout -s INT 5 vmferry replicate "$(jq -r .uuid vm.json)" --progress=none --patience=60 --rate=2M --state "$deep" >going.log 2>&1
is $? 124 "when it lets us in, the copy goes on"
like "$(<going.log)" "in mid-handshake: trying again" "... after a while"
kill "$source" "${background_pids[-2]}"
rm -f drops.sock
run replicate "$(jq -r .uuid vm.json)" --progress=none --state "$deep"
is "$status" 3 "a source that is away then: paused again"
background nbdkit -f -U drops.sock file system
wait_for 10 test -S drops.sock
run replicate "$(jq -r .uuid vm.json)" --progress=none --state "$deep"
is "$status" 0 "back again it goes on to its end" || diag "$out"
describe ".disks[0] |= (del(.uri) + {file: \"system\"})"

# Nothing is left

is "$(pgrep -af -- "$tmp" | grep -v "test-replicate.sh" | grep -v pgrep || true)" "" "no process is left"
is "$(find "$VMFERRY_STATE/run" -mindepth 1)" "" "no socket is left"
is "$(find "$VMFERRY_STATE/replicas" -name '*.journal' -o -name '*.changes')" "" "no working file is left"
done_testing
