#!/bin/bash
# vmferry-libvirt-hook with a real domain, running and shut off: every replica is the domain's disks,
# byte for byte, and every sync after the first one incremental, over power-offs and power-ons. The
# domain has no system in it: what a guest would write is written by its QEMU.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../lib.sh"
export VMFERRY_DEMO=$tmp/demo
# shellcheck source=scripts/demo-lib.sh
. "$top/scripts/demo-lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for libvirt's system daemon"
[ -z "${SANITIZE:-}" ] || skip_all "nothing in it that other tests do not check"

hook=$top/scripts/vmferry-libvirt-hook
uuid=5c0ffee6-0000-4000-8000-$(printf %012d $$)
images=/var/lib/libvirt/images/vmferry-hook-$$
domain=hook-$$
description=$tmp/$domain.json
mkdir -p "$demo" "$images"
chmod 0711 "$images"
start_libvirt
at_exit "stop_libvirt"
at_exit "rm -rf $images /run/vmferry-libvirt/$uuid.*"
at_exit "virsh --quiet undefine $uuid --checkpoints-metadata"
at_exit "virsh --quiet destroy $uuid"
at_exit "$top/scripts/vmferry-libvirt-snapshot end $domain"

# shellcheck disable=SC2120
define() { # SED-EXPRESSION
    sed "${1:-}" >"$tmp/domain.xml" <<XML
<domain type='qemu'><name>$domain</name><uuid>$uuid</uuid>
  <description>Owner: Ann</description>
  <memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='$images/a.qcow2'/><target dev='vda' bus='virtio'/><serial>a-$$</serial></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='$images/b.qcow2'/><target dev='vdb' bus='virtio'/><serial>b-$$</serial></disk>
    <memballoon model='none'/>
  </devices>
</domain>
XML
    virsh --quiet define "$tmp/domain.xml"
}

guest_writes() { # DISK PATTERN AT
    virsh --quiet qemu-monitor-command "$uuid" --hmp \
        "qemu-io -d /machine/peripheral/virtio-disk$1/virtio-backend \"write -P $2 $3 64k\"" >"$tmp/written"
}

ask() { # VERB [MORE…]; what it says, and its exit status
    "$hook" "$1" "$domain" "$uuid" "${@:2}" 2>&1 || echo "exit $?"
}

point() { # NUMBER JQ-EXPRESSION
    vmferry point list "$domain" --json | jq -r ".[] | select(.point == $1) | $2"
}

