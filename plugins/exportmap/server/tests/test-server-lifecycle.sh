#!/bin/bash
# Starting, being full, running out, ending; what callers can rely on.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/server.sh"

# refused REGEX NAME OPTION…: the server does not start, with that reason and status.
refused() {
    local status=$1 reason=$2 name=$3 out got=0
    shift 3
    out=$(timeout 20 nbdkit-exportmap-server "$@" 2>&1) || got=$?
    is "$got" "$status" "$name: exit status"
    like "$out" "$reason" "$name: the reason"
}
refused 2 'nothing to serve' "no map" --listen=127.0.0.1:0
refused 2 'nowhere to listen' "no address" -- memory 1M
refused 2 'listen=localhost: there is no port number' "no port" --listen=localhost -- memory 1M
refused 2 'listen=127\.0\.0\.1:: there is no port number' "an empty one" --listen=127.0.0.1: -- memory 1M
refused 2 'listen=:65536: a port is at most 65535' "a port that is too large" --listen=:65536 -- memory 1M
refused 2 'octal number from 0 to 777' "a mode that is not octal" --unix="$tmp/s" --unix-mode=888 -- memory 1M
refused 2 'max-connections=0: a number from 1' "no connections" --max-connections=0 -- memory 1M
refused 2 'works only with --map' "a limit that can't be kept" --handshake-timeout=3 -- memory 1M
refused 1 'trying nbdkit: .*no-such-plugin' "no plugin" --listen=127.0.0.1:0 -- no-such-plugin
refused 1 'not a socket' "a file in the way" --unix="$0" -- memory 1M

# Being ready: when the descriptor has been closed, everything is there.
start_server --unix="$tmp/socket" --pidfile="$tmp/pid" --grace=1 -- memory 1M
uri=nbd://127.0.0.1:$port
ok client many "$uri" 1 -- "a client is served the moment the server is ready"
is "$(cat "$tmp/pid")" "$server" "the pidfile holds its process id"
is "$(stat -c %a "$tmp/socket")" 600 "the unix socket is its owner's alone"
ok client many "nbd+unix:///?socket=$tmp/socket" 1 -- "and serves"
refused 1 'another program listens' "a socket in use" --unix="$tmp/socket" -- memory 1M
refused 1 'Address already in use' "a port in use" --listen="127.0.0.1:$port" -- memory 1M

# No leaks.
wait_for 10 no_children
before=$(descriptors)
ok client cycle "$uri" 500 -- "500 connections, one after the other"
ok client together "$uri" 100 -- "100 at once"
wait_for 10 no_children
ok no_children -- "no process is left of them, not even a dead one"
is "$(descriptors)" "$before" "no descriptor either"

# kill -9: running connections go on, and the next server takes over.
hold "$uri"
{ kill -9 "$server"; wait "$server"; } 2>/dev/null
tell read
is "$answer" ok "after kill -9 of the server its connections live on"
tell close
old=$port
# shellcheck disable=SC2016
start_server --listen="127.0.0.1:$old" --unix="$tmp/socket" --unix-mode=660 --grace=30 -- \
    eval get_size='echo 1M' pread='sleep 1; head -c $3 /dev/zero'
ok client many "nbd://127.0.0.1:$old" 1 -- "the next server gets its port"
ok client many "nbd+unix:///?socket=$tmp/socket" 1 -- "and its socket, stale by now"
is "$(stat -c %a "$tmp/socket")" 660 "with the mode asked for"

# SIGTERM: no new clients, time for the others; SIGTERM again: answers what is under way.
hold "nbd://127.0.0.1:$port"
kill "$server"
ok wait_for 5 grep -q 'ending; 1 connections have 30 s' "$tmp/server.log" -- "SIGTERM gives time"
ok test ! -e "$tmp/socket" -- "the socket is removed"
ok eval "! client many nbd://127.0.0.1:$port 1" -- "nobody else is let in"
tell read
is "$answer" ok "who is in goes on"
tell slow
kill "$server"
ok wait_for 5 grep -q 'ending the 1 connections' "$tmp/server.log" -- "SIGTERM again ends it"
tell wait
is "$answer" ok "after an answer to what was asked before"
wait "$server"
is $? 0 "exit status 0"

# SIGTERM, and the client leaves by itself: no need to wait for the end of the grace time.
start_server --grace=60 -- memory 1M
hold "nbd://127.0.0.1:$port"
kill "$server"
ok wait_for 5 grep -q 'ending; 1 connections' "$tmp/server.log" -- "the grace time begins"
started=$SECONDS
tell close
wait "$server"
ok test $((SECONDS - started)) -lt 20 -- "it ends as soon as the last client has left"

# --exit-with-parent
bash -c '"$@" & while :; do sleep 1; done' bash nbdkit-exportmap-server --listen=127.0.0.1:0 \
    --unix="$tmp/child" --exit-with-parent --pidfile="$tmp/child.pid" -- memory 1M 2>/dev/null &
parent=$!
wait_for 10 test -s "$tmp/child.pid"
server=$(cat "$tmp/child.pid")
hold "nbd+unix:///?socket=$tmp/child"
{ kill -9 "$parent"; wait "$parent"; } 2>/dev/null
ok wait_for 10 test ! -d "/proc/$server" -- "--exit-with-parent: it ends with its parent"
tell read
like "$answer" '^failed' "and so do its connections"

