#!/bin/bash
# Replicas in Ceph RBD, on a cluster of the test's own (in memory, on loopback).
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/integration/ceph.sh
. "$here/ceph.sh"
cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
# shellcheck source=tests/integration/chain.sh
. "$here/chain.sh"

ceph_can_run || skip_all "ceph-mon, ceph-osd, ceph-common and qemu-block-extra are not installed"
ceph_start "$tmp/ceph" || skip_all "no Ceph cluster can be started here: $(tail -1 "$tmp/ceph/log")"
config=$CEPH_CONF
unset CEPH_CONF # as it is for services: all is in the pool's options

run pool add rbd ceph none --config="$config"
is "$status" 1 "a pool that the cluster does not have"
run pool add rbd ceph vms:x --config="$config"
is "$status" 2 "a name that QEMU would take apart"
ok vmferry pool add rbd ceph vms --config="$config" -- "a pool of Ceph"
is "$(vmferry pool list --json | jq -r '.[1] | .kind + " " + .location + (.problem // "")')" "rbd vms" \
    "it is listed"
run replicate x --pool=ceph
is "$status" 1 "no such VM"
new_vm format
run replicate format --pool=ceph --base=qcow2
is "$status" 2 "bases in it are raw"
chain ceph raw
like "$(image 3 2000)" "^rbd:vms/vmferry-$uuid-disk-2000" "the base is an image"
like "$(rbd --conf "$config" ls vms)" "vmferry-$uuid-disk-2001" "rbd lists it"

# Interrupted in the first copy.
new_vm stopped
timeout -s INT 2.5 vmferry replicate stopped --pool=ceph --rate=2M >/dev/null 2>&1
is $? 124 "a first copy is interrupted"
run replicate stopped
is "$status" 0 "and goes on" || diag "$out"
ok vmferry verify stopped --source -- "to its end"

# Another image took the name.
rbd --conf "$config" mv vms/vmferry-"$uuid"-disk-2000 vms/kept
rbd --conf "$config" create --size 24M vms/vmferry-"$uuid"-disk-2000
run verify stopped
is "$status" 1 "another image under the name is not the replica"
done_testing
