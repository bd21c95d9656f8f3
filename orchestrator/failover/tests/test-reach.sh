#!/bin/bash
# Connecting to a guest on a bridge, and to nobody else who has its address. All of it in a
# network namespace: the "guest" is another one, and so is its "source".
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for network namespaces"
if [ "${1:-}" != inside ]; then
    unshare --net true 2>/dev/null || skip_all "no network namespaces here"
    rm -rf "$tmp"
    exec unshare --net "$0" inside
fi

machine() { # BRIDGE NAME ADDRESS PORT
    unshare --net sleep 600 &
    local pid=$!
    background_pids+=("$pid")
    wait_for 10 sh -c "[ \"\$(readlink /proc/$pid/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
    ip link add "$2" type veth peer name eth0 netns "$pid"
    ip link set "$2" master "$1" up
    nsenter -t "$pid" -n ip addr add "$3/24" dev eth0
    nsenter -t "$pid" -n ip link set eth0 up
    nsenter -t "$pid" -n ip link set lo up
    background nsenter -t "$pid" -n /usr/bin/python3 -m http.server "$4" >"$tmp/$2.log" 2>&1
    wait_for 20 nsenter -t "$pid" -n sh -c "ss -ltn | grep -q :$4"
}

reach() {
    "$BUILD/orchestrator/failover/tests/reach-port" "$@"
}

for bridge in isolated lan; do
    ip link add $bridge type bridge
    ip link set $bridge up
done
ip addr add 192.0.2.1/24 dev lan
machine isolated guest 192.0.2.10 8080
machine lan source 192.0.2.10 8081

is "$(reach inside isolated 192.0.2.10 24 8080)" yes "a port of the guest answers"
like "$(reach inside isolated 192.0.2.10 24 8082)" "^no: 192.0.2.10 port 8082: Connection refused" "one that is closed does not"
like "$(reach inside isolated 192.0.2.10 24 8081)" "^no: " "nor does one that only the source has open, at the same address"
like "$(reach inside isolated 192.0.2.11 24 8080)" "^no: 192.0.2.11 port 8080 does not answer" "nor an address that nobody has"
is "$(reach inside isolated 192.0.2.10 30 8080)" yes "a small network has a free address, too"
like "$(reach inside isolated 192.0.2.10 32 8080)" "^no way: .*no free address" "one of a single address has none"
like "$(reach inside nowhere 192.0.2.10 24 8080)" "^no way: " "without its bridge there is no way"
like "$(reach host isolated 192.0.2.10 24 8080)" "^no way: this host has no address on isolated" \
    "this host, which is not in there, does not try another way"
is "$(reach host lan 192.0.2.10 24 8081)" yes "from this host, where it is in the network"
ip addr add 192.0.2.2/24 dev isolated
is "$(reach host isolated 192.0.2.10 24 8080)" yes "and by that bridge alone, although another one has that network, too"
like "$(reach host isolated 192.0.2.10 24 8081)" "^no: " "and nobody else there"
is "$(ip -brief link | grep -c ^vfc-)" 0 "no cable is left"

done_testing
