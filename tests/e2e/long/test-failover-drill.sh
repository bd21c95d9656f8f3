#!/bin/bash
# The recoverability drill, checks of guests, and guests that get stuck: on a real libvirt, with
# a real guest, a boot loader that finds nothing, an initramfs without its root.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=tests/e2e/failovers.sh
. "$(dirname "$0")/../failovers.sh"

ROOT_MIB=6 # of the system disk: where make-guest puts its root
take_root() { # DISK
    cp "$tmp/system.raw" "$1"
    dd if="$1" of="$tmp/root" bs=1M skip=$ROOT_MIB count=64 status=none
}
give_root() { # DISK
    dd if="$tmp/root" of="$1" bs=1M seek=$ROOT_MIB conv=notrunc status=none
}

add_guest() { # NAME FOLDER FIRMWARE DISK…
    local name=$1 more
    more=$(jq -n --arg path "/DC0/vm/$2/$1" --arg firmware "$3" '{$path, $firmware, memory: 268435456}')
    shift 3
    add_vm "$name" 1 "$more" "$@"
}

make-guest "$tmp" --payload 8 --data-size 64
add_guest guest web bios "$tmp/system.raw" "$tmp/data.raw"

# GRUB finds no configuration.
take_root "$tmp/grub.raw"
tune2fs -L other "$tmp/root" >/dev/null 2>&1
give_root "$tmp/grub.raw"
add_guest grub stuck uefi "$tmp/grub.raw"

# The kernel's root is missing; once it says so on the serial console, once on the screen alone.
for vm in shell vga; do
    take_root "$tmp/$vm.raw"
    [ $vm = shell ] && console=ttyS0 || console=tty0
    printf '%s\n' 'search --no-floppy --label --set=root system' \
        "linux /boot/vmlinuz console=$console quiet root=gone" 'initrd /boot/initrd' boot >"$tmp/grub.cfg"
    debugfs -w -R "rm /boot/grub/grub.cfg" "$tmp/root" >/dev/null 2>&1
    debugfs -w -R "write $tmp/grub.cfg /boot/grub/grub.cfg" "$tmp/root" >/dev/null 2>&1
    give_root "$tmp/$vm.raw"
    add_guest $vm stuck bios "$tmp/$vm.raw"
done
truncate -s 64K "$tmp/empty.raw" "$tmp/never.raw"
add_guest empty stuck bios "$tmp/empty.raw"
add_guest never web bios "$tmp/never.raw"

vmferry source add nbd test --file "$tmp/vms" >/dev/null
for vm in guest grub shell vga empty; do
    replicate $vm
done
is "$(vmferry vm list --json | jq '[.[] | select(.points == 1)] | length')" 5 "five VMs of six have a point"

# Of the whole drill; nobody else's may run.
left_anywhere() {
    left_behind
    ip -brief link | grep '^vfc-'
    vmferry vm list --json | jq -r '.[] | select(.state == "failed_over_test") | .name'
}

row() { # VM JQ-FILTER; of the drill in out.json
    jq -r --arg vm "$1" ".results[] | select(.vm == \$vm) | $2" "$tmp/out.json"
}

evidence() { # VM JQ-FILTER; of its newest failover
    vmferry failover show "$1" --json | jq -r ".evidence | $2"
}

drill() {
    vmferry failover test --all "$@" 2>"$tmp/err"
}

# Wrong use.

for options in --all\ guest --all\ --keep=1h --all\ --point=1 --all\ --format=html --parallel=2\ guest \
    --check=udp:53\ guest --all\ --parallel=0 --all\ --output=/dev/null\ --format=pdf; do
    # shellcheck disable=SC2086
    vmferry failover test $options >/dev/null 2>&1 && status=0 || status=$?
    is "$status" 2 "'$options' is wrong use"
done
drill --name='nobody*' >/dev/null && status=0 || status=$?
is "$status" 1 "a drill of no VM at all proves nothing"
drill --name=never >"$tmp/out" && status=0 || status=$?
is "$status" 1 "nor does one of VMs without points"
like "$(cat "$tmp/out")" "never .*not tested +it has no restore point" "which are listed"

# The whole drill.

drill --name='[!v]*' --parallel=2 --timeout="$BOOT_LIMIT" --json --output="$tmp/drill.html" --check-timeout=90 --check=tcp:8080 \
    --check='command:/bin/sh -c "echo to be kept"' >"$tmp/out.json" && status=0 || status=$?