bash -c '"$@" & while :; do sleep 1; done' bash nbdkit-exportmap-server \
    --unix="$tmp/child" --exit-with-parent --pidfile="$tmp/child.pid" -- memory 1M 2>/dev/null &
parent=$!
background_pids+=("$parent")
wait_for 10 test -s "$tmp/child.pid"
server=$(cat "$tmp/child.pid")
hold "nbd+unix:///?socket=$tmp/child"
kill -9 "$server"
# shellcheck disable=SC2317
reading_fails() {
    tell read
    [[ $answer == failed* ]]
}
ok wait_for 10 reading_fails -- "after kill -9 of that server too"

# Being full.
start_server --max-connections=5 --grace=0 -- memory 1M
uri=nbd://127.0.0.1:$port
client_background silent "$port" 5
silent=$!
wait_for 10 grep -q connected "$tmp/silent"
ok eval "! client many $uri 1" -- "the sixth of five clients is turned away"
ok grep -q 'refused: 5 connections are open (--max-connections)' "$tmp/server.log" -- "and the log says why"
kill "$silent"
wait_for 10 no_children
ok client many "$uri" 5 -- "when the five have left others come in"
stop_server

# Running out of descriptors: refused, not hanging, not dying, not spinning.
start_server --grace=0 -- memory 1M
uri=nbd://127.0.0.1:$port
prlimit --pid "$server" --nofile="$(($(descriptors) + 1)):1024"
ok eval "! client many $uri 1" -- "no descriptor for another pipe: the client is turned away"
prlimit --pid "$server" --nofile="$(descriptors):1024"
before=$(awk '{ print $14 + $15 }' "/proc/$server/stat")
ok eval "! client many $uri 1" -- "none for the connection itself: likewise"
is "$(grep -c 'refused: .*Too many open files' "$tmp/server.log")" 1 \
    "the log gives the reason, not twice in a second"
ok test "$(awk '{ print $14 + $15 }' "/proc/$server/stat")" -le $((before + 20)) -- \
    "the server does not spin"
prlimit --pid "$server" --nofile=1024:1024
ok client many "$uri" 3 -- "and when there are descriptors again, clients are served"
stop_server

# Socket activation and readiness, as systemd does them.
cat >"$tmp/activate.py" <<'EOF'
import os, socket, sys
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
pid = os.fork()
if pid == 0:
    os.dup2(listener.fileno(), 3)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", NOTIFY_SOCKET=sys.argv[1])
    os.execvp(sys.argv[2], sys.argv[2:])
print(notify.recv(100).decode(), listener.getsockname()[1], pid, flush=True)
print(notify.recv(100).decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
EOF
{ coproc ACTIVATED { exec /usr/bin/python3 "$tmp/activate.py" "$tmp/notify" nbdkit-exportmap-server -- memory 1M 2>&1; }; } 2>/dev/null
read -r -t 20 ready port server <&"${ACTIVATED[0]}"
while [ "$ready" != READY=1 ] && read -r -t 20 ready port server <&"${ACTIVATED[0]}"; do :; done
is "$ready" READY=1 "systemd is told when it listens"
ok client many "nbd://127.0.0.1:$port" 2 -- "on the socket that it was given"
kill "$server"
out=$(cat <&"${ACTIVATED[0]}")
like "$out" 'STOPPING=1 0' "systemd is told when it ends"

# One connection, as inetd passes it.
cat >"$tmp/inetd.py" <<'EOF'
import nbd, socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
process = subprocess.Popen(sys.argv[1:], stdin=server, stdout=server)
server.close()
handle = nbd.NBD()
handle.connect_socket(client.detach())
print(handle.get_size())
handle.shutdown()
sys.exit(process.wait())
EOF
is "$(/usr/bin/python3 "$tmp/inetd.py" nbdkit-exportmap-server --inetd -- memory 1M)" 1048576 \
    "--inetd serves the connection on stdin"
refused 1 'stdin is not a connection' "inetd without a connection" --inetd -- memory 1M

# The manual's example, and the units.
exec 3< <(exec nbdkit-exportmap-server --listen=127.0.0.1:0 --ready-fd=1 -- memory 1M 2>/dev/null)
background_pids+=($!)
read -r _ address <&3
ok client many "nbd://$address" 1 -- "--ready-fd=1 tells a script the address"
is "$(grep KillMode= "$top/plugins/exportmap/server/vmferry-export@.service")" KillMode=process \
    "the end of a connection's unit spares the qemu-nbd that others share"
if command -v systemd-analyze >/dev/null; then
    cp "$top"/plugins/exportmap/server/vmferry-export* "$tmp"
    sed -i "s|^ExecStart=|&$BUILD/|" "$tmp"/vmferry-export*.service
    ok systemd-analyze verify --man=no "$tmp"/vmferry-export.socket "$tmp"/vmferry-export@.service \
        "$tmp"/vmferry-export.service -- "systemd accepts the units"
else
    skip "no systemd-analyze" "systemd accepts the units"
fi

done_testing
