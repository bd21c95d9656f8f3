#!/bin/bash
# Map files come, change and go; bad ones are skipped, and said once.
BUILD=${BUILD:-build}
export BUILD=$PWD/${BUILD#"$PWD"/} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/map.py"
