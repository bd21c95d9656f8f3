#!/bin/bash
# Failovers on another host by its libvirt: over SSH and over TLS, with a real sshd and a real
# libvirtd in a network of their own (tests/e2e/far-host). Storage that is not seen there, hosts
# that do not answer, connections that are lost.
# shellcheck disable=SC2016,SC2317 # eval and wait_for call it
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../lib.sh"
[ "$(id -u)" = 0 ] || skip_all "needs root, for namespaces"
[ -z "${SANITIZE:-}" ] || skip_all "an nbdkit could not load modules that need a sanitizer's library"
export VMFERRY_STATE=$tmp/state VMFERRY_VIRT_TYPE=qemu
unset LIBVIRT_DEFAULT_URI

vm=far-$$
world=$tmp/world
far=$tmp/far
near_link=vmn-$$
far_link=vmf-$$
net=198.51.100
near=$net.$(($$ % 60 * 4 + 1))
there=$net.$(($$ % 60 * 4 + 2))
mkdir -p "$VMFERRY_STATE" "$world" "$far"

# The other host

# libvirt wants key encipherment in them, which certtool gives RSA keys only.
authority() { # DIR
    mkdir -p "$1"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=an authority" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
        -keyout "$1/cakey.pem" -out "$1/cacert.pem" 2>/dev/null
}
certificate() { # DIR NAME USAGE
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" \
        -keyout "$1/$2key.pem" -out "$tmp/request" 2>/dev/null
    printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\n%s\n%s\n' \
        "extendedKeyUsage=$3" "subjectAltName=IP:$there" >"$tmp/extensions"
    openssl x509 -req -in "$tmp/request" -CA "$1/cacert.pem" -CAkey "$1/cakey.pem" -days 2 \
        -extfile "$tmp/extensions" -out "$1/$2cert.pem" 2>/dev/null
}
authority "$tmp/pki"
certificate "$tmp/pki" server serverAuth
certificate "$tmp/pki" client clientAuth
cp -r "$tmp/pki" "$far/tls"
for key in "$far/host-key" "$tmp/key" "$tmp/other-key"; do
    ssh-keygen -q -t ed25519 -N '' -f "$key"
done
cp "$tmp/key.pub" "$far/authorized_keys"
echo "$there $(cut -d ' ' -f 1-2 "$far/host-key.pub")" >"$tmp/known_hosts"
# Nothing of this machine's own ssh is read or written.
cat >"$tmp/ssh" <<END
#!/bin/sh
exec ssh -F none -o UserKnownHostsFile=$tmp/known_hosts -o GlobalKnownHostsFile=none \\
    -o StrictHostKeyChecking=yes -o BatchMode=yes "\$@"
END
chmod +x "$tmp/ssh"
by_ssh="qemu+ssh://root@$there/system?command=$tmp/ssh&keyfile=$tmp/key"
by_tls="qemu+tls://$there/system?pkipath=$tmp/pki"

background "$top/tests/e2e/far-host" "$far" far.example "$there/30" "$far_link" 2>"$tmp/far-host"
far_pid=$!
at_exit "ip link delete $near_link"
wait_for 20 test -e "$far/waiting"
inside=$(pgrep -P "$far_pid")
at_exit "kill -9 $inside" # its init, and so all that runs there
ip link add "$near_link" type veth peer name "$far_link"
ip link set "$far_link" netns "$inside"
ip address add "$near/30" dev "$near_link"
ip link set "$near_link" up
ok wait_for 60 test -e "$far/ready" -- "another host is up" || { cat "$tmp/far-host" >&2; exit 1; }

on_far() { # COMMAND…
    nsenter --target "$inside" --mount --net --uts --pid -- "$@"
}
there_virsh() {
    on_far virsh --quiet -c qemu:///system "$@"
}
far_processes() { # NAME; their ids, here
    pgrep --ns "$inside" --nslist pid -x "$1"
}

# The source: two disks, and a hook that is its hypervisor

