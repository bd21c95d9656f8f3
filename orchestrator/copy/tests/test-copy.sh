#!/bin/bash
# shellcheck disable=SC2016,SC2069
# vmferry copy in full: every kind of end, every odd size, and what is refused.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

# Where vmferry puts the servers that it starts: nobody else's are there.
export TMPDIR=$tmp/servers
mkdir "$TMPDIR"

copy() { timeout -s KILL 60 vmferry copy --progress=none "$@"; }
status_of() { "$@" >/dev/null 2>&1; echo $?; }
message_of() { "$@" 2>&1 >/dev/null; }

# Data, holes, zeroes that are data, an odd end.
disk=$tmp/disk
head -c 3000000 /dev/urandom >"$disk"
truncate -s 10000001 "$disk"
head -c 300000 /dev/urandom | dd of="$disk" bs=1 seek=5000000 conv=notrunc status=none
head -c 700000 /dev/zero | dd of="$disk" bs=65536 seek=100 conv=notrunc status=none

nbdkit -U "$tmp/src" -P "$tmp/src.pid" -r file "$disk"
at_exit "kill \$(cat $tmp/src.pid)"
src="nbd+unix:///?socket=$tmp/src"

# Ends
ok copy "$disk" "$tmp/a" -- "file to a new file"
ok cmp "$disk" "$tmp/a" -- "it is the same"
[ "$(stat -c %b "$tmp/a")" -le "$(stat -c %b "$disk")" ]
result $? "its holes are holes"
head -c 10000001 /dev/urandom >"$tmp/b"
ok copy "$disk" "$tmp/b" -- "file to a file full of something else"
ok cmp "$disk" "$tmp/b" -- "zeroes overwrite"
head -c 4000 /dev/urandom >"$tmp/c"
ok copy "$src" "$tmp/c" -- "NBD to a file that is too short"
ok cmp "$disk" "$tmp/c" -- "it was made longer"
head -c 10000001 /dev/urandom >"$tmp/d"
nbdkit -U "$tmp/dst" -P "$tmp/dst.pid" file "$tmp/d"
ok copy "$src" "nbd+unix:///?socket=$tmp/dst" -- "NBD to NBD"
ok cmp "$disk" "$tmp/d" -- "it is the same"
kill "$(cat "$tmp/dst.pid")"
ok copy [ nbdkit -r file "$disk" ] [ nbdkit file "$tmp/d" ] -- "commands in brackets at both ends"
ok copy "$disk" null: -- "to null:"
rm -f "$tmp/d"
copy --verify -- [ nbdkit -r file "$disk" ] "$tmp/d" && cmp -s "$disk" "$tmp/d"
result $? "brackets after --, as nbdcopy wants them"
copy "$disk" --verify -- [ nbdkit file "$tmp/d" ]
result $? "and before the second one, behind an option"
ok copy null: "$tmp/d" -- "null: to a file"
ok cmp -n 10000001 "$tmp/d" /dev/zero -- "makes it zeroes"
is "$(stat -c %s "$tmp/d")" 10000001 "and not longer"
mkdir "$tmp/with blank"
cp "$disk" "$tmp/with blank/it's"
ok copy [ nbdkit -r file "$tmp/with blank/it's" ] "$tmp/e" -- "a command with a blank and a quote"
ok cmp "$disk" "$tmp/e" -- "is started as it was written"
is "$(find "$TMPDIR" -name sock -exec fuser {} \; 2>/dev/null)" "" "no server is left behind"

# Writes are flushed before success.
cat >"$tmp/flush.sh" <<'SCRIPT'
case $1 in
get_size) echo 1048576 ;;
can_write | can_flush | can_zero) exit 0 ;;
pread) dd if=/dev/zero bs="$3" count=1 status=none iflag=fullblock ;;
pwrite) cat >/dev/null; echo "pwrite $4 $3" >>"$LOG" ;;
zero) echo "zero $4 $3" >>"$LOG" ;;
flush) echo flush >>"$LOG" ;;
*) exit 2 ;;
esac
SCRIPT
chmod +x "$tmp/flush.sh"
LOG=$tmp/log nbdkit -U "$tmp/flush" -P "$tmp/flush.pid" sh "$tmp/flush.sh"
at_exit "kill \$(cat $tmp/flush.pid)"
ok copy [ nbdkit pattern 1M ] "nbd+unix:///?socket=$tmp/flush" -- "copy to a server that logs"
is "$(tail -n 1 "$tmp/log")" flush "the last thing is a flush"
is "$(awk '/pwrite/ {n += $3} END {print n}' "$tmp/log")" 1048576 "and all was written once"

