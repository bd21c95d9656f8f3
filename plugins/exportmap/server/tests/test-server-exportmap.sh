#!/bin/bash
# The server with its own plugin: one port, many exports, a process for each connection.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/server.sh"

map=$tmp/map
mkdir -m 700 "$map"

# Map FILE as NAME; by rename, as everybody should.
put() { # NAME FILE FORMAT
    local size
    size=$(qemu-img info --output=json -f "$3" "$2" | jq '."virtual-size"')
    jq -n --arg path "$2" --arg format "$3" --argjson size "$size" \
        --argjson inode "$(stat -c %i "$2")" --argjson dev "$(stat -c %d "$2")" \
        '{path: $path, format: $format, size: $size, mode: "rw",
          identity: {inode: $inode, dev: $dev}}' >"$map/.$1"
    mv "$map/.$1" "$map/$1"
}

head -c 8M /dev/urandom >"$tmp/disk"
cp "$tmp/disk" "$tmp/raw"
put raw "$tmp/raw" raw
formats=raw
if [ -e "$top/plugins/exportmap/qcow2.c" ]; then
    qemu-img convert -O qcow2 "$tmp/disk" "$tmp/qcow2"
    put qcow2 "$tmp/qcow2" qcow2
    formats="raw qcow2"
fi

start_server --map="$map" --grace=1 -- --filter=delay rdelay=2ms
uri=nbd://127.0.0.1:$port
is "$(nbdinfo --list --json "$uri" | jq -r '[.exports[]."export-name"] | sort | join(" ")')" \
    "$(tr ' ' '\n' <<<"$formats" | sort | paste -sd' ')" "the exports are listed"

for format in $formats; do
    rm -f "$tmp/done"
    client_background copy "$uri/$format" "$tmp/disk" "$tmp/done"
    copy=$!
    wait_for 10 test -s "$tmp/copy" || diag "the copy has not begun"
    ok client die "$uri/$format" "$kills" -- "$format: $kills clients are killed with reads in flight"
    diag "nbdkit aborted in $(grep -c 'signal 6' "$tmp/server.log") of them"
    ok client together "$uri/$format" 50 -- "$format: 50 clients at once"
    ok client blockstatus "$uri/$format" 4294967295 -- "$format: a block status of 2^32-1"
    ok client garbage "$port" 1 -- "$format: garbage"
    touch "$tmp/done"
    wait "$copy"
    is $? 0 "$format: the copy beside them has finished on its one connection, all of it right"
done

stop_server
is $? 0 "the server ends"

# Time limits: for those who open nothing; not for those who have.
start_server --map="$map" --grace=0 --handshake-timeout=2
hold "nbd://127.0.0.1:$port/raw"
client_background silent "$port" 2
ok wait_for 15 test -s "$tmp/silent" -- "two clients say nothing"
# shellcheck disable=SC2317
one_and_standby() {
    [ "$(children)" = 2 ]
}
ok wait_for 15 one_and_standby -- "they are ended"
ok grep -q 'it has opened no export in 2 s: ended' "$tmp/server.log" -- "and the log says so"
tell read
is "$answer" ok "one that was there before them, and has opened an export, lives on"
stop_server

# A flush on one connection covers what all of them wrote, though each has its own process. The
# exports are on a filesystem on a loop device: what has been flushed is in the file below.
mkdir "$tmp/fs"
truncate -s 48M "$tmp/below"
mkfs.ext4 -q "$tmp/below"
if mount -o loop "$tmp/below" "$tmp/fs"; then
    at_exit "umount -l '$tmp/fs'"
    start_server --map="$map" --grace=1
    for format in $formats; do
        cp "$tmp/$format" "$tmp/fs/$format"
        put "$format" "$tmp/fs/$format" "$format"
        sync -f "$tmp/fs"
        ok client flushed "nbd://127.0.0.1:$port/$format" "$tmp/below" -- \
            "$format: what A wrote is on the disk when B's flush is answered, and not sooner"
    done
    stop_server
else
    skip "no loop device" "flush"
fi
ok eval "! pgrep -f 'qemu-nbd.*$tmp'" -- "no qemu-nbd is left"

done_testing
