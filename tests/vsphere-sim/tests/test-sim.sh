#!/bin/bash
# The simulator by itself: see sim-self.py.
exec /usr/bin/python3 "$(dirname "$0")/sim-self.py"
