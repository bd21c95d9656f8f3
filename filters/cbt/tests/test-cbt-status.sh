#!/bin/bash
# What the cbt filter says of a disk: block status in each mode, the forms of the
# map, its parameters, and what it refuses.
# shellcheck disable=SC2016 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

cd "$tmp" || exit 1

# 4 MiB: data at 1M and at 3M, 32 KiB each (the data plugin's page), zeroes else.
disk=(data 'data=@1048576 1*4096 @3145728 1*4096' size=4M)

map() { # FILTER AND PLUGIN ARGUMENTS… → "offset length type" lines joined with |
    nbdkit -U - --filter="$CBT" "$@" \
        --run 'nbdinfo --map "$uri" | tr -s " " | sed "s/^ //" | paste -sd "|"' 2>&1
}

refuses() { # REGEX NAME ARGUMENTS…
    local regex=$1 name=$2
    shift 2
    like "$(nbdkit -U - --filter="$CBT" "$@" --run 'nbdinfo --size "$uri"' 2>&1)" "$regex" "$name"
}

printf '1M 1M # one\n3M 64K\n' >map.txt

is "$(map "${disk[@]}" cbt-map=map.txt)" \
    "0 1048576 1 hole|1048576 32768 0 data|1081344 1015808 2 zero|2097152 1048576 1 hole|3145728 32768 0 data|3178496 32768 2 zero|3211264 983040 1 hole" \
    "hole mode: data or zero inside, hole outside"
is "$(map "${disk[@]}" cbt-map=map.txt cbt-unchanged=zero)" \
    "0 1048576 3 hole,zero|1048576 1048576 0 data|2097152 1048576 3 hole,zero|3145728 65536 0 data|3211264 983040 3 hole,zero" \
    "zero mode: data inside, hole and zero outside"
is "$(map "${disk[@]}")" \
    "0 1048576 3 hole,zero|1048576 32768 0 data|1081344 2064384 3 hole,zero|3145728 32768 0 data|3178496 1015808 3 hole,zero" \
    "no map: what the plugin says"
is "$(map "${disk[@]}" cbt-unchanged=zero)" "0 4194304 0 data" "no map, zero mode: all data"
is "$(map pattern 4M cbt-map=map.txt)" \
    "0 1048576 1 hole|1048576 1048576 0 data|2097152 1048576 1 hole|3145728 65536 0 data|3211264 983040 1 hole" \
    "a plugin without extents is all data inside the map"
is "$(map pattern 4M)" "0 4194304 0 data" "no map, a plugin without extents: all data"
echo '[]' >none.json
is "$(map null 4M cbt-map=none.json)" "0 4194304 1 hole" "a map without changes"
is "$(map memory 0)" "" "an empty disk"
is "$(map memory 0 cbt-map=none.json)" "" "an empty disk with an empty map"
echo '511 2' >unaligned
is "$(map pattern 1023 cbt-map=unaligned)" "0 511 1 hole|511 2 0 data|513 510 1 hole" \
    "bytes count, not sectors"
echo '0 512' >sector
is "$(map null 512 cbt-map=sector cbt-size=512)" "0 512 2 zero" "a disk of one sector"

# The same map in every form.
whole="0 65536 1 hole|65536 131072 0 data|196608 65536 1 hole|262144 1 0 data|262145 786431 1 hole"
form() { # NAME, the map on stdin
    cat >form
    is "$(map pattern 1M cbt-map=form)" "$whole" "form: $1"
}
form "text" <<'END'
256K 1   # unsorted, touching
64K 64K

128K 64K
END
form "text with types, overlapping" <<'END'
64K 100K 0
128K 64K hole,zero
262144 1 3
END
form "array of start and length" \
    <<<'[{"start":65536,"length":131072},{"start":262144,"length":1}]'
form "vSphere's answer" <<'END'
{"dynamicType":null,"startOffset":0,"length":1048576,"changedArea":[
 {"start":262144,"length":1},{"start":"65536","length":"131072"}]}
END
form "nbdinfo's dirty bitmap" <<'END'
[
{ "offset": 0, "length": 65536, "type": 0, "description": "clean"},
{ "offset": 65536, "length": 131072, "type": 1, "description": "dirty"},
{ "offset": 196608, "length": 65536, "type": 0, "description": "clean"},
{ "offset": 262144, "length": 1, "type": 1, "description": "dirty"},
{ "offset": 262145, "length": 786431, "type": 0, "description": "clean"}
]
END
form "nbdinfo's dirty bitmap as text" <<'END'
         0       65536    0  clean
     65536      131072    1  dirty
    196608       65536    0  clean
    262144           1    1  dirty
    262145      786431    0  clean
