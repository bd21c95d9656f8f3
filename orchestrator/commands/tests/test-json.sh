#!/bin/bash
# --json of every command and verb that takes it: one JSON document on standard output, and
# nothing else there.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
mkdir pool map
truncate -s 1M disk other
cat >vm.json <<END
{ "uuid": "6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f", "name": "app01", "firmware": "bios", "cpus": 1,
  "memory": 1073741824, "nics": [ { "mac": "52:54:00:00:00:01", "model": "e1000", "network": "office" } ],
  "disks": [ { "key": 2000, "unit": 0, "capacity": 1048576, "backing_uuid": "b", "file": "disk" } ] }
END

run_json() { # EXIT-STATUS JQ-EXPRESSION COMMAND…
    local expected=$1 expression=$2 status=0 out
    shift 2
    out=$(vmferry "$@" --json 2>messages </dev/null) || status=$?
    is "$status $(jq -r "$expression" <<<"$out" 2>&1)" "$expected true" "vmferry $*" ||
        diag "$out" "$(cat messages)"
    is "$(jq -s length <<<"$out" 2>&1)" 1 "... is one document"
}

run_json 0 '.applied | length > 5' db migrate
run_json 0 '.applied | length == 0' db migrate
run_json 0 '.schema > 5' db status
run_json 0 '.vms == 1 and .source == "lab"' source add nbd lab --file=vm.json
run_json 0 '.vms == 1' source add nbd lab --file=vm.json
run_json 0 '.[0].name == "lab"' source list
run_json 0 '.kind == "nbd"' source check lab
run_json 0 '.passed_over == 0' source refresh lab
run_json 0 'length == 1 and .[0].vms == 1' source refresh
run_json 0 '.name == "fast" and .kind == "dir"' pool add dir fast "$tmp/pool"
run_json 0 'length == 2' pool list
run_json 0 '.vms == 0' pool show fast
run_json 0 '.removed' pool remove fast
run_json 0 '.vm == "app01"' preflight app01
run_json 0 '.point == 1' replicate app01
run_json 0 '.job == 2' replicate app01
run_json 0 'type == "object"' replicate --all
run_json 0 '.[0].name == "app01"' vm list
run_json 0 '.points == 3' vm show app01
run_json 0 '.keep == "last:7"' vm set app01 keep=last:7
run_json 0 'length == 3' job list --all
run_json 0 '.status == "completed"' job show 1
run_json 0 'type == "object"' job rate --all 0
run_json 0 'length == 3' point list app01
run_json 0 'type == "object"' point show app01
run_json 0 'type == "object"' point verify app01
run_json 0 '.pinned' point pin app01 1
run_json 0 '.pinned | not' point unpin app01 1
run_json 0 '.keep == "last:7"' point keep app01
run_json 0 '.[0].deleted == 0' point prune --all
run_json 0 'type == "object"' verify app01
run_json 0 'type == "array" or type == "object"' verify --all
run_json 0 'length == 1' export list
name=$(vmferry export list --json | jq -r '.[0].export')
run_json 0 '.export == "'"$name"'"' export show "$name"
run_json 0 'type == "object"' export check
run_json 0 'type == "object"' export repair
run_json 0 '.export == "e1"' export put e1 disk --map=map
run_json 0 '.removed' export remove e1 --map=map
run_json 0 '.size == 1048576' export probe disk
run_json 0 '.target == "net:default"' network map lab office = net:default
run_json 0 'length == 1' network list
run_json 0 'length == 0' network check app01
run_json 0 '.source == "lab" and .target == null' network unmap lab office
run_json 1 'length == 1' network check app01
run_json 0 '.virt_type == "qemu"' failover virt-type --virt-type=qemu
run_json 0 'type == "array"' failover list
run_json 0 'type == "object"' recover
run_json 0 'type == "object"' report app01
run_json 0 'length > 3' audit
run_json 0 '.written' db dump "$tmp/dump"
VMFERRY_STATE=$tmp/second run_json 0 '.rows > 3' db restore "$tmp/dump"
run_json 0 '.bytes_read >= 0' copy disk other
run_json 0 '.size == 1048576' digest disk
run_json 0 '.deleted' point delete app01 --all
jq '.uuid = "6d7b3c52-1f0a-4c0e-9d55-000000000002"' vm.json >vm2.json
vmferry source add nbd lab2 --file=vm2.json >/dev/null
run_json 0 '.removed' source remove lab2

done_testing
