#!/bin/bash
# Test failovers on a real libvirt, of machines with nothing to boot, which is quick: many at
# once, networks that give addresses out, tests that end by themselves, and the end of those
# whose process died.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/e2e/failovers.sh
. "$(dirname "$0")/failovers.sh"

add_empty_vm() { # NAME DISKS NICS MORE
    local files=() i
    for ((i = 0; i < $2; i++)); do
        files+=("$tmp/$1.$i")
    done
    truncate -s 64K "${files[@]}"
    add_vm "$1" "$3" "${4:-{\}}" "${files[@]}"
}
add_empty_vm one 1 1
add_empty_vm two 2 1
add_empty_vm many 60 10 '{ "firmware": "uefi", "secure_boot": true, "tpm": true, "os": "windows", "cpus": 8, "cores": 2 }'
vmferry source add nbd test --file "$tmp/vms" >/dev/null
for vm in one two many; do
    replicate $vm
done

# Nobody says "never": a verdict after a second, and the domain stays.
start_test() { # VM OPTIONS…
    vmferry failover test "$@" --expect=never --timeout=1 2>&1
}

open_tests() {
    vmferry failover list --json | jq '[.[] | select(.completed_ms == 0)] | length'
}

# What libvirt's driver says of it, which knows more than the schema does.
for vm in one two many; do
    vmferry failover test $vm --print-xml --set="name = vmferry-define-$$" >"$tmp/$vm.xml"
    ok virsh --quiet define --validate "$tmp/$vm.xml" -- "libvirt takes the domain of '$vm'"
    virsh --quiet undefine "vmferry-define-$$" --nvram --tpm >/dev/null 2>&1
done
vmferry failover test two --print-xml --set="name = vmferry-define-$$" --set='disk-bus = sata' \
    --set='cpu = Nehalem' --set='graphics = vnc' --set='video = virtio' --network=bridge:br0 >"$tmp/two.xml"
ok virsh --quiet define --validate "$tmp/two.xml" -- "and one with other hardware"
virsh --quiet undefine "vmferry-define-$$" >/dev/null 2>&1

out=$(start_test one --network=net:there-is-none) && status=0 || status=$?
is "$status $(open_tests)" "1 0" "a network that libvirt does not have is refused, nothing is made"
like "$out" "no network 'there-is-none'" "and named"

out=$(start_test many --dhcp)
domain=$(vmferry failover show many --json | jq -r .domain)
is "$(virsh domstate "$domain" | head -n 1)" running "60 disks, 10 NICs, secure boot and a TPM start"
is "$(virsh --quiet domblklist "$domain" | wc -l)" 60 "with all the disks"
like "$out" "the secrets in the source's do not move" "what a new TPM means is said"
vmferry failover rollback many >/dev/null
is "$(left_behind)" "" "nothing is left of it"

# Many at once.

for vm in one one two; do
    start_test $vm --dhcp >"$tmp/out.$RANDOM" &
    pids+=" $!"
done
# shellcheck disable=SC2086
wait $pids
is "$(open_tests)" 3 "three tests of two VMs run at once"
mapfile -t networks < <(vmferry failover list --json | jq -r '.[] | select(.completed_ms == 0) | .network')
for network in "${networks[@]}"; do
    virsh net-dumpxml "$network" >"$tmp/$network.xml"
    xmllint --xpath 'string(//ip/@address)' "$tmp/$network.xml"
    echo
done >"$tmp/addresses"
is "$(sort -u "$tmp/addresses" | grep -cE '^198\.1[89]\.[0-9]+\.1$')" 3 "each has a subnet of its own"
is "$(grep -l '<forward' "$tmp"/vft-*.xml)" "" "none of them forwards"
is "$(for network in "${networks[@]}"; do pgrep -fc "dnsmasq.*$network"; done | sort -u | grep -c '^0')" 0 \
    "each gives addresses out"
is "$(virsh --quiet list --name | grep -cE "vmferry-test-($(vmferry failover list --json |
    jq -r '[.[].domain_uuid[:8]] | join("|")'))")" 3 "all three domains run"
first=$(vmferry failover show one --json | jq -r .id)
ok vmferry failover rollback one -- "all tests of a VM are rolled back"
is "$(open_tests) $(vmferry vm show one --json | jq -r .state) $(vmferry vm show two --json | jq -r .state)" \
    "1 ready_for_failover failed_over_test" "and those of another one are not"
is "$(vmferry failover show one --id="$first" --json | jq -r .state)" "rolled back" "show tells one by its id"
vmferry failover rollback two >/dev/null
is "$(left_behind)" "" "nothing is left"

# A machine with nothing to boot is stuck, and its screen shows where.

vmferry failover test one --timeout=100 >/dev/null 2>"$tmp/err" && status=0 || status=$?
is "$status" 1 "a machine with nothing to boot did not boot"
like "$(cat "$tmp/err")" 'stuck at "No bootable device"' "because of that, which is seen before its time is over"
vmferry failover show one --json >"$tmp/show.json"
is "$(jq -r '.state, .evidence.booted, .evidence.by' "$tmp/show.json" | xargs)" "not booted false stuck" \
    "it is written down"
