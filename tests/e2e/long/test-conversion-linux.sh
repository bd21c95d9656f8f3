#!/bin/bash
# A Debian with dracut, on SATA, whose QEMU is killed while its file system is mounted: the engine
# native converts it, and it boots from virtio with all that it had written.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, to mount guests' file systems"
PATH=$top/scripts:$PATH
export VMFERRY_VIRT_TYPE=qemu VMFERRY_CONFIG=/dev/null

disk=$tmp/guest.raw
"$top/tests/convert/make-debian-guest" "$disk" dracut >"$tmp/made" 2>&1 || explain "$(tail -n 5 "$tmp/made")"
cat >"$tmp/init" <<'INIT'
#!/bin/sh
mount -t proc proc /proc 2>/dev/null
mount -t devtmpfs dev /dev 2>/dev/null
exec >/dev/ttyS0 2>&1
mount -o remount,rw /
device=$(awk '$2 == "/" && $1 != "rootfs" { print $1 }' /proc/mounts | tail -n 1)
had=$(cat /var/late/* 2>/dev/null | wc -l)
mkdir -p /var/late
n=0
while [ $n -lt 500 ]; do
    n=$((n + 1))
    echo $n >/var/late/$n
done
sync
echo "VMFERRY-DEBIAN root $device had $had"
exec sleep 1000000
INIT
debugfs -w -f /dev/stdin "$disk?offset=$((6 << 20))" >/dev/null 2>&1 <<DEBUGFS
rm /usr/sbin/init
write $tmp/init /usr/sbin/init
sif /usr/sbin/init mode 0100755
DEBUGFS

# shellcheck disable=SC2317 # by ok
boot() { # INTERFACE LINE: until the guest says it, then it is killed
    local pid
    rm -f "$tmp/console"
    qemu-system-x86_64 -machine q35 -accel tcg -m 512 -display none -nodefaults -nic none -serial "file:$tmp/console" \
        -drive "if=none,id=d,format=raw,file=$disk" -device "$1,drive=d" 2>"$tmp/qemu" &
    pid=$!
    at_exit "kill -9 $pid"
    wait_for 240 grep -aq "$2" "$tmp/console" || explain "$(tail -n 5 "$tmp/qemu")" "$(tail -n 15 "$tmp/console")"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null
    grep -aq "$2" "$tmp/console"
}
volume() { # the guest's file system
    dd if="$disk" of="$tmp/volume" bs=1M skip=6 count=320 conv=sparse status=none
}

ok boot ide-hd "VMFERRY-DEBIAN root /dev/sda3 had 0" -- "it runs on SATA, writes, and is powered off hard"
volume
like "$(dumpe2fs -h "$tmp/volume" 2>&1)" "needs_recovery" "its journal is not empty"
out=$(vmferry-virtio-inject --check "$disk" 2>&1)
like "$out" "has no virtio_pci driver" "dracut's initramfs lacks the drivers"
out=$(vmferry-virtio-inject --conversion=native --engine-log="$tmp/log" "$disk" 2>&1) && status=0 || status=$?
is "$status" 0 "it is converted, by its own dracut" || explain "$out" "$(tail -n 5 "$tmp/log")"
ok grep -q "dracut: \*\*\* Creating" "$tmp/log" -- "whose log is there"
volume
is "$(e2fsck -fn "$tmp/volume" >/dev/null 2>&1; echo $?)" 0 "its file system is whole"
ok boot virtio-blk-pci "VMFERRY-DEBIAN root /dev/vda3 had 500" -- "and it boots from virtio, with all that it had written"
done_testing