is "$status" 1 "some did not pass, all were tested"
is "$(jq -r '.drill | "\(.vms) \(.passed) \(.failed) \(.not_tested)"' "$tmp/out.json")" "5 1 3 1" "they are counted"
is "$(row guest '.verdict, .point')" $'passed\n1' "a guest that boots passes"
ok test "$(row guest '.rto_seconds > 1 and .rpo_seconds > 0 and .rpo_seconds < 600')" = true -- \
    "with the age of its point, and the seconds until it had booted"
is "$(evidence guest '.checks[] | "\(.check) \(.passed) \(.way)"' | head -n 1)" "tcp:8080 true network" \
    "a port of it was connected to, in its isolated network"
is "$(evidence guest '.checks[1] | .passed, .exit, .output')" $'true\n0\nto be kept' "a command ran in it, what it said is kept"
is "$(row never .verdict)" "not tested" "a VM without a point is listed"
like "$(row grub .why)" 'stuck at "grub>"' "a boot loader's prompt is a failed test"
like "$(row shell .why)" 'stuck at "\(initramfs\)"' "so is the shell of an initramfs"
like "$(row empty .why)" "No bootable device" "so is a machine without a system"
vmferry failover test vga --timeout=30 --keep=0 >/dev/null 2>"$tmp/err" && status=0 || status=$?
like "$status $(cat "$tmp/err")" "1 .*agent does not answer.*it is rolled back" \
    "what only the screen says is a failed test when the time is over"
for vm in guest grub shell vga empty; do
    is "$(head -c 8 "$(evidence $vm .screen)" | od -An -tx1 | tr -d ' ')" 89504e470d0a1a0a "the screen of '$vm' is kept"
done
ok test "$(evidence vga '.screens | length')" -ge 2 -- "also what it showed before"
is "$(left_anywhere)" "" "all of them are rolled back by themselves"
ok xmllint --noout "$tmp/drill.html" -- "the report is well-formed"
ok test "$(grep -o 'src="data:image/png;base64,' "$tmp/drill.html" | wc -l)" -ge 4 -- "with the screens in it"
like "$(vmferry report guest)" "tcp:8080 +yes" "a VM's report has its checks"
like "$(vmferry report shell)" 'failed +no +stuck' "and its verdict"

# Checks of the VM's own; one that does not pass fails the test.

vmferry vm set guest checks='tcp:9, tcp:8080@192.0.2.10/24' >/dev/null
drill --name='g*t' --check-timeout=12 >"$tmp/out" && status=0 || status=$?
is "$status" 1 "a guest that booted, but whose check failed, did not pass"
like "$(cat "$tmp/out")" "guest .*failed .*1 of 2 checks failed: tcp:9: 192.0.2.10 port 9: Connection refused" "which is said"
vmferry vm set guest checks='tcp:8080@nic0' >/dev/null
vmferry failover test guest --dhcp >"$tmp/out" 2>&1 && status=0 || status=$?
is "$status" 0 "with what it has open it passes"
like "$(cat "$tmp/out")" "passed tcp:8080@nic0, .*: (198\.1[89]|192\.0\.2)\.[0-9.]+ port 8080 answers" "by an address in that network"
domain=$(vmferry failover show guest --json | jq -r .domain)
virsh --quiet qemu-agent-command "$domain" '{"execute":"guest-ping"}' >/dev/null
like "$(vmferry failover show guest)" "state +booted.*verdict +passed.*check +passed tcp:8080@nic0" "show has all of it"
vmferry failover rollback guest >/dev/null

# Ended.

# shellcheck disable=SC2317 # wait_for calls it
booting() {
    [ "$(vmferry failover list guest --json | jq -r '.[0].state')" = booting ]
}
start_drill() {
    vmferry failover test --all --folder=/DC0/vm/web --expect=never >"$tmp/out" 2>"$tmp/err" &
    drill=$!
    wait_for 60 booting
}
start_drill
kill -TERM $drill # bash lets what is in the background ignore SIGINT
wait $drill && status=0 || status=$?
is "$status $(left_anywhere)" "1 " "an interrupted drill takes back the test that runs"
like "$(cat "$tmp/out")" "guest .*not tested +.*interrupted" "and says so in its report"
start_drill
kill -9 "$(pgrep -P $drill)"
wait $drill && status=0 || status=$?
is "$status $(left_anywhere)" "1 " "what a killed test left is rolled back"
like "$(cat "$tmp/out")" "guest .*failed .*137" "and it failed"
start_drill
kill -9 $drill
# shellcheck disable=SC2317
is_over() {
    [ "$(vmferry failover list guest --json | jq '[.[] | select(.completed_ms == 0)] | length')" = 0 ]
}
ok wait_for 60 is_over -- "the test of a killed drill is taken back"
vmferry recover >/dev/null 2>&1
is "$(left_anywhere)" "" "nothing is left"

done_testing
