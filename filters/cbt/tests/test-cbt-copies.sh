#!/bin/bash
# Stock clients with the cbt filter: full copies in the default mode, changes onto
# an old copy in the zero mode, each byte for byte; and the ways of using stock
# clients that the manual warns of, each shown to be corrupt.
# shellcheck disable=SC2016 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

cd "$tmp" || exit 1

write() { # FILE OFFSET-IN-K LENGTH-IN-K LETTER
    head -c $(($3 * 1024)) /dev/zero | tr '\0' "$4" |
        dd of="$1" bs=1K seek="$2" conv=notrunc status=none
}

# An old copy of all data, and the disk now: a part the same, one data → data, one
# data → zero (a hole of the file), one data → zero (stored zeroes), one zero → data,
# an unaligned tail of data → zero.
size=$((4 * 1024 * 1024 + 777))
truncate -s $size old.img
write old.img 0 3072 o
write old.img 4096 1 o
truncate -s $size old.img
cp old.img new.img
write new.img 64 64 n
fallocate -p -o 1M -l 256K new.img
dd if=/dev/zero of=new.img bs=64K seek=32 count=2 conv=notrunc status=none
write new.img 3600 100 n
dd if=/dev/zero of=new.img bs=1 seek=$((4096 * 1024 + 100)) count=677 conv=notrunc status=none
cat >map.txt <<'END'
64K 64K
1M 256K
2M 128K
3686400 102400
4194404 677
END

# Serve a target at $target with a PLUGIN and its arguments, until stop_target.
start_target() {
    rm -f target.sock target.pid
    background nbdkit -f -U "$tmp/target.sock" -P "$tmp/target.pid" "$@"
    wait_for 20 test -s target.pid
}
stop_target() {
    kill "$(cat target.pid)"
    wait $!
}
# Run a command while FILE is the target.
with_target() { # FILE COMMAND…
    start_target file "$1"
    shift
    "$@" || diag "failed: $*"
    stop_target
}
target="nbd+unix:///?socket=$tmp/target.sock"

source_run() { # FILTER OPTIONS… -- SHELL COMMAND, with $uri
    local options=()
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    nbdkit -U - --filter="$CBT" file new.img "${options[@]}" --run "$2"
}
zero_mode=(cbt-map=map.txt cbt-unchanged=zero cbt-size="$size")

same() { # FILE NAME
    cmp "$1" new.img >cmp.out 2>&1
    is "$(cat cmp.out)" "" "$2"
}
corrupt() { # FILE NAME
    cmp -s "$1" new.img
    is $? 1 "$2"
}

# Changes onto the old copy.
for connections in 1 4; do
    cp old.img copy.img
    with_target copy.img source_run "${zero_mode[@]}" -- \
        "nbdcopy --destination-is-zero --sparse=0 --flush --connections=$connections \$uri '$target'"
    same copy.img "nbdcopy applies the changes, $connections connections"
done
# What the target is asked: nbdcopy moves whole blocks of its request size around the
# changes, as data, and nothing else.
cp old.img copy.img
start_target --filter=log file copy.img logfile=target.log
source_run "${zero_mode[@]}" -- \
    "nbdcopy --destination-is-zero --sparse=0 --flush --connections=1 --request-size=4096 \$uri '$target'"
stop_target
same copy.img "nbdcopy applies the changes, 4 KiB at a time"
sed -n 's/.* \(Write\|Zero\|Trim\|Flush\) id=[0-9]* \(offset=\(0x[0-9a-f]*\)\)\?.*/\1 \3/p' target.log |
    while read -r request offset; do
        [ "$request" = Write ] && echo $((offset / 4096)) || echo "$request"
    done | sort -n >requests
is "$(paste -sd ' ' requests)" \
    "$({ echo Flush && seq 16 31 && seq 256 319 && seq 512 543 && seq 900 924 && echo 1024; } | paste -sd ' ')" \
    "only the changes are written, all as data, then flushed"

# Full copies in the default mode.
for map in map.txt /dev/null; do
    [ $map != /dev/null ] || { map=none.txt && echo '# nothing' >none.txt; }
    source_run cbt-map=$map -- 'nbdcopy $uri copy.img'
    same copy.img "nbdcopy makes a full copy, $map"
    source_run cbt-map=$map -- 'nbdcopy --sparse=0 $uri copy.img'
    same copy.img "nbdcopy --sparse=0 makes a full copy, $map"
    rm copy.img
    # qemu-img takes whole sectors: its copy is longer by zeroes.
    source_run cbt-map=$map -- 'qemu-img convert -f raw $uri -O raw copy.img'
    truncate -s $size copy.img
    same copy.img "qemu-img convert makes a full copy, $map"
done
cp old.img copy.img
with_target copy.img source_run cbt-map=map.txt -- "nbdcopy \$uri '$target'"
same copy.img "nbdcopy makes a full copy over an old one"
source_run -- 'nbdcopy $uri copy.img'
same copy.img "and without a map"

# The traps. For qemu-img, disks of whole sectors.
cp old.img copy.img
with_target copy.img source_run "${zero_mode[@]}" -- \
    "nbdcopy --destination-is-zero \$uri '$target'"
corrupt copy.img "TRAP nbdcopy without --sparse=0 skips what changed to zeroes"
is "$(dd if=copy.img bs=64K skip=32 count=1 status=none | tr -d o | wc -c)" 0 \
    "where the old data still is"

