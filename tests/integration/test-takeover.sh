#!/bin/bash
# Jobs of replicas in pools, and of a vSphere, that another worker takes: takeover.py says what is
# checked.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
export BUILD

for section in pools vsphere; do
    ok timeout 300 /usr/bin/python3 "$top/tests/integration/takeover.py" "$tmp/$section" "$section" -- \
        "a stopped worker's job is taken over: $section"
done
done_testing
