#!/bin/bash
# Withdrawn, moved, re-leased: writers are cut off in time, and the next one waits for it.
BUILD=${BUILD:-build}
export BUILD=$PWD/${BUILD#"$PWD"/} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/fencing.py"
