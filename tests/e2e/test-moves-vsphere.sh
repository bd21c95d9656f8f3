#!/bin/bash
# A VM of VMware's moves: a vSphere server has the guest's disks, and its power is the guest's.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=tests/e2e/moves.sh
. "$(dirname "$0")/moves.sh"

start_guest raw "$demo/guest" raw
start_vsphere
vm=$vsphere_path
vmferry source add vsphere vcenter --server "$vsphere_server" --user demo \
    --password-file "$demo/vsphere.password" --fingerprint "$vsphere_fingerprint" >/dev/null
vmferry network map vcenter "VM Network" = "net:$network" >/dev/null
wait_for_console "$source_console" 'VMFERRY-GUEST ready' "the guest to boot"
until_record 3
vmferry replicate "$vm" --enable-cbt --progress=none >/dev/null
until_record $(($(last_sequence "$source_console") + 3))
there_and_back vSphere
stop_vsphere

done_testing
