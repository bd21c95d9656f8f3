#!/bin/bash
# Points of a vsphere source: points-vsphere.py says what is checked.
# Sections of it may be named as arguments.
exec /usr/bin/python3 "$(dirname "$0")/points-vsphere.py" "$@"
