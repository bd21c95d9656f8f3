#!/bin/bash
# vmferry copy of what changed: from a change map, a dirty bitmap, a cbt filter, and by
# comparing. Unchanged ranges are not touched, and zeroes overwrite.
# shellcheck disable=SC2069,SC2016 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

seed=${SEED:-$RANDOM}
diag "SEED=$seed"
copy() { timeout -s KILL 60 vmferry copy --progress=none "$@"; }
message_of() { "$@" 2>&1 >/dev/null; }

# The exact I/O, as a server sees it.
cat >"$tmp/log.sh" <<'SCRIPT'
case $1 in
get_size) echo 1073741824 ;;
can_write | can_flush | can_zero) exit 0 ;;
pread) dd if=/dev/zero bs="$3" count=1 status=none iflag=fullblock ;;
pwrite) cat >/dev/null; echo "write $4 $3" >>"$LOG" ;;
zero) echo "zero $4 $3" >>"$LOG" ;;
flush) echo flush >>"$LOG" ;;
*) exit 2 ;;
esac
SCRIPT
chmod +x "$tmp/log.sh"
LOG=$tmp/log nbdkit -U "$tmp/log.sock" -P "$tmp/log.pid" sh "$tmp/log.sh"
at_exit "kill \$(cat $tmp/log.pid)"
log="nbd+unix:///?socket=$tmp/log.sock"
io() { sort -k2n "$tmp/log" 2>/dev/null | grep -v flush | tr '\n' ','; }

cat >"$tmp/map" <<'END'
# three changes, not in order
1048576 4096
103 1
65000 2000
END
ok copy --changes="$tmp/map" [ nbdkit -r pattern 1G ] "$log" -- "three small changes"
is "$(io)" "write 103 1,write 65000 2000,write 1048576 4096," "exactly these bytes are written"
rm "$tmp/log"
ok copy --changes="$tmp/map" [ nbdkit -r null 1G ] "$log" -- "three changes that are zeroes now"
is "$(io)" "zero 103 1,zero 65000 2000,zero 1048576 4096," "are written as zeroes"
rm -f "$tmp/log"
echo "# none" >"$tmp/empty"
ok copy --changes="$tmp/empty" [ nbdkit -r pattern 1G ] "$log" -- "no changes"
is "$(io)" "" "nothing is written"
rm -f "$tmp/log"
# A destination with blocks: only whole ones can be written.
head -c 1M /dev/urandom >"$tmp/old"
cp "$tmp/old" "$tmp/new"
printf x | dd of="$tmp/new" bs=1 seek=100 conv=notrunc status=none
echo "100 1" >"$tmp/map1"
ok copy --changes="$tmp/map1" "$tmp/new" [ nbdkit --filter=blocksize-policy file "$tmp/old" \
    blocksize-minimum=4096 blocksize-preferred=4096 blocksize-maximum=1M \
    blocksize-error-policy=error ] -- "one byte to a destination with blocks of 4096"
ok cmp "$tmp/old" "$tmp/new" -- "is there"

# Refused
like "$(message_of copy --changes="$tmp/map" [ nbdkit pattern 64K ] "$log")" "map.*" "a map of another disk"
like "$(message_of copy --changes="$tmp/none" [ nbdkit pattern 1G ] "$log")" "none" "no such map"
like "$(message_of copy --changes=qemu:dirty-bitmap:x [ nbdkit pattern 1G ] "$log")" \
    "does not offer.*qemu:dirty-bitmap:x" "no such bitmap"
like "$(message_of copy --changes=qemu:dirty-bitmap:x "$tmp/new" "$log")" "only an NBD server" \
    "a bitmap of a file"
like "$(message_of copy --changes="$tmp/map" "$tmp/new" "$tmp/nothing")" "opening.*nothing" \
    "a delta onto a file that is not there"
[ ! -e "$tmp/nothing" ]
result $? "does not create it"
like "$(message_of copy --changes="$tmp/map1" --digest "$tmp/new" "$tmp/old")" "leaves" \
    "a digest after a delta needs the leaves"
[ ! -e "$tmp/log" ]
result $? "nothing was written meanwhile"

