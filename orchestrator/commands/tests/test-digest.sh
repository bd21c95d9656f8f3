#!/bin/bash
# vmferry digest: the digest of any end, against one made with xxhsum(1) and nothing
# of ours; leaves; what differs between two disks.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"
cd "$tmp" || exit 1

# The digest of FILE, written down from vmferry-digest(1).
oracle() { # FILE [LEAVES]
    /usr/bin/python3 - "$@" <<'END'
import os, struct, subprocess, sys, tempfile

def xxh3_128(pieces):
    """Of each piece, by xxhsum."""
    digests = []
    with tempfile.TemporaryDirectory() as directory:
        for i, piece in enumerate(pieces):
            with open(f"{directory}/{i:08}", "wb") as out:
                out.write(piece)
        names = [f"{directory}/{i:08}" for i in range(len(pieces))]
        for at in range(0, len(names), 500):
            out = subprocess.run(["xxhsum", "-H2", *names[at:at + 500]], check=True,
                                 capture_output=True, text=True).stdout
            digests += [bytes.fromhex(line.split()[0]) for line in out.splitlines()]
    return digests

def fold(nodes):
    """{index: 16 bytes}, zero ones left out → the level above."""
    parents = {}
    for index, node in nodes.items():
        parents.setdefault(index // 256, {})[index % 256] = node
    indexes = sorted(parents)
    pieces = [b"".join(parents[i].get(c, bytes(16)) for c in range(256)) for i in indexes]
    return dict(zip(indexes, xxh3_128(pieces)))

size = os.path.getsize(sys.argv[1])
blocks = {}
with open(sys.argv[1], "rb") as disk:
    at = 0
    while at < size:
        try:
            at = os.lseek(disk.fileno(), at, os.SEEK_DATA) // 65536 * 65536
        except OSError:
            break
        block = os.pread(disk.fileno(), 65536, at)
        if block.strip(b"\0"):
            blocks[at // 65536] = block
        at += 65536
nodes = dict(zip(blocks, xxh3_128(list(blocks.values()))))
if len(sys.argv) > 2:
    with open(sys.argv[2], "wb") as out:
        for index, leaf in nodes.items():
            os.pwrite(out.fileno(), leaf, index * 16)
count = (size + 65535) // 65536
while count > 1:
    nodes = fold(nodes)
    count = (count + 255) // 256
top = nodes.get(0, bytes(16))
print("xxh3-64k:" + xxh3_128([b"vmferry-digest-1" + struct.pack("<Q", size) + top])[0].hex())
END
}

digest() {
    vmferry digest --progress=none "$@" | cut -d' ' -f1
}

for size in 0 1 512 65535 65536 65537 1000000 $((16 * 1024 * 1024 + 1)); do
    head -c "$size" /dev/urandom >disk
    is "$(digest disk)" "$(oracle disk)" "a disk of $size random bytes"
done

# Islands in 5 GiB, one of them zeroes that are allocated, one at the very end.
truncate -s 5G islands
for at in 0 1000 70001 81919; do
    dd if=/dev/urandom of=islands bs=65536 count=1 seek="$at" conv=notrunc status=none
done
dd if=/dev/zero of=islands bs=65536 count=3 seek=500 conv=notrunc status=none
expected=$(oracle islands expected.leaves)
is "$(digest islands)" "$expected" "islands in 5 GiB, by file"
is "$(digest '[ nbdkit -r file islands ]')" "$expected" "by a command in brackets"
is "$(digest [ nbdkit --log=null -r file islands ])" "$expected" "... of several words, with options of its own"
is "$(digest -- [ nbdkit -r file islands ])" "$expected" "... behind --"
ok vmferry digest --compare islands [ nbdkit -r file islands ] --progress=none -- "... as the second disk"
background nbdkit -f -r -U islands.sock --filter=noextents file islands
wait_for 10 test -S islands.sock
is "$(digest --connections=4 --requests=8 --request-size=1M "nbd+unix:///?socket=$tmp/islands.sock")" \
    "$expected" "by a server that knows no extents"
is "$(digest --leaves=got.leaves islands)" "$expected" "with the leaves kept"
ok vmferry digest --progress=none --compare leaves:got.leaves leaves:expected.leaves -- \
    "the leaves are as expected"

truncate -s 4T huge
start=$SECONDS
is "$(digest huge)" "$(oracle huge)" "an empty disk of 4 TiB"
ok test $((SECONDS - start)) -lt 20 -- "and it takes no time"

json=$(vmferry digest --progress=none --json islands)
is "$(jq -r .digest <<<"$json")" "$expected" "--json: digest"
is "$(jq -r .size <<<"$json")" $((5 << 30)) "--json: size"
ok test "$(jq -r .bytes_read <<<"$json")" -lt 10000000 -- "--json: holes were not read"

# What differs, a map that makes one disk like the other.
cp --sparse=always islands other
for at in 3 4 1000 81919; do
    dd if=/dev/urandom of=other bs=65536 count=1 seek="$at" conv=notrunc status=none
done
status=0
vmferry digest --progress=none --compare other islands >changes 2>errors || status=$?
is "$status" 1 "--compare: exit status 1 when they differ"
is "$(grep -v '^#' changes)" "196608 131072
65536000 65536
5368643584 65536" "--compare: the ranges"
like "$(cat errors)" 'differ in 3 ranges, 262144 bytes' "--compare: says so"
like "$(head -n 2 changes)" "# $(digest other) 5368709120 other
# $expected 5368709120 islands" "--compare: both digests"
is "$(vmferry digest --progress=none --compare --json leaves:expected.leaves other 2>/dev/null |
    jq -c '[.changedArea[] | [.start, .length]], .bytes, .equal, .b.digest')" \
    "[[196608,131072],[65536000,65536],[5368643584,65536]]
262144
false
\"$(digest other)\"" "--compare --json, against leaves kept earlier"
ok vmferry copy --progress=none --changes=changes islands other -- "the ranges are a change map"
ok vmferry digest --progress=none --compare islands other -- "which makes the disks equal"

cp other $'two\n0 64K'
is "$(vmferry digest --progress=none --compare $'two\n0 64K' islands 2>/dev/null | grep -vc '^#')" 0 \
    "a disk's name is no range"
head -c 200000 islands >short
is "$(vmferry digest --progress=none --compare short islands 2>/dev/null | grep -v '^#' | head -n 1 |
    cut -d' ' -f1)" 196608 "a shorter disk lacks the rest"

head -c 1001 islands >odd
wrong() { # STATUS REGEX NAME ARGUMENT…
    local status=0 expected=$1 regex=$2 name=$3 out
    shift 3
    out=$(timeout -s KILL 60 vmferry digest "$@" 2>&1) || status=$?
    like "$status" "^$expected\$" "$name: exit status"
    like "$out" "$regex" "$name"
}
wrong 2 "which disk" "no disk"
wrong 2 "two disks" "--compare with one disk" --compare disk
wrong 2 "auto, json or none" "--progress=loud" --progress=loud disk
wrong 2 "1 to 1024" "--connections=-1" --connections=-1 disk
wrong 2 "request-size" "--request-size=x" --request-size=x disk
wrong 2 "does not go with" "--leaves with --compare" --compare --leaves=x disk disk
wrong 2 "not a leaves file" "leaves that are none" --compare leaves:odd islands
mkfifo fifo
wrong 2 "not a leaves file" "a FIFO as leaves" --compare leaves:fifo islands
wrong '[12]' "No such file" "a disk that is not there" /nonexistent/disk
wrong '[12]' "No such file" "--compare with one" --compare /nonexistent/disk islands
wrong 0 "usage:" "--help" --help
done_testing
