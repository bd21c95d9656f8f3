# The whole life of a replica in any pool; sourced behind tests/lib.sh by tests that have
# set VMFERRY_STATE. `chain POOL FORMAT [OPTION…]` makes a VM and its points there, and
# checks every byte of them.
# shellcheck shell=bash

MiB=1048576

run() {
    status=0
    out=$(timeout 120 vmferry "$@" 2>&1) || status=$?
}

sha() {
    sha256sum | cut -d' ' -f1
}

# The first bytes of what a guest would read.
view() { # IMAGE FORMAT BYTES
    qemu-img dd -f "$2" -O raw bs=1M count=$(($3 / MiB)) if="$1" of=seen && sha <seen
}

# A VM of two disks, with files of its own.
number=0
new_vm() { # NAME
    number=$((number + 1))
    vm=$1
    uuid=$(printf '7a0c1e52-1f0a-4c0e-9d55-0c8f5a1d%04x' $number)
    head -c 5M /dev/urandom >"$vm-2000"
    truncate -s 24M "$vm-2000"
    head -c 2M /dev/urandom >"$vm-2001"
    truncate -s 16M "$vm-2001"
    describe u/1
    vmferry source add nbd "$vm" --file "$vm.json" >/dev/null
}

describe() { # CHANGE-ID [OFFSET LENGTH of disk-2000]
    local changes='' more=''
    [ $# = 1 ] || { printf '%s %s\n' "$2" "$3" >"$vm.map"
        changes=", \"changes\": { \"since\": \"$since\", \"map\": \"$vm.map\" }"
        printf '%s %s\n' 0 65536 >"$vm.map2"
        more=", \"changes\": { \"since\": \"$since\", \"map\": \"$vm.map2\" }"; }
    since=$1
    cat >"$vm.json" <<END
{ "uuid": "$uuid", "name": "$vm", "firmware": "bios", "cpus": 1, "memory": 1073741824,
  "disks": [
    { "key": 2000, "unit": 0, "capacity": $(stat -c %s "$vm-2000"), "backing_uuid": "b-$vm-0",
      "file": "$vm-2000", "change_id": "$1"$changes },
    { "key": 2001, "unit": 1, "capacity": 16777216, "backing_uuid": "b-$vm-1",
      "file": "$vm-2001", "change_id": "$1"$more } ] }
END
}

image() { # POINT KEY: where it lies
    local place
    place=$(sqlite3 "$VMFERRY_STATE/vmferry.db" "SELECT overlay FROM restore_point_disks p
        JOIN restore_points r ON r.id = point_id JOIN vms v ON v.id = r.vm_id
        JOIN vm_disks d ON d.id = disk_id
        WHERE v.uuid = '$uuid' AND r.number = $1 AND d.disk_key = $2")
    case $place in /* | rbd:*) echo "$place" ;; *) echo "$VMFERRY_STATE/$place" ;; esac
}

# The whole life of a replica in a pool.
chain() { # POOL BASE-FORMAT [OPTION…]
    local pool=$1 format=$2 base point first
    shift 2
    new_vm "$pool-$format"
    run replicate "$vm" --pool="$pool" --base="$format" "$@"
    is "$status" 0 "$vm: full" || diag "$out"
    base=$(image 1 2000)
    is "$(view "$base" "$format" $((24 * MiB)))" "$(sha <"$vm-2000")" "$vm: is the source"
    is "$(view "$(image 1 2001)" "$format" $((16 * MiB)))" "$(sha <"$vm-2001")" \
        "$vm: so is the second disk"
    ok vmferry verify "$vm" --source -- "$vm: verified, also with the source"
    first=$(sha <"$vm-2000")

    head -c 100000 /dev/urandom | dd of="$vm-2000" bs=1 seek=7000001 conv=notrunc status=none
    dd if=/dev/zero of="$vm-2000" bs=1M count=1 seek=1 conv=notrunc status=none
    describe u/2 $MiB 6100000
    run replicate "$vm"
    is "$status" 0 "$vm: incremental" || diag "$out"
    like "$out" "disk-2000 +incremental" "$vm: it is one"
    point=$(image 2 2000)
    is "$(view "$point" qcow2 $((24 * MiB)))" "$(sha <"$vm-2000")" "$vm: is the source, zeroes too"
    ok vmferry verify "$vm" --source -- "$vm: point 2 verified"
    ok vmferry verify "$vm" --point 1 -- "$vm: point 1 verified"
    is "$(view "$base" "$format" $((24 * MiB)))" "$first" "$vm: point 1 is as it was"

    # A test's overlay, written to.
    ok qemu-img create -q -f qcow2 -F qcow2 -b "$point" "$vm-test.qcow2" -- "$vm: an overlay on it"
    ok qemu-io -f qcow2 -c "write -P 7 0 1M" "$vm-test.qcow2" -- "$vm: is written to"
    ok vmferry verify "$vm" -- "$vm: and point 2 is as it was"

    # Tracking is lost, and the points are merged.
    head -c 65536 /dev/urandom | dd of="$vm-2000" bs=65536 seek=383 conv=notrunc status=none
    describe u/3
    run replicate "$vm"
    is "$status" 0 "$vm: a resync" || diag "$out"
    ok vmferry verify "$vm" --source -- "$vm: point 3 verified"
    rm -f "$vm-test.qcow2"
    ok vmferry point delete "$vm" 1 -- "$vm: point 1 is merged away"
    ok vmferry point delete "$vm" 2 -- "$vm: point 2, too"
    run verify "$vm" --source
    is "$status" 0 "$vm: what is left is the source" || diag "$out"
    ok vmferry replicate "$vm" -- "$vm: up to date"
}
