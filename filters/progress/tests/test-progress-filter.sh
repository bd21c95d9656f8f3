#!/bin/bash
# The progress filter with stock clients: what it counts, what it says, and that
# nobody has to wait for it.
# shellcheck disable=SC2016 # $uri is for nbdkit --run
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

here=$(dirname "$0")
file=$tmp/record
lines=$tmp/lines

# nbdkit with our filter in front, records to $file and $lines.
progress() {
    rm -f "$file" "$lines"
    nbdkit -U - --filter="$PROGRESS" "$@" progress-file="$file" progress-fd=5 5>"$lines"
}

# A field, or several as one line, of the last record.
last() {
    jq -r "[$1] | join(\" \")" "$file"
}

# What a client of libnbd does; h is connected.
client() { # PYTHON
    printf '/usr/bin/python3 -c "%s"' "import nbd; h = nbd.NBD(); h.connect_uri('\$uri'); $1"
}

# --- What is counted

size=64M
random() {
    progress sparse-random size=$size seed=1 percent=30 "$@"
}
random --run 'nbdinfo --map --totals --json "$uri" >'"$tmp"'/totals'
allocated=$(jq '[.["base:allocation"][] | select(.type == 0) | .length] | add' "$tmp/totals" 2>/dev/null ||
    jq '[.[] | select(.type == 0) | .size] | add' "$tmp/totals")
like "$allocated" '^[1-9][0-9]+$' 'the disk is sparse'

random --run 'nbdcopy --connections=4 --threads=4 "$uri" null:'
is "$(last '.bytes_done, .bytes_total, .percent, .eta_seconds, .state')" \
    "$allocated $allocated 100 0 completed" 'a copy over four connections: exactly the allocated bytes'
is "$(tail -n 1 "$lines")" "$(cat "$file")" 'file and descriptor end with the same record'
is "$(jq -r '.percent' "$lines" | sort -c -n && echo sorted)" sorted 'percent never goes down'
is "$(jq -s '[.[] | select(.percent > 100 or (.percent == 100) != (.state == "completed"))] | length' "$lines")" \
    0 '100 is said only when it is completed'
is "$(jq -r 'keys_unsorted | join(" ")' "$lines" | sort -u)" \
    'label sync_type bytes_done bytes_total percent throughput eta_seconds state time' \
    'every record has every field'

random --run 'nbdcopy "$uri" null:; nbdcopy "$uri" null:; nbdinfo --map "$uri" >/dev/null'
is "$(last '.bytes_done, .percent, .state')" "$allocated 100 completed" 'a second copy counts nothing'

random --run 'nbdcopy "$uri" null: & nbdcopy "$uri" null: & wait'
is "$(last '.bytes_done, .percent, .state')" "$allocated 100 completed" 'two clients at once count once'

progress pattern 1M --run "$(client 'h.pread(512, 0); h.pread(512, 0); h.pread(512, 256); h.pread(1, 1048575)')
    until grep -q paused $file; do sleep 0.05; done"
is "$(last '.bytes_done, .bytes_total, .percent, .state')" '769 1048576 0.07 failed' \
    'overlaps and repeats count once, to the byte'
is "$(jq -r .state "$lines" | uniq | paste -sd' ')" 'running paused failed' \
    'paused when the client goes early, failed when nbdkit ends before it is done'

progress data '@4096 1*4096 @65536 1*65536' size=1M --run "$(client 'h.pread(1048576, 0)')"
is "$(last '.bytes_total, .bytes_done, .state')" '98304 98304 completed' 'holes are read for nothing'

# A checked program does not look at 1 TiB within the second that a client's end may take.
checked=${SANITIZE:+128G}
[ -z "${VALGRIND:-}" ] || checked=32G

# Blocks of 512 in any order, some of them twice, on a disk whose grain is larger.
progress pattern "${checked:-1T}" --filter=extentlist extentlist=<(printf '0 1M\n') --run "$(client \
    'import random; o = [i * 512 for i in range(2048)] * 2; random.shuffle(o); [h.pread(512, i) for i in o]')"
