#!/bin/bash
# --resume: killed at any moment, the next run copies only what was not durable, and
# the result is the same.
# shellcheck disable=SC2069 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

seed=${SEED:-$RANDOM}
RANDOM=$seed
diag "SEED=$seed"
rounds=${ROUNDS:-12}
# Several connections from the start, as a big disk gets them.
copy() { timeout -s KILL 120 vmferry copy --progress=none --connections=2 "$@"; }
message_of() { "$@" 2>&1 >/dev/null; }

disk=$tmp/disk
head -c 40000000 /dev/urandom >"$disk"
truncate -s 70000001 "$disk"
head -c 20000000 /dev/urandom | dd of="$disk" bs=1000 seek=47000 conv=notrunc status=none
digest=$(copy --digest "$disk" null:)
journal=$tmp/journal

nbdkit -U "$tmp/dst" -P "$tmp/dst.pid" file "$tmp/out" 2>/dev/null || {
    truncate -s 70000001 "$tmp/out"
    nbdkit -U "$tmp/dst" -P "$tmp/dst.pid" file "$tmp/out"
}
at_exit "kill \$(cat $tmp/dst.pid)"

# It has begun to note what is durable, or has ended.
# shellcheck disable=SC2317 # wait_for calls it
noted() { [ "$journal" -nt "$tmp/begin" ] || ! kill -0 "$pid" 2>/dev/null; }

# Killed again and again, until it is complete.
for dst in "$tmp/out" "nbd+unix:///?socket=$tmp/dst"; do
    head -c 70000001 /dev/urandom | dd of="$tmp/out" conv=notrunc status=none
    kills=0
    most=0
    while [ "$kills" -lt "$rounds" ]; do
        # Slow enough that a kill hits it, and flushed often enough to get on. Without --verify:
        # nbdkit 1.32 dies of a client that is killed while it reads.
        touch "$tmp/begin"
        vmferry copy --progress=none --connections=2 --resume="$journal" --flush=1M --rate=40M \
            "$disk" "$dst" 2>/dev/null &
        pid=$!
        [ $((RANDOM % 4)) = 0 ] || wait_for 60 noted
        sleep "${VALGRIND:+2}.$((RANDOM % 5))$((RANDOM % 10))"
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null && break
        kills=$((kills + 1))
        size=$(stat -c %s "$journal" 2>/dev/null || echo 0)
        [ "$size" -le "$most" ] || most=$size
    done
    [ "$most" -gt 200 ]
    result $? "the journal has grown over $kills kills"
    result=$(copy --resume="$journal" --json --digest --verify "$disk" "$dst")
    is $? 0 "after $kills kills it completes"
    ok cmp "$disk" "$tmp/out" -- "and the result is right"
    is "$(jq -r .digest <<<"$result")" "$digest" "and its digest"
done

# Only what was not durable is copied again.
head -c 70000001 /dev/urandom >"$tmp/out"
cat >"$tmp/rate" <<<20M
vmferry copy --progress=none --resume="$journal" --flush=1M --rate=@"$tmp/rate" "$disk" \
    "$tmp/out" >/dev/null 2>"$tmp/message" &
pid=$!
wait_for 60 sh -c "[ \$(stat -c %s $journal) -gt 200 ]"
kill -TERM "$pid"
wait "$pid"
is $? 3 "SIGTERM: paused"
like "$(cat "$tmp/message")" "stopped on request" "and says why"
cp "$journal" "$tmp/journal.kept"
cp "$journal.leaves" "$tmp/leaves.kept"
result=$(copy --resume="$journal" --json "$disk" "$tmp/out")
ok cmp "$disk" "$tmp/out" -- "resumed: the result is right"
resumed=$(jq .bytes_resumed <<<"$result")
[ "$resumed" -gt 5000000 ]
result $? "$resumed bytes were not copied again"
is $((resumed + $(jq .bytes_total <<<"$result"))) 70000001 "and all the others were"

# A journal that a crash tore
for cut in 1 7 23; do
    cp "$tmp/journal.kept" "$journal"
    cp "$tmp/leaves.kept" "$journal.leaves"
    truncate -s "-$cut" "$journal"
    head -c 1000 /dev/urandom >>"$journal"
    ok copy --resume="$journal" --verify "$disk" "$tmp/out" -- "$cut bytes torn off, garbage behind"
done
head -c 20 "$tmp/journal.kept" >"$journal"
ok copy --resume="$journal" --verify "$disk" "$tmp/out" -- "a journal with half a header"

