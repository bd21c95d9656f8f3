#!/bin/bash
# Random histories of VMs behind the vSphere API: vsphere-model.py says what is checked.
# ROUNDS and SEED change them.
exec timeout 3600 /usr/bin/python3 "$(dirname "$0")/vsphere-model.py" "${ROUNDS:-6}" ${SEED:+"$SEED"}
