# What scripts/demo consists of: the source guest, libvirt's daemons, waiting, the
# assertions, the summary. Sourced, with $top set.
# shellcheck shell=bash disable=SC2034,SC2154
demo=$(realpath -m "${VMFERRY_DEMO:-$top/build/demo}")
BUILD=$(realpath -m "${BUILD:-$top/build}")
PATH=$BUILD:$top/scripts:$PATH
export VMFERRY_STATE=$demo/state
export LIBVIRT_DEFAULT_URI=qemu:///system

BOOT_LIMIT=${VMFERRY_DEMO_BOOT_LIMIT:-300} # seconds; a boot takes 12 without KVM on an idle machine

# Two checkouts may run their demos on one host.
name=demo-$(cksum <<<"$demo" | cut -c 1-5)
images=/var/lib/libvirt/images/vmferry-$name # libvirt's QEMU can't pass through /root
daemons=/run/vmferry-demo # pid files, when libvirt's daemons are ours to stop
description=$demo/source.json
source_console=$demo/source-console.log

# Without a terminal: virsh would start a polkit agent, which root does not need and which
# complains where D-Bus does not run.
virsh() {
    setsid --wait virsh "$@"
}

# shellcheck source=scripts/demo-vsphere.sh
. "$top/scripts/demo-vsphere.sh"

title() {
    printf '\n=== %s\n' "$*"
}

run() {
    echo "\$ ${*//$top\//}"
    "$@"
}

fail() {
    echo "demo: $*" >&2
    exit 1
}

# As udev would: where its own QEMU may not open /dev/kvm, but libvirtd may, libvirtd asks QEMU
# for its capabilities again at each step, which takes it some seconds.
let_libvirt_see_kvm() {
    if [ "$(stat -c '%U %a' /dev/kvm 2>/dev/null)" = "root 600" ] && getent group kvm >/dev/null; then
        chgrp kvm /dev/kvm && chmod 0660 /dev/kvm
    fi
}

# libvirt's daemons, unless they run (or systemd starts them when asked). Those that a
# killed demo left, or one that runs beside this one started, are ours as well.
start_libvirt() {
    if ! virsh --quiet version >/dev/null 2>&1; then
        mkdir -p "$daemons"
        let_libvirt_see_kvm
        virtlogd --daemon --pid-file "$daemons/virtlogd.pid" 9>&-
        env -u TMPDIR libvirtd --daemon --pid-file "$daemons/libvirtd.pid" 9>&-
        poll 30 virsh --quiet version || fail "libvirtd does not answer; see /var/log/libvirt"
    fi
}

poll() { # SECONDS COMMAND…
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

# The last one out stops them.
stop_libvirt() {
    local daemon pid
    [ -d "$daemons" ] || return 0
    [ -z "$(virsh --quiet list --name)" ] || return 0
    for daemon in libvirtd virtlogd; do
        pid=$(cat "$daemons/$daemon.pid" 2>/dev/null || echo none)
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = $daemon ]; then
            kill "$pid"
            poll 20 test ! -e "/proc/$pid"
        fi
    done
    rm -rf "$daemons"
}

stop_guest() {
    virsh --quiet destroy "$name" >/dev/null 2>&1 || true
    virsh --quiet undefine "$name" --nvram --checkpoints-metadata >/dev/null 2>&1 || true
}

stop_source() {
    stop_guest
    rm -rf "$images"
}

# The lock keeps a second demo out; what a killed one was running holds it as well.
lock_demo() {
    mkdir -p "$demo"
    exec 9>"$demo/lock"
    flock --nonblock 9 && return
    echo "waiting for another demo, or what is left of it, to end"
    flock --timeout "$BOOT_LIMIT" 9 || fail "another demo runs in $demo"
}

# Also removes what a demo that was killed left behind.
prepare_demo() {
    lock_demo
    start_libvirt
    if [ -e "$VMFERRY_STATE/vmferry.db" ] && vmferry vm show "$name" >/dev/null 2>&1; then
        vmferry failover rollback "$name" >/dev/null
    fi
    stop_source
    find "$demo" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
}

clean_up_demo() {
    local status=$?
    trap - EXIT
    if [ $status != 0 ]; then
        echo "demo: failed; its logs are in $demo" >&2
        vmferry failover rollback "$name" >/dev/null 2>&1 || true
        vmferry failover rollback "$vsphere_path" >/dev/null 2>&1 || true
    fi
    stop_vsphere
    stop_source
    stop_libvirt
    rm -rf "$demo/guest"
    return $status
}

source_xml() { # FORMAT of its disks
    local loader=
    [ "$firmware" = bios ] || loader="
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'/>"
    cat <<XML
<domain type='$virt_type'>
  <name>$name</name>
  <memory unit='MiB'>256</memory>
  <vcpu>2</vcpu>
  <os><type machine='q35'>hvm</type>$loader</os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='$1'/>
      <source file='$images/system.$1'/>
      <target dev='vda' bus='virtio'/>
      <serial>demo-system</serial>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='$1'/>
      <source file='$images/data.$1'/>
      <target dev='vdb' bus='virtio'/>
      <serial>demo-data</serial>
    </disk>
    <interface type='user'>
      <mac address='52:54:00:76:66:01'/>
      <model type='virtio'/>
    </interface>
    <serial type='file'><source path='$source_console'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='none'/>
  </devices>
</domain>
XML
}

# The guest with disks of FORMAT, which are copied from what is in FOLDER in another one.
start_guest() { # FORMAT FOLDER FORMAT
    local disk
    mkdir -p "$images"
    chmod 0711 "$images"
    for disk in system data; do
        qemu-img convert -f "$3" -O "$1" "$2/$disk.$3" "$images/$disk.$1"
    done
    source_xml "$1" >"$demo/source.xml"
    virsh --quiet define "$demo/source.xml"
    virsh --quiet start "$name"
}

