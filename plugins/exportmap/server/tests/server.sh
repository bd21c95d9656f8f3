# Shared by the server's tests: start the server, talk to it badly.
# shellcheck shell=bash
# shellcheck source=tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../../tests/lib.sh"

clients=$(dirname "${BASH_SOURCE[0]}")/clients.py

kills=100
# shellcheck disable=SC2034
[ -z "${SANITIZE:-}${VALGRIND:-}" ] || kills=20 # each starts an nbdkit that is checked

# Start the server on a port of the kernel's choice. Sets $server (its pid) and $port; its log
# is $tmp/server.log. Ends the test when it does not start.
start_server() { # OPTION…
    local kind address
    rm -f "$tmp/ready"
    mkfifo "$tmp/ready"
    nbdkit-exportmap-server --listen=127.0.0.1:0 --ready-fd=9 "$@" \
        9>"$tmp/ready" 2>"$tmp/server.log" &
    server=$!
    background_pids+=("$server")
    port=
    while read -r kind address; do
        [ "$kind" != tcp ] || port=${address##*:}
    done <"$tmp/ready"
    [ -n "$port" ] || { sed 's/^/# /' "$tmp/server.log"; exit 1; }
}

# SIGTERM, and wait for it. Returns its exit status.
stop_server() {
    kill "$server"
    wait "$server"
}

# What bad clients do; see clients.py.
client() { # WHAT ARGUMENT…
    /usr/bin/python3 "$clients" "$@"
}

# One in the background, which says "connected" in $tmp/WHAT when it is. Its pid is in $!.
client_background() { # WHAT ARGUMENT…
    /usr/bin/python3 "$clients" "$@" >"$tmp/$1" &
    background_pids+=("$!")
}

children() { # how many children the server has
    pgrep -c -P "$server"
}

no_children() {
    ! pgrep -P "$server" >/dev/null
}

descriptors() {
    find "/proc/$server/fd" -mindepth 1 | wc -l
}

# Keep a connection that does what it is told; `tell COMMAND` sets $answer. One at a time.
hold() { # URI
    { coproc HOLD { exec /usr/bin/python3 "$clients" hold "$1" 2>&1; }; } 2>/dev/null
    # shellcheck disable=SC2153
    background_pids+=("$HOLD_PID")
    read -r -t 20 answer <&"${HOLD[0]}" || answer="no answer"
}

# shellcheck disable=SC2034
tell() { # COMMAND
    echo "$1" >&"${HOLD[1]}"
    read -r -t 20 answer <&"${HOLD[0]}" || answer="no answer"
}
