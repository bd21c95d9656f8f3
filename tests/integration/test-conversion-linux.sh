#!/bin/bash
# vmferry-virtio-inject on the file systems that a Linux may be on, by the engine native: which it
# converts, which it refuses and how, and that it harms none. The guests are small, see
# make-small-guest; tests/e2e/long/test-conversion-linux.sh boots real ones.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, to mount guests' file systems"
[ -e /dev/fuse ] || skip_all "needs /dev/fuse"
PATH=$top/scripts:$top/tests/convert:$PATH
export VMFERRY_VIRT_TYPE=qemu VMFERRY_CONFIG=/dev/null

inject() {
    vmferry-virtio-inject --conversion=native "$@" 2>&1
}
check() {
    vmferry-virtio-inject --check "$@" 2>&1
}
can_mount() { # FILE-SYSTEM
    modprobe -q "$1" 2>/dev/null
    grep -qw "$1" /proc/filesystems
}

share_mounts
mkdir "$tmp/mnt"
at_exit "umount $tmp/mnt"
mount_volume() { # VOLUME [OPTIONS]
    mount -o "loop${2:+,$2}" "$1" "$tmp/mnt"
}
unmount_volume() {
    umount "$tmp/mnt"
}

power_off() { # hard: what was written is in the journal, and nowhere else
    sync -f "$tmp/mnt"
    xfs_io -x -c 'shutdown -f' "$tmp/mnt"
    unmount_volume
}

disk_of() { # NAME VOLUMES…: a disk of these partitions
    local name=$1 at=1 volume size table=
    shift
    for volume; do
        size=$(($(stat -c %s "$tmp/$volume") >> 20))
        table+="start=${at}MiB, size=${size}MiB, type=83"$'\n'
        at=$((at + size))
    done
    truncate -s $((at + 1))M "$tmp/$name.raw"
    sfdisk -q "$tmp/$name.raw" <<<"label: dos"$'\n'"$table"
    at=1
    for volume; do
        dd if="$tmp/$volume" of="$tmp/$name.raw" bs=1M seek=$at conv=notrunc,sparse status=none
        at=$((at + ($(stat -c %s "$tmp/$volume") >> 20)))
    done
}
volume_of() { # NAME MIB [START]: the partition of a disk there, as $tmp/NAME.volume
    dd if="$tmp/$1.raw" of="$tmp/$1.volume" bs=1M skip="${3:-1}" count="$2" conv=sparse status=none
}
ext4() { # NAME MIB TREE [OPTIONS…]
    truncate -s "$2M" "$tmp/$1"
    mke2fs -q -F -t ext4 -d "$3" "${@:4}" "$tmp/$1"
}
modules_of() { # INITRAMFS
    gzip -dc "$1" | cpio -t --quiet | sed -n 's|.*/\(virtio_.*\)\.ko|\1|p' | sort | xargs
}
four="virtio_blk virtio_net virtio_pci virtio_scsi"

# Packed in any way, several kernels, one of them gone.

for packer in cat gzip xz zstd "lz4 -l" bzip2; do
    name=${packer%% *}
    make-small-guest "$tmp/tree-$name" "$packer" 6.1-one 6.2-two
    ext4 "$name.ext4" 16 "$tmp/tree-$name"
    disk_of "$name" "$name.ext4"
    like "$(check "$tmp/$name.raw")" "initrd.img-6.[12]-... has no virtio_pci driver" "an initramfs by $name is looked into"
done
make-small-guest "$tmp/tree" gzip 6.1-one 6.2-two
rm -r "$tmp/tree/lib/modules/6.1-one"
ext4 kernels.ext4 16 "$tmp/tree"
disk_of kernels kernels.ext4
out=$(inject "$tmp/kernels.raw") && status=0 || status=$?
is "$status" 0 "an initramfs of a kernel that was removed is not in the way" || explain "$out"
like "$out" "initrd.img-6.1-one stays as it is: its kernel's modules are gone" "and is left"
rm -r "$tmp/tree/lib/modules/6.2-two"
ext4 none.ext4 16 "$tmp/tree"
disk_of none none.ext4
like "$(inject "$tmp/none.raw")" "no initramfs of a kernel that is there" "but when there is no other one, that fails"

ok inject "$tmp/zstd.raw" -- "each of several kernels is mended"
volume_of zstd 16
is "$(e2fsck -fn "$tmp/zstd.volume" >/dev/null 2>&1; echo $?)" 0 "its file system is whole"
mount_volume "$tmp/zstd.volume" ro
for version in 6.1-one 6.2-two; do
    is "$(modules_of "$tmp/mnt/boot/initrd.img-$version")" "$four" "initrd.img-$version has the drivers"
done
is "$(cut -d' ' -f1 "$tmp/mnt/etc/fstab") $(grep -o 'root=[^ ]*' "$tmp/mnt/boot/grub/grub.cfg")" "/dev/vda1 root=/dev/vda1" \
    "the disk has its new name"
