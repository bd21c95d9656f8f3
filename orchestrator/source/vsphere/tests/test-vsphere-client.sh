#!/bin/bash
# The client's layers against the simulator.
BUILD=${BUILD:-build}
export BUILD=$PWD/${BUILD#"$PWD"/} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/simulated.py"
