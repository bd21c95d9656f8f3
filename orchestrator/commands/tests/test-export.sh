#!/bin/bash
# vmferry export: what it writes, and what it says when it is called wrongly.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

map=$tmp/map
mkdir -m 700 "$map"
truncate -s 1M "$tmp/disk"
: >"$tmp/errors"

status() { # COMMAND…
    "$@" >/dev/null 2>"$tmp/errors"
    echo $?
}

export_put() {
    vmferry export put --map="$map" "$@"
}

is "$(status export_put --mode=rw --lease=job-1 e "$tmp/disk")" 0 "put"
is "$(vmferry export probe --mode=rw --lease=job-1 "$tmp/disk")" "$(cat "$map/e")" "probe prints what put wrote"
is "$(stat -c %a "$map/e")" 600 "... which is nobody else's to read"
(cd "$tmp" && export_put relative disk)
is "$(jq -r .path "$map/relative")" "$tmp/disk" "a relative path is made absolute"
is "$(status vmferry export remove --map="$map" e)" 0 "remove"
is "$(status vmferry export remove --map="$map" e)" 0 "... again is no error"
rm "$map/relative"

for name in ../e .e a@b '' e~ e.tmp $'e\n' "$(printf 'x%.0s' {1..201})"; do
    is "$(status export_put "$name" "$tmp/disk")" 2 "put '${name:0:10}' is wrong use"
    is "$(status vmferry export remove --map="$map" "$name")" 2 "... and so is its removal"
done
is "$(status export_put --lease='a b' e "$tmp/disk")" 2 "a lease with a blank is wrong use"
is "$(status export_put --mode=wr e "$tmp/disk")" 2 "so is an unknown mode"
is "$(status export_put --format=vmdk e "$tmp/disk")" 2 "an unknown format"
is "$(status export_put e)" 2 "no disk"
is "$(status vmferry export put e "$tmp/disk")" 2 "no map"
is "$(status vmferry export move --map="$map" e)" 2 "an unknown verb"

is "$(status export_put --description=$'\xff' e "$tmp/disk")" 1 "a description that is no UTF-8 fails"
like "$(<"$tmp/errors")" "export e: its map file: " "... and is told from others"
is "$(status export_put e "$tmp/missing")" 1 "a disk that is not there fails"
like "$(<"$tmp/errors")" "$tmp/missing: No such file" "... by its name"
is "$(status export_put e /dev/zero)" 1 "what is no disk fails"
is "$(status export_put --format=qcow2 e "$tmp/disk")" 1 "a raw disk as qcow2 fails"
chmod 777 "$map"
is "$(status export_put e "$tmp/disk")" 1 "a map that others may write to fails"
like "$(<"$tmp/errors")" "$map: may be written by others \(mode 777\); chmod go-w it" "... as at the server"
is "$(ls -A "$map")" "" "none of them left a file"
done_testing
