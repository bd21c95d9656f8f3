#!/bin/bash
# Random histories with lost change tracking: replicate-model.py says what is checked.
# ROUNDS and SEED change them.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

ok timeout 300 /usr/bin/python3 "$top/tests/integration/replicate-model.py" "$tmp/history" \
    "${ROUNDS:-12}" ${SEED:+"$SEED"} -- "the replica follows a random history, old points stay"
done_testing
