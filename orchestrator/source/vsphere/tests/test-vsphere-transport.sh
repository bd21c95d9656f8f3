#!/bin/bash
# The client against servers that do what no honest server does.
BUILD=${BUILD:-build}
export BUILD=$PWD/${BUILD#"$PWD"/} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/transport.py"
