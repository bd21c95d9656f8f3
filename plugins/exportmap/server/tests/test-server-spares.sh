#!/bin/bash
# Processes that stand by: used once each, replaced, never in the way, never with old
# certificates or another map.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/server.sh"

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
# As many as these, and all have read their arguments.
# shellcheck disable=SC2317
settled() { # COUNT
    are "$1" && for pid in $(pids); do
        [ "$(readlink "/proc/$pid/fd/0")" = /dev/null ] || return 1
    done
}

start_server --map="$map" --spares=3 --grace=1
uri=nbd://127.0.0.1:$port/disk
ok wait_for 20 settled 3 -- "three stand by before there is a client"
first=$(pids | cut -d' ' -f1)
hold "$uri"
is "$answer" ok "a client is served"
tell read
is "$answer" ok "and reads"
ok wait_for 20 are 4 -- "another one takes its place"
for victim in $(pids); do
    [ "$victim" = "$first" ] || kill -9 "$victim"
done
ok client many "$uri" 5 -- "clients are served when all that stood by were killed"
ok wait_for 20 grep -q 'stood by .* was ended by signal 9' "$tmp/server.log" -- "and the log says so"
tell read
is "$answer" ok "the first client is not concerned"
ok client together "$uri" 40 -- "40 at once are served"

# DIR is another directory now, as after an operator's `mv new DIR`.
wait_for 20 settled 4
head -c 2M /dev/urandom >"$tmp/other"
mkdir -m 700 "$tmp/new"
vmferry export put --map="$tmp/new" --mode=rw disk "$tmp/other"
mv "$map" "$tmp/old" && mv "$tmp/new" "$map"
is "$(nbdinfo --size "$uri")" 2097152 "one that waited looks into the directory that is there now"

kill -9 "$first"
tell read
like "$answer" '^failed' "its client was served by the one that had waited longest"
wait_for 20 settled 3
waiting=$(pids)
kill "$server"
wait "$server"
is $? 0 "the server ends"
ok eval "! ps -o pid= -p ${waiting// /,}" -- "and nobody stands by any more"

start_server --map="$map" --spares=3
wait_for 20 settled 3
waiting=$(pids)
{ kill -9 "$server"; wait "$server"; } 2>/dev/null
ok wait_for 20 eval "! ps -o pid= -p ${waiting// /,} >/dev/null" -- "nor after kill -9 of the server"

make_certs=$top/scripts/vmferry-make-certs
"$make_certs" "$tmp/pki" localhost 127.0.0.1
"$make_certs" "$tmp/pki2" localhost 127.0.0.1
start_server --map="$map" --spares=3 --tls-certificates="$tmp/pki/server"
wait_for 20 settled 3
uri="nbds://127.0.0.1:$port/disk?tls-certificates=$tmp"
is "$(nbdinfo --size "$uri/pki/client")" 2097152 "over TLS"
wait_for 20 settled 3
cp "$tmp/pki2/server/"* "$tmp/pki/server"
is "$(nbdinfo --size "$uri/pki2/client")" 2097152 "new certificates count for the next client"
ok eval "! nbdinfo --size '$uri/pki/client'" -- "and the old ones do not"
stop_server

status=0
out=$(nbdkit-exportmap-server --listen=127.0.0.1:0 --spares=2 -- memory 1M 2>&1) || status=$?
is "$status" 2 "--spares without --map is wrong use"
like "$out" 'only with --map' "and says so"
done_testing
