#!/bin/bash
# A merge as a job: its progress in the tables, paused by a signal and by `job pause`, cancelled,
# gone on with by every way that there is; every other point shows what it showed, by digest.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state VMFERRY_CONFIG=$tmp/vmferry.conf
: >vmferry.conf
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e77
mib=1048576

# qemu-img as it is, but merging takes its time (after it has copied: so it is the first of two
# disks that is seen done while the second one is merged).
mkdir slow
cat >slow/qemu-img <<END
#!/bin/sh
[ "\$1" != commit ] || { shift; set -- commit -r 1M "\$@"; }
exec $(command -v qemu-img) "\$@"
END
chmod +x slow/qemu-img

# Change 8 MiB of both disks and sync; the nth time the change id is u/n.
moment=0
sync_vm() {
    moment=$((moment + 1))
    for disk in 2000 2001; do
        dd if=/dev/urandom of=disk-$disk bs=1M count=8 seek=$((4 * moment)) conv=notrunc status=none
    done
    jq -n --arg uuid $uuid --arg id "u/$moment" --arg since "u/$((moment - 1))" '{ uuid: $uuid, name: "app01",
        firmware: "bios", cpus: 1, memory: 1048576, nics: [], disks: [ { key: 2000, unit: 0 }, { key: 2001, unit: 1 } |
        . + { capacity: 67108864, backing_uuid: "b\(.key)", file: "disk-\(.key)", change_id: $id,
              changes: { since: $since, map: "map" } } ] }' >vm.json
    echo "$((4 * moment * mib)) $((8 * mib))" >map
    [ "$moment" != 1 ] || vmferry source add nbd lab --file vm.json >/dev/null
    if [ "$moment" = 1 ]; then
        vmferry replicate app01 --progress=none ${pool:+"$pool"} >/dev/null
    else
        vmferry replicate app01 --progress=none >/dev/null
    fi
    cp vm.json "vm-$moment.json"
}

truncate -s 64M disk-2000 disk-2001
sync_vm
is "$(find state/exports/.exportmap -name '@*' | wc -l)" 2 "a first copy leaves locks of its images"
vmferry recover >/dev/null
is "$(find state/exports/.exportmap -name '@*')" "" "... which the next command sweeps"
for _ in 2 3 4 5 6; do sync_vm; done

# shellcheck disable=SC2317 # by wait_for
nothing_of_servers() {
    vmferry recover >/dev/null
    [ -z "$(find state/exports/.exportmap -name 'qemu-*')" ]
}
ok test -n "$(find state/exports/.exportmap -name 'qemu-*.sock')" -- "overlays' servers leave sockets"
ok wait_for 10 nothing_of_servers -- "... which are swept, too"

numbers() {
    vmferry point list app01 --json | jq -r 'map(.point) | join(" ")'
}

job() { # JQ-EXPRESSION OF THE NEWEST JOB
    vmferry job list --all --json | jq -r "max_by(.job) | $1"
}

# Run in the background; its exit status goes to the file status, what it says to the file said.
begin() { # COMMAND…
    rm -f status
    # shellcheck disable=SC2016
    PATH=$tmp/slow:$PATH setsid bash -c 'env --default-signal=INT "$@" >said 2>&1 & echo $! >pid; wait $!; echo $? >status' - "$@" &
    background_pids+=($!)
}

ended() {
    for _ in $(seq 900); do
        [ ! -s status ] || break
        sleep 0.1
    done
    cat status
}

# Called by ok().
# shellcheck disable=SC2317
# Until the merge has moved something.
moves() {
    for _ in $(seq 300); do
        [ "$(job '.replication_type == "merge" and .status == "running" and .bytes_done > 0')" != true ] || return 0
        sleep 0.1
    done
    return 1
}

sound() { # NAME
    local out status=0
    out=$(vmferry verify app01 --all --rate=0 2>&1) || status=1
    is "$status" 0 "$1" || diag "$out"
    is "$(pgrep -f "qemu-img commit.*$tmp" | wc -l)" 0 "... and no qemu-img is left"
}

# Its progress, and paused by `job pause`.

begin vmferry point delete app01 2
ok moves -- "a merge is a job with progress"
id=$(job .job)
json=$(vmferry job show "$id" --json)
ok jq -e '.replication_type == "merge" and .percent > 0 and .percent < 100 and .bytes_total > 15000000' <(echo "$json") \
    -- "... with percent and bytes"