cp old.img copy.img
with_target copy.img source_run "${zero_mode[@]}" -- "nbdcopy --sparse=0 \$uri '$target'"
corrupt copy.img "TRAP nbdcopy without --destination-is-zero zeroes what did not change"

cp old.img copy.img
with_target copy.img source_run "${zero_mode[@]}" -- \
    "nbdcopy --synchronous --destination-is-zero --sparse=0 \$uri '$target'"
corrupt copy.img "TRAP nbdcopy --synchronous ignores --destination-is-zero"

cp old.img copy.img
source_run "${zero_mode[@]}" -- 'nbdcopy --destination-is-zero --sparse=0 $uri copy.img'
corrupt copy.img "TRAP nbdcopy truncates a local file first"
is "$(dd if=copy.img bs=256K skip=2 count=2 status=none | tr -d '\0' | wc -c)" 0 \
    "where unchanged data has become zeroes"

truncate -s 4M old.img new.img
sed -i '$d' map.txt
zero_mode=(cbt-map=map.txt cbt-unchanged=zero cbt-size=4M)
for sparse in "" "-S 0"; do
    cp old.img copy.img
    source_run "${zero_mode[@]}" -- \
        "qemu-img convert -n --target-is-zero $sparse -f raw \$uri -O raw copy.img"
    corrupt copy.img "TRAP qemu-img convert -n --target-is-zero $sparse"
    cp old.img copy.img
    with_target copy.img source_run "${zero_mode[@]}" -- \
        "qemu-img convert -n --target-is-zero $sparse -f raw \$uri -O raw '$target'"
    corrupt copy.img "TRAP the same to an NBD server"
    cp old.img copy.img
    source_run cbt-map=map.txt -- \
        "qemu-img convert -n $sparse -f raw \$uri -O raw copy.img"
    same copy.img "qemu-img convert -n $sparse is good for a full copy, in the default mode"
done

# One sector, changed and not.
head -c 512 /dev/zero | tr '\0' o >old1
head -c 512 /dev/zero >new1
cp new1 new.img
for map in '0 512' '100 1' '#'; do
    echo "$map" >map1
    cp old1 copy.img
    with_target copy.img source_run cbt-map=map1 cbt-unchanged=zero cbt-size=512 -- \
        "nbdcopy --destination-is-zero --sparse=0 \$uri '$target'"
    is "$(tr -d o <copy.img | wc -c)" "$([ "$map" = '#' ] && echo 0 || echo 512)" "one sector, map: $map"
done

# Far out. nbdcopy sees a stretch of the disk through nbdkit's offset filter, on
# both sides; the pattern plugin's bytes tell their offset.
far() { # SIZE OFFSET NAME
    local size=$1 offset=$2 name=$3 window=$((1 << 20)) range
    cat >far.map <<END
$((offset + 4096)) 65536
$((offset + 300001)) 7
$((offset + window - 512)) 512
END
    start_target --filter=offset memory "$size" offset="$offset" range=$window
    nbdkit -U - --filter=offset --filter="$CBT" pattern "$size" cbt-map=far.map cbt-size="$size" \
        cbt-unchanged=zero offset="$offset" range=$window \
        --run "nbdcopy --request-size=4096 --destination-is-zero --sparse=0 \$uri '$target'; nbdinfo --map \$uri" >far.got
    is "$(tr -s ' ' <far.got | sed 's/^ //' | paste -sd '|')" \
        "0 4096 3 hole,zero|4096 65536 0 data|69632 230369 3 hole,zero|300001 7 0 data|300008 748056 3 hole,zero|1048064 512 0 data" \
        "$name: block status"
    nbdcopy "$target" far.copy
    stop_target
    # The bytes as they should be; nbdcopy's blocks are 4096.
    nbdkit -U - --filter=offset pattern "$size" offset="$offset" range=$window \
        --run 'nbdcopy $uri far.disk'
    rm -f far.expected
    truncate -s $window far.expected
    for range in 1+16 73+1 255+1; do
        dd if=far.disk of=far.expected bs=4096 skip="${range%+*}" seek="${range%+*}" \
            count="${range#*+}" conv=notrunc status=none
    done
    ok cmp far.copy far.expected -- "$name: exactly the changes arrive"
    nbdkit -U - --filter=offset --filter="$CBT" pattern "$size" cbt-map=far.map \
        offset="$offset" range=$window --run 'nbdcopy $uri far.full'
    ok cmp far.full far.disk -- "$name: a full copy"
}
far $((3 << 40)) $((2 << 40)) "2 TiB"
far 9223372036854775807 $((9223372036854775807 - (1 << 20))) "the end of the largest disk"
far 9223372036854775296 $((7 << 60)) "7 EiB"

# 3 TiB in one go.
printf '2199023255552 64K\n3298534879232 4K\n' >huge.map
like "$(nbdkit -U - --filter="$CBT" data 'data=@2199023255552 1*4096 @3298534879232 2*4096' size=3298534883328 \
    cbt-map=huge.map cbt-unchanged=zero \
    --run "nbdcopy --destination-is-zero --sparse=0 \$uri -- [ $(command -v nbdkit) --exit-with-parent \
        --filter=log memory 3298534883328 logfile=$tmp/huge.log ]" 2>&1 && grep -c ' Write ' huge.log)" '^[2-9]$' \
    "3 TiB, two changes, a few writes"

done_testing
