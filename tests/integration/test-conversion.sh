#!/bin/bash
# vmferry-virtio-inject on images: whom it leaves alone, what it refuses, what it changes, and
# that an image is whole or as it was. CONVERSION=v2v tests that engine (make check-convert).
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, to mount guests' file systems"
[ -e /dev/fuse ] || skip_all "needs /dev/fuse"
PATH=$top/scripts:$top/tests/convert:$PATH
export VMFERRY_VIRT_TYPE=qemu VMFERRY_CONFIG=/dev/null
engine=${CONVERSION:-native}
[ "$engine" != v2v ] || {
    # shellcheck source=tests/convert/appliance.sh
    . "$top/tests/convert/appliance.sh"
}

inject() {
    vmferry-virtio-inject "$@" 2>&1
}

sum() { # IMAGE: of what a guest reads
    qemu-img convert -O raw "$1" "$tmp/sum.raw" && sha256sum <"$tmp/sum.raw"
}

# What began in this test, wherever it is by now, by its environment.
export CONVERSION_TEST=$tmp
running() {
    grep -lsz "^CONVERSION_TEST=$tmp\$" /proc/[0-9]*/environ | while read -r file; do
        xargs -0a "${file%environ}cmdline" 2>/dev/null | grep -E 'qemu-|ntfs-3g|inside|v2v'
    done
}

# shellcheck disable=SC2317 # by wait_for
none_runs() {
    [ -z "$(running)" ]
}

left_behind() {
    find "$tmp" -name '*convert.*' -o -name '*.vmferry-*'
    running
    losetup --noheadings --output BACK-FILE | grep "$tmp"
    grep " $tmp" /proc/mounts
}

# What is virtio already.

make-guest "$tmp" --payload 1 --data-size 64
before=$(sha256sum <"$tmp/system.raw")
SECONDS=0
out=$(inject "$tmp/system.raw" "$tmp/data.raw") && status=0 || status=$?
took=$SECONDS
is "$status" 0 "a guest with virtio needs nothing"
like "$out" "nothing to do: its system has the drivers" "which is said"
is "$(sha256sum <"$tmp/system.raw")" "$before" "its image is not touched"
ok [ "$took" -le 5 ] -- "that takes no time ($took s)"
out=$(inject --check --disk-bus=scsi --json "$tmp/system.raw") && status=0 || status=$?
is "$status $(jq -r '.needed, .os' <<<"${out%vmferry virtio-inject:*}" 2>/dev/null | xargs)" "1 true linux" \
    "but it has no driver for virtio-scsi"
truncate -s 1M "$tmp/empty.raw"
like "$(inject "$tmp/empty.raw")" "no system on its disks" "empty disks need nothing"
is "$(inject --check "$tmp/missing.raw" >/dev/null; echo $?)" 1 "an image that is not there is an error"
is "$(inject --check --conversion=hope "$tmp/empty.raw" >/dev/null; echo $?)" 2 "an unknown engine is wrong use"
cp "$tmp/empty.raw" "$tmp/noname"
like "$(inject --check "$tmp/noname")" "say its format" "a format is not guessed from what is in the image"
cp "$tmp/empty.raw" "$tmp/false.qcow2"
like "$(inject "$tmp/false.qcow2"; echo "$?")" "false.qcow2: no qcow2 image.*2$" "nor called by its name alone"
like "$(inject "$tmp/system.raw" "$tmp/../${tmp##*/}/system.raw"; echo "$?")" "system.raw: the same disk twice.2$" \
    "the same disk twice is wrong use"
mkdir "$tmp/directory.raw"
like "$(inject "$tmp/directory.raw"; echo "$?")" "no image, and no block device.2$" "so is a directory"

# What can't be looked into is not guessed at either.
truncate -s 8M "$tmp/lvm.raw"
printf 'LABELONE' | dd of="$tmp/lvm.raw" bs=1 seek=512 conv=notrunc status=none
like "$(inject --check "$tmp/lvm.raw")" "LVM on disk 1 can't be looked into" "a volume group that is not whole is told"
like "$(inject --conversion=native "$tmp/lvm.raw")" "conversion=v2v" "the engine native refuses it"

# Windows.

make-windows-disk --drivers "$tmp/drivers"

# The volume of a Windows image, to look at: in $tmp/root until `unlook`.
look() { # IMAGE
    qemu-img convert -O raw "$1" "$tmp/look.raw"
    dd if="$tmp/look.raw" of="$tmp/volume" bs=1M skip=1 conv=sparse status=none
    mkdir -p "$tmp/root"
    ntfs-3g -o ro "$tmp/volume" "$tmp/root"
}
unlook() {
    umount "$tmp/root"
}
at_exit unlook

registry() { # HIVE KEY NAME
    hivexget "$tmp/root/Windows/System32/config/$1" "$2" "$3"
}

for release in 10 7; do
    image=$tmp/w$release.qcow2
    make-windows-disk "$tmp/w$release.raw" $release
    qemu-img create -q -f qcow2 -F raw -b "$tmp/w$release.raw" "$image"
    before=$(sum "$image")
    like "$(inject --check "$image")" "Windows has no driver viostor" "Windows $release lacks its driver"
    out=$(inject --conversion="$engine" "$image") && status=0 || status=$?
    is "$status" 2 "without virtio-win that is refused"
    like "$out" "virtio-win" "and what is missing is named"
    is "$(sum "$image")" "$before" "the image is as it was"
    ok vmferry-virtio-inject --conversion="$engine" --virtio-win="$tmp/drivers" --engine-log="$tmp/log" "$image" \
        -- "Windows $release is converted"
    look "$image"
    set='ControlSet001\Services\viostor'
    is "$(registry SYSTEM "$set" Start) $(registry SYSTEM "$set" Type)" "0 1" "viostor starts at boot"
    is "$(registry SYSTEM "$set" ImagePath | tr '[:upper:]' '[:lower:]')" 'system32\drivers\viostor.sys' "from its file"
    driver=$(find "$tmp/root/Windows/System32" -ipath '*/drivers/viostor.sys')
    [ $release = 10 ] && from=w10 || from=w7
    is "$(cat "$driver")" "viostor for $from, sys" "which is the one for Windows $release"
    device='VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00'
    if [ $release = 10 ]; then
        is "$(hivexget "$tmp/root/Windows/System32/config/SYSTEM" "DriverDatabase\\DeviceIds\\PCI\\$device" |
            grep -c 'stor\.inf')" 1 "its device is in the driver database"
    else
        is "$(registry SYSTEM "ControlSet001\\Control\\CriticalDeviceDatabase\\pci#$device" Service)" viostor \
            "its device is a critical one"
    fi
    [ "$engine" = v2v ] ||
        like "$(registry SOFTWARE 'Microsoft\Windows\CurrentVersion' DevicePath)" 'Drivers.VirtIO' \
            "Windows looks for more drivers in Drivers\\VirtIO"
    is "$(find "$tmp/root/Windows" -ipath '*/Drivers/VirtIO/netkvm.*' ! -iname '*.pdb' | wc -l)" 3 "NetKVM is there"
    is "$(registry SYSTEM 'ControlSet001\Services\Tcpip\Parameters' Hostname)" PHONY "the rest of the registry is there"
    unlook
    ok vmferry-virtio-inject --check "$image" -- "and then nothing is to be done"
