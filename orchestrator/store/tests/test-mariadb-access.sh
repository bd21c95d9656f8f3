#!/bin/bash
# Who gets into the MariaDB and over what: passwords in files, TLS that is checked, hosts that
# are tried one after the other.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"
export VMFERRY_STATE=$tmp/state VMFERRY_CONFIG=$tmp/conf
secret=Geheim-4711

certificate() { # NAME SAN CA
    openssl req -newkey rsa:2048 -nodes -keyout "$tmp/$1.key" -out "$tmp/$1.csr" -subj "/CN=$1" 2>/dev/null
    openssl x509 -req -in "$tmp/$1.csr" -CA "$tmp/$3.pem" -CAkey "$tmp/$3.key" -days 2 \
        -extfile <(echo "subjectAltName=$2") -out "$tmp/$1.pem" 2>/dev/null
}
for ca in ca other-ca; do
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout "$tmp/$ca.key" -out "$tmp/$ca.pem" \
        -subj "/CN=$ca" 2>/dev/null
done
certificate right IP:127.0.0.1,DNS:127.1 ca
certificate wrong DNS:elsewhere.example ca

port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
server() { # ACTION OPTION…
    OWNER=$$ "$top/tests/mariadb" "$1" "$tmp/server" "${@:2}"
}
# shellcheck disable=SC2016 # expanded at the end
at_exit '"$top/tests/mariadb" kill "$tmp/server"'
server start --port="$port" >/dev/null
server sql "CREATE USER ferry@'%' IDENTIFIED BY '$secret'; GRANT ALL ON vmferry.* TO ferry@'%'"

# Loopback is the literal address or localhost; 127.1 is a host like any other for vmferry.
configure() { # HOST CA
    cat >"$tmp/conf" <<CONF
[general]
database = mariadb://ferry@$1/vmferry
database_password_file = $tmp/password
${2:+database_ca = $2}
CONF
}
refused() { # REGEX NAME
    local out
    out=$(vmferry db status 2>&1) && result 1 "$2"
    like "$out" "$1" "$2"
    [[ $out != *$secret* ]] || result 1 "$2: and does not tell the password"
}

# Passwords
echo "$secret" >"$tmp/password"
chmod 600 "$tmp/password"
configure "127.0.0.1:$port" ''
ok vmferry vm list -- 'the password of a file'
out=$(vmferry db status)
like "$out" "node +127.0.0.1:$port.*tls +no" 'no TLS to this very host'
chmod 644 "$tmp/password"
refused 'others may read it' 'a password file that others can read'
rm "$tmp/password"
refused 'password file .*: No such file' 'no password file'
sed -i /password_file/d "$tmp/conf"
refused 'Access denied.*database_password_file' 'no password'
ok env VMFERRY_DATABASE_PASSWORD="$secret" vmferry vm list -- 'the password of the environment'
echo wrong >"$tmp/password"
chmod 600 "$tmp/password"
configure "127.0.0.1:$port" ''
refused 'Access denied' 'a wrong password'
echo "$secret" >"$tmp/password"
echo "[general]
database = mariadb://ferry:$secret@127.0.0.1/vmferry" >"$tmp/conf"
refused 'password does not belong there' 'a password in the URI'
out=$(VMFERRY_DATABASE=mariadb://127.0.0.1/vmferry vmferry vm list 2>&1)
is "$?, ${out##*: }" '2, it names no user' 'a URI without a user'

# Without TLS no other host
configure "127.1:$port" "$tmp/ca.pem"
refused 'SSL|TLS' 'another host without TLS'

# With TLS
server stop >/dev/null
server again --port="$port" --ssl-cert="$tmp/right.pem" --ssl-key="$tmp/right.key" --ssl-ca="$tmp/ca.pem"
ok vmferry vm list -- 'another host, its certificate is right'
like "$(vmferry db status)" 'tls +TLS_' 'by TLS'
writer=$BUILD/orchestrator/store/tests/writer
uri=mariadb://ferry@127.1:$port/vmferry
export VMFERRY_TEST_CA=$tmp/ca.pem VMFERRY_DATABASE_PASSWORD=$secret
"$writer" "$uri" tls 400 >"$tmp/out" 2>&1 &
writing=$!
while kill -0 $writing 2>/dev/null; do
    server sql 'KILL USER ferry' 2>/dev/null
    sleep 0.1
done
wait $writing
is $? 0 'its connections are cut again and again' || diag "$(cat "$tmp/out")"
ok "$writer" "$uri" check 400 -- 'and each transaction is there once'
like "$(cat "$tmp/out")" '[1-9][0-9]* attempts were for nothing' 'though some were done again'
unset VMFERRY_DATABASE_PASSWORD
configure "127.0.0.1:$port" "$tmp/ca.pem"
like "$(vmferry db status)" 'tls +TLS_' 'TLS to this host where it is asked for'
configure "127.1:$port" "$tmp/other-ca.pem"
refused 'certificate' 'a certificate that somebody else signed'
configure "127.1:$port" ''
refused 'certificate' 'one that nobody signed whom the system knows'
configure "127.1:$port" "$tmp/nothing.pem"
refused 'database_ca.*nothing.pem: No such file' 'a CA file that is not there'
server stop >/dev/null
server again --port="$port" --ssl-cert="$tmp/wrong.pem" --ssl-key="$tmp/wrong.key" --ssl-ca="$tmp/ca.pem"
configure "127.1:$port" "$tmp/ca.pem"
refused 'certificate|host ?name|CN' 'a certificate of another name'
configure "127.0.0.1:$port" "$tmp/ca.pem"
refused 'certificate|host ?name|CN' 'a certificate of another name on this host, too'

# Several hosts: the first that answers
configure "127.0.0.1:1,127.0.0.2:1,127.0.0.1:$port" ''
ok vmferry vm list -- 'hosts that do not answer are passed over'
out=$(vmferry db status)
like "$out" "node +127.0.0.1:$port.*127.0.0.1:1 +not reachable.*127.0.0.1:$port +reachable" 'status tells which'
configure "127.0.0.1:1,127.0.0.2:1" ''
refused "127.0.0.2 port 1: Can't connect" 'none answers'
done_testing