is "$(head -c 8 "$(jq -r .evidence.screen "$tmp/show.json")" | od -An -tx1 | tr -d ' ')" 89504e470d0a1a0a "with a picture of the screen"
vmferry failover rollback one >/dev/null
ok test -s "$(jq -r .evidence.screen "$tmp/show.json")" -- "which stays"

# Tests that end.

start_test one --keep=2s --network=none >"$tmp/out"
ok test "$(vmferry failover show one --json | jq .keep_until_ms)" -gt 0 -- "the end of a test is known"
# shellcheck disable=SC2317 # wait_for calls it
is_over() {
    [ "$(vmferry failover show one --json | jq -r .state)" = "rolled back" ]
}
ok wait_for 60 is_over -- "a test ends by itself"
is "$(left_behind)" "" "nothing is left"

start_test one --keep=1s --network=none >"$tmp/out"
id=$(vmferry failover show one --json | jq -r .id)
start_test two --keep=1h >"$tmp/out"
pkill -9 -f "failover rollback .* --id=$id --after=1s --state=$VMFERRY_STATE"
background vmferry failover test two --expect=never --timeout=60
running=$!
vmferry failover test one --expect=never --timeout=60 >/dev/null 2>&1 &
killed=$!
# shellcheck disable=SC2317
both_boot() {
    [ "$(vmferry failover list --json | jq '[.[] | select(.state == "booting")] | length')" = 2 ]
}
wait_for 60 both_boot
kill -9 $killed
wait $killed 2>/dev/null
sleep 1
ok vmferry recover -- "recover rolls tests back"
is "$(vmferry failover list one --json | jq '[.[] | select(.completed_ms == 0)] | length')" 0 \
    "those whose time is over, those whose process died"
is "$(vmferry failover list two --json | jq -r '[.[] | select(.completed_ms == 0) | .state] | join(",")')" \
    "booting,not booted" "and none that lives or is kept"
vmferry failover rollback two >/dev/null 2>"$tmp/err" && status=0 || status=$?
is "$status" 1 "a test that is running can't be rolled back"
like "$(cat "$tmp/err")" "another vmferry works on failover" "which is said"
kill $running
wait $running 2>/dev/null
ok vmferry failover rollback two -- "after its end it is"
# shellcheck disable=SC2317
nobody_waits() {
    ! pgrep -f "failover rollback .* --after=1h --state=$VMFERRY_STATE"
}
ok wait_for 30 nobody_waits -- "nobody waits for the end of a test that is over"
is "$(left_behind)" "" "nothing is left"

# Another host, which is this one behind a pipe: no descriptor can be sent there.

cat >"$tmp/pipe" <<'END'
#!/bin/sh
exec socat - UNIX-CONNECT:/var/run/libvirt/libvirt-sock
END
chmod +x "$tmp/pipe"
far="qemu+ext:///system?command=$tmp/pipe"
images() {
    find "$VMFERRY_STATE/replicas" -type f -exec stat -c '%n %u:%g %a %Y' {} + | sort
}
images >"$tmp/before"
start_test two --connect="$far" >"$tmp/out"
domain=$(vmferry failover show two --json | jq -r .domain)
is "$(virsh domstate "$domain" | head -n 1)" running "a test runs by another host's libvirt"
is "$(virsh dumpxml "$domain" | grep -c fdgroup)" 0 "which opens the images by their paths"
is "$(stat -c %u:%g "/proc/$(pgrep -f "guest=$domain,")")" "$(id -u):$(id -g)" "as the user whose they are"
is "$(virsh --quiet pool-list --all --name | grep -c vmferry-look-)" 0 "no storage pool is left"
ok vmferry failover rollback two -- "it is rolled back"
is "$(images)" "$(cat "$tmp/before")" "no image has another owner or mode"
is "$(left_behind)" "" "nothing is left"

# That host sees the state directory without what was changed since, as a copy of it.
with_other() { # PATH IN-ITS-PLACE COMMAND…
    # shellcheck disable=SC2016
    unshare --mount sh -c 'mount --bind "$2" "$1" && shift 2 && exec "$@"' sh "$@"
}
cp -a "$VMFERRY_STATE" "$tmp/copy"
with_other "$VMFERRY_STATE" "$tmp/copy" vmferry failover test two --connect="$far" --expect=never --timeout=1 >/dev/null 2>"$tmp/err" &&
    status=0 || status=$?
is "$status" 1 "storage that the other host does not see is refused"
like "$(cat "$tmp/err")" "looking at storage: host .* does not see" "which is said"
is "$(virsh --quiet list --all --name | grep -c vmferry-test-)" 0 "no domain is made"
rm -rf "$tmp/copy"
base=$(compgen -G "$VMFERRY_STATE/replicas/$(vmferry vm show two --json | jq -r .uuid)*/disk-2001/base.raw")
cp -a "$base" "$tmp/other"
printf x | dd of="$tmp/other" conv=notrunc status=none
touch -r "$base" "$tmp/other"
with_other "$base" "$tmp/other" \
    vmferry failover test two --connect="$far" --expect=never --timeout=1 >/dev/null 2>"$tmp/err" &&
    status=0 || status=$?
is "$status" 1 "an image that is another file there is refused"
like "$(cat "$tmp/err")" "is another file" "which is said"
is "$(virsh --quiet pool-list --all --name | grep -c vmferry-look-) $(left_behind)" "0 " "nothing is left"

done_testing