# Verification
ok copy --verify "$src" "$tmp/f" -- "--verify of a good copy"
message=$(message_of copy --verify [ nbdkit pattern 1M ] "nbd+unix:///?socket=$tmp/flush")
like "$message" "verifying.*block at offset [0-9]+ differs" "--verify finds what was not kept"
echo 0 64K >"$tmp/first"
for way in --changes="$tmp/first" --verify; do
    copy --leaves="$tmp/unkept" [ nbdkit pattern 1M ] null: >/dev/null
    message_of copy "$way" --verify --leaves="$tmp/unkept" [ nbdkit pattern 1M ] "nbd+unix:///?socket=$tmp/flush" >/dev/null
    like "$(message_of copy --compare --leaves="$tmp/unkept" [ nbdkit pattern 1M ] "nbd+unix:///?socket=$tmp/flush")" \
        "did not finish" "and nobody takes the leaves for what it holds"
done
head -c 10000001 /dev/urandom >"$tmp/g"
message=$(message_of copy --target-zero --verify "$disk" "$tmp/g")
like "$message" "verifying.*differs" "--verify finds that --target-zero was not true"

# The digest is the same whatever the way.
digest=$(copy --digest "$disk" null:)
like "$digest" '^xxh3-64k:[0-9a-f]{32}$' "--digest"
is "$(copy --digest "$src" "$tmp/h")" "$digest" "the same over NBD"
is "$(copy --digest --request-size=64K --connections=1 "$src" null:)" "$digest" "in small requests"
is "$(vmferry digest --progress=none "$tmp/h" | cut -d' ' -f1)" "$digest" "the same as vmferry digest"
is "$(copy --json --digest "$disk" null: | jq -r .digest)" "$digest" "in --json"
leased="nbd+unix:///vda%40job-1?socket=$tmp/src"
is "$(copy --json "$leased" null: | jq -r .source) $(vmferry digest --progress=none "${leased/\%40/@}")" \
    "nbd+unix:///vda?socket=$tmp/src $digest  nbd+unix:///vda?socket=$tmp/src" "and a lease is not shown"
ok copy --leaves="$tmp/leaves" "$disk" "$tmp/i" -- "--leaves"
is "$(stat -c %s "$tmp/leaves" | awk '{print ($1 % 16 == 0 && $1 <= 153 * 16)}')" 1 "16 bytes a block"

# Odd sizes
for size in 0 1 511 512 513 65535 65536 65537 262144 262145 1048577; do
    head -c "$size" /dev/urandom >"$tmp/odd"
    rm -f "$tmp/odd.out"
    ok copy --verify [ nbdkit -r file "$tmp/odd" ] "$tmp/odd.out" -- "$size bytes"
    ok cmp "$tmp/odd" "$tmp/odd.out" -- "$size bytes are the same"
done

# Large and empty
for size in 2T 3298534883841; do
    ok copy --verify [ nbdkit -r null "$size" ] [ nbdkit null "$size" ] -- "$size of nothing"
done
cat >"$tmp/far.sh" <<'SCRIPT'
set -e
/usr/bin/python3 -c "import nbd
h = nbd.NBD()
h.connect_uri('$uri')
h.pwrite(b'far' * 30000, 5 * 1024 ** 4 - 90000)
h.pwrite(b'mid' * 100, 2 * 1024 ** 4 - 7)"
a=$(vmferry copy --progress=none --digest "$uri" [ nbdkit memory 5T ] --verify)
b=$(vmferry copy --progress=none --digest "$uri" null:)
[ "$a" = "$b" ]
SCRIPT
ok nbdkit -U - memory 5T --run "uri=\$uri bash $tmp/far.sh" -- "data beyond 2 TiB"

# Block sizes
for args in "512 4096 65536" "4096 4096 32M" "65536 65536 65536" "1 512 1M"; do
    read -r minimum preferred maximum <<<"$args"
    head -c 1310720 /dev/urandom >"$tmp/blocks"
    head -c 1310720 /dev/urandom >"$tmp/blocks.out"
    policy=(blocksize-error-policy=error blocksize-minimum="$minimum"
        blocksize-preferred="$preferred" blocksize-maximum="$maximum")
    ok copy [ nbdkit -r --filter=blocksize-policy file "$tmp/blocks" "${policy[@]}" ] \
        [ nbdkit --filter=blocksize-policy file "$tmp/blocks.out" "${policy[@]}" ] \
        -- "block sizes $args"
    ok cmp "$tmp/blocks" "$tmp/blocks.out" -- "block sizes $args: the same"
done
is "$(status_of copy [ nbdkit -r pattern 1000 ] \
    [ nbdkit --filter=blocksize-policy memory 4096 blocksize-minimum=512 blocksize-preferred=4096 \
    blocksize-maximum=1M ])" 2 "a size that is no multiple of the destination's block is refused"