# Not ours
cp "$tmp/journal.kept" "$journal"
like "$(message_of copy --resume="$journal" "$disk" "$tmp/other")" "journal of another copy" \
    "another destination"
cp "$disk" "$tmp/disk2"
like "$(message_of copy --resume="$journal" "$tmp/disk2" "$tmp/out")" "journal of another copy" \
    "another source"
echo "0 65536" >"$tmp/map"
like "$(message_of copy --resume="$journal" --changes="$tmp/map" "$disk" "$tmp/out")" \
    "journal of another copy" "another change map"
echo "something else, long enough to have been a header of its own" >"$journal"
like "$(message_of copy --resume="$journal" "$disk" "$tmp/out")" "no journal" "no journal at all"
is "$(head -c 14 "$journal")" "something else" "and it is left alone"
rm "$journal"

# What the journal speaks of is gone
start_over() {
    rm -f "$journal" "$journal.leaves" "$tmp/gone"
    vmferry copy --progress=none --resume="$journal" --flush=1M --rate=20M "$disk" "$tmp/gone" \
        2>/dev/null &
    pid=$!
    wait_for 60 sh -c "[ \$(stat -c %s $journal) -gt 200 ]"
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
}
start_over
rm "$tmp/gone"
like "$(message_of copy --resume="$journal" "$disk" "$tmp/gone")" "journal of another copy" \
    "a new file under the destination's name"
like "$(message_of copy --resume="$journal" "$disk" "$tmp/gone")" "journal of another copy" \
    "and it is still refused when tried again"
start_over
: >"$tmp/gone"
ok copy --resume="$journal" --verify "$disk" "$tmp/gone" -- "a destination that was emptied"
ok cmp "$disk" "$tmp/gone" -- "is copied as a whole"
start_over
truncate -s 500000 "$tmp/gone"
ok copy --resume="$journal" "$disk" "$tmp/gone" -- "a destination that was cut off within what was durable"
ok cmp "$disk" "$tmp/gone" -- "is copied as a whole, too"
start_over
rm "$journal.leaves"
like "$(message_of copy --resume="$journal" --digest "$disk" "$tmp/gone")" \
    "leaves file .* is missing" "no digest without the leaves of what was copied before"
rm "$journal"
start_over
truncate -s 0 "$journal.leaves"
like "$(message_of copy --resume="$journal" --digest "$disk" "$tmp/gone")" \
    "leaves file .* is cut off: .*remove the journal to start afresh" "nor with what is left of them"
rm "$journal"

# Signals
vmferry copy --progress=none --rate=1M --resume="$journal" "$disk" "$tmp/out" 2>/dev/null &
pid=$!
wait_for 60 test -s "$journal"
kill -TERM "$pid"
wait "$pid"
is $? 3 "a signal with a journal: paused"
vmferry copy --progress=none --rate=1M "$disk" "$tmp/out2" 2>/dev/null &
pid=$!
wait_for 60 test -s "$tmp/out2"
kill -TERM "$pid"
wait "$pid"
is $? 1 "a signal without a journal: failed"
# Reads that take two seconds are waited for, until somebody asks again.
background nbdkit --exit-with-parent -f -U "$tmp/slow" --filter=delay pattern 1M rdelay=2
wait_for 20 test -S "$tmp/slow"
signals() { # SECONDS: between two of them
    rm -f "$journal"*
    vmferry copy --progress=none --resume="$journal" "nbd+unix:///?socket=$tmp/slow" "$tmp/out3" 2>/dev/null &
    pid=$!
    wait_for 60 test -s "$tmp/out3"
    sleep 0.5
    kill -TERM "$pid"
    sleep "$1"
    kill -TERM "$pid"
    wait "$pid"
}
signals 0.01
is $? 3 "one that comes twice, as from timeout(1), is one signal: paused"
signals 0.6
is $? 143 "a second one ends it at once"
/usr/bin/python3 - "$tmp/stalled" <<'END' &
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
client, _ = s.accept()
open(sys.argv[1] + ".accepted", "w")
time.sleep(60)
END
server=$!
at_exit "kill $server"
wait_for 20 test -S "$tmp/stalled"
vmferry copy --progress=none --resume="$journal" --timeout=20 \
    "nbd+unix:///?socket=$tmp/stalled" "$tmp/out2" 2>"$tmp/message" &
pid=$!
wait_for 60 test -e "$tmp/stalled.accepted"
kill -TERM "$pid"
wait "$pid"
is $? 3 "a signal while the first connection is made: paused"
like "$(cat "$tmp/message")" "stopped on request" "and says why"
done_testing
