#!/bin/bash
# Kill -9 of a replication at every boundary between two steps, and at random times inside copy, over
# both databases: jobs-kill.py says what is checked. KILLS: of both together, or `all`; SEED.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

[ -z "${REPORTS:-}${SANITIZE:-}" ] || skip_all "killer.so and a sanitizer can't both be first"
kills=${KILLS:-200}
[ "$kills" = all ] || kills=$(((kills + 1) / 2))

over() { # DATABASE
    timeout "${KILL_SECONDS:-850}" /usr/bin/python3 "$top/tests/integration/jobs-kill.py" \
        "$tmp/$1" "$1" "$kills" ${SEED:+"$SEED"} >"$tmp/$1.out" 2>&1
}

background over sqlite
first=$!
over mariadb
second=$?
wait $first
ok test $? = 0 -- "kill -9 over SQLite"
diag "$(cat "$tmp/sqlite.out")"
ok test $second = 0 -- "kill -9 over MariaDB"
diag "$(cat "$tmp/mariadb.out")"
done_testing