unmount_volume
ok check "$tmp/zstd.raw" -- "nothing more is to be done"

# Powered off hard: what its journal has is there, and what is written comes after it.

make-small-guest "$tmp/late"
rm "$tmp/late/etc/fstab" "$tmp/late/etc/initramfs-tools/modules"
ext4 dirty.ext4 32 "$tmp/late"
mount_volume "$tmp/dirty.ext4"
echo '/dev/sda1 / ext4 defaults 0 1' >"$tmp/mnt/etc/fstab"
echo sd_mod >"$tmp/mnt/etc/initramfs-tools/modules"
for n in $(seq 300); do
    echo "$n" >"$tmp/mnt/etc/late-$n"
done
power_off
like "$(dumpe2fs -h "$tmp/dirty.ext4" 2>&1)" "needs_recovery" "(an ext4 with a journal to be replayed)"
disk_of cut dirty.ext4
ok inject "$tmp/cut.raw" -- "a guest that was powered off hard is converted"
volume_of cut 32
is "$(e2fsck -fn "$tmp/cut.volume" >/dev/null 2>&1; echo $?)" 0 "its file system is whole, the journal is empty"
mount_volume "$tmp/cut.volume" ro
is "$(cat "$tmp"/mnt/etc/late-* 2>/dev/null | wc -l) $(cut -d' ' -f1 "$tmp/mnt/etc/fstab")" "300 /dev/vda1" "what was in its journal is there"
is "$(modules_of "$tmp/mnt/boot/initrd.img-6.1-one")" "$four" "and its drivers"
unmount_volume

# No room.

make-small-guest "$tmp/full" gzip 6.1-one 6.2-two
dd if=/dev/urandom of="$tmp/full/firmware/blob" bs=1M count=5 status=none
ext4 full.ext4 20 "$tmp/full" -m 0
mount_volume "$tmp/full.ext4"
free=$(df --output=avail -BM "$tmp/mnt" | tail -n 1 | tr -dc 0-9)
head -c "$((free - 7))M" /dev/zero >"$tmp/mnt/data"
unmount_volume
disk_of full full.ext4
before=$(sha256sum <"$tmp/full.raw")
out=$(inject "$tmp/full.raw") && status=0 || status=$?
is "$status" 1 "a root with room for one new initramfs of two fails"
like "$out" "update-initramfs failed .*No space left on device.* has [0-6] MiB free" "with the reason, and how much there is"
is "$(sha256sum <"$tmp/full.raw")" "$before" "nothing was written"

# Not in one partition.

