#!/bin/bash
# The vSphere simulator by itself: see sim-server.py.
exec /usr/bin/python3 "$(dirname "$0")/sim-server.py"
