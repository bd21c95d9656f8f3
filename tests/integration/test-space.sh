#!/bin/bash
# A target without room: a sync that would fill it pauses before anything is made, one
# that fills it all the same pauses where it is, and goes on when there is room. On
# tmpfs, ext4, xfs and btrfs, for bases, overlays and the database.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

[ "$(id -u)" = 0 ] || skip_all "needs root for mounts"
share_mounts && cd "$tmp" || exit 1
uuid=7a0c1e52-1f0a-4c0e-9d55-0c8f5a1d2e40
export VMFERRY_CONFIG=$tmp/vmferry.conf
: >vmferry.conf

run() {
    status=0
    out=$(timeout 120 vmferry "$@" 2>&1) || status=$?
}

sha() {
    sha256sum | cut -d' ' -f1
}

# A file system of SIZE on a loop device (or tmpfs), mounted at NAME; false where it can't be.
small() { # TYPE SIZE NAME
    mkdir -p "$3"
    if [ "$1" = tmpfs ]; then
        mount -t tmpfs -o size="$2" tmpfs "$3" || return 1
    else
        rm -f "$3.img" && truncate -s "$2" "$3.img" || return 1
        case $1 in
        ext4) mkfs.ext4 -q -m 0 "$3.img" ;;
        xfs) mkfs.xfs -q "$3.img" ;;
        btrfs) mkfs.btrfs -q "$3.img" ;;
        esac >/dev/null || return 1
        mount -o loop "$3.img" "$3" || return 1
    fi 2>/dev/null
    at_exit "umount '$tmp/$3'"
}

# All but SIZE of the free space at FOLDER goes into its file "filler".
fill() { # FOLDER LEAVE-MIB
    local free
    rm -f "$1/filler"
    sync -f "$1"
    free=$(df --output=avail -m "$1" | tail -1)
    [ $((free - $2)) -le 0 ] || head -c $((free - $2))M /dev/zero >"$1/filler"
    sync -f "$1"
}

# Its journal has more than its header: something is durable.
# shellcheck disable=SC2317 # by wait_for
has_record() { # JOURNAL
    [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt 64 ]
}

sql() { # STATE SQL
    sqlite3 "$1/vmferry.db" "$2"
}

describe() { # CHANGE-ID [CHANGES]
    local changes=
    [ $# = 1 ] || changes=", \"changes\": $2"
    cat >vm.json <<END
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 1, "memory": 1073741824,
  "disks": [ { "key": 2000, "unit": 0, "capacity": 67108864, "backing_uuid": "b-system",
               $place, "change_id": "$1"$changes } ] }
END
}

head -c 40M /dev/urandom >disk
truncate -s 64M disk
background nbdkit -U "$tmp/nbd.sock" -f file disk
background nbdkit -U "$tmp/mute.sock" -f --filter=noextents file disk # nobody knows what is in use

# Known to be too much: nothing is made

place='"file": "disk"'
describe u/1
if small tmpfs 30M tmpfs; then
    ok vmferry source add nbd lab --file vm.json --state tmpfs/state -- "a source"
    run replicate app01 --state tmpfs/state
    is "$status" 3 "a first copy that is too large: paused"
    like "$out" "the state directory \(.*\) has [0-9.]+ MiB free, and this sync needs 4[0-9.]+ MiB" \
        "it is said how much is missing where"
    like "$out" "make room" "and what to do"
    is "$(find tmpfs/state -path '*replicas/*' -type f | wc -l)" 0 "nothing was made"
    is "$(sql tmpfs/state 'SELECT status FROM replication_jobs')" paused "the job is paused"
    like "$(sql tmpfs/state 'SELECT error FROM replication_jobs')" "make room" "with the reason"
    place="\"uri\": \"nbd+unix:///?socket=$tmp/nbd.sock\""
    describe u/1
    run replicate app01 --state tmpfs/state
    is "$status" 3 "a server is asked what is in use"
    like "$out" "this sync needs 40\.[0-9] MiB" "and says it"
    place='"file": "disk"'
    describe u/1
    mount -o remount,size=60M tmpfs
    run replicate app01 --state tmpfs/state
    is "$status" 0 "with room it is made"
    is "$(sha <"tmpfs/state/replicas/$uuid/disk-2000/base.raw")" "$(sha <disk)" "and right"

    dd if=/dev/urandom of=disk bs=1M seek=30 count=20 conv=notrunc status=none
    printf '31457280 20971520\n' >map
    describe u/2 '{"since": "u/1", "map": "map"}'
    run replicate app01 --state tmpfs/state
    is "$status" 3 "an incremental that is too large: paused"
    like "$out" "needs 20\.[0-9]+ MiB|needs 21\.[0-9]+ MiB" "what the map names is counted, and the tables"
    is "$(find tmpfs/state -name 'point-0002*' | wc -l)" 0 "no overlay was made"
    ok vmferry verify app01 --state tmpfs/state -- "the point is as it was"
    printf '[replicate]\nreserve = 40M\n' >vmferry.conf
    mount -o remount,size=90M tmpfs
    run replicate app01 --state tmpfs/state
    is "$status" 3 "the reserve is kept"
    like "$out" "40\.0 MiB to stay free" "and named"
    printf '[replicate]\nreserve = 10%%\n' >vmferry.conf
    run replicate app01 --state tmpfs/state
    is "$status" 0 "a smaller one lets it through"
    ok vmferry verify app01 --source --state tmpfs/state -- "it is what the source holds"
    printf '[replicate]\nreserve = 95%%\n' >vmferry.conf
    run replicate app01 --state tmpfs/state
    is "$status" 2 "a reserve that leaves nothing is refused"
    umount tmpfs