done

for state in hibernated dirty; do
    image=$tmp/$state.raw
    make-windows-disk "$image" 10 $state
    before=$(sha256sum <"$image")
    out=$(inject --conversion="$engine" --virtio-win="$tmp/drivers" "$image") && status=0 || status=$?
    is "$status" 2 "a Windows that is $state is refused"
    like "$out" "must be converted .*can't be: .*$state" "with its reason"
    is "$(sha256sum <"$image")" "$before" "and not touched"
done

if [ "$engine" = v2v ]; then
    out=$(mv "$tmp/drivers/rhsrvany.exe" "$tmp/" && inject --virtio-win="$tmp/drivers" "$tmp/w10.raw")
    like "$out" "rhsrvany.exe" "virt-v2v's own program is named when it is missing"
    mv "$tmp/rhsrvany.exe" "$tmp/drivers/"
else
    qemu-img create -q -f qcow2 -F raw -b "$tmp/w10.raw" "$tmp/scsi.qcow2"
    xorriso -as mkisofs -quiet -J -R -o "$tmp/drivers.iso" "$tmp/drivers" 2>/dev/null
    ok vmferry-virtio-inject --conversion=native --disk-bus=scsi --virtio-win="$tmp/drivers.iso" "$tmp/scsi.qcow2" \
        -- "for virtio-scsi, from an ISO"
    look "$tmp/scsi.qcow2"
    is "$(registry SYSTEM 'ControlSet001\Services\vioscsi' Start)" 0 "vioscsi starts at boot"
    is "$(cat "$tmp/root/Windows/System32/drivers/vioscsi.sys")" "vioscsi for w10, sys" "from the right file"
    unlook
    rm -rf "$tmp/drivers/viostor/w10" "$tmp/drivers/viostor/2k22"
    qemu-img create -q -f qcow2 -F raw -b "$tmp/w10.raw" "$tmp/other.qcow2"
    before=$(sum "$tmp/other.qcow2")
    out=$(inject --conversion=native --virtio-win="$tmp/drivers" "$tmp/other.qcow2") && status=0 || status=$?
    is "$status" 1 "virtio-win without a driver for this Windows fails"
    like "$out" "has no driver viostor for Windows 10 Pro" "which is said"
    is "$(sum "$tmp/other.qcow2")" "$before" "and the image is as it was"
fi
is "$(left_behind)" "" "nothing is left of all this"

# An end at any moment: the image is as it was, or it is converted; nothing goes on.

make-windows-disk --drivers "$tmp/drivers"
qemu-img create -q -f qcow2 -F raw -b "$tmp/w10.raw" "$tmp/killed.qcow2"
before=$(sum "$tmp/killed.qcow2")
broken=
[ "$engine" = v2v ] && moments="5 20" || moments="0.05 0.1 0.2 0.3 0.5"
for signal in INT KILL; do
    for moment in $moments; do
        vmferry virtio-inject --conversion="$engine" --virtio-win="$tmp/drivers" "$tmp/killed.qcow2" >/dev/null 2>&1 &
        pid=$!
        sleep "$moment"
        kill -$signal $pid 2>/dev/null
        wait $pid 2>/dev/null
        wait_for 15 none_runs ||
            broken+=" $signal after $moment s: processes stay;"
        rm -rf "$tmp"/*.vmferry-*
        [ "$(sum "$tmp/killed.qcow2")" = "$before" ] ||
            vmferry virtio-inject --check "$tmp/killed.qcow2" >/dev/null 2>&1 ||
            broken+=" $signal after $moment s: neither as it was nor converted;"
        qemu-img create -q -f qcow2 -F raw -b "$tmp/w10.raw" "$tmp/killed.qcow2"
    done
done
is "$broken" "" "killed at any moment, the image is whole, and all processes end"
is "$(left_behind)" "" "no file, mount or loop device is left"
done_testing
