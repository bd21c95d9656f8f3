#!/bin/bash
# What one client does is no other client's affair.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/server.sh"

seed=${SEED:-$RANDOM}
diag "SEED=$seed"

# Reads are slowed down, so that clients die with answers under way.
head -c 8M /dev/urandom >"$tmp/disk"
start_server --grace=1 -- --filter=delay file "$tmp/disk" rdelay=2ms
uri=nbd://127.0.0.1:$port

# The copy that must not notice: one connection, compared all along, until everybody else is done.
client_background copy "$uri" "$tmp/disk" "$tmp/done"
copy=$!
wait_for 10 pgrep -P "$server" || diag "the copy has not begun"

client_background silent "$port" 3
client_background stall "$uri" 3
ok wait_for 20 grep -q connected "$tmp/silent" -- "clients that say nothing stay"
ok wait_for 20 grep -q connected "$tmp/stall" -- "clients that stop reading stay"

ok client die "$uri" "$kills" -- "$kills clients are killed with reads in flight"
diag "nbdkit aborted in $(grep -c 'signal 6' "$tmp/server.log") of them"
ok nbdcopy "$uri" "$tmp/copied" -- "nbdcopy beside them"
ok cmp "$tmp/disk" "$tmp/copied" -- "its copy is identical"
ok client garbage "$port" "$seed" -- "garbage and half handshakes"
ok client together "$uri" 200 -- "200 clients at once are all served"

victim=$(pgrep -n -P "$server")
kill -9 "$victim"
ok client many "$uri" 20 -- "after one nbdkit was killed by hand others come in"
ok grep -q "process $victim) was ended by signal 9" "$tmp/server.log" -- "and the log says so"

touch "$tmp/done"
wait "$copy"
is $? 0 "the copy has finished on its one connection, and everything it read was right"
stop_server
is $? 0 "the server ends when told, with silent and stalled clients connected"

start_server --grace=1 -- memory 8G
uri=nbd://127.0.0.1:$port
hold "$uri"
ok client blockstatus "$uri" 4294967295 -- "a client asks for 2^32-1 bytes of block status"
diag "$(grep 'signal 6' "$tmp/server.log")"
tell read
is "$answer" ok "another's connection lives on"
ok client many "$uri" 5 -- "and new ones are served"
stop_server

done_testing
