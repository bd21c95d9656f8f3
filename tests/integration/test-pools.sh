#!/bin/bash
# Pools: a whole chain (full, incremental, verify, a test's overlay, a merge, a grown disk)
# in directories, libvirt's storage pools and on block devices, with raw and qcow2 bases;
# what is refused; devices that come back under another name.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

here=$(cd "$(dirname "$0")" && pwd)
cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
# shellcheck source=tests/integration/chain.sh
. "$here/chain.sh"

# Directories

mkdir files
ok vmferry pool add dir files files -- "a directory becomes a pool"
is "$(vmferry pool list --json | jq -r '.[] | .name + " " + .kind' | xargs)" "state state files dir" \
    "it is listed beside the state directory"
run pool add dir files files
like "$out" "there is a pool 'files' already" "a name is given once"
run pool add dir state files
is "$status" 2 "and not the state directory's"
run pool add dir nowhere nowhere
is "$status" 1 "a directory that is not there"
run pool add tape x y
is "$status" 2 "a kind that is not there"
chain state raw
chain state qcow2
like "$(image 3 2000)" "^$VMFERRY_STATE/replicas/.*/base.qcow2$" "the base is a qcow2 file"
is "$(qemu-img info --output=json "$(image 3 2000)" | jq -r '."backing-filename"')" null \
    "with nothing below it"
chain files raw
like "$(image 3 2000)" "^$tmp/files/$uuid/disk-2000/base.raw$" "images lie in the pool"
chain files qcow2
is "$(find state/replicas -path "*$uuid*" -name '*.qcow2' | wc -l)" 0 "all of them"
is "$(find "state/replicas/$uuid" -name '*.leaves' | wc -l)" 2 "the leaves don't"
is "$(vmferry vm show "$vm" --json | jq -r .pool)" files "vm show says where"
jobs=$(vmferry job list --all --json | jq length)
run replicate "$vm" --pool=state
is "$status" 2 "a replica stays in its pool"
run replicate "$vm" --pool=nowhere
is "$status" 1 "a pool that is not there"
run replicate --all --pool=nowhere
like "$status $out" "1 .*failed .*nowhere" "... for none of the VMs"
is "$(vmferry job list --all --json | jq length)" "$jobs" "... and nothing of that is a job"
run pool remove files
like "$out" "replicas of 2 VMs lie in pool 'files'" "a pool in use is not removed"
is "$(vmferry pool list --json | jq '.[].vms' | xargs)" "2 2" "VMs are counted, in the state directory, too"
mv files away && mkdir files
describe u/4
run replicate "$vm"
is "$status" 1 "another directory in the pool's place: refused"
like "$out" "is not the directory that was added" "and why"
is "$(find files -mindepth 1 | wc -l)" 0 "nothing was written there"
run verify "$vm"
is "$status" 1 "nor taken for a replica"
is "$(vmferry pool list --json | jq -r '.[1].problem' | grep -c 'not the directory')" 1 \
    "pool list says it"
points=$(vmferry point list "$vm" --json | jq length)
run point delete "$vm" --all
like "$status $out" "^1 .*is not the directory that was added" "nor can its points be deleted"
is "$(vmferry point list "$vm" --json | jq length)" "$points" "... and that is not begun"
rmdir files && mv away files
ok vmferry replicate "$vm" -- "back again it goes on"
mkdir brief
ok vmferry pool add dir brief brief -- "a pool for a while"
new_vm guest
vmferry replicate guest --pool=brief >/dev/null
run pool remove brief
is "$status" 1 "a replica lies in it"
ok vmferry point delete guest --all -- "which is given up"
ok vmferry pool remove brief -- "then the pool can be removed"

