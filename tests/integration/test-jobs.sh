#!/bin/bash
# `vmferry job` from other processes than the one that runs the job, and workers that are
# stopped, killed, or on another host: jobs.py says what is checked.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

ok timeout 600 /usr/bin/python3 "$top/tests/integration/jobs.py" "$tmp/jobs" "$@" -- \
    "jobs are watched, steered and taken over"
done_testing
