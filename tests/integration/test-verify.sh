#!/bin/bash
# `vmferry verify` as an operator meets it: what it names, repairs, writes down, and how it
# goes through all points; then damage anywhere (points-repair.py). ROUNDS and SEED change that.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state VMFERRY_CONFIG=$tmp/vmferry.conf
: >vmferry.conf
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e41
folder=$VMFERRY_STATE/replicas/$uuid/disk-2000

run() {
    status=0
    [ "$1" != verify ] || set -- "$@" --progress=none
    out=$(timeout 60 vmferry "$@" 2>&1) || status=$?
}

moment=0
sync() {
    moment=$((moment + 1))
    cat >vm.json <<JSON
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 1, "memory": 1048576, "nics": [],
  "disks": [ { "key": 2000, "unit": 0, "capacity": 4194304, "backing_uuid": "b", "file": "disk",
               "change_id": "u/$moment", "changes": { "since": "u/$((moment - 1))", "map": "map" } } ] }
JSON
    [ "$moment" != 1 ] || vmferry source add nbd lab --file vm.json >/dev/null
    vmferry replicate app01 --progress=none >/dev/null
}

# Overwrite one byte; prints what was there, for another call to put back.
poke() { # FILE OFFSET BYTE
    dd if="$1" bs=1 skip="$2" count=1 status=none | od -An -tx1 | tr -d ' '
    chmod 600 "$1"
    printf '%b' "\\x$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
    chmod 400 "$1"
}

damage() { # FILE OFFSET
    local was
    was=$(poke "$1" "$2" 00)
    poke "$1" "$2" "$(printf %02x $((0x$was ^ 0xff)))" >/dev/null
}

verified() { # POINT
    vmferry point list app01 --json | jq -r ".[] | select(.point == $1) | .verified"
}

head -c 3M /dev/urandom >disk
truncate -s 4M disk
sync
dd if=/dev/urandom of=disk bs=64k seek=8 count=2 conv=notrunc status=none
echo "524288 131072" >map
sync
dd if=/dev/urandom of=disk bs=64k seek=20 count=1 conv=notrunc status=none
echo "1310720 65536" >map
sync

run verify app01
is "$status $(verified 3) $(verified 1)" "0 ok null" "a clean point is written down as such"
run verify app01 --point=1
is "$(verified 1)" ok "each on its own"

chmod 600 "$folder/base.raw"
truncate -s +65536 "$folder/base.raw"
run verify app01 --point=1 --repair
like "$status $out" "1 .*offset 4194304 length 65536.*longer than the disk: shorten it to 4194304 bytes" "what somebody put behind a disk is no data to repair"
truncate -s -65536 "$folder/base.raw"
chmod 400 "$folder/base.raw"

# Blocks 2 and 3, one range; block 30, another one; block 8 is point 1's alone.
for at in 131073 200000 1966080 524288; do
    damage "$folder/base.raw" $at
done
run verify app01 --json
is "$status $(jq -c '[.disks[0].replica.ranges[] | [.offset, .length]]' <<<"${out%vmferry*}")" \
    "1 [[131072,131072],[1966080,65536]]" "damaged ranges are named, neighbours as one"
run verify app01 --point=1
like "$out" "262144 bytes in 3 ranges differ.*offset 131072 length 131072.*offset 524288 length 65536.*offset 1966080" \
    "another point shows its own"
like "$(vmferry point list app01)" "DAMAGED" "list says so"
like "$(vmferry point show app01 1 --json | jq -r .verify_error)" "disk-2000: 262144 bytes in 3 ranges differ" "show, too"

before=$(md5sum <"$folder/point-0002.qcow2")
run verify app01 --repair
like "$status $out" "0 .*3 of 3 blocks repaired.*is as it was made" "what the source still has is repaired"
is "$(verified 3)" ok "and written down"
run verify app01 --point=1 --repair
like "$status $out" "1 .*0 of 1 blocks repaired.*not repaired: offset 524288 length 65536.*other data there by now" \
    "what it has not is named"
is "$(verified 1)" damaged "and the point stays damaged"
is "$(md5sum <"$folder/point-0002.qcow2")" "$before" "the image between is untouched"
is "$(stat -c %a "$folder/base.raw")" 400 "sealed again"
run verify app01 --point=2
is "$status" 0 "the point above it is fine"
mv disk disk.away
run verify app01 --point=1 --repair
like "$status $out" "1 .*not repaired: offset 524288.*disk" "without the source nothing is lost"
mv disk.away disk

# In an overlay

at=$(qemu-img map --output=json -f qcow2 "$folder/point-0003.qcow2" |
    jq '.[] | select(.depth == 0 and .data) | .offset')
damage "$folder/point-0003.qcow2" $((at + 5))
run verify app01 --repair --json
is "$status $(jq -c '.disks[0].repair | [.blocks, .repaired, .left]' <<<"$out")" "0 [1,1,[]]" "a block of an overlay"

# Zeroes need no source.

damage "$folder/base.raw" 4000000
mv disk disk.away
run verify app01 --repair
is "$status" 0 "a block of zeroes is repaired without the source"
mv disk.away disk

# Metadata

cp "$folder/point-0003.qcow2" kept
chmod 600 "$folder/point-0003.qcow2"
truncate -s 100 "$folder/point-0003.qcow2"
run verify app01
is "$status $(verified 3)" "1 damaged" "an image that can't be read is damaged"
for _ in 1 2 3 4 5 6 7 8; do
    run verify app01 --point=3
    echo "$out"
