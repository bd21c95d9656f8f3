#!/bin/bash
# The power goes in the midst of replications: power-cut.py says what is checked. CUTS of each of four:
# both databases, ext4 and xfs; SEED.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

cut_power() { # DATABASE FILESYSTEM
    local status=0 out name="the power goes: $1, $2"
    mkdir "$tmp/$1-$2"
    out=$(timeout 800 unshare --mount --propagation private /usr/bin/python3 \
        "$top/tests/integration/power-cut.py" "$tmp/$1-$2" "$1" "$2" "${CUTS:-5}" \
        ${SEED:+"$SEED"} 2>&1) || status=$?
    case $status in
    77) skip "$(tail -n 1 <<<"$out")" "$name" ;;
    *) result $status "$name" ;;
    esac
    diag "$out"
    rm -rf "${tmp:?}/$1-$2"
}

[ -z "${REPORTS:-}${SANITIZE:-}" ] || skip_all "what is slow and killed says nothing of memory"
unshare --mount true 2>/dev/null || skip_all "no mount namespace can be made here"
for filesystem in ext4 xfs; do
    for database in sqlite mariadb; do
        cut_power $database $filesystem
    done
done
done_testing
