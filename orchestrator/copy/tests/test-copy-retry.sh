#!/bin/bash
# Errors and lost connections: tried again, a bounded number of times, at both ends.
# shellcheck disable=SC2069 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

here=$(dirname "$0")
seed=${SEED:-$RANDOM}
diag "SEED=$seed"
# Several connections from the start, as a big disk gets them.
copy() { timeout -s KILL 120 vmferry copy --progress=none --connections=2 "$@"; }
message_of() { "$@" 2>&1 >/dev/null; }

disk=$tmp/disk
head -c 30000000 /dev/urandom >"$disk"
truncate -s 60000000 "$disk"
head -c 9000000 /dev/urandom | dd of="$disk" bs=1000 seek=40000 conv=notrunc status=none
head -c 60000000 /dev/urandom >"$tmp/out"

# NBD errors
ok copy [ nbdkit --filter=error file "$disk" error-rate=5% ] "$tmp/out" -- \
    "a source where every 20th request fails"
ok cmp "$disk" "$tmp/out" -- "is copied right"
head -c 60000000 /dev/urandom >"$tmp/out"
ok copy "$disk" [ nbdkit --filter=error file "$tmp/out" \
    error-pwrite-rate=10% error-zero-rate=10% ] -- "a destination where every 10th write fails"
ok cmp "$disk" "$tmp/out" -- "is copied right"

# Lost connections
proxied() { # NAME UPSTREAM BYTES
    rm -f "$tmp/$1"
    background /usr/bin/python3 "$here/nbd-dropper.py" "$tmp/$1" "$2" "$3" "$seed"
    wait_for 10 test -S "$tmp/$1"
}
# A process for each connection, as a client that dies may take its nbdkit along.
background socat "UNIX-LISTEN:$tmp/src,fork" "EXEC:nbdkit -s -r file $disk" 2>/dev/null
background socat "UNIX-LISTEN:$tmp/dst,fork" "EXEC:nbdkit -s file $tmp/out" 2>/dev/null
wait_for 10 test -S "$tmp/src"
wait_for 10 test -S "$tmp/dst"
proxied bad-src "$tmp/src" 4000000
proxied bad-dst "$tmp/dst" 4000000
head -c 60000000 /dev/urandom >"$tmp/out"
result=$(copy --json --digest "nbd+unix:///?socket=$tmp/bad-src" "nbd+unix:///?socket=$tmp/bad-dst")
ok cmp "$disk" "$tmp/out" -- "connections that are cut at both ends: copied right"
reconnects=$(jq .reconnects <<<"$result")
[ "$reconnects" -gt 2 ]
result $? "after $reconnects reconnects"
is "$(jq -r .digest <<<"$result")" "$(copy --digest "$disk" null:)" "and the digest is right"

# Delta over connections that are cut
cp "$disk" "$tmp/old"
cp "$disk" "$tmp/out"
/usr/bin/python3 - "$disk" "$tmp/map" "$seed" <<'END'
import random, sys
rng = random.Random(int(sys.argv[3]))
with open(sys.argv[1], "r+b") as disk, open(sys.argv[2], "w") as changes:
    for start in range(0, 60000000, 150000):
        length = rng.randrange(1, 100000)
        disk.seek(start)
        disk.write(rng.choice((bytes(length), rng.randbytes(length)))[:60000000 - start])
        print(start, min(length, 60000000 - start), file=changes)
END
ok copy --changes="$tmp/map" --verify "nbd+unix:///?socket=$tmp/bad-src" \
    "nbd+unix:///?socket=$tmp/bad-dst" -- "a delta over connections that are cut"
ok cmp "$disk" "$tmp/out" -- "is right"

# A server that is killed and comes back
serve() {
    nbdkit -U "$tmp/phoenix" -P "$tmp/phoenix.pid" --filter=delay file "$tmp/out" wdelay=5ms &&
        wait_for 10 test -S "$tmp/phoenix"
}
serve
at_exit "kill \$(cat $tmp/phoenix.pid)"
head -c 60000000 /dev/urandom >"$tmp/out"
copy --json "$disk" "nbd+unix:///?socket=$tmp/phoenix" >"$tmp/result" &
pid=$!
wait_for 10 cmp -n 65536 "$disk" "$tmp/out" # it has begun
for _ in 1 2 3; do
    sleep 0.2
    kill -9 "$(cat "$tmp/phoenix.pid")"
    rm -f "$tmp/phoenix"
    serve
done
wait $pid
is $? 0 "a destination killed and started again three times"
ok cmp "$disk" "$tmp/out" -- "has all of it"

# A server that does not come back
copy --retries=3 --resume="$tmp/journal" --rate=20M "$disk" "nbd+unix:///?socket=$tmp/phoenix" \
    2>"$tmp/message" &
pid=$!
wait_for 10 test -s "$tmp/journal"
sleep 0.3
kill -9 "$(cat "$tmp/phoenix.pid")"
wait $pid
is $? 3 "a destination that does not come back: paused"
like "$(cat "$tmp/message")" "gave up after 4 tries.*phoenix" "and says so"
rm -f "$tmp/phoenix"
serve
ok copy --resume="$tmp/journal" --verify "$disk" "nbd+unix:///?socket=$tmp/phoenix" -- "resumed"
ok cmp "$disk" "$tmp/out" -- "it is complete"
[ ! -e "$tmp/journal" ] && [ ! -e "$tmp/journal.leaves" ]
result $? "and the journal is gone"

like "$(message_of copy "nbd+unix:///?socket=$tmp/nobody" null:)" "nobody" "no server at all"

# Who knows the lease of an export may write to it: no message has it.
background nbdkit -f -U "$tmp/small" memory 1M
wait_for 10 test -S "$tmp/small"
is "$(message_of copy "$disk" "nbd+unix:///vm1-disk0@0123abcd?socket=$tmp/small")" \
    "vmferry copy: the destination nbd+unix:///vm1-disk0?socket=$tmp/small has 1048576 bytes, the source $disk has more: 60000000" \
    "a destination that is too small, without its lease"
message=$(message_of copy "$disk" "nbd+unix:///vm1-disk0@0123abcd?socket=$tmp/nobody")
case $message in *0123abcd*) false ;; *vm1-disk0*) true ;; *) false ;; esac
result $? "one that is not there" || diag "$message"
background nbdkit -f -U "$tmp/strict" --filter=exportname memory 1M exportname=other exportname-strict=true
wait_for 10 test -S "$tmp/strict"
message=$(message_of copy "$disk" "nbd+unix:///vm1-disk0@0123abcd?socket=$tmp/strict")
case $message in *0123abcd*) false ;; *"no export named 'vm1-disk0'"*) true ;; *) false ;; esac
result $? "one that the server refuses" || diag "$message"
done_testing
