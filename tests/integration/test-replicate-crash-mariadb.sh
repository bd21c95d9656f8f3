#!/bin/bash
# Kill -9 at random moments, of processes and of the MariaDB that they write to:
# replicate-crash.py says what is checked. KILLS and SEED change them.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD MARIADB=$tmp/server

OWNER=$$ "$top/tests/mariadb" start "$MARIADB" >/dev/null
# shellcheck disable=SC2016 # expanded at the end
at_exit '"$top/tests/mariadb" kill "$MARIADB"'
ok timeout 850 /usr/bin/python3 "$top/tests/integration/replicate-crash.py" "$tmp/crashes" \
    "${KILLS:-10}" ${SEED:+"$SEED"} -- "kill -9 of each process and of the database's server"
done_testing