# Destinations without zero, with and without fast zero
for plugin in "memory 10000001" "--filter=nozero memory 10000001" \
    "--filter=nozero memory 10000001 fastzeromode=none" \
    "--filter=nozero memory 10000001 fastzeromode=slow" \
    "--filter=nozero memory 10000001 zeromode=emulate" "--filter=nozero memory 10000001 zeromode=notrim"; do
    # shellcheck disable=SC2086
    is "$(status_of copy --verify "$src" [ nbdkit $plugin ])" 0 "destination: $plugin"
done
nbdkit -U "$tmp/noextents" -P "$tmp/noextents.pid" -r --filter=noextents file "$disk"
at_exit "kill \$(cat $tmp/noextents.pid)"
ok copy "nbd+unix:///?socket=$tmp/noextents" "$tmp/j" -- "a source without block status"
ok cmp "$disk" "$tmp/j" -- "is the same"
[ "$(stat -c %b "$tmp/j")" -lt 9000 ]
result $? "zeroes in its data become holes"
is "$(status_of copy [ nbdkit -r --filter=multi-conn pattern 10M multi-conn-mode=disable ] null:)" 0 \
    "a source for one connection"

# Refused, with a reason
is "$(status_of copy "$disk")" 2 "no destination: wrong use"
is "$(status_of copy "$disk" "$tmp/a" "$tmp/b")" 2 "too much: wrong use"
is "$(status_of copy "$disk" "$disk")" 2 "onto itself"
like "$(message_of copy "$disk" "$disk")" "the same" "says so"
echo garbage >"$tmp/no-journal"
message=$(message_of copy --resume="$tmp/no-journal" "$disk" "$tmp/never")
like "$message" "no-journal" "a journal that is none is refused"
[ ! -e "$tmp/never" ]
result $? "and no file is made"
head -c 1000 "$disk" >"$tmp/shorter"
message_of copy --resume="$tmp/no-journal" "$disk" "$tmp/shorter" >/dev/null
is "$(stat -c %s "$tmp/shorter")" 1000 "nor one made longer"
is "$(status_of copy "$tmp/missing" "$tmp/k")" 1 "no such source"
[ ! -e "$tmp/k" ]
result $? "and the destination was not created"
ln -s "$tmp/nowhere" "$tmp/dangling"
like "$(message_of copy "$disk" "$tmp/dangling")" \
    "dangling is a symbolic link to $tmp/nowhere, which is not there: make that file" "a link to nothing"
limited() { (ulimit -f 4000; message_of copy "$@"); } # KiB
like "$(limited "$disk" "$tmp/k")" "k: making it 10000001 bytes long: File too large" "beyond ulimit -f"
[ ! -e "$tmp/k" ]
result $? "nothing is made"
truncate -s 10000001 "$tmp/limited"
like "$(limited --resume="$tmp/limited.journal" "$disk" "$tmp/limited")" "writing.*File too large" \
    "nor is a file written beyond it"
ok copy --resume="$tmp/limited.journal" --verify "$disk" "$tmp/limited" -- "and that is resumed without the limit"
mkfifo "$tmp/fifo"
is "$(status_of copy "$tmp/fifo" "$tmp/k") $(status_of copy "$disk" "$tmp/fifo")" "2 2" \
    "a FIFO at either end, and nobody waits for its other end"
like "$(message_of copy --leaves="$tmp/none/leaves" "$disk" "$tmp/k")" "none/leaves: No such file" \
    "a leaves file that cannot be made"
cp "$disk" "$tmp/precious"
is "$(status_of copy --leaves="$tmp/precious" "$tmp/precious" "$tmp/k")$(
    status_of copy --leaves="$tmp/k" "$tmp/precious" "$tmp/k")$(
    status_of vmferry digest --leaves="$tmp/precious" "$tmp/precious")" 222 "a disk as leaves file"
ok cmp "$disk" "$tmp/precious" -- "is left as it is"
: >"$tmp/nothing"
is "$(status_of copy --resume="$tmp/nothing" "$tmp/nothing" "$tmp/k")" 2 "a disk as journal"
is "$(status_of copy --resume="$tmp/both" --leaves="$tmp/both" "$disk" "$tmp/k")" 2 \
    "a journal as leaves file"
