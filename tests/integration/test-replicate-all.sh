#!/bin/bash
# Many VMs at once: replicate-all.py says what is checked.
exec /usr/bin/python3 "$(dirname "$0")/replicate-all.py" fifty limits failures hosts wrong_use
