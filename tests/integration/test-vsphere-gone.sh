#!/bin/bash
# A source that is away for a while, or for good: vsphere-trouble.py says what is checked.
# ROUNDS makes it try more ways.
exec /usr/bin/python3 "$(dirname "$0")/vsphere-trouble.py" gone short
