#!/bin/bash
# What is decided before a failover makes anything: the domain's XML with overrides, as
# `--print-xml` shows it and libvirt's schema wants it, and the network map.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"
export VMFERRY_STATE=$tmp/state VMFERRY_VIRT_TYPE=qemu LIBVIRT_DEFAULT_URI=qemu:///nowhere

[ -z "${SANITIZE:-}" ] || [ -x "$top/build/vmferry" ] || skip_all "needs a plain build beside this one"

# Under a sanitizer the nbdkit that a replication starts could not load modules that need the
# sanitizer's library, and replications are not what is looked at here.
replicate() { # VM
    local vmferry=vmferry
    [ -z "${SANITIZE:-}" ] || vmferry=$top/build/vmferry
    "$vmferry" replicate "$1" --progress=none >/dev/null 2>&1
}

# A VM of tiny disks that was replicated once.
add_vm() { # NAME DISKS NICS MORE
    local name=$1 uuid i disks='' nics=''
    uuid=$(printf '5c0ffee5-0000-4000-8000-%012d' "$RANDOM$RANDOM")
    for ((i = 0; i < $2; i++)); do
        truncate -s 64K "$tmp/$uuid.$i"
        disks+="${disks:+,}{ \"key\": $((2000 + i)), \"unit\": $i, \"capacity\": 65536,
            \"backing_uuid\": \"$uuid-$i\", \"file\": \"$tmp/$uuid.$i\" }"
    done
    for ((i = 0; i < $3; i++)); do
        nics+="${nics:+,}{ \"mac\": \"52:54:00:00:$(printf %02x:%02x ${#name} "$i")\",
            \"network\": \"LAN $((i % 3))\", \"model\": \"vmxnet3\" }"
    done
    jq -n --arg name "$name" --arg uuid "$uuid" --argjson disks "[$disks]" --argjson nics "[$nics]" \
        --argjson more "${4:-{\}}" '{$uuid, $name, firmware: "bios", cpus: 2, memory: 268435456,
            $disks, $nics} + $more' >"$tmp/vms/$uuid.json"
}

mkdir "$tmp/vms"
add_vm app01 2 2
add_vm 'a <b> & "c" 日本' 1 0 '{ "firmware": "uefi", "secure_boot": true, "tpm": true, "os": "windows" }'
add_vm many 26 10 '{ "cpus": 8, "cores": 4, "firmware": "uefi" }'
vmferry source add nbd lab --file "$tmp/vms" >/dev/null
vmferry vm list --json | jq -r '.[].uuid' | while read -r uuid; do
    replicate "$uuid"
done

print() {
    vmferry failover test "$@" --print-xml
}

xpath() { # EXPRESSION VM OPTIONS…
    local expression=$1
    shift
    print "$@" 2>&1 | xmllint --xpath "string($expression)" - 2>&1
}

before=$(find "$VMFERRY_STATE" | sort)
for vm in app01 'a <b> & "c" 日本' many; do
    print "$vm" >"$tmp/domain.xml"
    ok virt-xml-validate "$tmp/domain.xml" domain -- "the domain of '$vm' is as libvirt wants it"
done
is "$(find "$VMFERRY_STATE" | sort)" "$before" "nothing is made"
is "$(vmferry failover list --json | jq length)" 0 "nothing is written down"
is "$(xpath 'count(//disk/target[@bus = "scsi"])' many)" 26 "26 disks are on SCSI"
is "$(xpath 'count(//interface)' many)" 10 "with ten NICs"
is "$(xpath '//topology/@sockets' many)" 2 "in two sockets"
is "$(xpath /domain/title 'a <b> & "c" 日本')" 'test of a <b> & "c" 日本, point 1' "its name is in the title"
is "$(xpath 'concat(//loader/@secure, count(//tpm), //clock/@offset)' 'a <b> & "c" 日本')" \
    yes1localtime "secure boot, TPM and clock are the source's"

cat >"$tmp/override" <<'END'
# bigger, and as the source had it
vcpus = 6
memory = 8G
disk-bus = sata
boot = disk-2001
name = app01-rehearsal
//interface[1]/model/@type = e1000
/domain/devices += \
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
delete /domain/devices/memballoon
END
print app01 --override="$tmp/override" >"$tmp/domain.xml"
is "$(xmllint --xpath 'concat(/domain/vcpu, " ", /domain/memory, " ", //disk[2]/target/@dev, " ",
    //disk[2]/boot/@order, count(//boot), " ", /domain/name, " ", //interface[1]/model/@type,
    //interface[2]/model/@type, " ", count(//rng), count(//memballoon))' "$tmp/domain.xml")" \
    "6 8388608 sdb 11 app01-rehearsal e1000vmxnet3 10" "an override is applied last"