else
    skip "tmpfs can't be mounted" "too large a sync"
fi

# Nobody knew: the target runs full while it is written

place="\"uri\": \"nbd+unix:///?socket=$tmp/mute.sock\""
full() { # TYPE SIZE
    local state=$1/state
    : >vmferry.conf
    rm -f map
    describe u/1
    small "$1" "$2" "$1" || { skip "no $1 here" "$1 runs full"; return; }
    vmferry source add nbd lab --file vm.json --state "$state" || return
    printf '[replicate]\nreserve = 0\n' >vmferry.conf
    fill "$1" 20
    run replicate app01 --state "$state"
    is "$status" 3 "$1: the first copy fills it: paused"
    like "$out" "full.*make room" "$1: and why"
    [ "$1" = btrfs ] || # which may end it by SIGBUS before
        is "$(sql "$state" 'SELECT status FROM replication_jobs')" paused "$1: it is written down"
    run replicate app01 --state "$state"
    like "$status" "^[13]$" "$1: again without room: exit $status" # btrfs: not even the database
    like "$out" "make room" "$1: with what to do"
    rm "$1/filler"
    run replicate app01 --state "$state"
    is "$status" 0 "$1: with room it goes on"
    is "$(sha <"$state/replicas/$uuid/disk-2000/base.raw")" "$(sha <disk)" "$1: and it is the source"
    ok vmferry verify app01 --state "$state" -- "$1: with the right digest"

    # What a comparison will find is not known either: an overlay on a full target.
    dd if=/dev/urandom of=disk bs=1M count=30 conv=notrunc status=none
    describe v/1
    fill "$1" 12
    run replicate app01 --state "$state"
    is "$status" 3 "$1: an overlay fills it: paused"
    like "$out" "full.*make room" "$1: and why"
    rm "$1/filler"
    ok vmferry verify app01 --state "$state" --point 1 -- "$1: the point below is as it was"
    run replicate app01 --state "$state"
    is "$status" 0 "$1: the overlay is finished"
    ok vmferry verify app01 --source --state "$state" -- "$1: and is the source"
    ok vmferry verify app01 --state "$state" --point 1 -- "$1: the point below still is"
    ok qemu-img check -q "$state/replicas/$uuid/disk-2000/point-0002.qcow2" -- "$1: a sound overlay"
    umount "$1"
}
full ext4 160M
full xfs 320M
full btrfs 256M

# Somebody else takes the room meanwhile: stopped before it is gone

: >vmferry.conf
describe u/1
if small ext4 200M watched; then
    ok vmferry source add nbd lab --file vm.json --state watched/state -- "a source"
    vmferry replicate app01 --state watched/state --rate=2M >watched.log 2>&1 &
    job=$!
    wait_for 20 has_record "watched/state/replicas/$uuid/disk-2000/point-0001.journal"
    fill watched 8
    status=0
    wait $job || status=$?
    is "$status" 3 "the room goes while it is written: paused"
    like "$(cat watched.log)" "is almost full: [0-9.]+ MiB are free" "before it was full"
    rm watched/filler
    out=$(vmferry replicate app01 --state watched/state --rate=0 --json --progress=none)
    is $? 0 "with room it goes on"
    like "$(jq '.disks[0].bytes_resumed' <<<"$out")" '^[1-9]' "what was durable is not copied again"
    ok vmferry verify app01 --source --state watched/state -- "and is the source"

    # The database cannot be written
    dd if=/dev/zero of=watched/filler bs=64k 2>/dev/null
    dd if=/dev/zero of=watched/filler2 bs=1k 2>/dev/null
    describe u/2
    run replicate app01 --state watched/state
    ok test "$status" = 1 -o "$status" = 3 -- "no room for the database: exit $status"
    like "$out" "make room" "and what to do"
    rm watched/filler watched/filler2
    ok vmferry replicate app01 --state watched/state -- "with room all is well"
else
    skip "no ext4 here" "room that goes"
fi

