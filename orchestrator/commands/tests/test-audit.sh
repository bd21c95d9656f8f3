#!/bin/bash
# vmferry audit: who did what, with before and after, also when the VM is gone.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f
truncate -s 1M disk
cat >vm.json <<END
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 1, "memory": 1073741824,
  "nics": [], "disks": [ { "key": 2000, "unit": 0, "capacity": 1048576,
  "backing_uuid": "b", "file": "disk" } ] }
END

audit() { # JQ-EXPRESSION [ARGUMENTS…]
    local expression=$1
    shift
    vmferry audit "$@" --json | jq -r "$expression"
}

is "$(audit length)" 0 "nothing has been done yet"
is "$(vmferry audit)" "" "... nor as text"

vmferry source add nbd lab --file vm.json >/dev/null
is "$(audit '.[0] | [.what, .subject, .before] | @csv')" '"source add","lab",' "source add"
is "$(audit '.[0].after | fromjson | [.kind, .location, .options] | @csv')" "\"nbd\",\"$tmp/vm.json\"," \
    "... what it is now"
is "$(audit '.[0].command')" "vmferry source add nbd lab --file vm.json" "... by which command"
is "$(audit '.[0].host')" "$(uname -n)" "... on which host"
like "$(audit '.[0].who')" "^$(id -un) \(uid $(id -u)\)" "... by whom"
vmferry source add nbd again --file nothing 2>/dev/null
is "$(audit length)" 1 "what is refused at once is not written down"
like "$(audit '.[0].time')" '^20[0-9-]{8}T[0-9:]{8}\.[0-9]{3}Z$' "... when"
vmferry source add nbd lab --file vm.json >/dev/null
is "$(audit length)" 1 "the same again changes nothing"

jq '.name = 7' vm.json >wrong.json
SUDO_USER=alice vmferry source add nbd 'nbd://me:hunter2@host' --file wrong.json 2>/dev/null
is "$(audit 'map(.what) | join(",")')" "source add,source add,source remove" \
    "a source that can't be read came and went"
like "$(audit '.[1].who')" "sudo by alice" "... by one who used sudo"
is "$(sqlite3 state/vmferry.db .dump | grep -c hunter2)" 0 "... and no password with it"

vmferry source remove lab
is "$(audit '.[3] | [.what, .subject, .after] | @csv')" '"source remove","lab",' "source remove"
is "$(audit '.[3].before | fromjson | .location')" "$tmp/vm.json" "... what it was"

# What is done to pools and restore points.

last() { # what, subject, before and after of the newest row
    audit '.[-1] | [.what, .subject, .before, .after] | map(. // "-") | join(" | ")' "$@"
}

mkdir pool
vmferry pool add dir fast "$tmp/pool" >/dev/null
like "$(last)" "^pool add \| fast \| - \| dir $tmp/pool" "pool add"
vmferry pool remove fast >/dev/null
like "$(last)" "^pool remove \| fast \| dir $tmp/pool.* \| -$" "pool remove"
vmferry source add nbd lab --file vm.json >/dev/null
for i in 1 2; do
    jq ".disks[0].change_id = \"u/$i\"" vm.json >vm.new && mv vm.new vm.json
    vmferry replicate app01 --progress=none >/dev/null 2>&1
done
vmferry point pin app01 1 >/dev/null
is "$(last app01)" "point pin | restore point 1 | not pinned | pinned" "point pin"
vmferry point unpin app01 1 >/dev/null
is "$(last app01)" "point unpin | restore point 1 | pinned | not pinned" "point unpin"
vmferry point keep app01 last:5 >/dev/null
is "$(last app01)" "point keep | $uuid | default | last:5" "point keep"
vmferry point delete app01 1 >/dev/null 2>&1
like "$(last app01)" "^point delete \| restore point 1 \| completed 20[0-9TZ:.-]+ \| -$" "point delete"
vmferry point delete app01 7 2>/dev/null
like "$(last app01)" "restore point 1" "what is refused leaves no row"
mine=$(audit length)

# Rows of a VM outlive it; more rows than a page, all at one time.
sqlite3 state/vmferry.db "
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO audit_log (who, what, subject, vm_uuid, vm_name, \`before\`, created_at)
    SELECT 'me', 'point delete', '$uuid', '$uuid', 'a<b>' || char(27) || '01', i, 1000000000000 FROM n"
is "$(audit '[.[] | select(.who == "me")] | length' "$uuid")" 1000 "the rows of a VM, by its uuid"
is "$(audit 'map(.before) == [range(1; 1001) | tostring]' "$(printf 'a<b>\e01')")" true \
    "... by its name then, in order"
like "$(vmferry audit "$uuid" | head -1)" '^2001-09-09 [0-9:]+  point delete  a<b>\?01$' "as text"
is "$(audit length --since=1d)" "$mine" "--since an age"
is "$(audit length --since=2001-01-01)" $((mine + 1000)) "--since a day"
is "$(audit length --since=2001-09-09T01:46:40Z)" $((mine + 1000)) "--since a moment, which counts"
is "$(audit length --since=2001-09-09T01:46:41Z)" "$mine" "... and the next second"
for wrong in yesterday 5 2026-13-01 5y '' 2026-11-21x; do
    status=0
    vmferry audit --since="$wrong" 2>/dev/null || status=$?
    is "$status" 2 "--since='$wrong' is wrong use"
done
like "$(vmferry audit nobody 2>&1)" "no VM named 'nobody'" "a VM that nobody knows"
done_testing
