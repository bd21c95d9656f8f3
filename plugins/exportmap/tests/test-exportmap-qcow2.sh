#!/bin/bash
# qcow2 disks: a qemu-nbd for each export, shared, never guessing, gone with its last client.
BUILD=${BUILD:-build}
export BUILD=$PWD/${BUILD#"$PWD"/} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$(dirname "$0")/qcow2.py"