# A directory that is lost for good: its replicas are given up without it, once that is said.
lost() { # VM WHAT FOLDER: the folder is gone
    run point delete "$1" --all
    like "$status $out" "^1 .*$3.*; if it is lost for good, .vmferry point delete $1 --all --lost-pool. gives" \
        "$2: refused, and what to do"
    run point delete "$1" --all --lost-pool
    is "$status" 0 "... --lost-pool gives it up" || diag "$out"
    is "$(vmferry point list "$1" --json | jq -c)" "[]" "... all points"
    is "$(sqlite3 state/vmferry.db "SELECT count(*) FROM restore_points JOIN vms ON vms.id = vm_id WHERE name = '$1'")" 0 \
        "... and their rows"
    is "$(vmferry vm show "$1" --json | jq -r '.pool, .state' | xargs)" "null discovered" "... it lies nowhere"
    is "$(find "state/replicas/$uuid" -type f; find state/exports -maxdepth 1 -name "*$uuid*")" "" "... no file is left"
}
mkdir dying
ok vmferry pool add dir dying dying -- "a pool that will be lost"
new_vm mourned
vmferry replicate mourned --pool=dying >/dev/null
run point delete mourned --all --lost-pool
like "$status $out" "^1 .*pool 'dying' .* is there, it is not lost" "while it is there it is not lost"
run point delete mourned 1 --lost-pool
is "$status" 2 "only all points go without their pool"
describe u/2
vmferry replicate mourned >/dev/null
vmferry point pin mourned 1 >/dev/null
mv dying dead
run point delete mourned --all --lost-pool
like "$status $out" "^1 .*is pinned" "a pinned point stands against it"
vmferry point unpin mourned 1 >/dev/null
lost mourned "a directory that is gone" "$tmp/dying"
new_vm unfinished
mv dead dying
timeout -s INT 1.5 vmferry replicate unfinished --pool=dying --rate=2M >/dev/null 2>&1
is $? 124 "a first copy is interrupted"
mv dying dead && mkdir dying && (cd dead && cp --parents "$uuid"/disk-*/base.* ../dying)
run job cancel "$(vmferry job list --json | jq '.[0].job')" --drop
like "$status $out" "^1 .*--lost-pool" "it can't be dropped without the pool, which says what to do"
lost unfinished "another directory in its place, an unfinished sync" "$tmp/dying"
ok diff -r "dead/$uuid" "dying/$uuid" -- "... what lies there stays"
rm -r dying && mv dead dying
new_vm begun
vmferry replicate begun --pool=dying >/dev/null
describe u/2
vmferry replicate begun >/dev/null
sqlite3 state/vmferry.db "UPDATE restore_points SET going = 1 WHERE number = 1 AND vm_id = (SELECT id FROM vms WHERE name = 'begun')"
mv dying dead
lost begun "a merge that was begun" "$tmp/dying"
is "$(find dead -name '*.raw' | wc -l)" 6 "what lies there stays there"
ok vmferry pool remove dying -- "the pool can be removed"
ok vmferry replicate begun -- "a new replica"

printf '[replicate]\npool = files\nbase = qcow2\n' >vmferry.conf
new_vm configured
VMFERRY_CONFIG=$tmp/vmferry.conf run replicate configured
like "$(image 1 2000)" "^$tmp/files/$uuid/disk-2000/base.qcow2$" "pool and format from vmferry.conf"

# A first copy that is interrupted goes on in its pool, in its format.
new_vm stopped
timeout -s INT 1.5 vmferry replicate stopped --pool=files --base=qcow2 --rate=2M >/dev/null 2>&1
is $? 124 "a first copy is interrupted"
run replicate stopped
is "$status" 0 "and goes on without being told where"
like "$(image 1 2000)" "files/.*base.qcow2$" "where it was"
ok vmferry verify stopped --source -- "to its end"

# Libvirt's storage pools

libvirt() {
    virsh -q version >/dev/null 2>&1 && return
    command -v libvirtd >/dev/null || return 1
    libvirtd --daemon --pid-file "$tmp/libvirtd.pid" || return 1
    at_exit "kill \$(cat '$tmp/libvirtd.pid')"
    wait_for 60 virsh -q version
}
if [ "$(id -u)" = 0 ] && libvirt; then
    lv=vmferry-test-$$
    mkdir volumes
    virsh -q pool-define-as "$lv" dir --target "$tmp/volumes"
    at_exit "virsh pool-destroy $lv; virsh pool-undefine $lv"
    run pool add libvirt vols "$lv"
    like "$out" "does not run: virsh pool-start $lv" "a storage pool that does not run"
    virsh -q pool-start "$lv"
    ok vmferry pool add libvirt vols "$lv" -- "libvirt's storage pool becomes one of ours"
    run pool add libvirt none "$lv-none"
    is "$status" 1 "one that is not there"
    run pool add libvirt far "$lv" --uri=qemu+ssh://elsewhere/system
    is "$status" 2 "nor one of another machine"
    chain vols raw
    chain vols qcow2
    is "$(virsh vol-list "$lv" | grep -o "$uuid-disk-2000-[^ ]*" | head -1)" \
        "$uuid-disk-2000-base.qcow2" "virsh lists the volumes"
    head -c 65536 /dev/urandom | dd of="$vm-2000" conv=notrunc status=none
    describe u/5
    ok vmferry replicate "$vm" -- "one more point"
    like "$(virsh vol-list "$lv")" "$uuid-disk-2000-point-[0-9]+.qcow2" "virsh lists overlays, too"
