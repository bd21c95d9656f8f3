#!/bin/bash
# Shuffled, resized or mounted disks are refused, and untouched.
BUILD=${BUILD:-build}
export BUILD=$PWD/${BUILD#"$PWD"/} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/identity.py"