# A dirty bitmap of QEMU
if qemu-img create -q -f qcow2 "$tmp/q.qcow2" 64M; then
    qemu-io -f qcow2 -c 'write -P 1 0 32M' "$tmp/q.qcow2" >/dev/null
    qemu-img convert -O raw "$tmp/q.qcow2" "$tmp/q.old"
    qemu-img bitmap --add "$tmp/q.qcow2" b0
    qemu-io -f qcow2 -c 'write -P 2 1M 100k' -c 'write -z 4M 1M' -c 'write -P 3 63M 1M' \
        "$tmp/q.qcow2" >/dev/null
    qemu-img convert -O raw "$tmp/q.qcow2" "$tmp/q.new"
    background qemu-nbd -r -t -e 8 -f qcow2 -A -B b0 -k "$tmp/q.sock" "$tmp/q.qcow2"
    wait_for 10 nbdinfo "nbd+unix:///?socket=$tmp/q.sock"
    like "$(message_of copy --changes=qemu:allocation-depth "nbd+unix:///?socket=$tmp/q.sock" "$tmp/q.old")" \
        "allocation-depth does not say what changed" "another of QEMU's contexts"
    result=$(copy --changes=qemu:dirty-bitmap:b0 --json --verify "nbd+unix:///?socket=$tmp/q.sock" "$tmp/q.old")
    ok cmp "$tmp/q.old" "$tmp/q.new" -- "a dirty bitmap of QEMU: the delta is right"
    moved=$(jq '.bytes_written + .bytes_zeroed' <<<"$result")
    [ "$moved" -le $((3 << 20)) ]
    result $? "and moved only $moved bytes"
    [ "$(jq .bytes_zeroed <<<"$result")" = 1048576 ]
    result $? "its zeroes as zeroes"
fi

# The cbt filter's default mode
echo "65536 65536" >"$tmp/map2"
cp "$tmp/new" "$tmp/newer"
head -c 65536 /dev/urandom | dd of="$tmp/newer" bs=65536 seek=1 conv=notrunc status=none
head -c 65536 /dev/urandom | dd of="$tmp/newer" bs=65536 seek=5 conv=notrunc status=none
cp "$tmp/new" "$tmp/old"
if [ -e "$CBT" ]; then
    # Without the sanitizer's library a sanitized filter cannot be loaded by command.
    nbdkit -U "$tmp/cbt.sock" -P "$tmp/cbt.pid" -r --filter="$CBT" file "$tmp/newer" cbt-map="$tmp/map2"
    at_exit "kill \$(cat $tmp/cbt.pid)"
    ok copy --changes=base:allocation-hole "nbd+unix:///?socket=$tmp/cbt.sock" "$tmp/old" -- \
        "base:allocation-hole from the cbt filter"
    ok cmp -n 131072 "$tmp/old" "$tmp/newer" -- "what the map names was copied"
    ok cmp -i 131072 "$tmp/old" "$tmp/new" -- "and nothing else was"
fi

# A random history against a model: deltas with leaves, comparing, verification.
cat >"$tmp/model.py" <<'SCRIPT'
import json, random, subprocess, sys
directory, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
size = rng.choice((3 << 20, (3 << 20) + 512, (3 << 20) + 77777))
src, dst, leaves, cmap = (f"{directory}/m.{x}" for x in ("src", "dst", "leaves", "map"))

def vmferry(*args):
    run = subprocess.run(("timeout", "-s", "KILL", "60", "vmferry", "copy", "--progress=none", "--json") + args,
                         capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"vmferry copy {args}: {run.returncode}: {run.stderr}")
    return json.loads(run.stdout)

def bracket(path, *extra):
    return f"[ nbdkit file '{path}' {' '.join(extra)} ]"

def end(path):
    return rng.choice((path, bracket(path), bracket(path, "--filter=noextents"),
                       bracket(path, "--filter=nozero")))