else
    skip "libvirtd can't be started" "libvirt's storage pools"
fi

# Block devices

if [ "$(id -u)" = 0 ] && truncate -s 32M dev0 && loop_device dev0 2>/dev/null; then
    loop0=$device
    head -c 20M /dev/urandom >dev1 && truncate -s 40M dev1 && loop_device dev1 && loop1=$device
    ok vmferry pool add block devs --device="$loop0" --force-device="$loop1" -- "devices of the operator's"
    like "$(vmferry pool show devs)" "$loop0 .*: free" "they are free"
    chain devs raw
    is "$(readlink -f "$(image 3 2000)")" "$loop0" "each disk has the smallest device that fits"
    run pool add block again --device="$loop0"
    is "$status" 1 "a device is in one pool only"
    like "$(vmferry pool show devs)" "$loop0 .*: replicas/$uuid/disk-2000/base.raw" "whose a device is"
    new_vm late
    run replicate late --pool=devs
    is "$status" 1 "no device is left"
    like "$out" "no device is free for a disk" "and that is said"
    is "$(find "state/replicas/$uuid" -name 'base*' 2>/dev/null | wc -l)" 0 "nothing was made"
    vm=devs-raw uuid=$(sqlite3 state/vmferry.db "SELECT uuid FROM vms WHERE name = 'devs-raw'")

    # Another order at the next start: loop0 and loop1 are each other's files.
    losetup -d "$loop0" && losetup -d "$loop1"
    losetup "$loop0" dev1 && losetup "$loop1" dev0
    head -c 99999 /dev/urandom | dd of="$vm-2000" bs=1 seek=5000000 conv=notrunc status=none
    describe u/6
    ok vmferry replicate "$vm" -- "devices in another order are found again by a sync"
    is "$(readlink -f "$(image 3 2000)")" "$loop1" "the base leads to its device"
    ok vmferry verify "$vm" --source -- "and what it made is right"
    losetup -d "$loop0" && losetup -d "$loop1"
    losetup "$loop0" dev0 && losetup "$loop1" dev1
    ok vmferry verify "$vm" --source -- "another order again: found by verify"
    losetup -d "$loop0" && losetup -d "$loop1"
    losetup "$loop0" dev1 && losetup "$loop1" dev0
    losetup -d "$loop0" && losetup -d "$loop1"
    losetup "$loop0" dev0 && losetup "$loop1" dev1
    ok vmferry point delete "$vm" 3 -- "points are merged in the first order again"
    ok vmferry verify "$vm" --source -- "into the right ones"
    losetup -d "$loop0" && losetup -d "$loop1"
    losetup "$loop0" dev1 && losetup "$loop1" dev0
    losetup -d "$loop1"
    run verify "$vm"
    is "$status" 1 "a device that is gone"
    like "$out" "is gone: attach it again" "is said"
    losetup "$loop1" dev0
    twin=$(losetup --find --show dev0)
    run verify "$vm"
    is "$status" 1 "two devices that match"
    like "$out" "2 devices are the one" "are refused"
    describe u/7
    run replicate "$vm"
    is "$status" 1 "also for writing"
    losetup -d "$twin"
    ok vmferry replicate "$vm" -- "with one it goes on"

    # Larger than the disks, and chosen by the operator.
    truncate -s 50M dev2 && loop_device dev2 && loop2=$device
    truncate -s 60M dev3 && loop_device dev3 && loop3=$device
    ok vmferry pool add block big --device="$loop2" --device="$loop3" -- "larger devices"
    chain big raw --device=disk-2001="$loop2" --device=disk-2000="$loop3"
    is "$(readlink -f "$(image 3 2000)")" "$loop3" "the operator's choice"

    # A replica that is given up, and made anew somewhere else, leaves its devices.
    ok vmferry point delete "$vm" --all -- "a replica on devices is given up"
    ok vmferry export check -- "and its exports need nothing"
    vmferry replicate "$vm" --pool=big --rate=2M >/dev/null 2>&1 &
    began=$!
    sleep 1.5
    kill "$began"
    wait "$began"
    ok vmferry job cancel "$(vmferry job list --json | jq 'map(.job) | max')" --drop -- "a first copy to devices is dropped"
    ok vmferry export check -- "and its exports need nothing either"
    ok vmferry replicate "$vm" --pool=state -- "the next first copy goes elsewhere"
    is "$(stat -c %F "state/replicas/$uuid/disk-2000/base.raw")" "regular file" \
        "to a file, and through no link to a device"
    like "$(vmferry pool show big)" "$loop3 .*: free" "the devices are free again"
    ok vmferry verify "$vm" --source -- "what it made is right"
    new_vm next
    ok vmferry replicate next --pool=big -- "and another VM can have them"
    ok vmferry verify next --source -- "for itself"

    # Whose data it may be.
    holds() { # NAME KIND COMMAND…: a device that COMMAND put something on
        local name=$1 kind=$2
        shift 2
        truncate -s 40M "data-$name"
        "$@" >/dev/null 2>&1 || { skip "$1 is not here" "$name"; return; }
        loop_device "data-$name"
        run pool add block "data-$name" --device="$device"
        is "$status" 1 "a device that holds data is refused: $name"
        like "$out" "$device holds data[,:] $kind" "and why: $name"
    }
    holds ext4 ext4 mkfs.ext4 -q data-ext4
    holds partitions dos sfdisk -q --label dos data-partitions <<<',,L'
    holds swap swap mkswap data-swap
    holds lvm LVM2_member pvcreate -q data-lvm
    holds unknown "of a kind" dd if=/dev/urandom of=data-unknown bs=64k seek=3 count=1 conv=notrunc
    mkdir mounted && truncate -s 40M data-mounted && mkfs.ext4 -q data-mounted && loop_device data-mounted
    mount "$device" mounted && at_exit "umount '$tmp/mounted'"
    run pool add block mounted --force-device="$device"
    is "$status" 1 "a mounted one even by force"
    like "$out" "is in use: mounted" "and why"
    truncate -s 40M used && loop_device used
    ok vmferry pool add block used --device="$device" -- "an empty device"
    mkfs.ext4 -q "$device"
    new_vm used
    head -c 1M /dev/urandom >used-2001
    vmferry pool add block used2 --device="$device" >/dev/null 2>&1
    run replicate used --pool=used
    is "$status" 1 "that was used since it was given: refused"
    ok fsck.ext4 -fn "$device" -- "and nothing was written to it"
