# Test failovers on a real libvirt, of VMs that are described in files: what is set up for them and
# what may be left of them. Sourced after lib.sh by test-failover-*.sh, which make their VMs with
# add_vm, and then add the source $tmp/vms.
# shellcheck shell=bash disable=SC2154
# shellcheck disable=SC2016 # at_exit evaluates it
export VMFERRY_DEMO=$tmp/demo VMFERRY_VIRT_TYPE=qemu
# shellcheck source=scripts/demo-lib.sh
. "$top/scripts/demo-lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for libvirt's system daemon"
[ -z "${SANITIZE:-}" ] || [ -x "$top/build/vmferry" ] || skip_all "needs a plain build beside this one"

# As in test-failover.sh: an nbdkit could not load modules that need a sanitizer's library.
replicate() { # VM
    local vmferry=vmferry
    [ -z "${SANITIZE:-}" ] || vmferry=$top/build/vmferry
    "$vmferry" replicate "$1" --progress=none >/dev/null 2>&1
}

mkdir -p "$demo" "$tmp/vms"
vms=()
start_libvirt
at_exit "stop_libvirt"
at_exit 'for vm in "${vms[@]}"; do vmferry failover rollback "$vm"; done'

add_vm() { # NAME NICS MORE DISK…; MORE: JSON, beside or instead of what is said here
    local name=$1 more=$3 uuid disks='' nics='' disk key=2000 i
    vms+=("$name")
    uuid=$(printf '5c0ffee5-0000-4000-8000-%04d%08d' ${#vms[@]} $$)
    for ((i = 0; i < $2; i++)); do
        nics+="${nics:+,}{ \"mac\": \"52:54:00:77:$(printf %02x:%02x ${#vms[@]} "$i")\", \"network\": \"LAN\" }"
    done
    shift 3
    for disk; do
        disks+="${disks:+,}{ \"key\": $key, \"unit\": $((key - 2000)), \"capacity\": $(stat -c %s "$disk"),
            \"backing_uuid\": \"$name-$key\", \"file\": \"$disk\" }"
        key=$((key + 1))
    done
    jq -n --arg name "$name" --arg uuid "$uuid" --argjson disks "[$disks]" --argjson nics "[$nics]" \
        --argjson more "$more" '{$uuid, $name, firmware: "bios", cpus: 1, memory: 67108864,
            $disks, $nics} + $more' >"$tmp/vms/$name.json"
}

# Of what test failovers make, wherever it may be; others may have theirs.
left_behind() {
    local ids
    ids=$(vmferry failover list --json | jq -r '[.[].domain_uuid[:8]] | join("|")')
    find "$VMFERRY_STATE/failovers" -name '*.qcow2' -o -name lock
    {
        virsh --quiet list --all --name
        virsh --quiet net-list --all --name
        ip -brief link
        compgen -G '/var/lib/libvirt/qemu/nvram/*'
        for domain in /var/lib/libvirt/swtpm/*; do
            vmferry failover list --json | jq -e --arg uuid "${domain##*/}" 'any(.domain_uuid == $uuid)' \
                >/dev/null && echo "vmferry-test-$(basename "$domain")"
        done
        pgrep -a qemu-system
        pgrep -a dnsmasq
    } | grep -E "(vmferry-test|vft)-(${ids:-none})"
}
