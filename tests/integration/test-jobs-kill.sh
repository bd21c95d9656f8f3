#!/bin/bash
# Kill -9 of a replication at every boundary between two steps, and at random times inside copy, of
# nbd and vsphere sources over both databases: jobs-kill.py says what is checked. KILLS: of all
# together, or `all`; SEED. Some of them come too late, when a job is through: 200 are to be left.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

main() {
    local kills=${KILLS:-220} pid few most database
    [ -z "${REPORTS:-}${SANITIZE:-}" ] || skip_all "killer.so and a sanitizer can't both be first"
    # Of each database: three in four with an nbd source.
    few=$kills most=$kills
    [ "$kills" = all ] || few=$((kills / 8)) most=$(((kills + 1) / 2 - kills / 8))

    over() { # DATABASE SOURCE KILLS
        timeout "${KILL_SECONDS:-850}" /usr/bin/python3 "$top/tests/integration/jobs-kill.py" \
            "$tmp/$1-$2" "$1" "$2" "$3" ${SEED:+"$SEED"} >"$tmp/$1-$2.out" 2>&1
        echo $? >"$tmp/$1-$2.status"
    }
    both() { # DATABASE
        over "$1" nbd "$most"
        over "$1" vsphere "$few"
    }
    background both sqlite
    pid=$!
    both mariadb
    wait $pid
    for database in sqlite mariadb; do
        for source in nbd vsphere; do
            ok test "$(cat "$tmp/$database-$source.status")" = 0 -- "kill -9: $source, $database"
            diag "$(cat "$tmp/$database-$source.out")"
        done
    done
    done_testing
}
main
