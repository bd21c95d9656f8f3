# A Ceph cluster of one monitor and one OSD in memory, for tests; sourced behind
# tests/lib.sh. Sets CEPH_CONF; all of it is in a directory and ends with the test.
# shellcheck shell=bash

ceph_can_run() {
    command -v ceph-mon >/dev/null && command -v ceph-osd >/dev/null && command -v rbd >/dev/null &&
        qemu-img --help | grep -q '^Supported formats:.* rbd\b'
}

# Start it and make a pool "vms"; false when it does not come up.
ceph_start() { # DIRECTORY
    local dir=$1 fsid uuid port=$((20000 + $$ % 20000))
    mkdir -p "$dir/mon/a" "$dir/osd/0" "$dir/run"
    fsid=$(cat /proc/sys/kernel/random/uuid)
    cat >"$dir/ceph.conf" <<END
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$port]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
run dir = $dir/run
admin socket = $dir/run/\$name.\$pid.asok
pid file = $dir/run/\$name.pid
log file = $dir/run/\$name.log
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
ms bind msgr1 = false
osd pool default pg num = 8
osd pool default pgp num = 8
mon data = $dir/mon/a
osd data = $dir/osd/0
crash dir = $dir/run
[mon.a]
public addr = [v2:127.0.0.1:$port]
END
    export CEPH_CONF=$dir/ceph.conf
    at_exit "kill \$(cat '$dir'/run/*.pid); sleep 0.5"
    (
        cd "$dir" || exit 1
        monmaptool --create --addv a "[v2:127.0.0.1:$port]" --fsid "$fsid" monmap &&
            ceph-authtool --create-keyring keyring.mon --gen-key -n mon. --cap mon 'allow *' &&
            ceph-mon --mkfs -i a --monmap monmap --keyring keyring.mon && ceph-mon -i a
    ) >"$dir/log" 2>&1 || return 1
    uuid=$(cat /proc/sys/kernel/random/uuid)
    {
        timeout 30 ceph osd new "$uuid" 0 && ceph-osd -i 0 --mkfs --osd-uuid "$uuid" &&
            ceph-osd -i 0 && wait_for 30 timeout 10 ceph osd pool create vms 8 8 &&
            timeout 30 ceph osd pool application enable vms rbd && timeout 60 rbd pool init vms
    } >>"$dir/log" 2>&1
}
