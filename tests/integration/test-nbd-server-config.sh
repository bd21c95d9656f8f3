#!/bin/bash
# The export map as a configuration of nbd-server, with the real one.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
command -v nbd-server >/dev/null || skip_all "no nbd-server"

cd "$tmp" || exit 1
mkdir -m 700 map
conf=$tmp/exports.conf
port=$((20000 + $$ % 20000))

run() {
    status=0
    out=$("$top/scripts/vmferry-nbd-server-config" --map=map --output="$conf" "$@" 2>&1) || status=$?
}

put() { # NAME FILE OPTION…
    vmferry export put --map=map "${@:3}" "$1" "$2"
}

for disk in a b 'c %s \d' q; do
    head -c 256K /dev/urandom >"$disk"
done
qemu-img create -q -f qcow2 q.qcow2 1M
put a a --mode=rw
put b b
put c 'c %s \d'
put q q.qcow2 --format=qcow2
put leased a --mode=rw --lease=job-1
put '[odd]' a

run --dry-run
is "$status" 0 "--dry-run"
like "$out" "exportname = $tmp/a" "shows what would be written"
ok test ! -e "$conf" -- "and writes nothing"
dry=$out
run --map nowhere --port
is "$status" 2 "an option without its value"
run --dry-run --map map --output "$conf"
is "$status $out" "0 $dry" "values may be words of their own"

run --standalone --port=$port
is "$status" 0 "the first time"
like "$out" "q: left out: nbd-server serves only raw" "qcow2 is left out, and said"
like "$out" "\[odd\]: left out: nbd-server can not have this name" "so is a name that it can't have"
like "$out" "leased: read-only: one job may write it" "a lease is not given to everybody"
is "$(grep -c '^exportname' "$conf")" 4 "the others are there"
before=$(stat -c '%i %Y' "$conf")
run --standalone --port=$port
like "$out" "nothing has changed" "the same again"
is "$(stat -c '%i %Y' "$conf")" "$before" "is not written again"

nbd-server -C "$conf" -p "$tmp/pid" >server.log 2>&1
ok wait_for 10 test -s pid -- "nbd-server runs with it"
server=$(cat pid)
at_exit "kill $server 2>/dev/null"
uri=nbd://127.0.0.1:$port
ok wait_for 10 nbdinfo --size "$uri/a" -- "and serves"
is "$(nbdcopy "$uri/a" - | sha256sum)" "$(sha256sum <a)" "the right disk"
is "$(nbdcopy "$uri/c" - | sha256sum)" "$(sha256sum <'c %s \d')" "also by an odd path"
is "$(nbdinfo --json "$uri/a" | jq '.exports[0].is_read_only')" false "to write, where everybody may"
is "$(nbdinfo --json "$uri/b" | jq '.exports[0].is_read_only')" true "to read"
is "$(nbdinfo --json "$uri/leased" | jq '.exports[0].is_read_only')" true "under a lease only to read"
run --standalone --port=$port --dry-run --ignore-leases
like "$out" "exportname = $tmp/a.readonly = false.*exportname = $tmp/a.readonly = false" \
    "to write with --ignore-leases"

# A new export: one signal, to that process alone.
sleep 1000 &
other=$!
background_pids+=("$other")
put d b
run --standalone --port=$port --pid-file=pid
if [ "$status" = 1 ] && [[ $out == *"died of the signal"* ]]; then
    diag "nbd-server died of one SIGHUP, as its manual entry here says it may"
else
    is "$status" 0 "an export more"
    like "$out" "process $server\) was sent SIGHUP" "nbd-server is told"
    ok wait_for 5 nbdinfo --size "$uri/d" -- "and serves it"
fi
run --standalone --port=$port --pid-file=pid
like "$out" "nothing has changed" "nothing new"
ok eval "! grep -q SIGHUP <<<'$out'" -- "no signal"
echo "$other" >wrong.pid
put e b
run --standalone --port=$port --pid-file=wrong.pid
is "$status" 1 "another program's process id"
like "$out" "is sleep, not nbd-server: not signalled" "is not signalled"
ok kill -0 "$other" -- "and lives"

# What no signal helps with is said.
vmferry export remove --map=map b
head -c 512K /dev/urandom >d2
put d d2
run --standalone --port=$port --pid-file=pid
is "$status" 3 "removed and changed exports"
like "$out" "b was changed or removed: nbd-server serves what it served until it is started again" "are named"
ok eval "! grep -q SIGHUP <<<'$out'" -- "and no signal is sent in vain"

# Another disk at the path, and files that are not ours.
mv d2 moved
head -c 512K /dev/urandom >d2
run --dry-run
like "$out" "d: left out: its disk is not the one that was mapped" "a disk that was replaced is left out"
echo '[generic]' >site.conf
status=0
out=$("$top/scripts/vmferry-nbd-server-config" --map=map --output=site.conf 2>&1) || status=$?
is "$status" 1 "a file of somebody else"
like "$out" "is not ours" "is not overwritten"
run --nonsense
is "$status" 2 "wrong use"
is "$(find "$tmp" -maxdepth 1 -name '.vmferry.*')" "" "no drafts are left"
done_testing