is "$(last '.bytes_total, .bytes_done, .state')" '1048576 1048576 completed' 'pieces of grains, in disorder'

# Nothing asks for block status, the plugin serves one request at a time, and is far from scanned.
progress eval get_size='echo 20G' can_extents='exit 0' thread_model='echo serialize_all_requests' \
    extents='[ $4 -gt 0 ] && { echo 0 $(($4 + $3)) hole,zero; exit; }; echo 0 64k; echo 64k $3 hole,zero' \
    pread='dd if=/dev/zero bs=$3 count=1 status=none' --run "$(client 'h.pread(65536, 0)')"
is "$(last '.bytes_total, .bytes_done, .state')" '65536 65536 completed' 'a plugin that takes one request at a time'

progress eval get_size='echo 1M' pread='dd if=/dev/zero bs=$3 count=1 status=none' \
    --run "$(client 'h.pread(1048576, 0)')"
is "$(last '.bytes_total, .bytes_done, .state')" '1048576 1048576 completed' 'a plugin without block status'

progress eval get_size='echo 1M' can_extents='exit 0' extents='echo EIO failed >&2; exit 1' \
    pread='dd if=/dev/zero bs=$3 count=1 status=none' \
    --run "$(client 'h.pread(1048576, 0)')" 2>"$tmp/err"
is "$(last '.bytes_total, .bytes_done, .state')" '1048576 1048576 completed' 'a plugin whose block status fails'

progress memory 1M --filter=error error-pread=EIO error-pread-rate=100% --filter=extentlist \
    extentlist=<(echo 0 1M) --run "! $(client 'h.pread(1048576, 0)') && $(client 'h.zero(1, 0)')" 2>"$tmp/err"
is "$(last '.bytes_done, .state')" '1 failed' 'what fails has not moved'

progress memory 7E --run "$(client "h.pwrite(b'x' * 513, 2**42 + 5); h.pwrite(b'x' * 65536, 2**62); \
h.pwrite(b'x' * 65536, 2**62 + 65536); h.pwrite(b'x' * 65536, 2**62); h.pread(100, 2**42 + 5)")"
is "$(last .bytes_done)" $((513 + 131072)) '7 EiB: exact where it is touched'

[ -f "$CBT" ] || skip 'no cbt filter' 'with a change map the total is the change map'
if [ -f "$CBT" ]; then
    printf '0 64k\n10M 1M\n' >"$tmp/map"
    progress --filter="$CBT" pattern 100M cbt-map="$tmp/map" --run "$(client \
        'h.pread(65536, 0); h.pread(33554432, 0); h.pread(33554432, 33554432)')"
    is "$(last '.bytes_total, .bytes_done, .state')" '1114112 1114112 completed' \
        'with a change map the total is the change map'
fi

# --- The destination

truncate -s 16M "$tmp/source"
dd if=/dev/urandom of="$tmp/source" bs=1M seek=3 count=5 conv=notrunc status=none
progress memory 16M progress-total=size --run 'nbdcopy '"$tmp"'/source "$uri"'
is "$(last '.bytes_done, .bytes_total, .percent, .eta_seconds, .state')" '16777216 16777216 100 0 completed' \
    'a destination against its size: data and zeroes'
random -r progress-total=size --run 'nbdcopy "$uri" null:'
is "$(last '.bytes_total, .percent, .eta_seconds, .state')" '67108864 100 0 completed' \
    'a source against its size: what is told to be zero need not be read'
random progress-total=size --run 'nbdinfo --map "$uri" >'"$tmp"'/map; '"$(client 'h.pread(512, 0)')"
is "$(last '.state')" failed 'but the data does'
progress memory 1M progress-total=size --run 'nbdinfo --map "$uri" >'"$tmp"'/map'
is "$(last '.percent, .state')" '0 failed' 'a destination that was only looked at is not written'
progress memory 16M progress-total=5M --run 'nbdcopy --destination-is-zero '"$tmp"'/source "$uri"'
is "$(last '.bytes_done, .bytes_total, .state')" '5242880 5242880 completed' 'a destination against a number'
progress memory 16M --run 'nbdinfo "$uri" >/dev/null; nbdcopy --destination-is-zero '"$tmp"'/source "$uri"'
is "$(last '.bytes_done, .bytes_total, .percent, .state')" '5242880 5242880 100 completed' \
    'a destination that was empty: what is written had to move'