# qcow2, because QEMU keeps dirty bitmaps there only.
start_source() {
    start_guest qcow2 "$demo/guest" raw
}

last_sequence() { # CONSOLE
    tr -d '\r' <"$1" | sed -n 's/^VMFERRY-GUEST seq \([0-9]*\)$/\1/p' | tail -n 1
}

# Seconds left of the limit as a bar on a terminal, else a line every ten seconds.
wait_for_console() { # CONSOLE LINE WHAT
    local start=$SECONDS said=0 round=0 waited
    until grep -aqF "$2" "$1" 2>/dev/null; do
        waited=$((SECONDS - start))
        [ $waited -lt "$BOOT_LIMIT" ] || fail "gave up waiting for $3 after $waited s; see $1"
        if [ $((round++ % 20)) = 0 ]; then
            [ "$(virsh --quiet domstate "$name")" = running ] || fail "the guest stopped; see $1"
        fi
        if [ -t 1 ]; then
            printf '\r\e[Kwaiting for %s: %d s (limit %d s)' "$3" $waited "$BOOT_LIMIT"
        elif [ $((waited / 10)) -gt $said ]; then
            said=$((waited / 10))
            echo "waiting for $3: $waited s"
        fi
        sleep 0.2
    done
    [ ! -t 1 ] || printf '\r\e[K'
    echo "waited $((SECONDS - start)) s for $3"
}

# The guest's own verdict, on the console of the test boot.
assert_guest_is_whole() { # CONSOLE SEQUENCE
    local said disk seq
    said=$(tr -d '\r' <"$1" | grep -a '^VMFERRY-GUEST')
    for disk in system data; do
        if ! [[ $said =~ "verify disk=$disk records="([1-9][0-9]*)" bad=0 missing=0 seq="([0-9]+) ]]; then
            fail "the guest's $disk disk is not whole; see $1"
        fi
        seq=${BASH_REMATCH[2]}
        # The data disk may lack the record that was being written.
        [ "$seq" -ge "$2" ] || fail "record $2 is missing on the $disk disk: the last one is $seq"
        echo "guest: $disk disk has ${BASH_REMATCH[1]} records, all good, up to number $seq" \
            "(the source had said $2 before the snapshot)"
    done
    [[ $said == *"verify disks agree=yes"* ]] || fail "the two disks are not of one moment; see $1"
    echo "guest: both disks are of one moment"
}

# Of a VM's restore points, as `vmferry point list --json` wrote them to FILE.
point() { # FILE NUMBER JQ-FILTER
    jq -r ".[] | select(.point == $2) | $3" "$1"
}

point_digests() { # FILE NUMBER
    point "$1" "$2" '[.disks[].digest] | join(" ")'
}

sync_seconds() { # FILE POINT; of the job that made it
    local job
    job=$(point "$1" "$2" .job)
    sqlite3 "$VMFERRY_STATE/vmferry.db" \
        "SELECT printf('%.1f', (completed_at - created_at) / 1000.0) FROM replication_jobs WHERE id = $job"
}

# A row for each disk of POINT.
summary_rows() { # FILE POINT
    local seconds
    seconds=$(sync_seconds "$1" "$2")
    point "$1" "$2" ".disks[] | [\"$2\", .sync_type, .disk_id, .capacity, .bytes, .digest] | @tsv" |
        while IFS=$'\t' read -r number sync disk capacity bytes digest; do
            printf '%5s  %-11s  %-9s  %11s  %11s  %7s  %s\n' "$number" "$sync" "$disk" \
                "$capacity" "$bytes" "$seconds" "$digest"
        done
}

summary() { # ACT
    local console
    console=$(jq -r .evidence.console "$demo/$1.failover.json")
    printf '%5s  %-11s  %-9s  %11s  %11s  %7s  %s\n' POINT SYNC DISK BYTES CHANGED SECONDS DIGEST
    summary_rows "$demo/$1.points.json" 1
    summary_rows "$demo/$1.points.json" 2
    echo
    echo "test failover: $(jq -r '"booted by \(.evidence.by) in \(.evidence.seconds) s (\(.evidence.virt_type))"' "$demo/$1.failover.json"), $firmware"
    echo "the guest said:"
    tr -d '\r' <"$console" | grep -a '^VMFERRY-GUEST verify' | sed 's/^/  /'
}

# shellcheck disable=SC2154 # demo sets them
write_summary_json() {
    local act
    for act in points failover; do
        [ -e "$demo/vsphere.$act.json" ] || echo null >"$demo/vsphere.$act.json"
    done
    jq -n --arg firmware "$firmware" --arg virt_type "$virt_type" --argjson seconds "$SECONDS" \
        --argjson sequence_before "$before" --argjson source_at_test "$sequence_at_test" \
        --argjson source_after_test "$sequence_after_test" \
        --argjson vsphere_sequence_before "${before_vsphere:-null}" \
        --slurpfile points "$demo/nbd.points.json" --slurpfile failover "$demo/nbd.failover.json" \
        --slurpfile vpoints "$demo/vsphere.points.json" \
        --slurpfile vfailover "$demo/vsphere.failover.json" \
        '{$firmware, $virt_type, $seconds, $sequence_before, $source_at_test, $source_after_test,
          points: $points[0], failover: $failover[0],
          vsphere: {sequence_before: $vsphere_sequence_before, points: $vpoints[0],
                    failover: $vfailover[0]}}' >"$demo/summary.json"
}
