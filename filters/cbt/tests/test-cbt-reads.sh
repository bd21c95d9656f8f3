#!/bin/bash
# Which reads of the cbt filter reach the plugin, shown by a log of the plugin's
# own requests, and that the bytes are right whatever happens.
# shellcheck disable=SC2016 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

cd "$tmp" || exit 1

# 4 MiB: data at 1M and at 3M, 32 KiB each (the data plugin's page), zeroes else.
disk=(data 'data=@1048576 1*4096 @3145728 2*4096' size=4M)
printf '1M 1M\n3M 64K\n' >map.txt

# Run a Python client (`h` is connected) and print what the plugin was asked to
# read: "offset+length …".
plugin_reads() { # PYTHON ARGUMENTS…
    local python=$1
    shift
    rm -f log
    printf '%s\n' 'import sys, nbd' 'h = nbd.NBD()' 'h.connect_uri(sys.argv[1])' "$python" >client.py
    nbdkit -U - --filter="$CBT" --filter=log "$@" logfile=log \
        --run '/usr/bin/python3 client.py "$uri"' >client.out 2>&1 || diag "$(cat client.out)"
    sed -n 's/.* Read id=[0-9]* offset=\(0x[0-9a-f]*\) count=\(0x[0-9a-f]*\).*/\1 \2/p' log |
        while read -r offset count; do echo $((offset))+$((count)); done | paste -sd ' '
}

is "$(plugin_reads 'assert h.pread(1 << 20, 0) == bytes(1 << 20)' "${disk[@]}")" "" \
    "a read of zeroes stays away from the plugin"
is "$(plugin_reads 'assert h.pread(4096, 1 << 20) == b"\1" * 4096' "${disk[@]}")" "1048576+4096" \
    "a read of data is passed on as it is"
is "$(plugin_reads 'b = h.pread(4 << 20, 0)
assert b == bytes(1 << 20) + b"\1" * 4096 + bytes((2 << 20) - 4096) + b"\2" * 4096 + bytes((1 << 20) - 4096)' \
    "${disk[@]}")" "1048576+32768 3145728+32768" "of a mixed read only the data"
is "$(plugin_reads 'assert h.pread(8192, (1 << 20) - 4096) == bytes(4096) + b"\1" * 4096' \
    "${disk[@]}")" "1048576+4096" "a read that begins in zeroes"
is "$(plugin_reads 'assert h.pread(40960, 1 << 20) == b"\1" * 4096 + bytes(36864)' \
    "${disk[@]}")" "1048576+32768" "a read that ends in zeroes"
for mode in hole zero; do
    is "$(plugin_reads 'assert h.pread(4096, 3 << 20) == b"\2" * 4096
assert h.pread(4096, 2 << 20) == bytes(4096)
assert h.pread(4096, 1 << 20) == b"\1" * 4096' "${disk[@]}" cbt-map=map.txt cbt-unchanged=$mode)" \
        "3145728+4096 1048576+4096" "the same with a map, $mode mode"
done
echo '0 512' >elsewhere
for mode in hole zero; do
    is "$(plugin_reads 'assert h.pread(4096, 1 << 20) == b"\1" * 4096' \
        "${disk[@]}" cbt-map=elsewhere cbt-unchanged=$mode)" "1048576+4096" \
        "reads outside the map give the right bytes, $mode mode"
done
is "$(plugin_reads 'assert h.pread(4096, 0) == h.pread(4096, 0)' \
    --filter=noextents "${disk[@]}")" "0+4096 0+4096" "a plugin without extents is always read"

# Asked once, known from then on.
plugin_reads 'for i in range(0, 4 << 20, 65536): h.pread(65536, i)' "${disk[@]}" >/dev/null
is "$(grep -c ' Extents ' log)" 1 "64 reads in order ask for extents once"
plugin_reads 'h.pread(512, 7 << 40)
for i in range(1 << 30, 0, -(1 << 20)): h.pread(512, i)' memory 8T >/dev/null
like "$(grep -c ' Extents ' log)" '^1?[0-9]$' "a few times for 1 GiB of nothing, backwards"

# A plugin of 4 KiB blocks whose zeroes begin and end anywhere.
blocks_extents='printf "0 5000 0\n5000 12000 3\n17000 100 0\n17100 2900 2\n"'
is "$(plugin_reads 'h.set_strict_mode(0)
b = h.pread(20000, 0)
assert b[:8192] == b"a" * 8192 and b[8192:16384] == bytes(8192) and b[16384:] == b"a" * 3616' \
    eval get_size='echo 20000' block_size='echo 4096 4096 65536' can_extents='exit 0' \
    extents="$blocks_extents" pread='head -c $3 /dev/zero | tr "\0" a')" \
    "0+8192 16384+3616" "reads are split on the plugin's blocks only"

# A plugin that fails to say, or says little at a time.
is "$(plugin_reads 'assert h.pread(8, 0) == b"aaaaaaaa"' \
    eval get_size='echo 1048576' can_extents='exit 0' extents='echo EIO no >&2; exit 1' \
    pread='head -c $3 /dev/zero | tr "\0" a')" "0+8" "no answer about extents: read"
is "$(plugin_reads 'h.set_strict_mode(0)
h.pread(4096, 0)
h.pread(4096, 1 << 20)
assert h.pread(65536, 1 << 21) == bytes(65536)' \
    eval get_size='echo 8388608' can_extents='exit 0' extents='echo $4 512 zero' \
    pread='exit 1')" "" "extents of 512 bytes at a time"
is "$(plugin_reads 'try:
    h.pread(4096, 0)
    sys.exit("no error")
except nbd.Error as e:
    assert e.errno == "EIO", e' \
    eval get_size='echo 1048576' pread='echo EIO bad disk >&2; exit 1')$(grep -v "bad disk" client.out)" \
    "0+4096" "the plugin's errors reach the client"

# Many small extents, out of order, against the truth: more than the cache holds.
cat >many.py <<'END'
import os, random, sys, nbd

h = nbd.NBD()
h.connect_uri(sys.argv[1])
seed = int(os.environ.get("SEED", os.getpid()))
print("SEED=%d" % seed)
random.seed(seed)
truth = open("many.img", "rb").read()
for _ in range(3000):
    offset = random.randrange(len(truth))
    count = random.randint(1, min(len(truth) - offset, random.choice((512, 4096, 300000))))
    assert h.pread(count, offset) == truth[offset:offset + count], (offset, count)
print("same")
END
/usr/bin/python3 -c '
import random
with open("many.img", "wb") as f:
    for i in range(16384):
        f.seek(i * 4096)
        if random.random() < 0.5:
            f.write(b"x" * 4096)
    f.truncate(16384 * 4096 + 1)'
like "$(nbdkit -U - --filter="$CBT" file many.img --run '/usr/bin/python3 many.py "$uri"' 2>&1)" \
    'same$' "16384 extents, 3000 random reads"

# Several connections with many requests in flight.
echo '0 32M' >half
ok nbdkit -U - -t 16 --filter="$CBT" file many.img cbt-map=half \
    --run 'nbdcopy --connections=4 --requests=64 --request-size=65536 "$uri" parallel.img && cmp many.img parallel.img' \
    -- "four connections, 64 requests in flight each"
ok nbdkit -U - -t 16 --filter="$CBT" file many.img \
    --run 'nbdcopy --no-extents --connections=4 --requests=64 --request-size=65536 "$uri" parallel.img && cmp many.img parallel.img' \
    -- "the same by a client that never asks for block status"

done_testing
