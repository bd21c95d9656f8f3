#!/bin/bash
# What test-jobs.sh checks of workers that die, are stopped or lose their job, over MariaDB.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD MARIADB=$tmp/server
[ $# -gt 0 ] || set -- killed taken_over other_host late_wake_up recovering cancelled_stopped database_away

OWNER=$$ "$top/tests/mariadb" start "$MARIADB" >/dev/null
# shellcheck disable=SC2016 # expanded at the end
at_exit '"$top/tests/mariadb" kill "$MARIADB"'
ok timeout 600 /usr/bin/python3 "$top/tests/integration/jobs.py" "$tmp/jobs" "$@" -- \
    "jobs are taken over and recovered, each once"
done_testing
