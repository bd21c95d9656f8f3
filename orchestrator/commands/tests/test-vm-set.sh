#!/bin/bash
# vmferry vm set: what is one VM's own.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"
export VMFERRY_STATE=$tmp/state VMFERRY_CONFIG=$tmp/vmferry.conf
: >"$VMFERRY_CONFIG"
truncate -s 64K "$tmp/disk.raw"
cat >"$tmp/app01.json" <<JSON
{ "uuid": "5c0ffee5-0000-4000-8000-00000000a501", "name": "app01", "firmware": "bios", "cpus": 1, "memory": 67108864,
  "nics": [], "disks": [ { "key": 2000, "unit": 0, "capacity": 65536, "backing_uuid": "a", "file": "$tmp/disk.raw" } ] }
JSON
vmferry source add nbd here --file "$tmp/app01.json" >/dev/null

of_app01() { # JQ-FILTER
    vmferry vm show app01 --json | jq -r "$1"
}

is "$(of_app01 '.checks, .expect')" $'null\nnull' "a VM is tested as all others"
ok vmferry vm set app01 checks="tcp:443, command:/bin/sh -c 'a, b'" -- "checks of its own"
ok vmferry vm set app01 expect='login: $' -- "and a console line"
is "$(of_app01 '.checks, .expect')" $'tcp:443, command:/bin/sh -c \'a, b\'\nlogin: $' "are kept"
like "$(vmferry vm show app01)" "checks +tcp:443.*expect +login: " "and shown"
is "$(vmferry vm set app01 expect=READY --json | jq -c .)" '{"vm":"app01","expect":"READY"}' "--json says what is set"
for wrong in checks=udp:53 checks=tcp:0 expect='(' nothing=x nothing; do
    vmferry vm set app01 "$wrong" >/dev/null 2>&1 && status=0 || status=$?
    is "$status" 2 "'$wrong' is wrong use"
done
is "$(of_app01 '.expect')" READY "and changes nothing"
ok vmferry vm set app01 expect=default -- "default takes it back"
is "$(of_app01 '.checks, .expect')" $'tcp:443, command:/bin/sh -c \'a, b\'\nnull' "alone"
is "$(vmferry audit --json | jq -r '[.[] | select(.what == "vm set")] | length')" 4 "each change is in the audit log"
ok vmferry vm set app01 keep=last:3 -- "retention is set as before"

done_testing
