#!/bin/bash
# What goes wrong at a source in the middle of things: vsphere-trouble.py says what is checked.
# Sections of it may be named as arguments.
exec /usr/bin/python3 "$(dirname "$0")/vsphere-trouble.py" "$@"
