# shellcheck shell=bash
# Making disks that boot, without root, mounts or loop devices: what scripts/make-guest and the tests
# share. Sourced. Those that make a boot loader need $work, a directory of the caller's.

cache_directory() {
    if [ -n "${VMFERRY_CACHE:-}" ]; then
        echo "$VMFERRY_CACHE"
    elif [ "$(id -u)" = 0 ]; then
        echo /var/cache/vmferry
    else
        echo "${XDG_CACHE_HOME:-$HOME/.cache}/vmferry"
    fi
}

# What the two boot loaders carry in themselves: find the real grub.cfg.
loader_config() {
    cat <<'GRUB'
search --no-floppy --label --set=root system
configfile ($root)/boot/grub/grub.cfg
GRUB
}
loader_modules=(part_gpt ext2 search search_label linux configfile normal serial)

poke() { # FILE OFFSET BYTES(in printf's notation)
    # shellcheck disable=SC2059
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# GRUB for BIOS by hand, as grub-bios-setup would do it with a real device: boot.img
# in the first sector loads the core from the BIOS boot partition at sector 2048.
install_bios_loader() { # DISK
    local core=${work:?}/core.img
    grub-mkimage -O i386-pc -o "$core" -c "$work/loader.cfg" -p /boot/grub \
        biosdisk "${loader_modules[@]}"
    dd if=/usr/lib/grub/i386-pc/boot.img of="$1" bs=440 count=1 conv=notrunc status=none
    poke "$1" $((0x5c)) '\x00\x08\x00\x00\x00\x00\x00\x00'   # boot.img: core starts at 2048
    poke "$1" $((0x66)) '\x90\x90'                           # and trust the BIOS's drive number
    poke "$core" $((0x1f4)) '\x01\x08\x00\x00\x00\x00\x00\x00' # core: the rest is at 2049
    dd if="$core" of="$1" bs=512 seek=2048 conv=notrunc status=none
}

make_ext4() { # OUT MIB LABEL TREE
    truncate -s "${2}M" "$1"
    mke2fs -q -F -t ext4 -b 4096 -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 \
        -L "$3" -d "$4" "$1"
}
