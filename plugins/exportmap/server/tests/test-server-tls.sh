#!/bin/bash
# TLS: who is let in, by which cipher, and what the server refuses to start with.
# shellcheck source=plugins/exportmap/server/tests/server.sh
. "$(dirname "$0")/server.sh"

make_certs=$top/scripts/vmferry-make-certs
"$make_certs" --clients=site-a,site-b "$tmp/pki" localhost 127.0.0.1
"$make_certs" "$tmp/other" localhost 127.0.0.1
before=$(find "$tmp/pki" -type f -exec cksum {} + | sort)
"$make_certs" --clients=site-a,site-b "$tmp/pki" 127.0.0.1 localhost
is "$(find "$tmp/pki" -type f -exec cksum {} + | sort)" "$before" "certificates are made once"
is "$(find "$tmp/pki" -name '*-key.pem' -not -perm 0600)" "" "private keys are their owner's alone"
"$make_certs" "$tmp/pki" localhost 127.0.0.1 new.example.com
like "$(certtool --certificate-info --infile "$tmp/pki/server/server-cert.pem")" \
    'DNSname: new.example.com' "a new name gets a new server certificate"
rm "$tmp/pki/ca-cert.pem" "$tmp/pki/ca-key.pem"
"$make_certs" --clients=site-a,site-b "$tmp/pki" localhost 127.0.0.1
for cert in server/server site-a/client site-b/client; do
    ok certtool --verify --load-ca-certificate "$tmp/pki/ca-cert.pem" --infile \
        "$tmp/pki/$cert-cert.pem" -- "a new CA makes $cert-cert.pem anew"
done
for wrong in "$tmp/wrong" "--days=0 $tmp/wrong a" "--clients=../a $tmp/wrong a" "$tmp/wrong a/b"; do
    status=0
    # shellcheck disable=SC2086
    "$make_certs" $wrong 2>/dev/null || status=$?
    is "$status" 2 "vmferry-make-certs ${wrong//"$tmp"/DIR} is wrong use"
done
ok test ! -e "$tmp/wrong" -- "... and makes nothing"

refused() { # DIR REGEX NAME
    local out status=0
    out=$(nbdkit-exportmap-server --listen=127.0.0.1:0 --tls-certificates="$1" -- memory 1M 2>&1) ||
        status=$?
    is $status 1 "$3: the server does not start"
    like "$out" "$2" "$3: it says why"
}
mkdir "$tmp/bad"
refused "$tmp/bad" 'ca-cert.pem: No such file' "an empty directory"
cp "$tmp/pki/server/"* "$tmp/bad"
chmod 644 "$tmp/bad/server-key.pem"
refused "$tmp/bad" 'everybody may read this private key' "an open key"
cp "$tmp/other/server/server-key.pem" "$tmp/bad/server-key.pem"
chmod 600 "$tmp/bad/server-key.pem"
refused "$tmp/bad" 'trying nbdkit: ' "another certificate's key"
rm "$tmp/bad/server-key.pem"
refused "$tmp/bad" 'server-key.pem: No such file' "no key"

head -c 4M /dev/urandom >"$tmp/disk"
start_server --unix="$tmp/socket" --grace=1 --tls-certificates="$tmp/pki/server" -- file "$tmp/disk"
base=nbds://127.0.0.1:$port/
uri="$base?tls-certificates=$tmp/pki/site-a"
is "$(nbdinfo --size "$uri")" 4194304 "a client with our certificate is served"
is "$(nbdinfo --size "nbds://localhost:$port/?tls-certificates=$tmp/pki/site-b")" 4194304 "so is another"
is "$(client cipher "$port" "$tmp/pki/site-a")" TLS_AES_128_GCM_SHA256 "the cipher is the fast one, though OpenSSL prefers another"
# Like `ok ! client many …`, and nothing may have been served.
turned_away() { # URI NAME
    if client many "$1" 1 2>"$tmp/err"; then
        result 1 "$2"
    else
        result 0 "$2"
        diag "$(tail -n 1 "$tmp/err")"
    fi
}
turned_away "nbd://127.0.0.1:$port/" "a client without TLS is turned away"
mkdir "$tmp/anonymous" "$tmp/stranger"
cp "$tmp/pki/ca-cert.pem" "$tmp/anonymous"
turned_away "$base?tls-certificates=$tmp/anonymous" "so is one without a certificate"
cp "$tmp/other/client/"* "$tmp/stranger"
cp "$tmp/pki/ca-cert.pem" "$tmp/stranger"
turned_away "$base?tls-certificates=$tmp/stranger" "and one with another CA's certificate"
turned_away "$base?tls-certificates=$tmp/other/client" "a client does not accept a server of another CA"
ok client many "nbd+unix:///?socket=$tmp/socket" 1 -- "the unix socket is plain"

client_background copy "$uri" "$tmp/disk" "$tmp/done"
copy=$!
wait_for 10 grep -q connected "$tmp/copy"
ok client die "$uri" "$((kills / 2))" -- "$((kills / 2)) TLS clients are killed with reads in flight"
ok client garbage "$port" 3 -- "garbage"
ok client together "$uri" 30 -- "30 at once are served"

# New certificates count for the next client; those who are in stay.
rm -r "$tmp/pki/server"
cp -r "$tmp/other/server" "$tmp/pki/server"
is "$(nbdinfo --size "$base?tls-certificates=$tmp/other/client")" 4194304 \
    "renewed certificates need no restart"
turned_away "$uri" "and the old ones are of no use"
touch "$tmp/done"
wait "$copy"
is $? 0 "a copy over TLS beside all this finished on its one connection"
stop_server

start_server --grace=0 --no-tls-verify-peer --tls-certificates="$tmp/other/server" -- memory 1M
cp "$tmp/other/ca-cert.pem" "$tmp/anonymous"
is "$(nbdinfo --size "nbds://127.0.0.1:$port/?tls-certificates=$tmp/anonymous")" 1048576 \
    "--no-tls-verify-peer lets clients without a certificate in"
stop_server

done_testing
