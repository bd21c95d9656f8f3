#!/bin/bash
# The vSphere simulator by itself: see sim-tracking.py.
exec /usr/bin/python3 "$(dirname "$0")/sim-tracking.py"