truncate -s 2M "$world/disk0" "$world/disk1"
"$top/tests/e2e/tiny-guest" "$world/disk0"
record() { # TEXT
    printf '%s-a\0' "$1" | dd of="$world/disk0" bs=512 seek=1 conv=notrunc status=none
    printf '%s-b\0' "$1" | dd of="$world/disk1" bs=512 seek=1 conv=notrunc status=none
}
cat >"$world/hook" <<END
#!/bin/bash
set -eu
cd $world
echo "\$1" >>verbs
case \$1 in
    begin)
        cp disk0 moment0
        cp disk1 moment1
        jq --arg id "\$VMFERRY_MOMENT" '.disks |= [.[] | .change_id = "\(.key)/\(\$id)"]' $vm.json >$vm.json.new
        mv $vm.json.new $vm.json ;;
    state) cat power ;;
    shutdown | power-off) echo off >power ;;
    power-on) echo on >power ;;
    retire) echo "\$4" >retired ;;
esac
END
chmod +x "$world/hook"
echo on >"$world/power"
jq -n --arg name "$vm" --arg uuid "fa4c0ffe-0000-4000-8000-$(printf %012d $$)" --arg world "$world" '
    { $uuid, $name, firmware: "bios", cpus: 1, memory: 67108864,
      nics: [{ mac: "52:54:00:76:55:01", network: "LAN" }],
      disks: [{ key: 2000, unit: 0, capacity: 2097152, backing_uuid: "one", boot: 1, file: "\($world)/moment0", change_id: "2000/0" },
              { key: 2001, unit: 1, capacity: 2097152, backing_uuid: "two", boot: 2, file: "\($world)/moment1", change_id: "2001/0" }] }' \
    >"$world/$vm.json"
record first
vmferry source add nbd kvm --file "$world/$vm.json" --hook "$world/hook" >/dev/null
ok vmferry replicate "$vm" --progress=none -- "a VM is replicated here"

test_there() { # URI OPTIONS…
    vmferry failover test "$vm" --connect="$1" --expect=READY --timeout=60 "${@:2}"
}
live_there() {
    vmferry failover live "$vm" --connect="$1" --expect=READY --timeout=60 "${@:2}"
}
show() { # JQ-EXPRESSION
    vmferry failover show "$vm" --json | jq -r "$1"
}
said() {
    tr -d '\r\n.' <"$(show .evidence.console)" | grep -ao 'GUEST.*' | sed 's/.*GUEST/GUEST/'
}
rows() {
    vmferry failover list --json | jq length
}
open_rows() {
    vmferry failover list --json | jq '[.[] | select(.completed_ms == 0)] | length'
}
left_behind() {
    there_virsh list --all --name | grep -v '^$'
    there_virsh net-list --all --name | grep vft-
    there_virsh pool-list --all --name | grep vmferry
    far_processes qemu-system-x86
    find "$VMFERRY_STATE/failovers" -name '*.qcow2' -o -name 'look-*'
}
images() {
    find "$VMFERRY_STATE/replicas" -type f -exec stat -c '%n %u:%g %a %Y' {} + | sort
}

# Tests

images >"$tmp/before"
for way in ssh tls; do
    uri=by_$way
    ok test_there "${!uri}" -- "$way: a guest boots there" || on_far sh -c 'cat /var/log/libvirt/qemu/*.log' >&2
    is "$(said)" "GUEST one=first-a two=first-b before= READY" "$way: the console that it has there is read here"
    is "$(head -c 8 "$(show .evidence.screen)" | od -An -tx1 | tr -d ' ')" 89504e470d0a1a0a "$way: there is a picture of its screen"
    is "$(there_virsh domstate "$(show .domain)" | head -n 1)" running "$way: it runs on that host"
    is "$(show .uri)" "${!uri}" "$way: where it runs is written down"
    ok vmferry failover rollback "$vm" -- "$way: it is rolled back"
    is "$(left_behind)" "" "$way: nothing is left on either side"
done
is "$(images)" "$(cat "$tmp/before")" "no image has another owner or mode"

