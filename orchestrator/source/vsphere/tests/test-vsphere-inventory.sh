#!/bin/bash
# Lists, descriptions and names of VMs, preflight and snapshots, against the
# simulator: see inventory-scenarios.py.
exec /usr/bin/python3 "$(dirname "$0")/inventory-scenarios.py"