truncate -s 20M "$tmp/large"
like "$(message_of copy "$disk" "$tmp/large")" "20971520 bytes.*not cut off" "a longer file is kept"
is "$(stat -c %s "$tmp/large")" 20971520 "as it is"
like "$(message_of copy "$disk" [ nbdkit memory 1M ])" "has more" "a destination too small"
like "$(message_of copy "$disk" [ nbdkit -r memory 10000001 ])" "read-only" "a read-only destination"
like "$(message_of copy "$disk" [ no-such-program ])" "no-such-program" "a program that is not there"
like "$(message_of copy "$disk" [ nbdkit memory 1M)" "closing" "an open bracket"
like "$(message_of copy --rate=fast "$disk" null:)" "fast" "a rate that is none"
like "$(message_of copy --connections=0 "$disk" null:)" "1 to 64" "no connections"
like "$(message_of copy --target-zero --changes=x "$disk" null:)" "zeroes have to be written" \
    "--target-zero with changes"
like "$(message_of copy nbds://localhost/x null:)" "tls-certificates" "TLS without certificates"
is "$(status_of copy --help)" 0 "--help"

for _ in {1..100}; do # a race, once
    last=$(vmferry copy "$disk" null: 2>&1)
    [[ $last == *"9.54 MiB of 9.54 MiB"* && $last != *" 0 B/s"* ]] || break
done
like "$last" "9.54 MiB of 9.54 MiB +[1-9].*/s  done" "a copy that is over at once says all of it, and a rate"
{
    vmferry copy --rate=8M --progress=json "$disk" "$tmp/followed"
    echo $? >"$tmp/status"
} 2>&1 | head -n 1 >"$tmp/line"
is "$(jq -r .state "$tmp/line") $(cat "$tmp/status")" "running 0" "who follows the progress may go"
ok cmp "$disk" "$tmp/followed" -- "the copy goes on"
cp "$disk" "$tmp/shrinks"
(sleep 0.5 && truncate -s 1M "$tmp/shrinks") &
like "$(message_of copy --rate=4M "$tmp/shrinks" "$tmp/shrunk")" "the source became shorter" \
    "a source that shrinks"

# A block device
truncate -s 12M "$tmp/device"
if loop=$(losetup -f --show "$tmp/device" 2>/dev/null); then
    at_exit "losetup -d $loop"
    head -c 12M /dev/urandom >"$loop"
    ok copy --verify "$disk" "$loop" -- "a block device that is larger"
    ok cmp -n 10000001 "$disk" "$loop" -- "holds the disk"
    ok copy "$loop" "$tmp/from-device" -- "a block device as the source"
    ok cmp "$loop" "$tmp/from-device" -- "is copied"
    mkfs.ext4 -q -F "$loop"
    if mkdir "$tmp/mounted" && mount "$loop" "$tmp/mounted" 2>/dev/null; then
        at_exit "umount $tmp/mounted"
        like "$(message_of copy "$disk" "$loop")" "busy" "a mounted device is refused"
        umount "$tmp/mounted"
    fi
else
    skip "no loop devices here" "a block device"
fi

# A full destination
if [ "$(id -u)" = 0 ] && mkdir "$tmp/full" && mount -t tmpfs -o size=4m tmpfs "$tmp/full" 2>/dev/null; then
    at_exit "umount $tmp/full"
    message=$(message_of copy [ nbdkit -r pattern 10M ] "$tmp/full/out")
    like "$message" "writing.*No space left" "a full file system"
    is "$(status_of copy --resume="$tmp/full.journal" [ nbdkit -r pattern 10M ] "$tmp/full/out")" 3 \
        "with a journal: paused"
    [ -s "$tmp/full/out" ] && fallocate -l 4M "$tmp/full/fill" 2>/dev/null
    message=$(message_of copy --leaves="$tmp/full/leaves" --resume="$tmp/full2.journal" "$disk" null:)
    like "$message" "writing the leaves file $tmp/full/leaves: No space left.*paused" "a full file system for the leaves"
    mount -o remount,size=40m "$tmp/full"
    ok copy --leaves="$tmp/full/leaves" --resume="$tmp/full2.journal" "$disk" null: -- \
        "with a journal: paused, too"
    ok copy --resume="$tmp/full.journal" --verify [ nbdkit -r pattern 10M ] "$tmp/full/out" -- \
        "and resumed with more space"
else
    skip "no tmpfs here" "a full file system"
fi

# Memory
peak() { # COMMAND…; its peak in KiB
    /usr/bin/python3 -c 'import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)' "$@"
}
if [ -z "${SANITIZE:-}${VALGRIND:-}" ]; then
    nbdkit -U "$tmp/wide" -P "$tmp/wide.pid" -r pattern 4T
    at_exit "kill \$(cat $tmp/wide.pid)"
    memory=$(peak vmferry copy --progress=none null: [ nbdkit memory 64T ])
    [ "$memory" -lt 65536 ]
    result $? "64 TiB take $memory KiB of memory, less than 64 MiB"
fi

done_testing
