#!/bin/bash
# vSphere servers of all kinds: vsphere-servers.py says what is checked.
# Sections of it may be named as arguments.
exec /usr/bin/python3 "$(dirname "$0")/vsphere-servers.py" "$@"
