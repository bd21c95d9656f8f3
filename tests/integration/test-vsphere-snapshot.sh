#!/bin/bash
# A job's snapshot of a VM behind the vSphere API: vsphere-snapshot.py says what is checked.
# Sections of it may be named as arguments.
exec /usr/bin/python3 "$(dirname "$0")/vsphere-snapshot.py" "$@"