like "$(jq -r .current_operation <<<"$json")" "^merging restore point 2, disk-200[01]$" "... that says what it does"
is "$(jq -r '.disks | map(.disk_id) | join(" ")' <<<"$json")" "disk-2000 disk-2001" "... for each disk"
like "$(vmferry job list)" " app01 +merge .*running .*merging restore point 2" "... and in the list"
vmferry job watch "$id" --progress=json >watched 2>watch.log &
watcher=$!
sleep 1
is "$(vmferry job pause "$id" --json | jq -r .status)" paused "job pause pauses it"
is "$(ended)" 3 "... its command exits with 3"
like "$(<said)" "job $id is paused, .vmferry job resume $id. goes on.*restore point 2 can't be used any more" "... and says how it goes on"
wait $watcher
is "$?" 3 "... so does who watches"
ok jq -se 'length > 1 and (map(.percent) | max) > 0' <(grep '"percent"' watch.log) -- "... who saw it move"
is "$(numbers)" "1 3 4 5 6" "the point is not listed any more"
sound "every other point shows what it showed"
like "$(vmferry replicate app01 2>&1)" "open job $id .merge, paused.*job resume $id" "a sync is refused, and says why"
status=0
out=$(vmferry replicate --all --json 2>/dev/null) || status=$?
is "$status $(jq -r '.vms[0] | [.status, .job] | join(" ")' <<<"$out")" "3 paused $id" "replicate --all leaves it alone"
like "$(jq -r '.vms[0].reason' <<<"$out")" "the operator has paused job $id .merge.: left alone, .vmferry job resume $id" \
    "... and says so"
vmferry recover >recovered 2>&1
like "$(<recovered)" "job $id .merge. was paused by the operator" "recover leaves it alone, and says so"
is "$(job .status)" paused "... indeed"
ok vmferry job resume "$id" -- "job resume goes on, to its end"
is "$(job '[.status, .percent, (.disks[] | .percent, .current_operation)] | join(" ")')" \
    "completed 100 100 Completed 100 Completed" "... and says so in the tables"
is "$(numbers)" "1 3 4 5 6" "the point is gone"
sound "every other point shows what it showed"
is "$(sqlite3 state/vmferry.db 'SELECT count(*) FROM restore_points WHERE number = 2')" 0 "... its row, too"

# Ctrl-C, and then the same command again.

begin vmferry point delete app01 3
ok moves -- "another merge"
kill -INT "$(<pid)"
is "$(ended)" 3 "a signal pauses it"
is "$(job '[.status, .paused_by] | join(" ")')" "paused signal" "... for anybody to go on with"
sound "every other point shows what it showed"
is "$(vmferry point delete app01 3 2>&1)" "app01: restore point 3 is deleted" "the same again finishes it"
is "$(job .status)" completed "... the same job"
sound "every other point shows what it showed"

# Cancelled: what is left is the next one's, here the sync's own pruning.

begin vmferry point prune app01
is "$(ended)" 0 "nothing to prune"
vmferry point keep app01 last:2 >/dev/null
begin vmferry point prune app01
ok moves -- "a prune of two points"
ok vmferry job cancel "$(job .job)" -- "job cancel ends it"
is "$(ended)" 1 "... its command fails"
like "$(<said)" "was cancelled.*restore point 1 can't be used any more, but is not gone yet" "... and says what is left"
is "$(job .status)" cancelled "... and so does the table"
sound "every other point shows what it showed"
sync_vm
is "$(numbers)" "6 7" "the next sync finishes, and prunes"
sound "every other point shows what it showed"

# While a sync prunes at its end, its row says so; stopped, the sync is complete all the same.

moment=7
begin vmferry replicate app01 --progress=none
is "$(ended)" 0 "up to date"
for disk in 2000 2001; do
    dd if=/dev/urandom of=disk-$disk bs=1M count=8 seek=40 conv=notrunc status=none
done
sed 's/u\/7/u\/8/; s/"u\/6"/"u\/7"/' vm-7.json >vm.json
echo "$((40 * mib)) $((8 * mib))" >map
begin vmferry replicate app01 --progress=none
for _ in $(seq 100); do
    [[ $(job .current_operation) != merging* ]] || break
    sleep 0.1
done
like "$(job '[.replication_type, .current_operation] | join(" ")')" "^manual merging restore point 6" "a sync that prunes says so"
kill -INT "$(<pid)"
is "$(ended)" 0 "stopped there, it is complete"
is "$(job .status)" completed "... its job, too"
is "$(numbers)" "7 8" "... and the point that goes is not listed"
sound "every other point shows what it showed"
ok vmferry recover -- "recover finishes the merge"
is "$(sqlite3 state/vmferry.db 'SELECT group_concat(number) FROM restore_points')" "7,8" "... and its row is gone"
sound "every other point shows what it showed"

# A sync need not wait for a merge that a signal stopped. What the operator paused is left alone by
# --all, also when it is a sync.

begin vmferry point delete app01 7
ok moves -- "another merge"
kill -INT "$(<pid)"
is "$(ended)" 3 "paused by a signal"
id=$(job .job)
sed 's/u\/7/u\/9/; s/"u\/6"/"u\/8"/' vm-7.json >vm.json
echo "$((20 * mib)) $((8 * mib))" >map
vmferry point keep app01 all >/dev/null
begin vmferry replicate app01 --rate=2M --progress=none
for _ in $(seq 100); do
    [ "$(job '.replication_type == "manual" and .status == "running" and .bytes_done > 1000000')" != true ] || break
    sleep 0.1
