#!/bin/bash
# The simulator against VMware's own client library: see sim-pyvmomi.py.
exec /usr/bin/python3 "$(dirname "$0")/sim-pyvmomi.py"