# A quota (of btrfs, which holds for root, too) in the target, and in the state directory

place='"file": "disk"'
describe q/1
if command -v btrfs >/dev/null && small btrfs 400M quota && btrfs quota enable quota 2>/dev/null; then
    for folder in state pool; do
        btrfs subvolume create "quota/$folder" >/dev/null
        btrfs qgroup limit 30M "quota/$folder"
    done
    ok vmferry source add nbd lab --file vm.json --state quota-state -- "a source"
    ok vmferry pool add dir q quota/pool --state quota-state -- "a pool with a quota"
    run replicate app01 --pool=q --state quota-state --progress=none
    is "$status" 3 "it does not let all in: paused"
    like "$out" "pool 'q' .* is full: make room.*Disk quota exceeded" "and why"
    is "$(sql quota-state 'SELECT status, paused_by FROM replication_jobs')" "paused|space" "the job's row says so"
    btrfs qgroup limit 200M quota/pool
    out=$(vmferry replicate app01 --state quota-state --json --progress=none)
    is $? 0 "with a larger quota it goes on"
    like "$(jq '.disks[0].bytes_resumed' <<<"$out")" '^[1-9]' "what was durable is not copied again"
    ok vmferry verify app01 --source --state quota-state -- "and is the source"

    ok vmferry source add nbd lab --file vm.json --state quota/state -- "a state directory with a quota"
    run replicate app01 --state quota/state --progress=none
    is "$status" 3 "it does not let all in: paused"
    like "$out" "make room" "and why"
    btrfs qgroup limit 200M quota/state
    run replicate app01 --state quota/state --progress=none
    is "$status" 0 "with a larger quota it goes on"
    ok vmferry verify app01 --source --state quota/state -- "and is the source"
else
    skip "no btrfs with quotas here" "quotas"
fi

# A file system that can only be read: from the beginning, or as it has found itself damaged

broken() { # FOLDER
    echo 1 >"/sys/fs/ext4/$(basename "$(findmnt -n -o SOURCE "$1")")/trigger_fs_error"
}

again() { # FOLDER: mended
    wait_for 20 umount "$1" # servers end a moment after their client
    e2fsck -fy "$1.img" >/dev/null 2>&1
    wait_for 10 mount -o loop,errors=remount-ro "$1.img" "$1" # its loop device ends a little later
}

if small ext4 200M reading && again reading &&
    [ -w "/sys/fs/ext4/$(basename "$(findmnt -n -o SOURCE reading)")/trigger_fs_error" ]; then
    ok vmferry source add nbd lab --file vm.json --state reading-state -- "a source"
    ok vmferry pool add dir r reading --state reading-state -- "a pool"
    mount -o remount,ro reading
    run replicate app01 --pool=r --state reading-state --progress=none
    is "$status" 3 "a pool that can only be read: paused"
    like "$out" "pool 'r' .* can only be read now: make it writable, and it goes on" "and why"
    is "$(sql reading-state 'SELECT status, paused_by FROM replication_jobs')" "paused|target" "the job's row says so"
    mount -o remount,rw reading
    vmferry replicate app01 --rate=6M --state reading-state --progress=none >reading.log 2>&1 &
    job=$!
    wait_for 20 has_record "reading-state/replicas/$uuid/disk-2000/point-0001.journal"
    broken reading
    status=0
    wait $job || status=$?
    is "$status" 3 "one that turns so in mid-copy: paused"
    like "$(<reading.log)" "pool 'r' .* can only be read now" "and why"
    again reading
    out=$(vmferry replicate app01 --state reading-state --json --progress=none --rate=0)
    is $? 0 "mended, it goes on"
    like "$(jq '.disks[0].bytes_resumed' <<<"$out")" '^[1-9]' "what was durable is not copied again"
    ok vmferry verify app01 --source --state reading-state -- "and is the source"
    rm -rf reading/*

    ok vmferry source add nbd lab --file vm.json --state reading/state -- "a state directory"
    vmferry replicate app01 --rate=6M --state reading/state --progress=none >reading.log 2>&1 &
    job=$!
    wait_for 20 has_record "reading/state/replicas/$uuid/disk-2000/point-0001.journal"
    broken reading
    status=0
    wait $job || status=$?
    is "$status" 3 "a state directory that turns so in mid-copy: paused"
    like "$(<reading.log)" "the state directory .* can only be read now" "and why"
    mount -o remount,ro reading 2>/dev/null
    run replicate app01 --state reading/state --progress=none
    like "$status $out" "^1 .*Read-only file system" "nothing can begin there"
    again reading
    run replicate app01 --state reading/state --progress=none --rate=0
    is "$status" 0 "mended, it goes on" || diag "$out"
    ok vmferry verify app01 --source --state reading/state -- "and is the source"
else
    skip "no ext4 that can be broken here" "read-only file systems"
fi
done_testing
