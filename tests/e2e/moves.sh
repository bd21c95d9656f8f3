# A real guest with two disks leaves its source and comes back: live failover with its writer running
# until it is shut down, rollback, live again, commit. What counts is what the guest itself says of
# its records. Sourced after lib.sh by test-moves-*.sh, which set $vm; the guest is $name, its disks
# are in $demo/guest, the target's NICs go to the network $network.
# shellcheck shell=bash disable=SC2034,SC2154
# shellcheck disable=SC2317 # ok, wait_for and at_exit call functions
export VMFERRY_DEMO=$tmp/demo VMFERRY_VIRT_TYPE=qemu
# shellcheck source=scripts/demo-lib.sh
. "$top/scripts/demo-lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for libvirt's system daemon"
[ -z "${SANITIZE:-}${VALGRIND:-}" ] || skip_all "a guest's time limits are for plain builds"

# What demo-lib.sh needs of the demo.
firmware=bios
virt_type=qemu
network=vmferry-live-$$ # where the target's NICs go
mkdir -p "$demo"
start_libvirt
at_exit stop_libvirt
at_exit "virsh --quiet net-destroy $network"
at_exit stop_source
at_exit "virsh --quiet undefine $name-moved-by-vmferry --nvram --checkpoints-metadata" # the retired source
at_exit stop_vsphere
at_exit remove_targets

# Whatever is left of our VMs' domains, running or not.
remove_targets() {
    local uuid
    vmferry failover list --json | jq -r '.[].domain_uuid' | while read -r uuid; do
        virsh --quiet destroy "$uuid"
        virsh --quiet undefine "$uuid" --nvram --tpm
    done
} >/dev/null 2>&1

virsh --quiet net-create /dev/stdin <<END
<network><name>$network</name></network>
END
make-guest "$demo/guest" --payload 8 --data-size 64

until_record() { # SEQUENCE
    wait_for "$BOOT_LIMIT" said_record "$1" || fail "record $1 is not written; see $source_console"
}
said_record() {
    [ "$(last_sequence "$source_console")" -ge "$1" ]
}

replicate() {
    vmferry replicate "$vm" --progress=none >/dev/null
}

# "SYSTEM-SEQ DATA-SEQ", when the guest found its disks whole and of one moment.
records_of() { # CONSOLE
    local said disk
    said=$(tr -d '\r' <"$1" | grep -a '^VMFERRY-GUEST verify')
    [[ $said == *"disks agree=yes"* ]] || return 1
    for disk in system data; do
        [[ $said =~ "verify disk=$disk records="[1-9][0-9]*" bad=0 missing=0 seq="([0-9]+) ]] || return 1
        printf '%s ' "${BASH_REMATCH[1]}"
    done
}

is_between() { # LEAST WORDS MOST
    local word
    [ -n "$2" ] || return 1
    for word in $2; do
        [ "$word" -ge "$1" ] && [ "$word" -le "$3" ] || return 1
    done
}

console_of() { # ID, of a failover
    vmferry failover show "$vm" --id="$1" --json | jq -r .evidence.console
}

newest_failover() {
    vmferry failover show "$vm" --json | jq -r "$1"
}

state_is() { # STATE NAME
    is "$(vmferry vm show "$vm" --json | jq -r .state)" "$1" "$2"
}

source_power() {
    virsh --quiet domstate "$name" | head -n 1
}

# A point and what the source had said right before and right after its moment.
take_point() { # NUMBER
    before[$1]=$(last_sequence "$source_console")
    replicate
    after[$1]=$(($(last_sequence "$source_console") + 1)) # one may be written and not said yet
}

failover_test() { # POINT
    vmferry failover test "$vm" --point="$1" --expect='VMFERRY-GUEST ready' \
        --timeout="$BOOT_LIMIT" --json >"$tmp/test.$1"
}

go_live() { # NAME
    local said records
    # The source's name is taken, as it is in this libvirt, too.
    vmferry failover live "$vm" --yes --set="name = moved-$name" --expect='VMFERRY-GUEST ready' --timeout="$BOOT_LIMIT" \
        --json >"$tmp/live.json" 2>"$tmp/err"
    is $? 0 "$1" || cat "$tmp/err" >&2
    said=$(last_sequence "$source_console")
    is "$(source_power)" "shut off" "$1: the source is off"
    state_is failed_over_live "$1: the VM has failed over"
    domain=$(newest_failover .domain)
    is "$(virsh --quiet domstate "$domain" | head -n 1)" running "$1: the target runs"
    records=$(records_of "$(newest_failover .evidence.console)")
    # It is written before it is said: one more may be there, and no more.
    ok is_between "$said" "$records" $((said + 1)) -- "$1: record $said, the last one that the source had said, is there ($records)"
    like "$(newest_failover .evidence.downtime.seconds)" '^[0-9.]+$' "$1: its downtime is known"
    diag "$1: down for $(newest_failover .evidence.downtime.seconds) s"
}

# From a replicated VM whose guest writes.
there_and_back() { # ACT
    go_live "$1, live"
    virsh net-dumpxml "$network" >/dev/null
    is "$(virsh domiflist "$domain" | awk 'NR > 2 && NF { print $3, $5 }')" "$network 52:54:00:76:66:01" \
        "$1, live: its NIC is where the map says, with its MAC"
    replicate 2>"$tmp/err" && status=0 || status=$?
    is "$status" 1 "$1: what has moved is not replicated from its source"

    ok vmferry failover rollback "$vm" --yes -- "$1: it is rolled back to the source"
    is "$(source_power) $(virsh --quiet list --all --name | grep -cx "$domain")" "running 0" \
        "$1: the source runs again, the target is gone"
    state_is ready_for_failover "$1: the VM is ready for failover"
    wait_for_console "$source_console" 'VMFERRY-GUEST ready' "the source to boot again"
    until_record $(($(last_sequence "$source_console") + 3))

    go_live "$1, live again"
    ok vmferry failover commit "$vm" --yes -- "$1: it is committed"
    is "$(virsh --quiet domstate "$domain" | head -n 1)" running "$1: the target runs on"
    is "$(virsh domblklist "$domain" --details | awk '$2 == "disk"' | wc -l)" 2 "$1: with two disks"
    is "$(virsh dumpxml "$domain" | grep -c '<backingStore type')" 0 "$1: nothing is below them any more"
    state_is committed "$1: the VM has moved"
    kept=$(vmferry failover list "$vm" --json | jq -r '[.[] | select(.state == "rolled back, kept")][0].id')
    is "$(qemu-img info "$VMFERRY_STATE/failovers/$kept/disk-2000.kept" | grep -c backing)" 0 \
        "$1: what the rollback kept stands alone"
}
