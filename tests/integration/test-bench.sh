#!/bin/bash
# The benchmark itself: that its rows run, check the copies and write results. What
# it measures here means nothing.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
[ -z "${SANITIZE:-}${VALGRIND:-}" ] || skip_all "it measures plain builds"

ok "$top/bench/run" --size=16 --rounds=1 --json="$tmp/results.json" \
    unix-unix tls-file unix-tls file-file delta-64k -- "five rows of small disks"
is "$(jq -r '[.rows[].name] | join(" ")' "$tmp/results.json")" \
    "unix-unix tls-file unix-tls file-file delta-64k" "all are in the results"
is "$(jq '[.rows[].results[] | select(.seconds <= 0 or .peak <= 0)] | length' "$tmp/results.json")" \
    0 "with times and peak memory"
like "$(jq -r '.rows[1].notes[0]' "$tmp/results.json")" 'AES-128-GCM' "the cipher is named"
is "$(jq '[.rows[].bars[] | select(.measured <= 0)] | length' "$tmp/results.json")" 0 \
    "each bar was measured"

status=0
out=$("$top/bench/run" nonsense 2>&1) || status=$?
is "$status" 2 "an unknown row is wrong use"
like "$out" "no row named nonsense" "and says so"

places() { find /dev/shm "${TMPDIR:-/var/tmp}" -maxdepth 1 -name "vmferry-bench.$pid.*"; }
# shellcheck disable=SC2317 # wait_for calls it
has_place() { [ -n "$(places)" ]; }
background "$top/bench/run" --size=64 --rounds=50 unix-unix >"$tmp/out"
pid=$!
wait_for 10 has_place
kill -TERM $pid
wait $pid
is "$(places)" "" "one that is stopped leaves nothing behind"
done_testing
