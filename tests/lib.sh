# Shared by the shell tests: `. "$(dirname "$0")/…/tests/lib.sh"`. TAP out; each
# test file says `plan N` or ends with `done_testing`.
#
#   ok COMMAND… -- NAME     passes when COMMAND succeeds
#   is GOT EXPECTED NAME    passes when both are equal
#   like GOT REGEX NAME     passes when the extended regex matches
#
# $BUILD is the build directory, $tmp a directory that is removed at the end.
# Everything started in the background is killed at the end: use `background`.
# shellcheck shell=bash
set -u
# shellcheck disable=SC2034
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$(cd "$top" && realpath -m "${BUILD:-build}")
PATH=${REPORTS:+$top/tests/checked:}$BUILD:$PATH # see scripts/run-one-test
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmferry-test.XXXXXX")
tests=0
failures=0
background_pids=()

# Absolute names of our modules, so that nbdkit takes these and not installed ones.
# shellcheck disable=SC2034
CBT=$BUILD/nbdkit-cbt-filter.so
# shellcheck disable=SC2034
PROGRESS=$BUILD/nbdkit-progress-filter.so
# shellcheck disable=SC2034
EXPORTMAP=$BUILD/nbdkit-exportmap-plugin.so

# To stderr, which prove shows: what CI keeps of a failure has to say why.
diag() {
    printf '%s\n' "$@" | sed 's/^/# /' >&2
}

explain() { # LINES…
    diag "${0#"$top"/} $tests" "$@"
    return 1
}

result() { # STATUS NAME
    tests=$((tests + 1))
    if [ "$1" = 0 ]; then
        echo "ok $tests - $2"
    else
        failures=$((failures + 1))
        echo "not ok $tests - $2"
    fi
    return "$1"
}

ok() {
    local command=() out status=0
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        command+=("$1")
        shift
    done
    shift
    out=$("${command[@]}" 2>&1) || status=$?
    result $((status != 0)) "$*" || explain "${command[*]}: exit $status" "$out"
}

is() {
    local status=0
    [ "$1" = "$2" ] || status=1
    result $status "$3" || explain "got:      $1" "expected: $2"
}

like() {
    local status=0
    [[ $1 =~ $2 ]] || status=1
    result $status "$3" || explain "got:       $1" "not like:  $2"
}

skip() { # REASON NAME
    tests=$((tests + 1))
    echo "ok $tests - $2 # SKIP $1"
}

skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

background() { # COMMAND…; its pid is in $!
    "$@" &
    background_pids+=($!)
}

# Poll COMMAND until it succeeds, at most SECONDS.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { diag "gave up waiting for: $*"; return 1; }
        sleep 0.05
    done
}

done_testing() {
    echo "1..$tests"
    exit $((failures > 0))
}

plan() {
    echo "1..$1"
}

cleanup_hooks=()
at_exit() { # COMMAND as one string, run last-in first-out
    cleanup_hooks=("$1" "${cleanup_hooks[@]}")
}

# A loop device of FILE, in $device, until the end. It is given back by its file: its number may be
# another test's by then.
# shellcheck disable=SC2034
loop_device() { # FILE
    device=$(losetup --find --show "$1") || return 1
    at_exit "losetup --associated $(realpath "$1") --noheadings --output NAME | xargs -r -n 1 losetup -d"
}

# What is unmounted below $tmp is so everywhere, also in the mount namespace that libvirt has made
# for a guest meanwhile: else the file system and its loop device live as long as that guest.
share_mounts() {
    mount --bind "$tmp" "$tmp" && at_exit "umount -l '$tmp'" && mount --make-shared "$tmp"
}

finish() {
    local status=$?
    for hook in "${cleanup_hooks[@]}"; do
        eval "$hook" >/dev/null 2>&1
    done
    [ ${#background_pids[@]} = 0 ] || kill "${background_pids[@]}" 2>/dev/null
    wait 2>/dev/null
    rm -rf "$tmp"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM
