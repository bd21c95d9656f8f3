#!/bin/bash
# A VM's power, and its end, against the simulator: see power-scenarios.py.
exec /usr/bin/python3 "$(dirname "$0")/power-scenarios.py"