progress memory 1M --filter=extentlist extentlist=<(echo 64k 64k) \
    --run "$(client 'h.zero(131072, 0)')"
is "$(last '.bytes_done, .bytes_total, .state')" '65536 65536 completed' 'a changed range that is zeroed has moved'

progress -r memory 16M --run 'nbdcopy "$uri" null:'
is "$(last '.bytes_total, .percent, .eta_seconds, .state')" '0 100 0 completed' 'nothing to move is finished'

# --- Parameters

refused() { # PATTERN PARAMETER…
    local pattern=$1
    shift
    # a pattern disk starts at once, and --run true ends at once
    like "$(nbdkit -U - --filter="$PROGRESS" null "$@" --run true 2>&1)" "$pattern" "refused: $*"
}
refused 'progress-total=many: give' progress-total=many
refused 'progress-interval=0: give' progress-interval=0
refused 'progress-interval=1h: give' progress-interval=1h
refused 'not a descriptor that is open for writing' progress-fd=77
refused 'not a descriptor that is open for writing' progress-fd=-1
refused "can't be written: No such file" progress-file="$tmp/none/record"
refused 'not a regular file' progress-file=/dev/null
refused 'not an http:// or https:// URL' progress-url=ftp://localhost/
refused 'would be seen by everyone' progress-url=http://me:secret@localhost/
refused 'give "initial"' progress-sync-type=full
refused 'longer than 127 bytes' progress-label="$(printf 'x%.0s' {1..128})"
# The command of --run must not be left waiting for an nbdkit that has given up.
like "$(timeout 20 nbdkit -U - --filter="$PROGRESS" null progress-file="$tmp/none/record" --run 'nbdinfo "$uri"' 2>&1; echo $?)" \
    "can't be written: No such file.*1\$" 'refused before --run: progress-file'
unknown=$(nbdkit -U - --filter="$PROGRESS" null progress-what=1 --run true 2>&1)
like "$unknown" 'progress-what' 'an unknown parameter is refused'

progress null 1M progress-label='a "disk"' progress-sync-type=resync progress-interval=500ms --run true
is "$(last '.label, .sync_type')" 'a "disk" resync' 'label and sync type are in the record'

# --- Every interval; several sinks; readers of the file

slow=(pattern 2M --filter=delay rdelay=150ms progress-interval=50ms)
# shellcheck disable=SC2317
reader() { # never an empty file, never half a record
    until [ -e "$tmp/stop" ]; do
        [ -e "$file" ] && { jq -e .state "$file" || echo torn; } >>"$tmp/read" 2>&1
    done
}
rm -f "$file" "$tmp/read"
background reader
reading=$!
# --requests=1: eight reads, one after the other
nbdkit -U - --filter="$PROGRESS" "${slow[@]}" progress-file="$file" progress-file="$tmp/second" \
    progress-fd=5 5>"$lines" --run "$(client '[h.pread(262144, i * 262144) for i in range(8)]')"
touch "$tmp/stop"
wait $reading
is "$(sort -u "$tmp/read" | paste -sd' ')" '"completed" "running"' 'a reader of the file sees whole records only'
is "$(cmp "$file" "$tmp/second" && echo same)" same 'two files'
many=$(wc -l <"$lines")
ok test "$many" -ge 10 -- "a record every interval ($many)"
is "$(find "$tmp" -name '*.tmp')" '' 'no temporary file is left'
is "$(jq -s '[.[] | select(.state == "running" and .percent > 20 and .eta_seconds == null)] | length' "$lines")" \
    0 'there is an estimate'