# The point's disks have what the domain's have now, that it is shut off.
# shellcheck disable=SC2317 # called by ok
is_the_disk() { # POINT
    local target image format
    for target in a b; do
        image=$VMFERRY_STATE/$(point "$1" ".disks[$([ "$target" = a ] && echo 0 || echo 1)].image")
        format=${image##*.}
        qemu-img compare -q -f qcow2 "$images/$target.qcow2" -F "$format" "$image" || return 1
    done
}

socket() { # of the server of its images, while it is off
    compgen -G "/run/vmferry-libvirt/$uuid.*.sock"
}

# shellcheck disable=SC2317
refused() { # COMMAND…
    ! "$@" 2>/dev/null
}

replicate() {
    vmferry replicate "$domain" --progress=none "$@" >"$tmp/out" 2>&1
}

for disk in a b; do
    qemu-img create -q -f qcow2 "$images/$disk.qcow2" 16M
done
qemu-io -f qcow2 -c "write -q -P 7 0 5M" "$images/a.qcow2"
define
virsh --quiet start "$domain"
ok vmferry-libvirt-snapshot begin "$domain" --out="$description" -- "a description to begin with"
vmferry-libvirt-snapshot end "$domain"
is "$(jq -r '.inventory.power' "$description")" on "... says that it runs"
ok vmferry source add nbd kvm --file "$description" --hook "$hook" -- "a source with the hook"

# Running, then off, then running again

ok replicate -- "point 1: running"
guest_writes 0 17 1M
guest_writes 1 18 3M
ok replicate -- "point 2: running"
is "$(point 2 '[.disks[] | .sync_type, .bytes] | join(" ")')" "incremental 65536 incremental 65536" \
    "... sent what was written"
guest_writes 0 19 2M
guest_writes 1 20 5M
is "$(ask state) $(ask power-off) $(ask power-off) $(ask state)" "on   off" "power off, twice"
ok replicate -- "point 3: shut off"
is "$(point 3 '[.disks[] | .sync_type, .bytes] | join(" ")')" "incremental 65536 incremental 65536" \
    "... sent what was written before it was shut off"
ok is_the_disk 3 -- "... is the disk, byte for byte"
is "$(socket)" "" "... and nobody serves it any more"
is "$(jq -r '.inventory.power' "$description")" off "... the description says that it is off"
ok replicate -- "point 4: shut off, again"
is "$(point 4 '[.disks[].sync_type] | join(" ")') $(point 4 '.disks[].digest')" \
    "incremental incremental $(point 3 '.disks[].digest')" "... is the same"
is "$(ask power-on) $(ask power-on) $(ask state)" "  on" "power on, twice"
guest_writes 0 21 7M
guest_writes 1 22 1M
ok replicate -- "point 5: running again"
is "$(point 5 '[.disks[].sync_type] | join(" ")')" "incremental incremental" "... is incremental"
is "$(point 5 '.disks[0].bytes')" 131072 "... with what was written since, and since the last moment before it"
is "$(ask power-off)" "" "power off"
ok is_the_disk 5 -- "... is the disk, byte for byte"

# Moments that came to nothing

ask power-on
guest_writes 0 23 8M
VMFERRY_SOURCE_FILE=$description VMFERRY_CHANGE_IDS='' "$hook" begin "$domain" "$uuid" 2>/dev/null && ask end
guest_writes 0 24 9M
ok replicate -- "point 6: after a moment that nobody kept, of one that has no replica"
like "$(cat "$tmp/out")" "no checkpoint of" "... which forgot the others, says so"
VMFERRY_SOURCE_FILE=$description VMFERRY_CHANGE_IDS="2000 $(point 6 '.disks[0].change_id')" \
    "$hook" begin "$domain" "$uuid" && ask end
guest_writes 0 25 10M
ok replicate -- "point 7: after a moment of this replica that came to nothing"
is "$(point 7 '[.disks[].sync_type] | join(" ")')" "incremental incremental" "... is incremental all the same"
guest_writes 1 26 11M
ask power-off
replicate --rate=8K &
replication=$!
# A socket alone is not enough: the server makes it before it opens, and locks, the disks.
wait_for 30 sh -c "find $VMFERRY_STATE -name '*.journal' -size +0 | grep -q ."
ok refused virsh --quiet start "$domain" -- "while its disks are read, it can't be started"
kill -9 "$(pgrep -P $replication)"
wait $replication
ok test -S "$(socket)" -- "vmferry is killed: the moment stands"
ok vmferry recover -- "recover"
ok is_the_disk 8 -- "... went on, and point 8 is the disk"
ok test ! -e "/run/vmferry-libvirt/$uuid.pid" -- "... and nobody serves it"
VMFERRY_SOURCE_FILE=$description VMFERRY_CHANGE_IDS="2000 $(point 8 '.disks[0].change_id')" \
    "$hook" begin "$domain" "$uuid"
is "$(ask power-on) $(ask state)" " on" "a moment that stands gives way to powering on"
vmferry-libvirt-snapshot begin "$domain" >/dev/null
is "$(ask end)" "" "somebody else's backup"
like "$(virsh domjobinfo "$domain")" "Backup" "... is not ended by the hook"
replicate
like "$(cat "$tmp/out")" "a backup of $uuid runs already" "... and a sync says that it is in its way"
like "$(virsh domjobinfo "$domain")" "Backup" "... and does not end it either"
vmferry-libvirt-snapshot end "$domain" --discard

# QEMU is killed: nobody knows what changed

guest_writes 0 27 12M
virsh --quiet autostart "$uuid" >/dev/null
kill -9 "$(cat "/run/libvirt/qemu/$domain.pid")"
wait_for 20 sh -c "[ \"\$(setsid --wait virsh domstate $uuid)\" = 'shut off' ]"
ok replicate -- "point 9: after QEMU was killed"
like "$(cat "$tmp/out")" "changes of $uuid since .* are lost" "... says what is lost"
is "$(point 9 '[.disks[].sync_type] | join(" ")')" "resync resync" "... compares"
ok is_the_disk 9 -- "... and is the disk"

# Out of service, and what can't be asked

for _ in 1 2; do
    is "$(ask retire "$domain-moved" "Moved to KVM: keep it off")" "" "retire"
done
like "$(virsh --quiet dominfo "$uuid")" "Autostart: +disable" "... is not started with its host any more"
is "$(virsh --quiet domname "$uuid")" "$domain-moved" "... has another name"
is "$(virsh --quiet dumpxml "$uuid" | xmllint --xpath 'string(/domain/description)' -)" \
    "Owner: Ann
Moved to KVM: keep it off" "... and a note, once"
ask power-on
is "$(ask shutdown)" "" "its guest is asked to shut down"
like "$(ask retire again "note")" "is not off.*exit 1" "one that runs is not retired"
virsh --quiet suspend "$uuid"
like "$(ask state) $(ask shutdown)" "^on .*is paused.*exit 69" "one that is paused can't be asked"
ask power-off
virsh --quiet domrename "$uuid" "$domain"
define /acpi/d
ask power-on
like "$(ask shutdown)" "neither a guest agent that answers nor ACPI.*exit 69" "nor one without ACPI and agent"
ask power-off

# A domain behind the vSphere simulator: one power for both

qemu-img convert -O raw "$images/a.qcow2" "$images/a.raw"
mkdir "$tmp/simulated"
cat >"$tmp/simulated/vm.json" <<JSON
{ "path": "/DC0/vm/$domain", "disks": [ { "file": "$images/a.raw" } ],
  "power_command": [ "$hook", "--domain=$domain" ] }
JSON
VSPHERE_SIM_PASSWORD=secret background "$top/tests/vsphere-sim/sim" --listen 127.0.0.1:0 --vm "$tmp/simulated" >"$tmp/sim"
wait_for 20 grep -q '^control-token' "$tmp/sim"
read -r _ url _ fingerprint _ < <(head -n 1 "$tmp/sim")
api() { # COMMAND…
    VMFERRY_TEST_PASSWORD=secret "$BUILD/orchestrator/source/vsphere/tests/vsphere-vm" "${url#https://}" \
        "${fingerprint#SHA256:}" administrator@vsphere.local "$1" "$domain" 2>&1
}
is "$(api power)" off "a domain that is off is a VM that is off"
is "$(api on) $(ask state) $(api power)" " on on" "PowerOnVM_Task starts it"
like "$(api shutdown)" "ToolsUnavailable" "a guest that can't be asked has no tools"
is "$(api off) $(ask state) $(api power)" " off off" "PowerOffVM_Task stops it"
virsh --quiet start "$uuid"
sleep 0.3
is "$(api power)" on "started by somebody else: powered on"
virsh --quiet destroy "$uuid"
virsh --quiet undefine "$uuid" --checkpoints-metadata
virsh --quiet create "$tmp/domain.xml"
like "$(ask shutdown) $(ask power-off)" "is transient.*exit 69.*is transient.*exit 69" "a transient one would be gone"
like "$("$hook" state nobody 5c0ffee6-0000-4000-8000-000000000000 2>&1 || echo "exit $?")" "exit 1" "a domain that is not there"
is "$("$hook" dance "$domain" "$uuid" >/dev/null 2>&1 || echo $?)" 2 "a verb that is none"
done_testing
