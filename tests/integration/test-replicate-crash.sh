#!/bin/bash
# Kill -9 at random moments: replicate-crash.py says what is checked. KILLS and SEED
# change them.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

ok timeout 850 /usr/bin/python3 "$top/tests/integration/replicate-crash.py" "$tmp/crashes" \
    "${KILLS:-30}" ${SEED:+"$SEED"} -- "kill -9 of each process, then the next run finishes"
done_testing
