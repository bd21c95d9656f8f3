#!/bin/bash
# Everything that writes down or looks up, over MariaDB: every command's SQL meets it here. Then
# all of it moves to SQLite, where the next sync goes on, and back again.
# shellcheck source=tests/lib.sh disable=SC2317
. "$(dirname "$0")/../lib.sh"

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f

uri=$(OWNER=$$ "$top/tests/mariadb" start "$tmp/server")
# shellcheck disable=SC2016 # expanded at the end
at_exit '"$top/tests/mariadb" kill "$tmp/server"'
export VMFERRY_DATABASE=$uri
sql() {
    "$top/tests/mariadb" sql "$tmp/server" "USE vmferry; $1"
}
works() { # COMMAND…
    local name="vmferry $*"
    ok timeout 120 vmferry "$@" -- "${name/$tmp/}"
}

# The source: a VM of two disks; `change N` is what happens to it from moment N-1 to N.
head -c 12M /dev/urandom >system
truncate -s 24M system
head -c 3M /dev/urandom >data
truncate -s 16M data
describe() { # MOMENT
    local changes=''
    [ "$1" = 1 ] || changes=", \"changes\": { \"since\": \"u/$(($1 - 1))\", \"map\": \"map\" }"
    cat >vm.json.new <<END
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 2, "memory": 1073741824,
  "nics": [ { "mac": "52:54:00:12:34:56", "network": "LAN", "model": "virtio" } ],
  "disks": [
    { "key": 2000, "unit": 0, "capacity": 25165824, "backing_uuid": "b-system",
      "file": "system", "change_id": "u/$1"$changes },
    { "key": 2001, "unit": 1, "capacity": 16777216, "backing_uuid": "b-data",
      "file": "data", "change_id": "u/$1"$changes } ] }
END
    mv vm.json.new vm.json
}
change() { # MOMENT
    head -c 300000 /dev/urandom | tee >(dd of=data bs=1M seek=1 conv=notrunc status=none) |
        dd of=system bs=1M seek="$1" conv=notrunc status=none
    printf '[{"start": %d, "length": 1048576}, {"start": 1048576, "length": 1048576}]' \
        $(($1 * 1048576)) >map
    [ "$1" != 1 ] || printf '[{"start": 1048576, "length": 1048576}]' >map
    wait
    describe "$1"
}
describe 1

works source add nbd lab --file vm.json
works source list
works source refresh
works vm list
works vm show app01
works preflight app01
works replicate app01 --json
works verify app01 --source
for moment in 2 3 4 5; do
    change $moment
    works replicate app01
done
works point list app01
works point show app01 3
works point pin app01 3
works point delete app01 2
works point keep app01 last:3
works point prune app01
works point unpin app01 3
works verify app01
works verify --all --age 1d
is "$(sql 'SELECT group_concat(number ORDER BY number) FROM restore_points')" 1,3,4,5 \
    'those points stay that shall'

# Killed in the midst of a copy, and gone on with
change 6
head -c 8M /dev/urandom | dd of=system bs=1M seek=12 conv=notrunc status=none
printf '[{"start": 0, "length": 25165824}]' >map
vmferry replicate app01 --rate=2M --progress=none >killed.out 2>&1 &
pid=$!
is_copying() {
    [ "$(sql "SELECT bytes_done > 0 FROM replication_jobs WHERE status = 'running'")" = 1 ]
}
ok wait_for 60 is_copying -- 'a job tells MariaDB how far it is'
kill -9 $pid
wait $pid 2>/dev/null
works recover
works replicate app01
works verify app01 --source
is "$(sql "SELECT count(*) FROM replication_jobs WHERE status IN ('queued', 'running')")" 0 \
    'no job is left open'

works job log "$(sql 'SELECT max(id) FROM replication_jobs')"
works report app01 --format=json
works report app01 --format=html
works audit
works export list
works export check
sql "UPDATE vm_export_mappings SET status = 'active', lease = 'dead' WHERE disk_unit_number = 0"
works export repair
is "$(sql "SELECT count(*) FROM vm_export_mappings WHERE status = 'active' OR lease IS NOT NULL")" 0 \
    'the lease of a dead job is taken back'
mkdir "$tmp/more"
works pool add dir more "$tmp/more"
works pool list
works pool show more
works pool remove more
works network list
works failover list
is "$(sql 'SELECT count(*) FROM transactions' | awk '{ print ($1 < 5) }')" 1 'tokens do not pile up'

# To SQLite, where the replica's next sync is one like any other, and back
works db dump all.jsonl
unset VMFERRY_DATABASE
works db restore all.jsonl
change 7
json=$(vmferry replicate app01 --json --progress=none)
is "$(jq -r '.disks[0].sync_type' <<<"$json")" incremental 'the next sync over SQLite is incremental'
works verify app01 --source
works db dump more.jsonl
sql 'DROP DATABASE vmferry; CREATE DATABASE vmferry'
export VMFERRY_DATABASE=$uri
works db restore more.jsonl
change 8
json=$(vmferry replicate app01 --json --progress=none)
is "$(jq -r '.disks[0].sync_type' <<<"$json")" incremental 'and back over MariaDB, too'
works verify app01 --source
done_testing