# As inetd starts it: one client on stdin and stdout.
inetd="nbdkit -s --filter=$PROGRESS pattern 1M progress-file=$file"
rm -f "$file"
/usr/bin/python3 -c "
import nbd
h = nbd.NBD()
h.connect_command('$inetd'.split())
h.pread(1048576, 0)
h.shutdown()"
ok wait_for 5 grep -q '"completed"' "$file" -- 'nbdkit -s'

# --- URLs

receiver() { # MODE: a receiver's port in $port
    rm -f "$tmp/port" "$tmp/posted"
    background /usr/bin/python3 "$here/receiver.py" "$1" "$tmp/port" "$tmp/posted"
    wait_for 10 test -s "$tmp/port"
    port=$(cat "$tmp/port")
}
receiver good
progress pattern 2M "${slow[@]:2}" progress-url="http://127.0.0.1:$port/p" \
    --run "$(client '[h.pread(262144, i * 262144) for i in range(8)]')"
is "$(tail -n 1 "$tmp/posted" | jq -c .)" "$(jq -c . "$file")" 'the receiver gets the last record'
ok test "$(wc -l <"$tmp/posted")" -ge 5 -- 'and some before it'
is "$(grep -c bad "$tmp/posted")" 0 'as JSON'
receiver moved
like "$(progress null 1M progress-url="http://127.0.0.1:$port/" --run true 2>&1)" \
    'HTTP status 302; the copy goes on' 'a receiver that has moved is said to fail'

# Milliseconds that a client's reads take with this URL; the same reads as above, undelayed.
milliseconds() {
    progress pattern 256M progress-interval=10ms "$@" 2>"$tmp/err" --run "$(client \
        'import time; a = time.time(); [h.pread(1048576, i * 1048576) for i in range(256)]; print(int(1000 * (time.time() - a)))')"
}
receiver hang
plain=$(milliseconds)
closed=$(milliseconds progress-url=http://127.0.0.1:1/)
begin=$(date +%s%N)
hung=$(milliseconds progress-url="http://127.0.0.1:$port/" progress-url="http://127.0.0.1:$port/2")
whole=$((($(date +%s%N) - begin) / 1000000))
diag "256 MiB read in $plain ms, dead receiver $closed ms, hanging receivers $hung ms ($whole with nbdkit)"
ok test "$closed" -lt $((plain * 2 + 1000)) -- 'a dead receiver slows nobody'
ok test "$hung" -lt $((plain * 2 + 1000)) -- 'a receiver that hangs slows nobody'
ok test "$whole" -lt 12000 -- 'and the end of nbdkit waits for it a few seconds only'
is "$(grep -c 'progress-url=http.*the copy goes on' "$tmp/err")" 2 'each says once that it fails'
is "$(last '.percent, .state')" '100 completed' 'the copy is counted all the same'

# A pipe that nobody reads, full at once: the last record alone may wait.
stuck=$(/usr/bin/python3 - "$(command -v nbdkit)" "$PROGRESS" <<'PYTHON'
import fcntl, os, subprocess, sys
r, w = os.pipe()
fcntl.fcntl(w, 1031, 4096)
run = "nbdcopy --connections=1 --requests=1 --request-size=262144 $uri null:"
print(subprocess.run([sys.argv[1], "-U", "-", "--filter=" + sys.argv[2], "pattern", "8M", "--filter=delay",
                      "rdelay=20ms", "progress-interval=10ms", "progress-fd=%d" % w, "--run", run],
                     pass_fds=[w], timeout=30).returncode)
PYTHON
)
is "$stuck" 0 'a pipe that nobody reads holds nobody up'

# --- Memory

if [ -z "${SANITIZE:-}" ]; then
    receiver good
    NBDKIT_VALGRIND=1 valgrind -q --leak-check=full --error-exitcode=119 --log-file="$tmp/valgrind.%p" \
        "$(command -v nbdkit)" -U - --filter="$PROGRESS" sparse-random 8M seed=1 percent=30 \
        progress-file="$file" progress-fd=5 progress-url="http://127.0.0.1:$port/" 5>"$lines" \
        --run 'nbdcopy "$uri" null:'
    is "$(cat "$tmp"/valgrind.*)" '' 'valgrind finds nothing'
fi
done_testing