data = bytearray(rng.randbytes(size // 2) + bytes(size - size // 2))
open(src, "wb").write(data)
vmferry("--leaves", leaves, src, dst)
for n in range(rounds):
    changed = []
    for _ in range(rng.choice((0, 1, 3, 40, 200))):
        grain = rng.choice((1, 512, 4096, 65536))
        start = rng.randrange(size // grain) * grain
        length = min(rng.randrange(1, 5) * grain, size - start)
        kind = rng.randrange(4)
        if kind == 0:
            data[start:start + length] = bytes(length)
        elif kind < 3:
            data[start:start + length] = rng.randbytes(length)
        changed.append((start, length))
    open(src, "wb").write(data)
    if rng.random() < 0.5:  # holes
        subprocess.run(("fallocate", "-d", src), check=True)
    rng.shuffle(changed)
    open(cmap, "w").write("# changes\n" + "".join(f"{s} {l}\n" for s, l in changed))
    options = ["--leaves", leaves] + rng.choice(([], ["--verify"]))
    options += rng.choice(([], ["--request-size", rng.choice(("64K", "128K", "1M"))], ["--connections=1"], ["--connections=3"]))
    if rng.random() < 0.3:
        result = vmferry("--compare", *options, end(src), end(dst))
        how = "compare"
    else:
        result = vmferry("--changes", cmap, *options, end(src), end(dst))
        how = "delta"
    if open(dst, "rb").read() != data:
        sys.exit(f"round {n}: {how} {options} with {len(changed)} changes: the copy differs")
    full = vmferry("--digest", src, "null:")["digest"]
    if result["digest"] != full:
        sys.exit(f"round {n}: {how} {options}: digest {result['digest']}, should be {full}")
print("fine")
SCRIPT
for i in 1 2 3; do
    ok /usr/bin/python3 "$tmp/model.py" "$tmp" $((seed + i)) "${ROUNDS:-20}" -- \
        "a random history, seed $((seed + i))"
    rm -f "$tmp"/m.*
done

# Comparing sends only what differs.
head -c 8M /dev/urandom >"$tmp/x"
ok copy --leaves="$tmp/x.leaves" "$tmp/x" "$tmp/y" -- "a copy with leaves"
head -c 100 /dev/urandom | dd of="$tmp/x" bs=1 seek=5000000 conv=notrunc status=none
result=$(copy --compare --leaves="$tmp/x.leaves" --json --verify "$tmp/x" "$tmp/y")
is "$(jq -c '[.bytes_written, .bytes_read]' <<<"$result")" "[65536,8388608]" "100 bytes differ: one block is sent"
ok cmp "$tmp/x" "$tmp/y" -- "and the copy is right"

# Leaves of another disk, or of a copy that was not finished.
cp "$tmp/x.leaves" "$tmp/cut.leaves"
truncate -s -16 "$tmp/cut.leaves"
for way in --compare --changes="$tmp/map1"; do
    like "$(message_of copy "$way" --leaves="$tmp/cut.leaves" "$tmp/x" "$tmp/y")" "cut.leaves has 2032 bytes" \
        "${way%%=*} with leaves that are not whole"
done
truncate -s 1M "$tmp/holes"
ok copy --leaves="$tmp/holes.leaves" "$tmp/holes" "$tmp/holes.copy" -- "a disk without data"
is "$(stat -c %s "$tmp/holes.leaves")" 256 "has leaves of full length"
ok copy --compare --leaves="$tmp/holes.leaves" "$tmp/holes" "$tmp/holes.copy" -- "which can be used"
# A block that cannot be read fails the copy when the last one has long been there.
copy --leaves="$tmp/failed.leaves" --retries=3 --flush=1M --connections=1 --requests=8 --request-size=1M \
    [ nbdkit -r eval get_size='echo 8M' can_extents='exit 3' \
    pread='[ $4 = 0 ] && echo EIO >&2 && exit 1; head -c $3 /dev/urandom' ] "$tmp/failed" 2>/dev/null
is "$? $(stat -c %s "$tmp/failed.leaves")" "1 2049" "a full copy that fails leaves no leaves"
truncate -s 8M "$tmp/failed"
head -c 8M /dev/urandom >"$tmp/failed.old"
like "$(message_of copy --compare --leaves="$tmp/failed.leaves" "$tmp/failed" "$tmp/failed.old")" \
    "a copy that did not finish" "... that could be taken for those of the disk"

# Deltas that are killed and resumed
cp "$tmp/y" "$tmp/z"
/usr/bin/python3 - "$tmp" "$seed" <<'END'
import random, sys
rng = random.Random(int(sys.argv[2]))
with open(sys.argv[1] + "/x", "r+b") as disk, open(sys.argv[1] + "/x.map", "w") as out:
    for start in range(0, 8 << 20, 50000):
        length = min(rng.randrange(1, 30000), (8 << 20) - start)
        disk.seek(start)
        disk.write(rng.choice((bytes(length), rng.randbytes(length))))
        print(start, length, file=out)
END
kills=0
while [ $kills -lt 8 ]; do
    vmferry copy --progress=none --changes="$tmp/x.map" --leaves="$tmp/x.leaves" --flush=64K --rate=6M \
        --resume="$tmp/x.journal" --verify "$tmp/x" "$tmp/y" 2>/dev/null &
    pid=$!
    sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null && break
    kills=$((kills + 1))
done
result=$(copy --changes="$tmp/x.map" --leaves="$tmp/x.leaves" --resume="$tmp/x.journal" --json --verify "$tmp/x" "$tmp/y")
ok cmp "$tmp/x" "$tmp/y" -- "a delta killed $kills times: right"
is "$(jq -r .digest <<<"$result")" "$(copy --digest "$tmp/x" null:)" "and its digest"
done_testing