END
form "dirty: true and false, zero counts" <<'END'
[{"start":0,"length":65536,"dirty":false},
 {"start":65536,"length":65536,"dirty":true,"zero":false,"data":true},
 {"start":131072,"length":65536,"zero":true,"data":false},
 {"start":262144,"length":1,"dirty":true}]
END

# Listings of a whole disk, made by the tools themselves.
truncate -s 1M raw
printf x | dd of=raw bs=64K seek=3 conv=notrunc status=none
qemu-img map --output=json -f raw raw >qemu.json
is "$(map null 1M cbt-map=qemu.json cbt-unchanged=zero)" "0 1048576 0 data" \
    "qemu-img map: zeroes are changes too"
nbdkit -U - file raw --run 'nbdinfo --map --json "$uri"' >nbdinfo.json
is "$(map null 1M cbt-map=nbdinfo.json cbt-unchanged=zero)" "0 1048576 0 data" \
    "nbdinfo --map: zeroes are changes too"

# A real dirty bitmap of QEMU's.
qemu-img create -q -f qcow2 bitmap.qcow2 1M
qemu-img bitmap --add -f qcow2 bitmap.qcow2 cp1
qemu-io -f qcow2 -c 'write -P 7 64k 128k' -c 'write -z 512k 64k' bitmap.qcow2 >/dev/null
background qemu-nbd -r -t -f qcow2 -B cp1 -k "$tmp/bitmap.sock" bitmap.qcow2
wait_for 20 nbdinfo "nbd+unix:///?socket=$tmp/bitmap.sock"
nbdinfo --map=qemu:dirty-bitmap:cp1 --json "nbd+unix:///?socket=$tmp/bitmap.sock" >bitmap.json
is "$(map nbd socket="$tmp/bitmap.sock" cbt-map=bitmap.json)" \
    "0 65536 1 hole|65536 131072 0 data|196608 327680 1 hole|524288 65536 2 zero|589824 458752 1 hole" \
    "QEMU's dirty bitmap, over nbd: data, and a zero that is a change"

# Where the map comes from.
is "$(map pattern 1M cbt-map=fd:7 7<form)" "$whole" "fd:N"
mkfifo fifo
background cp form fifo
is "$(map pattern 1M cbt-map=fifo)" "$whole" "a FIFO"
is "$(cd / && nbdkit -U - --filter="$CBT" pattern 1M cbt-map="$tmp/form" \
    --run 'nbdinfo --map "$uri" | wc -l')" 5 "another directory"
background nbdkit -f -U "$tmp/daemon.sock" -P "$tmp/daemon.pid" --filter="$CBT" \
    pattern 1M cbt-map=form
wait_for 20 test -s daemon.pid
for _ in 1 2; do
    is "$(nbdinfo --map "nbd+unix:///?socket=$tmp/daemon.sock" | wc -l)" 5 "one map, every client"
done

# What is refused, and how it is said.
refuses 'cbt-map: nowhere: No such file' "no file" null 1M cbt-map=nowhere
refuses 'cbt-map: /: Is a directory' "a directory" null 1M cbt-map=/
refuses 'expected a file, a FIFO or fd:N' "standard input" null 1M cbt-map=-
refuses 'expected a file, a FIFO or fd:N' "an empty name" null 1M cbt-map=
refuses 'fd:1: expected fd:N' "standard output as fd:N" null 1M cbt-map=fd:1
refuses 'given twice' "two maps" null 1M cbt-map=form cbt-map=form
refuses 'cbt-unchanged=data: expected hole or zero' "another mode" null 1M cbt-unchanged=data
refuses 'could not parse size' "a bad size" null 1M cbt-size=many
refuses 'disk has 1048576 bytes, but cbt-size says 2097152' "a disk of another size" \
    null 1M cbt-map=form cbt-size=2M
refuses 'map.txt: line 2: the range ends at 3211264, past the end' "past the end, at open" \
    null 3M cbt-map=map.txt
refuses 'map.txt: line 2: the range ends at 3211264, past the end' "past the end, at start" \
    null 3M cbt-map=map.txt cbt-size=3M
