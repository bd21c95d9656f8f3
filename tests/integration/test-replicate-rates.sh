#!/bin/bash
# Rates that all jobs share, and time windows: replicate-all.py says what is checked.
exec /usr/bin/python3 "$(dirname "$0")/replicate-all.py" rates windows
