#!/bin/bash
# vmferry copy over links of all kinds: TLS, limited in rate, far away.
# shellcheck disable=SC2069 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

copy() { timeout -s KILL 60 vmferry copy --progress=none "$@"; }
message_of() { "$@" 2>&1 >/dev/null; }
seconds_of() { copy --json "$@" | jq .seconds; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }'; }

# TLS
"$top/scripts/vmferry-make-certs" "$tmp/pki" localhost >/dev/null
"$top/scripts/vmferry-make-certs" "$tmp/other" localhost >/dev/null
port=$((20000 + RANDOM % 10000))
nbdkit --tls=require --tls-certificates="$tmp/pki/server" --tls-verify-peer -i 127.0.0.1 -p "$port" \
    -P "$tmp/tls.pid" memory 20M
at_exit "kill \$(cat $tmp/tls.pid)"
wait_for 10 test -s "$tmp/tls.pid"
uri="nbds://localhost:$port/?tls-certificates=$tmp/pki/client"
head -c 20M /dev/urandom >"$tmp/disk"
ok copy --verify "$tmp/disk" "$uri" -- "onto a TLS server"
ok copy "$uri" "$tmp/back" -- "from a TLS server"
ok cmp "$tmp/disk" "$tmp/back" -- "the same"
like "$(message_of copy "nbds://localhost:$port/" null:)" "tls-certificates=DIR" "no certificates: refused"
mkdir "$tmp/nothing"
like "$(message_of copy "nbds://localhost:$port/?tls-certificates=$tmp/nothing" null:)" \
    "ca-cert.pem" "no CA certificate: refused"
like "$(message_of copy "nbds://localhost:$port/?tls-certificates=$tmp/other/client" null:)" \
    "ertificate" "a server of another CA: refused"
like "$(message_of copy "nbds+unix:///?socket=$tmp/x&tls-certificates=$tmp/pki/client" null:)" \
    "TCP only" "TLS over a unix socket: refused"
like "$(message_of copy "nbd://localhost:$port/" null:)" "localhost" "no TLS where the server requires it"

# A rate, and another one while it runs
nbdkit -U "$tmp/src" -P "$tmp/src.pid" -r pattern 20M
at_exit "kill \$(cat $tmp/src.pid)"
src="nbd+unix:///?socket=$tmp/src"
less 1.6 "$(seconds_of --rate=10M "$src" null:)"
result $? "20M at 10M a second take nearly 2 seconds"
printf '\n 1M\tfor now\n' >"$tmp/rate"
copy --rate=@"$tmp/rate" --json "$src" null: >"$tmp/result" &
sleep 0.5
echo nonsense >"$tmp/rate.new" && mv "$tmp/rate.new" "$tmp/rate"
sleep 0.3
mkfifo "$tmp/rate.new" && mv "$tmp/rate.new" "$tmp/rate" # nobody writes to it
sleep 0.3
echo 0 >"$tmp/rate.new" && mv "$tmp/rate.new" "$tmp/rate"
wait $! && less "$(jq .seconds "$tmp/result")" 6
result $? "at 1M a second, unlimited after one second"

# Between two pieces of a slow copy nothing is in flight: a flush there is not the last.
nbdkit -U "$tmp/slow" -P "$tmp/slow.pid" --filter=log memory 4500K logfile="$tmp/log"
at_exit "kill \$(cat $tmp/slow.pid)"
result=$(copy --connections=1 --flush=512K --rate=8M --json --digest [ nbdkit -r pattern 4500K ] \
    "nbd+unix:///?socket=$tmp/slow")
is "$(grep -oE ' (Write|Flush) ' "$tmp/log" | tail -1 | tr -d ' ')" Flush \
    "the last thing that a destination hears is a flush"
is "$(jq -r .digest <<<"$result")" "$(copy --digest [ nbdkit -r pattern 4500K ] null:)" \
    "and no block is missing in the digest"

# A long way: as much is in flight as it takes.
nbdkit -U "$tmp/far" -P "$tmp/far.pid" -r --filter=delay pattern 100M rdelay=20ms
at_exit "kill \$(cat $tmp/far.pid)"
fixed=$(seconds_of --connections=1 --requests=4 --request-size=256K "nbd+unix:///?socket=$tmp/far" null:)
adapted=$(seconds_of "nbd+unix:///?socket=$tmp/far" null:)
less "$adapted" "$(awk -v s="$fixed" 'BEGIN { print s / 2 }')"
result $? "reading over 20 ms: $adapted s, and $fixed s with 4 requests in flight"
nbdkit -U "$tmp/far-dst" -P "$tmp/far-dst.pid" --filter=delay null 100M wdelay=20ms
at_exit "kill \$(cat $tmp/far-dst.pid)"
adapted=$(seconds_of [ nbdkit -r pattern 100M ] "nbd+unix:///?socket=$tmp/far-dst")
less "$adapted" "$(awk -v s="$fixed" 'BEGIN { print s / 2 }')"
result $? "writing over 20 ms: $adapted s"
done_testing
