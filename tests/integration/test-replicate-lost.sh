#!/bin/bash
# `vmferry replicate --cbt-lost` of an nbd source: what happens when the change tracking of one
# disk says nothing, is the operator's choice.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state VMFERRY_CONFIG=$tmp/vmferry.conf
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e40
touch vmferry.conf

replicate() { # OPTIONS…: status in $status, JSON in $out, the rest in $err
    status=0
    out=$(timeout 120 vmferry replicate app01 --json --progress=none "$@" 2>err) || status=$?
    err=$(cat err)
}

lose() { # a change id that has nothing to do with the last one
    head -c 70000 /dev/urandom | dd of=data bs=1 seek=$((RANDOM * 200)) conv=notrunc status=none
    jq ".disks[1].change_id = \"$1\"" <vm.json >new.json && mv new.json vm.json
}

content() { # POINT
    qemu-img convert -f qcow2 -O raw "state/replicas/$uuid/disk-2001/point-$1.qcow2" readback &&
        sha256sum <readback
}

everything() {
    find state/replicas -type f -printf '%p %s %T@\n' | sort
    sqlite3 state/vmferry.db "SELECT * FROM restore_points; SELECT * FROM restore_point_disks;
        SELECT * FROM vm_disks"
}

head -c 1M /dev/urandom >system
head -c 5M /dev/urandom >data
truncate -s 8M data
cat >vm.json <<END
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 2, "memory": 1073741824,
  "disks": [
    { "key": 2000, "unit": 0, "capacity": 1048576, "backing_uuid": "b-system",
      "file": "system", "change_id": "u/1" },
    { "key": 2001, "unit": 1, "capacity": 8388608, "backing_uuid": "b-data",
      "file": "data", "change_id": "u/1" } ] }
END
vmferry source add nbd lab --file vm.json >/dev/null
replicate --cbt-lost=fail
is "$status" 0 "a first copy is no loss"

lose v/1
before=$(everything)
replicate --cbt-lost=fail
is "$status" 1 "tracking was reset, --cbt-lost=fail: refused"
like "$err" "disk-2001: change tracking was reset: the point is at u/1" "with the reason"
like "$err" "--cbt-lost=resync .* --cbt-lost=full" "and what to do"
is "$(everything)" "$before" "nothing was written"

printf '[replicate]\ncbt_lost = full\n' >vmferry.conf
replicate
is "$status" 0 "cbt_lost = full in vmferry.conf"
is "$(jq -c '.disks[1] | [.sync_type, .sent_whole, .bytes]' <<<"$out")" '["resync",true,8388608]' \
    "everything is sent"
is "$(jq -c '.disks[0] | [.sync_type, .sent_whole, .bytes]' <<<"$out")" '["incremental",false,0]' \
    "of that disk alone"
is "$(content 0002)" "$(sha256sum <data)" "the replica is right"

lose w/1
replicate --cbt-lost=resync
is "$(jq -c '.disks[1] | [.sync_type, .sent_whole, .bytes < 300000]' <<<"$out")" \
    '["resync",false,true]' "--cbt-lost=resync wins: compared, and what differs is sent"
is "$(content 0003)" "$(sha256sum <data)" "the replica is right"
replicate --full --cbt-lost=fail
is "$status" 0 "--full was asked for: no loss"

# The replica's recorded digests are of no use to who sends everything.
lose x/1
chmod u+w state/replicas/$uuid/disk-2001/point-0004.leaves
printf X | dd of=state/replicas/$uuid/disk-2001/point-0004.leaves bs=1 seek=40 conv=notrunc status=none
replicate --cbt-lost=full
is "$(jq -c '.disks[1] | [.sent_whole, .bytes]' <<<"$out")" '[true,8388608]' "damaged digests"
is "$(content 0005)" "$(sha256sum <data)" "the replica is right"
ok vmferry verify app01 -- "and verifies"

replicate --cbt-lost=never
is "$status" 2 "an unknown word is wrong use"
printf '[replicate]\ncbt_lost = never\n' >vmferry.conf
replicate
like "$err" "vmferry.conf.*cbt_lost: 'never' is none of resync|full|fail" "in vmferry.conf, too"
done_testing
