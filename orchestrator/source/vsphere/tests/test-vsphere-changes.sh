#!/bin/bash
# Change queries, honest and not, against the simulator: see changes-scenarios.py.
exec /usr/bin/python3 "$(dirname "$0")/changes-scenarios.py"