make-small-guest "$tmp/parts"
mkdir "$tmp/boot"
mv "$tmp/parts/boot"/* "$tmp/boot/"
ln -s boot/initrd.img-6.1-one "$tmp/parts/initrd.img"
ext4 boot.ext4 8 "$tmp/boot"
ext4 root.ext4 16 "$tmp/parts"
disk_of parts boot.ext4 root.ext4
ok inject "$tmp/parts.raw" -- "a /boot of its own is converted, though the root has a link initrd.img"
volume_of parts 8
mount_volume "$tmp/parts.volume" ro
is "$(modules_of "$tmp/mnt/initrd.img-6.1-one")" "$four" "and has the drivers"
unmount_volume
ok check "$tmp/parts.raw" -- "nothing more is to be done"
sed -i s/sda1/vda1/ "$tmp/parts/etc/fstab"
ext4 alone.ext4 16 "$tmp/parts"
disk_of rootonly alone.ext4
like "$(check "$tmp/rootonly.raw")" "no initramfs of its Linux was found" "a root whose /boot is not seen is not taken as ready"
like "$(inject "$tmp/rootonly.raw")" "conversion=v2v" "and is refused"
mkdir -p "$tmp/parts/lib/modules/6.1-one"
printf 'kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/block/virtio_blk.ko\n' >"$tmp/parts/lib/modules/6.1-one/modules.builtin"
ext4 builtin.ext4 16 "$tmp/parts"
disk_of builtin builtin.ext4
ok check "$tmp/builtin.raw" -- "unless its kernel has the drivers built in"

# LVM.

make-small-guest "$tmp/logical"
ext4 logical.ext4 16 "$tmp/logical"
if command -v vgcreate >/dev/null; then
    truncate -s 32M "$tmp/lvm"
    loop_device "$tmp/lvm" && loop=$device
    lvm_() { # COMMAND OPTIONS…: without the kernel's device mapper
        "$1" --driverloaded n --config "devices { use_devicesfile=0 filter=[\"a|$loop|\",\"r|.*|\"] } backup { backup=0 archive=0 }
            activation { udev_sync=0 udev_rules=0 }" "${@:2}" >>"$tmp/lvm.log" 2>&1
    }
    lvm_ pvcreate --dataalignment 1M "$loop"
    lvm_ vgcreate -s 1M "vg$$" "$loop"
    lvm_ lvcreate -an -Zn -Wn -n root -L 16M "vg$$"
    losetup -d "$loop"
    dd if="$tmp/logical.ext4" of="$tmp/lvm" bs=1M seek=1 conv=notrunc,sparse status=none
    disk_of logical lvm
    before=$(sha256sum <"$tmp/logical.raw")
    like "$(check "$tmp/logical.raw")" "has no virtio_pci driver" "a root on a logical volume is looked into"
    out=$(inject "$tmp/logical.raw") && status=0 || status=$?
    is "$status $(sha256sum <"$tmp/logical.raw")" "2 $before" "the engine native refuses it, and writes nothing"
    like "$out" "logical volume .*lvm/vg$$-root.*conversion=v2v" "with its name, and what to do"
fi

# XFS and Btrfs.

if can_mount xfs; then
    truncate -s 320M "$tmp/xfs"
    mkfs.xfs -q "$tmp/xfs"
    mount_volume "$tmp/xfs"
    make-small-guest "$tmp/mnt"
    unmount_volume
    mount_volume "$tmp/xfs"
    for n in $(seq 300); do
        echo "$n" >"$tmp/mnt/etc/late-$n"
    done
    power_off
    disk_of xfs xfs
    like "$(check "$tmp/xfs.raw")" "has no virtio_pci driver" "XFS is looked into"
    ok inject "$tmp/xfs.raw" -- "and converted, its log replayed"
    ok check "$tmp/xfs.raw" -- "nothing more is to be done"
    volume_of xfs 320
    is "$(xfs_repair -n "$tmp/xfs.volume" >/dev/null 2>&1; echo $?)" 0 "it is whole"
    mount_volume "$tmp/xfs.volume" ro,nouuid
    is "$(cat "$tmp"/mnt/etc/late-* | wc -l) $(modules_of "$tmp/mnt/boot/initrd.img-6.1-one")" "300 $four" "with all that it had, and the drivers"
    unmount_volume
fi
if can_mount btrfs; then
    for subvolume in @rootfs root; do
        rm -f "$tmp/btrfs"
        truncate -s 128M "$tmp/btrfs"
        mkfs.btrfs -q "$tmp/btrfs" >/dev/null 2>&1
        mount_volume "$tmp/btrfs"
        btrfs subvolume create "$tmp/mnt/@home" >/dev/null
        btrfs subvolume create "$tmp/mnt/$subvolume" >/dev/null
        make-small-guest "$tmp/mnt/$subvolume"
        btrfs subvolume set-default "$tmp/mnt/@home"
        unmount_volume
        disk_of "btrfs$subvolume" btrfs
        image=$tmp/btrfs$subvolume.raw
        like "$(check "$image")" "/$subvolume/boot/initrd.img-6.1-one has no virtio_pci driver" "Btrfs with a subvolume $subvolume is looked into"
        ok inject "$image" -- "and converted"
        ok check "$image" -- "nothing more is to be done"
        volume_of "btrfs$subvolume" 128
        is "$(btrfs check "$tmp/btrfs$subvolume.volume" >/dev/null 2>&1; echo $?)" 0 "it is whole"
        mount_volume "$tmp/btrfs$subvolume.volume" "ro,subvol=$subvolume"
        is "$(modules_of "$tmp/mnt/boot/initrd.img-6.1-one") $(cut -d' ' -f1 "$tmp/mnt/etc/fstab")" "$four /dev/vda1" "it has the drivers, and the new name"
        unmount_volume
    done
    rm "$tmp/btrfs"
    truncate -s 128M "$tmp/btrfs"
    mkfs.btrfs -q "$tmp/btrfs" >/dev/null 2>&1
    mount_volume "$tmp/btrfs"
    mkdir -p "$tmp/mnt/@/.snapshots/1/snapshot"
    make-small-guest "$tmp/mnt/@/.snapshots/1/snapshot"
    unmount_volume
    disk_of snapshots btrfs
    like "$(inject "$tmp/snapshots.raw")" "Btrfs can't be looked into.*conversion=v2v" "a system in a deeper one is not taken as none"
fi

# Hibernated.

truncate -s 4M "$tmp/swap"
mkswap -q "$tmp/swap" >/dev/null
printf 'S1SUSPEND\0' | dd of="$tmp/swap" bs=1 seek=4086 conv=notrunc status=none
disk_of asleep logical.ext4 swap
before=$(sha256sum <"$tmp/asleep.raw")
out=$(inject "$tmp/asleep.raw") && status=0 || status=$?
is "$status $(sha256sum <"$tmp/asleep.raw")" "2 $before" "a Linux that is hibernated is refused, and not touched"
like "$out" "hibernated" "with its reason"
is "$(find "$tmp" -name '*convert.*' -o -name '*.vmferry-*'; losetup --noheadings --output BACK-FILE | grep "$tmp"; grep " $tmp/" /proc/mounts)" "" \
    "nothing is left of all this"
done_testing
