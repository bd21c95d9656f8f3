#!/bin/bash
# The log of a replication, as log.py says. Sections of it may be named as arguments.
exec /usr/bin/python3 "$(dirname "$0")/log.py" "$@"
