#!/bin/bash
# How disks behind the vSphere API are read: vsphere-transports.py says what is checked.
exec /usr/bin/python3 "$(dirname "$0")/vsphere-transports.py"
