#!/bin/bash
# Raw disks do what a plain file does, full or not, and flushes reach them.
BUILD=${BUILD:-build}
export BUILD=$PWD/${BUILD#"$PWD"/} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/raw.py"