: >empty
refuses 'empty: line 1: the file is empty' "an empty file" null 1M cbt-map=empty
printf '0 1\n5 6' >cut.txt
refuses 'cut.txt: line 2: .*truncated' "truncated text" null 1M cbt-map=cut.txt
printf '[{"start":0,"length":1},\n{"start":9' >cut.json
refuses 'cut.json: line 2: .*truncated' "truncated JSON" null 1M cbt-map=cut.json
printf '0 1\n-5 6\n' >negative
refuses 'negative: line 2: .*negative' "a negative number" null 1M cbt-map=negative
printf '0 1\n\n9223372036854775807 1\n' >overflow
refuses 'overflow: line 3: ' "an overflow" null 1M cbt-map=overflow
for bad in empty cut.txt cut.json negative overflow; do
    nbdkit -U - --filter="$CBT" null 1M cbt-map=$bad --run 'touch started' 2>/dev/null
    is "$? $(ls started 2>&1)" "1 ls: cannot access 'started': No such file or directory" \
        "nbdkit does not start: $bad"
done

# What clients are told of the disk, and what they may ask.
like "$(nbdkit -U - --filter="$CBT" memory 1M --run 'nbdinfo --can multi-conn "$uri" && echo yes')" \
    yes "multi-conn is kept"
like "$(nbdkit -U - --filter="$CBT" --filter=multi-conn memory 1M multi-conn-mode=disable \
    --run 'nbdinfo --can multi-conn "$uri" || echo no')" no "and not invented"
like "$(nbdkit -U - --filter="$CBT" memory 1M --run 'nbdinfo --is read-only "$uri" && echo yes')" \
    yes "read-only"
like "$(nbdkit --dump-plugin --filter="$CBT" memory | grep ^thread_model)" 'thread_model=parallel' \
    "parallel"
like "$(nbdkit --help --filter="$CBT" null)" 'cbt-map=<FILE>' "--help"

cat >ask.py <<'END'
import os, sys, nbd

h = nbd.NBD()
h.add_meta_context("base:allocation")
h.set_strict_mode(0)
h.connect_uri(sys.argv[1])

def ask(count, offset, flags=0):
    got = []
    h.block_status(count, offset, lambda m, o, e, err: got.extend(e) or 0, flags)
    return got

assert ask(2 << 20, 1 << 20, nbd.CMD_FLAG_REQ_ONE) == [32768, 0], "one extent"
assert ask(1 << 20, 1 << 19, nbd.CMD_FLAG_REQ_ONE) == [1 << 19, 1], "one extent outside"
assert ask(100, (1 << 20) + 5) == [100, 0], "no more than was asked"
assert ask(32769, 1 << 20) == [32768, 0, 1, 2], "clipped inside a zero"
for call in (lambda: h.pwrite(b"x", 0), lambda: h.zero(512, 0), lambda: h.trim(512, 0)):
    try:
        call()
        sys.exit("a write went through")
    except nbd.Error:
        pass
print("good")
END
is "$(nbdkit -U - --filter="$CBT" "${disk[@]}" cbt-map=map.txt --run '/usr/bin/python3 ask.py "$uri"')" \
    good "REQ_ONE, clipping, no writes"

# The largest request there is, on plugins that answer with more than was asked.
cat >largest.py <<'END'
import sys, nbd

h = nbd.NBD()
h.add_meta_context("base:allocation")
h.connect_uri(sys.argv[1])
size = h.get_size()
total = 0
for offset in (0, 1, 3 << 30, size - (1 << 32), size - 512):
    got = []
    count = min(size - offset, (1 << 32) - 1)
    h.block_status(count, offset, lambda m, o, e, err: got.extend(e) or 0)
    assert sum(got[0::2]) == count, (offset, got)
h.pread(512, 0)
print("alive")
END
for plugin in null memory; do
    for options in "" cbt-map=sector "cbt-map=sector cbt-unchanged=zero"; do
        # shellcheck disable=SC2086
        is "$(nbdkit -U - --filter="$CBT" $plugin 9223372036854775807 $options \
            --run '/usr/bin/python3 largest.py "$uri"')" alive \
            "2^32-1 bytes of block status: $plugin $options"
    done
done

like "$(nbdkit -v -D cbt.lookup=1 -U - --filter="$CBT" "${disk[@]}" cbt-map=map.txt \
    --run 'nbdinfo --map "$uri"' 2>&1)" 'cbt lookup: offset=1048576 length=32768 type=0' \
    "-D cbt.lookup=1"

done_testing
