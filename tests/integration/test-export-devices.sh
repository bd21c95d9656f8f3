#!/bin/bash
# Replicas on block devices that come back under other names: found by what they are, or not at
# all. Loop devices: their backing file is what a serial number is to a disk.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/../../plugins/exportmap/server/tests/server.sh"

# shellcheck disable=SC2034
clients=$top/plugins/exportmap/server/tests/clients.py
cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
uuid=4e1a3c52-1f0a-4c0e-9d55-0c8f5a1d2e31
name=migration-vm-$uuid-disk
map=$VMFERRY_STATE/exports
replicas=$VMFERRY_STATE/replicas/$uuid

truncate -s 8M probe
probe=$(losetup -f --show probe 2>/dev/null) || skip_all "no loop devices here"
losetup -d "$probe"

# shellcheck disable=SC2317
detach_all() {
    losetup -l -n -O NAME,BACK-FILE | grep -F "$tmp/" | cut -d' ' -f1 | xargs -r -n1 losetup -d
}
at_exit detach_all

attach() { # FILE [DEVICE]
    if [ $# = 2 ]; then
        losetup "$2" "$tmp/$1" && echo "$2"
    else
        losetup -f --show "$tmp/$1"
    fi
}

db() {
    sqlite3 "$VMFERRY_STATE/vmferry.db" ".timeout 10000" "$1"
}

repair() {
    status=0
    out=$(vmferry export repair 2>&1) || status=$?
}

path_of() { # UNIT: in the row, and in the map file
    echo "$(db "SELECT device_path FROM vm_export_mappings WHERE disk_unit_number = $1")" \
        "$(jq -r .path "$map/${name}$1")"
}

# The unit's first image is this device from now on.
place_on() { # UNIT DEVICE
    local identity
    identity=$(vmferry export probe "$2" | jq -c '{format, size, identity}')
    db "UPDATE restore_point_disks SET overlay = '$2' WHERE disk_id =
            (SELECT id FROM vm_disks WHERE unit_number = $1);
        UPDATE vm_disks SET replica_volume = '$2' WHERE unit_number = $1;
        UPDATE vm_export_mappings SET device_path = '$2', identity = '$identity'
            WHERE disk_unit_number = $1"
}

# The first is so large that not every block is among those that are looked at first. The third
# holds the same: its device must not be taken for the first one's.
head -c 24M /dev/urandom >disk0
truncate -s 32M disk0
head -c 4M /dev/urandom >disk1
truncate -s 8M disk1
cp disk0 disk2
jq -n --arg uuid "$uuid" '{uuid: $uuid, name: "app01", firmware: "bios", cpus: 1,
    memory: 1073741824, nics: [], disks: [range(3) | {key: (2000 + .), unit: .,
    capacity: (if . == 1 then 8388608 else 33554432 end),
    backing_uuid: "b\(.)", file: "disk\(.)", change_id: "u/1"}]}' >vm.json
vmferry source add nbd lab --file vm.json >/dev/null
vmferry replicate app01 --progress=none >/dev/null 2>&1
for disk in 0 1 2; do
    cp "$replicas/disk-200$disk/base.raw" "back$disk"
done
a=$(attach back0) b=$(attach back1) c=$(attach back2)
place_on 0 "$a"
place_on 1 "$b"
place_on 2 "$c"
repair
is "$status" 0 "three replicas on devices"
is "$(vmferry export check | tail -n 1)" "3 exports checked, 0 differences" "are where they should be"

# Another order

start_server --map="$map" --grace=1
hold "nbd://127.0.0.1:$port/${name}2"
file=$(stat -c %i "$map/${name}2")
losetup -d "$a" "$b"
a=$(attach back1 "$a") b=$(attach back0 "$b")
is "$(vmferry export check --json 2>/dev/null | jq -r '[.findings[].fault] | join(" ")')" \
    "disk-other disk-other" "two have changed places"
ok eval "! nbdinfo --size nbd://127.0.0.1:$port/${name}0" -- "and are not served"
repair
is "$status" 0 "they are found again"
like "$out" "found as $b by its identity" "by their backing files"
is "$(path_of 0) $(path_of 1)" "$b $b $a $a" "rows and map files say where they are"
is "$(nbdcopy "nbd://127.0.0.1:$port/${name}0" - | sha256sum)" "$(sha256sum <disk0)" \
    "and the right disk is served"
