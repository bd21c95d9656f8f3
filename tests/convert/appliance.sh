# shellcheck shell=bash
# A kernel for libguestfs' appliance where this host has none, as in a container: Debian's, unpacked
# and kept in the cache. Sourced, before virt-v2v is used.
if ! compgen -G '/boot/vmlinuz-*' >/dev/null; then
    # shellcheck source=scripts/guest/disk.sh
    . "${top:?}/scripts/guest/disk.sh"
    cache=$(cache_directory)
    mkdir -p "$cache" /lib/modules # supermin looks there, whatever it is told
    [ -d "$cache/debian-guest" ] || "$top/tests/convert/make-debian-guest" "${tmp:?}/unused.raw"
    if [ ! -d "$cache/appliance" ]; then
        unpacked=$(mktemp -d "$cache/unpack.XXXXXX")
        dpkg-deb -x "$cache"/debian-guest/linux-image-*.deb "$unpacked"
        depmod -b "$unpacked" "$(ls "$unpacked/lib/modules")"
        mv -T "$unpacked" "$cache/appliance" 2>/dev/null || rm -rf "$unpacked"
    fi
    SUPERMIN_KERNEL=$(echo "$cache"/appliance/boot/vmlinuz-*)
    SUPERMIN_MODULES=$(echo "$cache"/appliance/lib/modules/*)
    export SUPERMIN_KERNEL SUPERMIN_MODULES
fi
