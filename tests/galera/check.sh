#!/bin/bash
# A Galera cluster of three nodes on this host, and writers that do not notice when one of them
# is gone: `make check-galera`. By hand, without systemd; state is transferred by rsync.
#
#   ROUNDS=1    how often a node is killed and comes back while all are writing
#   COUNT=300   transactions of each writer and round
# shellcheck source=tests/lib.sh disable=SC2317
. "$(dirname "$0")/../lib.sh"
PATH=$PATH:/usr/sbin
export VMFERRY_STATE=$tmp/state
writer=$BUILD/orchestrator/store/tests/writer
rounds=${ROUNDS:-1}
count=${COUNT:-300}

# Four ports for each node: clients, the group, the copy of the state, the missed transactions.
mapfile -t ports < <(/usr/bin/python3 -c '
import socket
held = [socket.socket() for _ in range(12)]
for s in held:
    s.bind(("127.0.0.1", 0))
print("\n".join(str(s.getsockname()[1]) for s in held))')
port() { # NODE KIND
    echo "${ports[$(($1 * 4 + $2))]}"
}
group=gcomm://127.0.0.1:$(port 0 1),127.0.0.1:$(port 1 1),127.0.0.1:$(port 2 1)
pids=()

start_node() { # NODE OPTION…
    local node=$1 dir=$tmp/node$1
    setsid mariadbd --no-defaults --user=mysql --datadir="$dir/data" --socket="$dir/socket" \
        --log-error="$dir/log.err" --pid-file="$dir/pid" --tmpdir="$dir/tmp" --bind-address=127.0.0.1 \
        --port="$(port "$node" 0)" --skip-name-resolve --performance-schema=OFF \
        --innodb-log-file-size=8M --innodb-buffer-pool-size=32M --innodb-flush-method=nosync \
        --innodb-flush-log-at-trx-commit=2 --binlog-format=ROW --innodb-autoinc-lock-mode=2 \
        --wsrep-on=ON --wsrep-provider=/usr/lib/galera/libgalera_smm.so \
        --wsrep-cluster-name=ferry --wsrep-cluster-address="$group" \
        --wsrep-node-name="node$node" --wsrep-node-address="127.0.0.1:$(port "$node" 1)" \
        --wsrep-sst-method=rsync --wsrep-sst-receive-address="127.0.0.1:$(port "$node" 2)" \
        --wsrep-provider-options="base_port=$(port "$node" 1);gmcast.listen_addr=tcp://127.0.0.1:$(port "$node" 1);ist.recv_addr=127.0.0.1:$(port "$node" 3);evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT3S;evs.inactive_timeout=PT10S;gcache.size=16M" \
        "${@:2}" </dev/null >/dev/null 2>&1 &
    pids[node]=$!
}
sql() { # NODE STATEMENT
    mariadb --no-defaults --socket="$tmp/node$1/socket" --batch --skip-column-names -e "$2"
}
state() { # NODE
    sql "$1" "SHOW STATUS LIKE 'wsrep_local_state_comment'" 2>/dev/null | cut -f 2
}
is_synced() { # NODE
    [ "$(state "$1")" = Synced ]
}
is_synced_or_dead() { # NODE
    is_synced "$1" || ! kill -0 "${pids[$1]}"
}
size_is() { # NODE NUMBER
    [ "$(sql "$1" "SHOW STATUS LIKE 'wsrep_cluster_size'" | cut -f 2)" = "$2" ]
}
kill_nodes() { # NODE…
    for node; do
        kill -9 "${pids[node]}"
        wait "${pids[node]}"
    done 2>/dev/null
}
await_node() { # NODE
    wait_for 90 is_synced_or_dead "$1"
    is_synced "$1" || { tail -n 30 "$tmp"/node?/log.err | sed 's/^/# /'; exit 1; }
}
end_nodes() {
    for node in "${!pids[@]}"; do
        ! grep -qs "$tmp/node$node/data" "/proc/${pids[node]}/cmdline" || kill -9 "${pids[node]}"
    done
}
at_exit end_nodes

# Not as root: the rsync that receives a state would become `nobody`, who owns nothing.
chmod 711 "$tmp"
for node in 0 1 2; do
    "$top/tests/mariadb" files "$tmp/node$node"
    mkdir "$tmp/node$node/tmp"
    chown -R mysql: "$tmp/node$node"
done
start_node 0 --wsrep-new-cluster
await_node 0
sql 0 "CREATE DATABASE vmferry; CREATE USER ferry@'%' IDENTIFIED BY 'secret'; GRANT ALL ON vmferry.* TO ferry@'%'"
for node in 1 2; do
    start_node "$node"
    await_node "$node"
done
ok size_is 2 3 -- 'three nodes are a cluster'

export VMFERRY_DATABASE_PASSWORD=secret
uri() { # NODE…, the one to try first in front
    local hosts
    hosts=$(for node; do printf ',127.0.0.1:%s' "$(port "$node" 0)"; done)
    echo "mariadb://ferry@${hosts:1}/vmferry"
}
all=("$(uri 0 1 2)" "$(uri 1 2 0)" "$(uri 2 0 1)")

# All at once, each at another node: the schema is made once.
migrating=()
for i in 0 1 2; do
    VMFERRY_DATABASE=${all[i]} vmferry db migrate >"$tmp/migrate$i" 2>&1 &
    migrating+=($!)
done
for i in 0 1 2; do
    wait "${migrating[i]}"
    is $? 0 "migrating from node $i" || diag "$(cat "$tmp/migrate$i")"
done
newest=$(basename "$(printf '%s\n' "$top"/sql/mariadb/*.sql | tail -n 1)" .sql)
is "$(sql 1 'SELECT count(*), max(name), sum(completed_at IS NULL) FROM vmferry.schema_migrations')" \
    "$((10#${newest%%-*}))	$newest	0" 'every migration once, and whole'
like "$(VMFERRY_DATABASE=${all[0]} vmferry db status)" 'cluster_size +3.*cluster_status +Primary.*reachable.*reachable' \
    'status knows the cluster'

# Writers at different nodes, with conflicts
written=0
write() { # LABEL; in the background, two at each node
    writers=()
    for i in 0 1 2 3 4 5; do
        "$writer" "${all[i % 3]}" "$1-$i" "$count" >"$tmp/writer$i" 2>&1 &
        writers+=($!)
    done
    written=$((written + 6 * count))
}
finish_writing() { # NAME
    local failed=0
    for pid in "${writers[@]}"; do
        wait "$pid" || failed=$((failed + 1))
    done
    is $failed 0 "$1" || cat "$tmp"/writer? | sed 's/^/# /'
    diag "$(awk '{ sum += $4 } END { print sum }' "$tmp"/writer?) attempts were for nothing"
}
check() { # NODE
    ok "$writer" "$(uri "$1")" check "$written" -- "at node $1 every transaction is there once"
}
write calm
finish_writing 'six writers at three nodes'
for node in 0 1 2; do
    check "$node"
done

for round in $(seq "$rounds"); do
    victim=$((round % 3))
    survivor=$(((victim + 1) % 3))
    write "storm$round"
    sleep 1
    kill_nodes $victim
    diag "node $victim was killed"
    wait_for 30 size_is $survivor 2
    finish_writing "node $victim is killed, and no writer fails"
    check $survivor
    check $(((victim + 2) % 3))
    # It comes back while others write.
    write "back$round"
    start_node $victim
    finish_writing "node $victim comes back, and no writer fails"
    await_node $victim
    check $victim
done

# A real job, whose node is killed while it copies
export VMFERRY_DATABASE=${all[0]}
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f
head -c 16M /dev/urandom >"$tmp/disk"
truncate -s 24M "$tmp/disk"
describe() { # MOMENT
    local changes=''
    [ "$1" = 1 ] || changes=", \"changes\": { \"since\": \"u/$(($1 - 1))\", \"map\": \"map\" }"
    cat >"$tmp/vm.json" <<END
{ "uuid": "$uuid", "name": "app01", "firmware": "bios", "cpus": 1, "memory": 1073741824, "nics": [],
  "disks": [ { "key": 2000, "unit": 0, "capacity": 25165824, "backing_uuid": "b", "file": "disk",
               "change_id": "u/$1"$changes } ] }
END
}
is_copying() {
    [ "$(sql 1 "SELECT bytes_done > 0 FROM vmferry.replication_jobs WHERE status = 'running'")" = 1 ]
}
job() { # NODE to kill
    vmferry replicate app01 --rate=2M --progress=none >"$tmp/job" 2>&1 &
    local job=$!
    wait_for 60 is_copying
    kill_nodes "$1"
    wait $job
    is $? 0 "node $1 is killed while a job copies, and it ends well" || diag "$(cat "$tmp/job")"
}
describe 1
ok vmferry source add nbd lab --file "$tmp/vm.json" -- 'a source'
job 0
ok vmferry verify app01 --source -- 'the replica is the source'
start_node 0
await_node 0
head -c 8M /dev/urandom | dd of="$tmp/disk" bs=1M seek=4 conv=notrunc status=none
echo '[{"start": 4194304, "length": 8388608}]' >"$tmp/map"
describe 2
job 0
ok vmferry verify app01 --source -- 'and is it again'
is "$(sql 1 "SELECT count(*), sum(status = 'completed') FROM vmferry.replication_jobs WHERE id IN
    (SELECT job_id FROM vmferry.restore_points)")" '2	2' 'two jobs, and both are completed'
is "$(sql 2 "SELECT group_concat(number ORDER BY number), min(complete) FROM vmferry.restore_points")" \
    '1,2	1' 'two points, once each'
is "$(sql 2 'SELECT count(*) FROM vmferry.cbt_history')" 2 'and two lines of history'
start_node 0
await_node 0

# A node without the others must not be worked with.
kill_nodes 1 2
is_alone() {
    [ "$(sql 0 "SHOW STATUS LIKE 'wsrep_ready'" | cut -f 2)" = OFF ]
}
wait_for 30 is_alone
out=$(vmferry vm list 2>&1)
is $? 1 'a node that is alone is refused'
like "$out" 'not a part of its cluster|t connect' 'and why'
sql 0 "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=true'"
check 0
done_testing
