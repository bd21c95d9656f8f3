#!/bin/bash
# kill -9 at random moments of syncs and merges in every kind of pool that can be had: the
# next run goes on, and every point holds what it was made of. ROUNDS kills each (2).
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
# shellcheck source=tests/integration/chain.sh
. "$here/chain.sh"
# shellcheck source=tests/integration/ceph.sh
. "$here/ceph.sh"
ROUNDS=${ROUNDS:-2}

# It is dead when this returns: timeout(1) with KILL kills itself, too, and waits for nobody.
kill_after() { # SECONDS COMMAND…
    "${@:2}" &
    sleep "$1"
    kill -KILL $!
    wait $!
}

kill_some() { # COMMAND…
    for _ in $(seq "$ROUNDS"); do
        kill_after "0.$((RANDOM % 90 + 10))" "$@" --progress=none
    done >killed.log 2>&1
}

survive() { # POOL FORMAT
    local killed="killed $ROUNDS times"
    new_vm "$1-$2"
    kill_some vmferry replicate "$vm" --pool="$1" --base="$2" --rate=6M
    run replicate "$vm" --progress=none
    is "$status" 0 "$vm: a first copy, $killed" || diag "$out"
    run verify "$vm" --source --progress=none
    is "$status" 0 "$vm: it is the source" || diag "$out"
    head -c 5000000 /dev/urandom | dd of="$vm-2000" bs=1 seek=3000000 conv=notrunc status=none
    describe u/2 3000000 5000000
    kill_some vmferry replicate "$vm" --rate=6M
    run replicate "$vm" --progress=none
    is "$status" 0 "$vm: an incremental, $killed" || diag "$out"
    run verify "$vm" --source --progress=none
    is "$status" 0 "$vm: it is the source" || diag "$out"
    run verify "$vm" --point 1 --progress=none
    is "$status" 0 "$vm: the point below is what it was" || diag "$out"
    for limit in 0.05 0.1 0.2; do
        kill_after $limit vmferry point delete "$vm" 1
    done >killed.log 2>&1
    run point delete "$vm" 1
    is "$(vmferry point list "$vm" --json | jq length)" 1 "$vm: a merge, killed three times" ||
        diag "$out"
    run verify "$vm" --source --progress=none
    is "$status" 0 "$vm: what is left is the source" || diag "$out"
}

mkdir files
vmferry pool add dir files files
survive files qcow2

device() { # FILE of random data: what is on a device is no zeroes
    head -c 60M /dev/urandom >"$1" && loop_device "$1"
}
if [ "$(id -u)" = 0 ] && device dev0 2>/dev/null; then
    first=$device
    device dev1
    vmferry pool add block devs --force-device="$first" --force-device="$device"
    survive devs raw
else
    skip "no loop device" "block devices"
fi

if ceph_can_run && ceph_start "$tmp/ceph"; then
    vmferry pool add rbd ceph vms --config="$CEPH_CONF"
    survive ceph raw
else
    skip "no Ceph here" "RBD"
fi
is "$(vmferry export check | tail -1 | grep -o '[0-9]* differences')" "0 differences" \
    "the exports are right"
done_testing
