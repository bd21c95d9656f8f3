#!/bin/bash
# The nbdkit that stands by and forks: a process for each client all the same, never with old
# certificates or another map, and no loss when it dies.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/server.sh"

[ -z "${VALGRIND:-}" ] || skip_all "valgrind knows no process that forks a sibling"

map=$tmp/map
mkdir -m 700 "$map"
head -c 1M /dev/urandom >"$tmp/disk"
vmferry export put --map="$map" --mode=rw disk "$tmp/disk"

pids() { # of the server's children, in order
    pgrep -P "$server" | sort -n | xargs
}
# shellcheck disable=SC2317
are() { # COUNT
    [ "$(pids | wc -w)" = "$1" ]
}
# It has read its arguments and opened the map.
# shellcheck disable=SC2317
standing_by() {
    local first
    first=$(pids | cut -d' ' -f1)
    [ -n "$first" ] && [ "$(readlink "/proc/$first/fd/0")" = /dev/null ]
}

start_server --map="$map" --grace=1
uri=nbd://127.0.0.1:$port/disk
ok wait_for 20 standing_by -- "one stands by before there is a client"
standby=$(pids)
hold "$uri"
is "$answer" ok "a client is served"
ok wait_for 20 are 2 -- "by a process of its own"
client=$(pids | tr ' ' '\n' | grep -vx "$standby")
is "$(ps -o ppid= -p "$client" | xargs)" "$server" "which is the server's child"
is "$(readlink "/proc/$client/exe")" "$(readlink "/proc/$standby/exe")" "and a copy of the first"
ok eval "! ls -l /proc/$standby/fd | grep -q '$(readlink "/proc/$client/fd/5" | tr -d '[]')'" -- \
    "the client's connection is nobody else's"
ok client together "$uri" 40 -- "40 at once are served"
ok client die "$uri" 20 -- "20 are killed with reads in flight"

# A signal to one is none to the others: nbdkit's delay filter would wake up from its sleep.
wait_for 20 are 2
kill -9 "$standby"
ok client many "$uri" 5 -- "clients are served when the one that stood by was killed"
ok wait_for 20 grep -q 'stood by .* was ended by signal 9' "$tmp/server.log" -- "and the log says so"
tell read
is "$answer" ok "the first client is not concerned"
ok wait_for 20 are 2 -- "another one stands by"

# DIR is another directory now, as after an operator's `mv new DIR`.
wait_for 20 standing_by
sleep 0.5
head -c 2M /dev/urandom >"$tmp/other"
mkdir -m 700 "$tmp/new"
vmferry export put --map="$tmp/new" --mode=rw disk "$tmp/other"
mv "$map" "$tmp/old" && mv "$tmp/new" "$map"
is "$(nbdinfo --size "$uri")" 2097152 "one that waited looks into the directory that is there now"

tell close
wait_for 20 are 1
waiting=$(pids)
kill "$server"
wait "$server"
is $? 0 "the server ends"
ok eval "! ps -o pid= -p ${waiting// /,}" -- "and nobody stands by any more"

start_server --map="$map"
wait_for 20 standing_by
waiting=$(pids)
{ kill -9 "$server"; wait "$server"; } 2>/dev/null
ok wait_for 20 eval "! ps -o pid= -p ${waiting// /,} >/dev/null" -- "nor after kill -9 of the server"

make_certs=$top/scripts/vmferry-make-certs
"$make_certs" "$tmp/pki" localhost 127.0.0.1
"$make_certs" "$tmp/pki2" localhost 127.0.0.1
start_server --map="$map" --tls-certificates="$tmp/pki/server" --grace=1
ok wait_for 20 are 8 -- "with TLS eight stand by"
wait_for 20 standing_by
first=$(pids | cut -d' ' -f1)
hold "nbds://127.0.0.1:$port/disk?tls-certificates=$tmp/pki/client"
ok wait_for 20 are 9 -- "and are replaced"
kill -9 "$first"
tell read
like "$answer" '^failed' "the oldest has served the client, and did not fork"
uri="nbds://127.0.0.1:$port/disk?tls-certificates=$tmp"
is "$(nbdinfo --size "$uri/pki/client")" 2097152 "over TLS"
wait_for 20 standing_by
cp "$tmp/pki2/server/"* "$tmp/pki/server"
is "$(nbdinfo --size "$uri/pki2/client")" 2097152 "new certificates count for the next client"
ok eval "! nbdinfo --size '$uri/pki/client'" -- "and the old ones do not"
stop_server

start_server --map="$map" --no-standby
is "$(pids)" "" "--no-standby: none"
ok client many "nbd://127.0.0.1:$port/disk" 3 -- "and clients are served"
stop_server

# What one is told is not told to the others: each has nbdkit's own pipe anew. A sleeping read of
# one goes on while another ends by a signal.
start_server --map="$map" --grace=1 -- --filter=delay rdelay=700ms
wait_for 20 standing_by
sleep 0.3
hold "nbd://127.0.0.1:$port/disk"
one=$(pids | cut -d' ' -f2)
nbdcopy --connections=1 "nbd://127.0.0.1:$port/disk" - 2>/dev/null >"$tmp/slow" &
copy=$!
wait_for 10 are 3
kill -TERM "$one" 2>/dev/null
kill -HUP "$one" 2>/dev/null
wait $copy
is $? 0 "a signal to one is none to another that sleeps in a read"
stop_server
done_testing
