#!/bin/bash
# Logins, faults, pages and tasks against servers with odd manners.
BUILD=${BUILD:-build}
export BUILD=$PWD/${BUILD#"$PWD"/} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/session.py"