is "$(db "SELECT overlay FROM restore_point_disks WHERE overlay LIKE '/dev/%' ORDER BY id" | xargs)" \
    "$b $a $c" "the restore point follows"
is "$(db "SELECT count(*) FROM audit_log WHERE what LIKE 'export repair: device found again%'")" 2 \
    "both are in the audit log"
tell read
is "$answer" ok "an open export of the third disk was not disturbed"
is "$(stat -c %i "$map/${name}2")" "$file" "and its map file was not touched"

# The start of any job does it, too.
losetup -d "$a" "$b"
a=$(attach back0 "$a") b=$(attach back1 "$b")
out=$(vmferry replicate app01 --progress=none 2>&1)
like "$out" "found as $a by its identity" "replicate finds them at its start"
is "$(path_of 0) $(path_of 1)" "$a $a $b $b" "and says so in the map"

# Two that match

losetup -d "$a"
repair
is "$status" 1 "a device that is gone"
like "$out" "not repaired: no device has" "is gone"
head -c 32M /dev/urandom >other
other=$(attach other "$a") one=$(attach back0) two=$(attach back0)
repair
is "$status" 1 "two devices of one file"
like "$out" "2 devices match: " "are refused"
like "$out" "$two" "and named"
losetup -d "$one"
repair
like "$out" "found as $two by its identity" "when one is left, it is that one"
a=$two

# By what is on it: the file is another one, so nothing else tells.

losetup -d "$a" "$other"
cp back0 copy0
dd if=/dev/urandom of=copy0 bs=4096 count=1 seek=700 conv=notrunc status=none
old=$(attach copy0)
repair
is "$status" 1 "an older copy, which differs in one block"
like "$out" "not repaired: $old holds most of its data, but not all" "is refused"
losetup -d "$old"
cp back0 copy0
truncate -s 64M copy0
large=$(attach copy0)
repair
like "$out" "not repaired: no device has" "a device that holds it, and is larger, is another one"
losetup -d "$large"
truncate -s 32M copy0
other=$(attach other)
new=$(attach copy0)
out=$(vmferry replicate app01 --progress=none 2>&1)
like "$out" "vmferry export repair.* also looks for its data" "no job's start reads whole devices"
cp back0 twin
twin=$(attach twin)
repair
is "$status" 1 "two copies"
like "$out" "2 devices hold its data: .*; detach all but the right one" "are refused"
losetup -d "$twin"
repair
is "$status" 0 "the only device that holds every block of the restore point"
like "$out" "found as $new by its data" "is the replica"
is "$(path_of 0)" "$new $new" "and is mapped"
losetup -d "$other"

# Never another mapping's.

losetup -d "$new" "$b"
b=$(attach back1)
repair
is "$status" 1 "the replica's device is gone again"
is "$(path_of 1)" "$b $b" "the other one is back"
is "$(path_of 0 | cut -d' ' -f1)" "$new" "and not taken for it"

# By a name: the file was renamed, or udev knows the device, and it holds the replica.

losetup -d "$b"
mv back1 renamed1
b=$(attach renamed1)
repair
like "$out" "disk1.*found as $b by its name and data" "a file that was renamed"
links=/dev/disk/by-id
[ -d $links ] || { mkdir -p $links && at_exit "rmdir --ignore-fail-on-non-empty -p $links 2>/dev/null"; }
link=$links/vmferry-test-$$
at_exit "rm -f $link"
ln -s "$b" "$link"
vmferry replicate app01 --full --progress=none >/dev/null 2>&1
place_on 1 "$b"
db "UPDATE vm_export_mappings SET identity = json_set(identity, '\$.record',
    json('{\"by_id\": [\"vmferry-test-$$\"]}')) WHERE disk_unit_number = 1"
losetup -d "$b"
cp renamed1 third1
b=$(attach third1)
ln -sfn "$b" "$link"
repair
like "$out" "disk1.*found as $link by its name and data" "a name in /dev/disk/by-id"
is "$(path_of 1)" "$link $link" "which the map says from now on"
is "$(db "SELECT json_extract(identity, '\$.record.by_id[0]') FROM vm_export_mappings
    WHERE disk_unit_number = 1")" "vmferry-test-$$" "and the record"
losetup -d "$b"
head -c 8M /dev/urandom >stranger
b=$(attach stranger)
ln -sfn "$b" "$link"
repair
like "$out" "disk1.*$b has its name, but does not hold what the newest" "a name alone is not believed"
stop_server

done_testing
