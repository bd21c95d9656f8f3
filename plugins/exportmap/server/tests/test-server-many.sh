#!/bin/bash
# Many exports, clients that stay, copies that run, and a map that changes all the time: no error
# and no restart. bench/exports.py does the same at full size, with a stopwatch.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/server.sh"

[ -z "${VALGRIND:-}" ] || skip_all "hundreds of clients take too long under valgrind"

opens=400
[ -z "${SANITIZE:-}" ] || opens=40
ok "$top/bench/exports.py" --exports=200 --clients=20 --changes=1000 --opens="$opens" \
    --output="$tmp/result" -- "200 exports, 20 clients, 1,000 changes of the map, two copies"
diag "$(tr -d '\n' <"$tmp/result")"
is "$(jq .errors "$tmp/result")" 0 "no errors"
is "$(jq .restarts "$tmp/result")" 0 "no restarts"
is "$(jq .changes "$tmp/result")" 1000 "all changes were made"
is "$(jq .opens "$tmp/result")" "$opens" "all opens were done"
ok test "$(jq .copies "$tmp/result")" -ge 2 -- "the copies have ended well meanwhile"
done_testing
