#!/bin/bash
# Many VMs at once: replicate-all.py says what is checked. Sections of it may be named.
exec /usr/bin/python3 "$(dirname "$0")/replicate-all.py" "$@"
