#!/bin/bash
# A VM behind the vSphere API, replicated by vmferry: vsphere.py says what is checked.
# Sections of it may be named as arguments.
exec /usr/bin/python3 "$(dirname "$0")/vsphere.py" "$@"