ok virt-xml-validate "$tmp/domain.xml" domain -- "and it still is as libvirt wants it"
is "$(xpath /domain/vcpu app01 --override="$tmp/override" --set='vcpus = 7')" 7 "--set comes after it"
echo 'vcpu = 4' >>"$tmp/override"
like "$(print app01 --override="$tmp/override" 2>&1)" "$tmp/override: line 11: there is no key 'vcpu'" \
    "a mistake is told with its line"
like "$(print app01 --set='boot = disk-7' 2>&1)" "point 1 has no such disk" "so is a disk that is not there"
for wrong in vcpu=4 vcpus=none vcpus '= 4' name=a/b $'name=\xff'; do
    print app01 --set="$wrong" >/dev/null 2>&1 && status=0 || status=$?
    is "$status" 2 "--set='$wrong' is wrong use"
done
is "$(xpath 'count(//interface)' app01 --network=none)" 0 "--network=none: no NIC"
is "$(xpath 'count(//interface[source/@network = "prod"])' app01 --network=net:prod)" 2 "--network=net:prod"
is "$(xpath 'count(//interface[source/@bridge = "br0"])' app01 --network=bridge:br0)" 2 "--network=bridge:br0"
print app01 --network=prod >/dev/null 2>&1 && status=0 || status=$?
is "$status" 2 "a network that is neither is wrong use"
print app01 --network=none --dhcp >/dev/null 2>&1 && status=0 || status=$?
is "$status" 2 "addresses are for the isolated network"
print app01 --keep=soon >/dev/null 2>&1 && status=0 || status=$?
is "$status" 2 "a duration that is none is wrong use"
vmferry failover rollback app01 --dhcp >/dev/null 2>&1 && status=0 || status=$?
is "$status" 2 "a rollback takes no options of a test"

# The map.

target() { # VM MAC-SUFFIX
    vmferry network list "$1" --json | jq -r ".[] | select(.mac | endswith(\"$2\")) | \"\(.target) \(.mapped_by)\""
}
is "$(target app01 :00)" "null null" "nothing is mapped at first"
vmferry network check app01 >"$tmp/out" 2>/dev/null && status=0 || status=$?
is "$status $(grep -c "vmferry network map lab" "$tmp/out")" "1 2" "each NIC is a blocker, with its remedy"
ok vmferry network map lab 'LAN 0' = net:prod -- "a source's network is mapped"
ok vmferry network map lab 'LAN 1' = bridge:br0 -- "another one, to a bridge"
ok vmferry network check app01 -- "then there is no blocker"
is "$(target app01 :00), $(target many :01)" "net:prod source, bridge:br0 source" "for all VMs"
ok vmferry network map app01 'LAN 0' = isolated -- "a VM has its own"
is "$(target app01 :00), $(target many :00)" "isolated vm, net:prod source" "which wins, for it alone"
mac=$(vmferry network list app01 --json | jq -r '.[0].mac')
ok vmferry network map app01 "$mac" = none -- "so has a NIC"
is "$(target app01 :00)" "none vm" "which wins over that"
vmferry network check many >"$tmp/out" 2>&1 && status=0 || status=$?
is "$status $(grep -c "^NIC" "$tmp/out")" "1 3" "three NICs of ten are in a network without a mapping"
like "$(vmferry network map lab 'LAN O' = net:prod 2>&1)" "no NIC of lab is in a network 'LAN O' now" \
    "a name that no NIC has is told"
ok vmferry network map lab 'LAN 0' = net:other -- "a mapping changes"
is "$(target many :00)" "net:other source" "to the new one"
ok vmferry network unmap app01 "$mac" -- "a mapping goes"
is "$(target app01 :00)" "isolated vm" "the next one counts"
vmferry network unmap app01 "$mac" 2>/dev/null && status=0 || status=$?
is "$status" 1 "one that is not there can't go"
for target in prod net: bridge: bridge:a-name-that-is-long 'net:a/b' isolated:x Isolated ''; do
    vmferry network map lab 'LAN 0' = "$target" 2>/dev/null && status=0 || status=$?
    is "$status" 2 "'$target' is no target"
done
vmferry network map nobody 'LAN 0' = none 2>/dev/null && status=0 || status=$?
is "$status" 1 "nor can a stranger be mapped"
is "$(vmferry network list --json | jq length)" 12 "all NICs are listed"

done_testing