done
is "$(vmferry job show "$id" --json | jq -r .status)" cancelled "a sync comes first"
id=$(job .job)
vmferry job pause "$id" >/dev/null 2>&1
is "$(ended)" 3 "... and is paused"
status=0
out=$(vmferry replicate --all 2>/dev/null) || status=$?
like "$status $out" "3 .*paused.*the operator has paused job $id .replication.: left alone" "replicate --all leaves it alone"
is "$(vmferry job show "$id" --json | jq -r .status)" paused "... indeed"
vmferry job rate "$id" 0 >/dev/null
ok vmferry replicate app01 --progress=none -- "by its name it goes on"
is "$(numbers)" "8 9" "... and the merge was finished"
sound "every other point shows what it showed"

# A full target pauses it: that of the state directory's own pool, where the database has no room
# either, and that of a pool beside it.

if [ "$(id -u)" != 0 ] || { mkdir full && ! mount -t tmpfs -o size=200M tmpfs full 2>/dev/null; }; then
    skip "tmpfs can't be mounted" "a full target"
    done_testing
fi
at_exit "umount '$tmp/full'"

all_but() { # MIB: so much of the room stays free
    local free
    rm -f full/filler
    free=$(df --output=avail -k full | tail -1)
    head -c $((free - $1 * 1024))K /dev/zero >full/filler
}

runs() { # COMMAND…
    status=0
    out=$(vmferry "$@" 2>&1) || status=$?
}

full() { # TITLE
    moment=0
    truncate -s 0 disk-2000 disk-2001
    truncate -s 64M disk-2000 disk-2001
    for _ in 1 2 3 4; do sync_vm; done

    all_but 6
    runs point delete app01 1
    is "$status" 3 "$1: the base has no room for what is merged: paused"
    like "$out" "is paused, .vmferry job resume [0-9]+. goes on.*$1 .*is full: make room \(it needs up to [0-9.]+ MiB\)" \
        "... with the reason, and how much"
    is "$(job '[.status, .paused_by, .replication_type] | join(" ")')" "paused space merge" "... so says the job"
    like "$(job .error)" "make room" "... with the reason"
    runs point delete app01 1
    is "$status $(job .status)" "3 paused" "... again without room, too"
    runs recover app01
    is "$status $(job .status)" "0 paused" "... so says recover"
    like "$out" "make room" "... with the reason"
    sound "every other point shows what it showed"
    rm full/filler
    ok vmferry job resume "$(job .job)" -- "with room job resume goes on"
    is "$(numbers) $(job .status)" "2 3 4 completed" "... to its end"
    sound "every other point shows what it showed"

    all_but 5
    runs point delete app01 3
    is "$status" 3 "$1: an overlay has no room for what is merged: paused"
    sound "every other point shows what it showed"
    sync_vm 2>/dev/null
    is "$(job '[.status, .paused_by, .replication_type] | join(" ")')" "paused space manual" "... so is the next sync"
    runs recover
    like "$status $out" "^0 .*job resume $(job .job)" "... which recover says, and fails nothing"
    rm full/filler
    runs replicate app01
    is "$status $(numbers)" "0 2 4 5" "with room it goes on, and finishes the merge"
    sound "every other point shows what it showed"

    vmferry point keep app01 last:1 >/dev/null
    all_but 4
    runs point prune --all
    is "$status $(job '[.status, .paused_by] | join(" ")')" "3 paused space" "$1: retention is paused"
    runs recover
    is "$status $(job .status)" "0 paused" "... so says recover"
    rm full/filler
    runs recover
    is "$status $(numbers)" "0 4 5" "with room recover goes on"
    is "$(sqlite3 "$VMFERRY_STATE/vmferry.db" 'SELECT group_concat(number) FROM restore_points')" "4,5" "... to its end"
    sound "every other point shows what it showed"

    moment=5
    for disk in 2000 2001; do # a small sync, and then no room for its retention
        dd if=/dev/urandom of=disk-$disk bs=64K count=1 seek=600 conv=notrunc status=none
    done
    sed 's/u\/5/u\/6/; s/"u\/4"/"u\/5"/' vm-5.json >vm.json
    echo "$((600 * 65536)) 65536" >map
    all_but 4
    runs replicate app01
    is "$status $(numbers) $(job .status)" "0 5 6 completed" "$1: a sync that can't prune is complete"
    like "$out" "could not be deleted: .*is full: make room" "... and says what is left"
    rm full/filler
    ok vmferry recover app01 -- "with room recover goes on"
    is "$(sqlite3 "$VMFERRY_STATE/vmferry.db" 'SELECT group_concat(number) FROM restore_points')" "5,6" "... to its end"
    sound "every other point shows what it showed"
}

printf '[replicate]\nreserve = 0\n' >vmferry.conf
export VMFERRY_STATE=$tmp/full/state
full "the state directory"
rm -rf full/* && mkdir full/pool
export VMFERRY_STATE=$tmp/state-2
vmferry pool add dir p full/pool >/dev/null
pool=--pool=p
full "pool 'p'"
done_testing
