#!/bin/bash
# Servers that lie or fail: a clear error or the right bytes, and never a hang.
# shellcheck disable=SC2069 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

here=$(dirname "$0")
size=1048576

liar() { # LIE [ARGUMENT]; serves on $tmp/liar
    rm -f "$tmp/liar"
    background /usr/bin/python3 "$here/nbd-liar.py" "$tmp/liar" "$size" "$@"
    wait_for 10 test -S "$tmp/liar"
}
uri="nbd+unix:///?socket=$tmp/liar"
# Seconds: an answer, a whole copy. An nbdkit under valgrind takes a few to start.
answer=${VALGRIND:+8}
limit=${VALGRIND:+240}
copy() {
    timeout -s KILL "${limit:-30}" vmferry copy --progress=none --timeout="${answer:-1}" --retries=3 "$@"
}
message_of() { "$@" 2>&1 >/dev/null; }

# As a source: what the error says.
while IFS='|' read -r lie expected; do
    liar "$lie"
    message=$(message_of copy "$uri" null:)
    like "$message" "$expected" "source: $lie"
    kill "${background_pids[-1]}"
done <<'END'
zero-extent|length 0 in the answer
endless-tiny|length 0 in the answer
no-extents|block status.*at offset 0
past-end|outside the disk of 1048576 bytes
short-read|reading 393216 bytes at offset [0-9]+: the answer is not as long
twice-read|the answer is not as long
long-read|reading.*out of bounds
hole-chunk-lie|reading.*out of bounds
garbage|reading.*magic
read-error|reading.*tried again.*Input/output error
einval|reading 393216 bytes at offset [0-9]+: Invalid argument
shrink|another disk than before: 983040 bytes, not 1048576
END

# As a destination.
while IFS='|' read -r lie expected; do
    liar "$lie"
    message=$(message_of copy [ nbdkit pattern 1M ] "$uri")
    like "$message" "$expected" "destination: $lie"
    kill "${background_pids[-1]}"
done <<'END'
flush-error|flushing failed.*Input/output error
flush-error-once|flushing failed.*Input/output error
enospc|writing 393216 bytes at offset [0-9]+: No space left
eperm|writing 393216 bytes at offset [0-9]+: Operation not permitted
END

# What passes is survived, and the bytes are right.
for lie in honest no-status big-block "drop-read 2" "hang-read 2"; do
    # shellcheck disable=SC2086
    liar $lie
    is "$(copy --digest "$uri" null:)" "$(copy --digest [ nbdkit pattern 1M ] null:)" "source: $lie"
    kill "${background_pids[-1]}"
done
for lie in honest no-status big-block "drop-write 2" drop-flush "hang-write 2"; do
    # shellcheck disable=SC2086
    liar $lie
    head -c 1048576 /dev/urandom >"$tmp/disk"
    ok copy --verify "$tmp/disk" "$uri" -- "destination: $lie"
    ok copy "$uri" "$tmp/back" -- "can be read back"
    ok cmp "$tmp/disk" "$tmp/back" -- "and holds the right bytes"
    rm "$tmp/back"
    kill "${background_pids[-1]}"
done


done_testing
