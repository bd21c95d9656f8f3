#!/bin/bash
# The demo as anyone would run it: killed in the middle, then to its end. (By UEFI the guest boots
# in test-failover.sh.) What it claims is read again from what it left; nothing else is left.
# shellcheck source=tests/lib.sh
# shellcheck disable=SC2016 # $full and $changed are for jq
. "$(dirname "$0")/../lib.sh"
export VMFERRY_DEMO=$tmp/demo VMFERRY_VIRT_TYPE=qemu
# shellcheck source=scripts/demo-lib.sh
. "$top/scripts/demo-lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for libvirt's system daemon"

# Everything on this host that our demos could leave behind; others may run theirs.
host_state() {
    local ids
    ids=$(vmferry failover list --json 2>/dev/null | jq -r '[.[].domain_uuid[:8]] | join("|")')
    {
        pgrep -a qemu-system
        ip -brief link
        compgen -G '/var/lib/libvirt/qemu/nvram/*'
        compgen -G '/etc/libvirt/qemu/*'
    } | grep -oE "guest=$name,|(vmferry-test|vft)-(${ids:-none})|/${name}[^ ]*"
    pgrep -fa "$demo/state"
    grep -F "$demo" /proc/mounts
    compgen -G "$images*"
    [ -n "$(virsh --quiet list --name 2>/dev/null)" ] || compgen -G "$daemons*"
    find "$demo" \( -name '*.sock' -o -name '*.pid' -o -name guest \) -not -path '*/.exportmap/*' 2>/dev/null
}

# What ends when its client does may need a moment for it on a busy machine. What others left
# before us may go: a demo takes away what a killed one left.
leaves_nothing() { # NAME
    left() { comm -13 <(sort <<<"$before_all") <(host_state | sort); }
    # shellcheck disable=SC2317 # wait_for calls it
    nothing_left() { [ -z "$(left)" ]; }
    wait_for 20 nothing_left
    is "$(left)" "" "$1"
}

# One act: JQ-PATH of its part of the summary, and what `vmferry` calls its VM.
check_act() { # ACT JQ-PATH VM
    local summary=$demo/summary.json said
    is "$(jq -r "$2 | [.points[].disks[].sync_type] | join(\" \")" "$summary")" \
        "initial initial incremental incremental" "$1: a full and an incremental point, two disks each"
    ok jq -e "$2"' | [.points[0].disks[].bytes] as $full | [.points[1].disks[].bytes] as $changed
        | $changed[0] > 0 and $changed[1] > 0 and $changed[0] < $full[0] / 2
          and $changed[1] < $full[1] / 2' "$summary" -- "$1: the incremental sync moved only what changed"
    ok jq -e "$2 | [.points[].disks[].digest] | unique | length == 4" "$summary" -- \
        "$1: every disk of every point has its digest"
    ok jq -e "$2"' | .failover.evidence.booted and .failover.state == "booted"' "$summary" -- \
        "$1: the replica booted in its test"

    said=$(tr -d '\r' <"$(jq -r "$2 | .failover.evidence.console" "$summary")")
    for disk in system data; do
        like "$said" "verify disk=$disk records=[1-9][0-9]* bad=0 missing=0 " \
            "$1: the guest finds every record of its $disk disk"
        ok test "$(sed -n "s/.*verify disk=$disk .* seq=//p" <<<"$said")" -ge \
            "$(jq "$2 | .sequence_before" "$summary")" -- "$1: also the last one that the source had shown"
    done
    like "$said" "verify disks agree=yes" "$1: both disks are of one moment"
    like "$said" "disk data device=vdb serial=disk-2001" "$1: the disks are known by their keys"
    ok vmferry verify "$3" --point=1 -- "$1: point 1 is as it was made"
    ok vmferry verify "$3" --point=2 -- "$1: point 2 is as it was made"
}

# The guest's records are checked by the guest; here is what its words must be.
check_summary() { # FIRMWARE ACTS
    local summary=$demo/summary.json
    is "$(jq -r .firmware "$summary")" "$1" "$1: the guest boots by $1"
    ok jq -e '.source_after_test > .source_at_test' "$summary" -- "$1: the source went on meanwhile"
    check_act "$1, NBD" . "$name"
    [ "$2" = 1 ] || check_act "$1, vSphere" .vsphere "$vsphere_path"
    is "$(vmferry failover list --json | jq -r '[.[].state] | unique | join(" ")')" "rolled back" \
        "$1: the tests are rolled back"
    is "$(vmferry vm list --json | jq -r '[.[].state] | unique | join(" ")')" ready_for_failover \
        "$1: the VMs are ready"
}

run_demo() { # FIRMWARE ACTS
    local status=0
    VMFERRY_DEMO_ACTS=$2 "$top/scripts/demo" "$1" >"$tmp/$1.out" 2>&1 || status=$?
    is $status 0 "$1: the demo comes to its end"
    diag "$(if [ $status = 0 ]; then grep -E '^waited|^done in' "$tmp/$1.out"; else tail -n 20 "$tmp/$1.out"; fi)"
}

before_all=$(host_state)

"$top/scripts/demo" >"$tmp/killed.out" 2>&1 &
killed=$!
wait_for "$BOOT_LIMIT" grep -q 'vmferry replicate' "$tmp/killed.out"
kill -9 $killed
wait $killed 2>/dev/null
like "$(host_state)" "guest=$name" "a demo that is killed leaves its guest running"

run_demo bios 2
check_summary bios 2
leaves_nothing "the next one leaves nothing, also of the killed one"

done_testing
