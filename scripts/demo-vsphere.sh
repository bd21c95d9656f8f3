# The second act's source: a vSphere server that has the running guest's disks. It stops
# the guest for the moment in which a snapshot is taken; the VM's power is the guest's. Sourced by
# demo-lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154
vsphere_path=/DC0/vm/demo/app01
vsphere_log=$demo/vsphere.log

start_vsphere() {
    local vm=$demo/vsphere
    mkdir -p "$vm"
    jq -n --arg path "$vsphere_path" --arg name "$name" --arg images "$images" --arg top "$top" \
        --arg firmware "${firmware/uefi/efi}" '
        ["setsid", "--wait", "virsh", "--quiet"] as $virsh |
        {$path, $firmware, memory_mb: 256, cpus: 2,
         power_command: ["\($top)/scripts/vmferry-libvirt-hook", "--domain=\($name)"],
         pause: ($virsh + ["suspend", $name]), resume: ($virsh + ["resume", $name]),
         nics: [{mac: "52:54:00:76:66:01"}],
         disks: [{file: "\($images)/system.raw"}, {file: "\($images)/data.raw"}]}' >"$vm/vm.json"
    (umask 077 && head -c 12 /dev/urandom | base64 >"$demo/vsphere.password")
    VSPHERE_SIM_PASSWORD=$(cat "$demo/vsphere.password") \
        setpriv --pdeathsig TERM "$top/tests/vsphere-sim/sim" --listen 127.0.0.1:0 --vm "$vm" --user demo \
        >"$vsphere_log" 2>&1 9>&- &
    vsphere_pid=$!
    poll 20 grep -q '^listening' "$vsphere_log" || fail "the vSphere server does not start; see $vsphere_log"
    vsphere_server=$(sed -n 's|^listening https://\([^ ]*\) .*|\1|p' "$vsphere_log")
    vsphere_fingerprint=$(sed -n 's/.* fingerprint SHA256:\([0-9A-F:]*\) .*/\1/p' "$vsphere_log")
}

stop_vsphere() {
    [ -n "${vsphere_pid:-}" ] || return 0
    kill "$vsphere_pid" 2>/dev/null || true
    wait "$vsphere_pid" 2>/dev/null || true
    vsphere_pid=
    rm -f "$demo/vsphere.password"
}