done >unreadable
is "$(grep -c 'qemu-nbd .*point-0003.qcow2: ' unreadable)" 8 "and it is QEMU that says why, each time"
run verify --all
like "$status $out" "1 .*app01 point 3: DAMAGED.*app01 point 2: ok.*app01 point 1: DAMAGED, disk-2000: 65536 bytes" \
    "the others are verified all the same"
cp kept "$folder/point-0003.qcow2"
run verify app01
is "$status $(verified 3)" "0 ok" "it is well again"

# All points

run verify --all --age=7d
like "$status $out" "1 app01 point 1: DAMAGED" "only what is damaged is looked at within the age"
is "$(grep -c "point [0-9]" <<<"$out")" 1 "nothing else is"
byte=$(poke "$folder/base.raw" 600000 00)
poke "$folder/base.raw" 600000 "$byte" >/dev/null
dd if=disk of="$folder/base.raw" bs=64k skip=8 seek=8 count=1 conv=notrunc status=none
sqlite3 "$VMFERRY_STATE/vmferry.db" "UPDATE restore_points SET verified_at = verified_at - 8*86400000, verify_error = NULL WHERE number = 2"
sqlite3 "$VMFERRY_STATE/vmferry.db" "UPDATE restore_points SET verify_error = NULL WHERE number = 1"
run verify app01 --all --age=7d --json
is "$status $(jq -c '[.[] | [.point, .outcome]]' <<<"$out")" '0 [[2,"ok"]]' "one that is older than the age"
run verify --all --age=7d
like "$status $out" "0 0 restore points verified, nothing is damaged" "then none"
run verify --all
like "$out" "point 3: ok.*point 2: ok.*point 1: DAMAGED" "without an age all, the newest first"

printf '[verify]\nrate = 4M\n' >vmferry.conf
start=$(date +%s%N)
run verify --all --age=0s
took=$((($(date +%s%N) - start) / 1000000))
result $((took < 1300)) "the configured rate is kept: 8 MiB in $took ms"
run verify --all --rate=0
like "$status $out" "1 .*3 restore points|1 .*point 1: DAMAGED" "--rate=0: as fast as it goes"
limit=3 # by then it has begun
[ -z "${SANITIZE:-}${VALGRIND:-}" ] || limit=12
timeout --preserve-status -s INT $limit vmferry verify --all --rate=256K >stopped 2>&1
is "$?" 3 "a scrub can be stopped"
like "$(cat stopped)" "paused; run the same command again" "and says how it goes on"

for wrong in "--all --point=1" "--age=7d app01" "--all --age=7" "--all --age=d" "--all --repair" ""; do
    # shellcheck disable=SC2086
    run verify $wrong
    is "$status" 2 "wrong use: verify $wrong"
done

# In pools: a qcow2 base, and a device that is larger than the disk

in_pool() { # VM ITS-NUMBER OPTION…
    head -c 4M /dev/urandom >"$1.disk"
    cat >"$1.json" <<JSON
{ "uuid": "6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e5$2", "name": "$1", "firmware": "bios", "cpus": 1, "memory": 1048576,
  "nics": [], "disks": [ { "key": 2000, "unit": 0, "capacity": 4194304, "backing_uuid": "b", "file": "$1.disk",
                           "change_id": "u/1" } ] }
JSON
    vmferry source add nbd "$1" --file "$1.json" >/dev/null
    ok vmferry replicate "$1" --progress=none "${@:3}" -- "$1: replicated"
    dd if=/dev/urandom of="$1.disk" bs=64k seek=3 count=1 conv=notrunc status=none
    jq '.disks[0].change_id = "u/2"' "$1.json" >new.json && mv new.json "$1.json"
    ok vmferry replicate "$1" --progress=none -- "$1: and once more"
}

mends() { # VM FILE OFFSET
    damage "$2" "$3"
    run verify "$1"
    like "$status $out" "1 .*65536 bytes in 1 range" "$1: a damaged base is found"
    run verify "$1" --repair
    is "$status" 0 "$1: and repaired"
    run verify "$1" --point=1
    is "$status" 0 "$1: for the point below, too"
    ok vmferry point delete "$1" 1 -- "$1: which goes"
    run verify "$1"
    is "$status" 0 "$1: the other one verifies"
    ok vmferry point delete "$1" --all -- "$1: the replica goes"
}

mkdir files
vmferry pool add dir files files >/dev/null
in_pool inqcow2 1 --pool=files --base=qcow2
base=$(vmferry point show inqcow2 1 --json | jq -r '.disks[0].image')
at=$(qemu-img map --output=json -f qcow2 "$base" | jq '[.[] | select(.data)][0].offset')
mends inqcow2 "$base" $((at + 1000000))
truncate -s 8M device.img
if loop_device device.img 2>/dev/null; then
    vmferry pool add block devices --device "$device" >/dev/null
    in_pool ondevice 2 --pool=devices
    mends ondevice "$device" 1000000
    chmod 660 "$device"
else
    skip "no loop devices" "a base on a device"
fi

unset VMFERRY_STATE VMFERRY_CONFIG
ok timeout 900 /usr/bin/python3 "$top/tests/integration/points-repair.py" "$tmp/repair" \
    "${ROUNDS:-8}" ${SEED:+"$SEED"} -- "damage anywhere"
done_testing