cat >"$tmp/lan.xml" <<END
<network><name>lan</name><bridge name='far-lan'/><dns enable='no'/></network>
END
cp "$tmp/lan.xml" "$far/lan.xml"
there_virsh net-create "$far/lan.xml"
out=$(test_there "$by_ssh" --network=net:lan --check=tcp:22@192.0.2.7 --check-timeout=1 --rollback 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*no way to it \(the test VM runs on another host\), and its agent can't be asked" \
    "a TCP check there is left to the guest's agent"
out=$(test_there "$by_ssh" --network=net:there-is-none 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*no network 'there-is-none'" "a network is looked for there"
is "$(left_behind)" "" "nothing is left"

# Live

vmferry network map kvm LAN = bridge:br-none >/dev/null
before=$(rows)
out=$(live_there "$by_ssh" --dry-run 2>&1) && status=0 || status=$?
like "$status $out" "^1 .*host far.example has no bridge 'br-none'" "a bridge that is not there is in the way of a live failover"
vmferry network map kvm LAN = net:lan >/dev/null
for way in ssh tls; do
    uri=by_$way
    record "live-$way"
    echo on >"$world/power"
    : >"$world/verbs"
    ok live_there "${!uri}" -- "$way: a live failover"
    is "$(there_virsh domstate "$vm" | head -n 1), $(cat "$world/power")" "running, off" "$way: it runs there, the source is off"
    is "$(said)" "GUEST one=live-$way-a two=live-$way-b before= READY" "$way: with what the source had last"
    ok vmferry failover rollback "$vm" --shutdown-timeout=1s --discard -- "$way: it is rolled back"
    is "$(cat "$world/power") $(left_behind)" "on " "$way: the source is on, nothing is left there"
done

# Storage that is not seen there

refused_before() { # NAME LIKE
    local points
    points=$(vmferry point list "$vm" --json | jq length)
    before=$(rows)
    : >"$world/verbs"
    out=$(live_there "$by_ssh" 2>&1) && status=0 || status=$?
    like "$status $out" "^1 .*$2" "$1: a live failover is refused"
    is "$(sort -u "$world/verbs" | xargs), $(cat "$world/power"), $(rows) $(vmferry point list "$vm" --json | jq length)" \
        "state, on, $before $points" "$1: before the source or anything else is touched"
    out=$(live_there "$by_ssh" --dry-run 2>&1) && status=0 || status=$?
    like "$status $out" "^1 .*$2" "$1: a dry run says it"
    out=$(test_there "$by_tls" 2>&1) && status=0 || status=$?
    like "$status $out $(rows)" "^1 .*$2.* $before\$" "$1: so is a test"
    is "$(left_behind)" "" "$1: nothing is left"
}
on_far mount -t tmpfs tmpfs "$VMFERRY_STATE"
refused_before "no such directory" "looking at storage: host far.example does not see the directory $VMFERRY_STATE/failovers"
on_far umount "$VMFERRY_STATE"
cp -a "$VMFERRY_STATE" "$tmp/copy"
on_far mount --bind "$tmp/copy" "$VMFERRY_STATE"
refused_before "a copy" "looking at storage: host far.example does not see"
on_far umount "$VMFERRY_STATE"
on_far mount -t tmpfs tmpfs "$VMFERRY_STATE/replicas"
refused_before "no images" "looking at storage: host far.example does not see the directory $VMFERRY_STATE/replicas"
on_far umount "$VMFERRY_STATE/replicas"

# Hosts that are wrong

wrong() { # URI LIKE NAME
    local began=$SECONDS
    out=$(test_there "$1" 2>&1) && status=0 || status=$?
    like "$status $out" "^1 .*$2" "$3"
    is "$((SECONDS - began < 15)) $(rows)" "1 $before" "$3: at once, and nothing is made"
}
before=$(rows)
wrong "nonsense://$there/system" "connecting to libvirt at nonsense://" "no such kind of libvirt"
wrong "qemu+ssh://root@$there:9/system?command=$tmp/ssh" "Connection refused" "nobody listens there"
wrong "qemu+ssh://root@$there/system?command=$tmp/ssh&keyfile=$tmp/other-key" "Permission denied" "a key that it does not know"
sed -i "s| ssh-ed25519 .*| $(cut -d ' ' -f 1-2 "$tmp/other-key.pub")|" "$tmp/known_hosts"
wrong "$by_ssh" "Host key verification failed" "another host by that address"
sed -i "s| ssh-ed25519 .*| $(cut -d ' ' -f 1-2 "$far/host-key.pub")|" "$tmp/known_hosts"
authority "$tmp/others"
mkdir "$tmp/wrong-pki"
cp "$tmp/pki/client"* "$tmp/others/cacert.pem" "$tmp/wrong-pki"
wrong "qemu+tls://$there/system?pkipath=$tmp/wrong-pki" "certificate" "a certificate of another authority"

# A connection that is lost

never() { # URI; a test that boots until it is told otherwise
    vmferry failover test "$vm" --connect="$1" --network=none --expect=never --timeout="$2"
}
booting() { # NUMBER
    [ "$(vmferry failover list --json | jq '[.[] | select(.state == "booting")] | length')" = "$1" ]
}
# shellcheck disable=SC2046 # one word each
hang_up() { # the sessions, not the one that listens
    kill $(far_processes virt-ssh-helper)
}
never "$by_ssh" 6 >"$tmp/out" 2>&1 &
tester=$!
wait_for 30 booting 1
hang_up
wait $tester && status=0 || status=$?
is "$status $(show .state)" "1 not booted" "a connection that is lost is made again, and the test goes on"
like "$(cat "$tmp/out")" "connection to libvirt was lost: connecting again" "which is said"
vmferry failover rollback "$vm" >/dev/null

# The host stands still while a test and a live failover of the VM boot there: it takes connections,
# and says nothing.
frozen() {
    far_processes libvirtd
    far_processes sshd
}
ssh_left() {
    pgrep -f "^ssh .*UserKnownHostsFile=$tmp/"
}
record last
echo on >"$world/power"
vmferry failover live "$vm" --connect="$by_ssh" --expect=never --timeout=100 >"$tmp/out.live" 2>&1 &
live=$!
wait_for 60 booting 1
never "$by_tls" 100 >"$tmp/out.test" 2>&1 &
tester=$!
wait_for 30 booting 2
mapfile -t stopped < <(frozen)
at_exit 'kill -CONT "${stopped[@]}"'
kill -STOP "${stopped[@]}"
waiting=()
for way in ssh tls; do
    uri=by_$way
    {
        began=$SECONDS
        test_there "${!uri}" >"$tmp/out.$way" 2>&1
        echo "$? $((SECONDS - began < 30))" >"$tmp/status.$way"
    } &
    waiting+=($!)
done
wait "${waiting[@]}"
for way in ssh tls; do
    like "$(cat "$tmp/status.$way" "$tmp/out.$way")" "^1 1.*no answer within 20 s" "$way: a host that does not answer is given up"
done
wait $tester && status=0 || status=$?
is "$status" 1 "a test whose host falls silent ends"
like "$(cat "$tmp/out.test")" "connection to libvirt was lost: .*no answer within" "which is said"
like "$(cat "$tmp/out.test")" "vmferry failover rollback" "with what removes it"
wait $live && status=0 || status=$?
is "$status $(cat "$world/power")" "1 off" "as long as nobody knows whether the guest runs there, its source stays off"
like "$(cat "$tmp/out.live")" "connection to libvirt was lost: .*could not be undone yet, .vmferry recover" "which is said"
is "$(open_rows) $(ssh_left)" "2 " "both failovers are open, and no ssh is left"
kill -CONT "${stopped[@]}"
ok vmferry recover -- "recover goes on when the host is back"
is "$(cat "$world/power") $(open_rows) $(left_behind)" "on 0 " "the source is on, nothing is left there"

# For good

ok live_there "$by_tls" -- "over once more"
ok vmferry failover commit "$vm" -- "and committed there"
is "$(there_virsh domstate "$vm" | head -n 1), $(cat "$world/power"), $(vmferry vm show "$vm" --json | jq -r .state)" \
    "running, off, committed" "it stays there"
is "$(there_virsh domblklist "$vm" | awk '{ print $2 }' | xargs)" \
    "$(find "$VMFERRY_STATE/replicas" -name base.raw | sort | xargs)" "on its bases"

done_testing