else
    skip "no loop device" "block devices"
fi

# LVM: volume groups also where the kernel can't make volumes of them

if [ "$(id -u)" = 0 ] && command -v vgcreate >/dev/null && truncate -s 200M pv && loop_device pv &&
    vgcreate -qq "vmferry-test-$$" "$device" 2>/dev/null; then
    at_exit "vgremove -qq -y vmferry-test-$$"
    ok vmferry pool add lvm group "vmferry-test-$$" -- "a volume group"
    is "$(vmferry pool list --json | jq '.[] | select(.name == "group") | .free == .total and .free > 190000000')" \
        true "its size and what is free"
    if grep -q device-mapper /proc/misc; then
        chain group raw
        is "$(lvs --noheadings -o lv_name @vmferry | wc -l)" 2 "its volumes have our tag"
    else
        skip "the kernel has no device-mapper" "replicas in LVM"
        new_vm group
        run replicate group --pool=group
        is "$status" 1 "a volume that can't be made: refused"
        like "$out" "pool 'group': lvcreate" "and why"
        is "$(find "state/replicas/$uuid" -name 'base*' | wc -l)" 0 "no base is left"
    fi
else
    skip "LVM is not here" "LVM"
fi
run pool add lvm group no-such-group
is "$status" 1 "a volume group that is not there"
done_testing
