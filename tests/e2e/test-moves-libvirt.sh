#!/bin/bash
# A libvirt domain moves, by the hook of an nbd source; before that, its newest and an older point
# are tested while a sync runs.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/e2e/moves.sh
. "$(dirname "$0")/moves.sh"

vm=$name
start_source
vmferry-libvirt-snapshot begin "$name" --out="$description" >/dev/null
vmferry-libvirt-snapshot end "$name" --discard >/dev/null
vmferry source add nbd kvm --file "$description" --hook "$(command -v vmferry-libvirt-hook)" >/dev/null
for lan in $(jq -r '[.nics[].network] | unique | .[]' "$description"); do
    vmferry network map "$vm" "$lan" = "net:$network" --vm >/dev/null
done
wait_for_console "$source_console" 'VMFERRY-GUEST ready' "the guest to boot"
until_record 3
declare -A before after
take_point 1
until_record $((after[1] + 5))
take_point 2
until_record $((after[2] + 3))

# Both boot while a sync runs.
vmferry replicate "$vm" --progress=none --rate=64K >/dev/null 2>&1 &
sync=$!
for point in 1 2; do
    failover_test $point &
    pids+=" $!"
done
# shellcheck disable=SC2086
wait $pids
kill -INT $sync 2>/dev/null
wait $sync && status=0 || status=$?
ok test "$status" = 0 -o "$status" = 3 -- "a sync went on meanwhile"
for point in 1 2; do
    console=$(jq -r .evidence.console "$tmp/test.$point")
    records=$(records_of "$console")
    ok is_between "${before[$point]}" "$records" "${after[$point]}" -- \
        "point $point has the records of its moment ($records, from ${before[$point]} to ${after[$point]})"
done
ok vmferry failover rollback "$vm" -- "the tests are rolled back"
replicate
ok vmferry verify "$vm" --point=1 -- "point 1 is as it was made"
there_and_back libvirt
is "$(virsh --quiet list --all --name | grep -c "^$name\$")" 0 "libvirt: the source has another name"
ok test -n "$(virsh --quiet list --all --name | grep "$name")" -- "libvirt: and is there"

done_testing
