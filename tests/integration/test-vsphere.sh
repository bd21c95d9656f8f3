#!/bin/bash
# What is replicated of a VM behind the vSphere API: vsphere.py says what is checked.
# Sections of it may be named as arguments.
exec /usr/bin/python3 "$(dirname "$0")/vsphere.py" "$@"
