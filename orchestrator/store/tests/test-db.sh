#!/bin/bash
# vmferry db: status, migrate, and dumps that go from either database into either.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"
export VMFERRY_STATE=$tmp/state
mkdir "$VMFERRY_STATE"

uri=$(OWNER=$$ "$top/tests/mariadb" start "$tmp/server")
# shellcheck disable=SC2016 # expanded at the end
at_exit '"$top/tests/mariadb" kill "$tmp/server"'
sql() {
    "$top/tests/mariadb" sql "$tmp/server" "$@"
}
sql 'CREATE DATABASE second'
second=${uri/vmferry/second}
with() { # DATABASE COMMAND…
    VMFERRY_DATABASE=$1 "${@:2}"
}

# A database with everything that is hard to carry over: quotes, lines, other scripts, blanks
# at the end, sizes beyond 32 bits, fractions, a long text, a parent that has a higher id.
vmferry db migrate >"$tmp/migrations"
like "$(cat "$tmp/migrations")" '^0001-initial' 'a new database gets the schema'
db=$VMFERRY_STATE/vmferry.db
long=$(head -c 300000 /dev/zero | tr '\0' 'x')
sqlite3 "$db" <<SQL
PRAGMA foreign_keys = OFF;
INSERT INTO sources (id, name, kind, location, options, created_at) VALUES
    (7, 'Größe "a" ''b''', 'nbd', '/x\\y' || char(10) || 'z', '{"user":"ü"}', 1700000000000),
    (9, 'lab', 'vsphere', 'vc:443', NULL, 1700000000001), (12, 'lab ', 'nbd', '/', NULL, 5);
INSERT INTO vms (id, uuid, source_id, name, path, state, spec, created_at, updated_at) VALUES
    (3, '6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f', 9, 'app01', '日本/app01', 'ready_for_failover',
     '{"text":"$long"}', 1, 9007199254740993);
INSERT INTO vm_disks (id, vm_id, disk_key, unit_number, backing_uuid, capacity) VALUES
    (5, 3, 2000, 0, 'b', 70368744177664), (6, 3, 2001, 1, 'c', 512);
INSERT INTO replication_jobs (id, vm_id, replication_type, sync_type, status, percent, created_at,
    updated_at) VALUES (21, 3, 'manual', 'initial', 'completed', 33.3, 1, 2),
    (22, 3, 'manual', 'incremental', 'paused', 100, 1, 2);
INSERT INTO job_steps (job_id, disk_id, step, state, started_at) VALUES
    (21, NULL, 'plan', 'done', 1), (21, 5, 'copy', 'done', 1);
INSERT INTO job_disks (job_id, disk_id, sync_type, percent, updated_at) VALUES
    (21, 6, 'initial', 0.1, 1), (21, 5, 'initial', 1e-7, 1);
INSERT INTO restore_points (id, vm_id, job_id, number, complete, created_at) VALUES
    (1, 3, 21, 1, 1, 1), (2, 3, NULL, 2, 1, 1);
INSERT INTO restore_point_disks (id, point_id, disk_id, parent_id, overlay, format, leaves,
    sync_type, digest, complete) VALUES
    (10, 2, 5, 11, 'o', 'qcow2', 'l', 'incremental', 'd', 1),
    (11, 1, 5, NULL, 'b', 'raw', 'l', 'initial', 'd', 1);
INSERT INTO settings (name, value, updated_at) VALUES ('rate', '5', 1), ('Rate', '6', 1);
SQL
for i in $(seq 1 3000); do
    echo "INSERT INTO job_log (job_id, level, part, message, created_at) VALUES (21, 'info', 'copy', 'line $i', $i);"
done | { echo BEGIN\; && cat && echo COMMIT\;; } | sqlite3 "$db"
rows=3018

ok vmferry db dump "$tmp/a" -- 'a dump of SQLite'
is "$(stat -c %a "$tmp/a")" 600 'only its owner can read it'
like "$(tail -n 1 "$tmp/a")" "\"rows\":$rows" 'its end counts the rows'
is "$(vmferry db dump | sha256sum)" "$(sha256sum <"$tmp/a")" 'the same on standard output'
is "$(cd "$tmp" && vmferry db dump - | sha256sum; ls ./- 2>&1)" "$(sha256sum <"$tmp/a"; ls ./- 2>&1)" 'and with -'
ln -s "$tmp/through" "$tmp/link"
ok vmferry db dump "$tmp/link" -- 'a dump through a link, as /dev/stdout is one'
ok test -L "$tmp/link" -- 'which stays one'
ok cmp "$tmp/through" "$tmp/a" -- 'and is where it leads to'
mkfifo "$tmp/fifo"
sha256sum <"$tmp/fifo" >"$tmp/through" &
reader=$!
ok vmferry db dump "$tmp/fifo" -- 'a dump into a FIFO'
wait "$reader"
is "$(cat "$tmp/through")" "$(sha256sum <"$tmp/a")" 'whose reader gets it'
ok test -p "$tmp/fifo" -- 'and which stays one'

ok with "$uri" vmferry db restore "$tmp/a" -- 'from SQLite to MariaDB'
ok with "$uri" vmferry db dump "$tmp/b" -- 'a dump of MariaDB'
ok cmp "$tmp/a" "$tmp/b" -- 'is the same, byte for byte'
ok with "$second" vmferry db restore "$tmp/b" -- 'from MariaDB to MariaDB'
is "$(with "$second" vmferry db dump | sha256sum)" "$(sha256sum <"$tmp/a")" 'the same there'
with "$uri" vmferry db dump | with "sqlite://$tmp/new.db" vmferry db restore - >"$tmp/out"
is "$(cat "$tmp/out")" "$tmp/new.db: $rows rows" 'from MariaDB to SQLite, by a pipe'
is "$(with "sqlite://$tmp/new.db" vmferry db dump | sha256sum)" "$(sha256sum <"$tmp/a")" 'the same there'
is "$(sqlite3 "$tmp/new.db" 'PRAGMA foreign_key_check; PRAGMA integrity_check')" ok 'and whole'

# Ids go on after those that were restored.
mkdir "$tmp/vms"
ok with "$uri" vmferry source add nbd later --file "$tmp/vms" -- 'the restored database is used'
is "$(sql "SELECT id > 12 FROM vmferry.sources WHERE name = 'later'")" 1 'a new row has a new id'

# What is refused changes nothing.
refused() { # REASON NAME, dump on stdin
    local out
    out=$(with "$third" vmferry db restore - 2>&1) && result 1 "$2"
    like "$out" "$1" "$2"
}
sql 'CREATE DATABASE third'
third=${uri/vmferry/third}
refused 'line 101: .*not complete' 'cut off between lines' < <(head -n 100 "$tmp/a")
refused 'line 12: .*not complete' 'cut off in a line' < <(head -n 11 "$tmp/a"; printf '{"tab')
refused 'rows are missing' 'a line in its midst is missing' < <(sed 500d "$tmp/a")
refused 'no dump' 'something else' <<<'{"a":1}'
refused 'no JSON' 'no JSON at all' <<<'hello'
refused 'schema 2, and this vmferry has' 'another schema' < <(sed '1s/"schema":[0-9]*/"schema":2/' "$tmp/a")
refused 'line [0-9]+: ' 'a reference to nothing' < <(sed 's/"source_id":9/"source_id":99/' "$tmp/a")
refused 'no table that this vmferry knows' 'a table that is not known' < <(sed 's/"table":"sources"/"table":"pigs"/' "$tmp/a")
refused 'columns of its table' 'a column that is not known' < <(sed '/"table":"sources"/s/"kind"/"kin"/' "$tmp/a")
is "$(with "$third" vmferry db status --json | jq '[.rows[]] | add')" 0 'none of them wrote anything'
like "$(with "$third" vmferry db restore "$tmp" 2>&1)" "reading $tmp: Is a directory" 'a directory is no dump'
out=$(with "$uri" vmferry db restore "$tmp/a" 2>&1)
like "$out" 'is not empty: table .* has [0-9]+ rows' 'not into a database that is used'

# Status
out=$(with "$uri" vmferry db status)
like "$out" 'backend +mariadb.*node +'"$tmp"'/server/socket.*vm_disks +2' 'status of MariaDB'
out=$(vmferry db status --json)
is "$(jq -r '.backend, .rows.job_log, (.pending | length)' <<<"$out" | xargs)" 'sqlite 3000 0' 'status of SQLite'
is "$(vmferry db migrate)" "$(vmferry db migrate)" 'migrating again does nothing'

# Many at once: each migration is applied, and said, once.
together() { # URI
    local migrating=()
    for _ in 1 2 3 4 5 6; do
        with "$1" vmferry db migrate >>"$tmp/together" &
        migrating+=($!)
    done
    wait "${migrating[@]}"
    grep -v 'nothing to do' "$tmp/together" | sort
    rm "$tmp/together"
}
"$top/tests/mariadb" sql "$tmp/server" 'CREATE DATABASE together'
is "$(together "sqlite://$tmp/together.db")" "$(cat "$tmp/migrations")" 'six migrate at once: SQLite'
is "$(together "${uri/vmferry?/together?}")" "$(cat "$tmp/migrations")" 'six migrate at once: MariaDB'

# A database that an older vmferry made
sqlite3 "$tmp/old.db" <"$top/sql/sqlite/0001-initial.sql"
sqlite3 "$tmp/old.db" 'PRAGMA user_version = 1'
like "$(with "sqlite://$tmp/old.db" vmferry db status)" 'pending +0002.*pending +0005-jobs' 'what it lacks'
like "$(with "sqlite://$tmp/old.db" vmferry db dump 2>&1)" 'vmferry db migrate' 'no dump of an old schema'
is "$(with "sqlite://$tmp/old.db" vmferry db migrate | head -n 1)" 0002-source-place 'is brought up to date'

# The same of MariaDB, with rows; each migration is cut off at several moments and gone on with
shape() { # DATABASE
    sql "SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT,
        GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '$1' ORDER BY 1, 3;
        SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME
        FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = '$1' ORDER BY 1, 2, 4;
        SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
        WHERE CONSTRAINT_SCHEMA = '$1' ORDER BY 1, 2;
        SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME, DELETE_RULE
        FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = '$1' ORDER BY 1, 2"
}
sql 'CREATE DATABASE old'
old=${uri/vmferry/old}
{
    echo 'USE old;'
    cat "$top/sql/mariadb/0001-initial.sql"
    cat <<SQL
CREATE TABLE schema_migrations (number BIGINT NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL,
    statements_done BIGINT NOT NULL, completed_at BIGINT) ENGINE = InnoDB
    CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
INSERT INTO schema_migrations VALUES (1, '0001-initial', 99, 1);
INSERT INTO sources VALUES (1, 'lab', 'nbd', '/', 1);
INSERT INTO vms VALUES (1, 'u', 1, 'app01', NULL, 'ready_for_failover', '{}', 1, 1);
INSERT INTO vm_disks VALUES (1, 1, 2000, 0, 'b', 4096, NULL, NULL, NULL);
INSERT INTO replication_jobs (id, vm_id, replication_type, sync_type, status, created_at, updated_at)
    VALUES (1, 1, 'manual', 'initial', 'completed', 7, 8);
INSERT INTO restore_points VALUES (1, 1, 1, 4, 1, 1, 1);
INSERT INTO restore_point_disks VALUES (1, 1, 1, NULL, 'o', 'raw', 'l', 'initial', NULL, 'd', 0, 1);
SQL
} | sql
like "$(with "$old" vmferry db status)" 'pending +0002.*pending +0005-jobs' 'what it lacks, over MariaDB'
killed=0
for i in $(seq 1 40); do
    VMFERRY_DATABASE=$old timeout -s KILL "$(printf '0.%03d' $((10 + i * 3)))" vmferry db migrate \
        >/dev/null 2>&1 || killed=$((killed + 1))
done 2>/dev/null
diag "cut off $killed times"
with "$old" vmferry db migrate >/dev/null 2>&1
is "$(shape old)" "$(shape third)" 'a migration that is cut off is gone on with to the same schema'
is "$(sql 'SELECT v.next_point, j.started_at, d.capacity FROM old.vms v, old.replication_jobs j, old.restore_point_disks d')" \
    '5	7	4096' 'and what it changes in rows is right'
is "$(sql 'SELECT count(*) FROM old.schema_migrations WHERE completed_at IS NULL')" 0 'none is left half done'

# The same tables and columns in both, and keys that Galera can certify rows by
is "$(sql "SELECT count(*) FROM information_schema.TABLES t WHERE TABLE_SCHEMA = 'third' AND
    (ENGINE <> 'InnoDB' OR NOT EXISTS (SELECT 1 FROM information_schema.STATISTICS s
     WHERE s.TABLE_SCHEMA = t.TABLE_SCHEMA AND s.TABLE_NAME = t.TABLE_NAME AND INDEX_NAME = 'PRIMARY'))")" \
    0 'every table is of InnoDB and has a primary key'
sql "SELECT c.TABLE_NAME, COLUMN_NAME, IS_NULLABLE FROM information_schema.COLUMNS c WHERE TABLE_SCHEMA = 'third' AND
    IS_GENERATED = 'NEVER' AND TABLE_NAME NOT LIKE 'schema%'" | sort >"$tmp/mariadb-columns"
sqlite3 -separator $'\t' "$db" "SELECT m.name, c.name, CASE WHEN c.\"notnull\" OR c.pk THEN 'NO' ELSE 'YES' END
    FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'" | sort >"$tmp/sqlite-columns"
ok diff "$tmp/sqlite-columns" "$tmp/mariadb-columns" -- 'both databases have the same columns'
sql "SELECT CONCAT(k.TABLE_NAME, '.', k.COLUMN_NAME, ' ', k.REFERENCED_TABLE_NAME, ' ',
    REPLACE(DELETE_RULE, 'RESTRICT', 'NO ACTION')) FROM information_schema.KEY_COLUMN_USAGE k
    JOIN information_schema.REFERENTIAL_CONSTRAINTS r ON r.CONSTRAINT_SCHEMA = k.TABLE_SCHEMA AND
    r.TABLE_NAME = k.TABLE_NAME AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME
    WHERE k.TABLE_SCHEMA = 'third'" | sort >"$tmp/mariadb-references"
sqlite3 "$db" "SELECT m.name || '.' || f.\"from\" || ' ' || f.\"table\" || ' ' || f.on_delete
    FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'" | sort >"$tmp/sqlite-references"
ok diff "$tmp/sqlite-references" "$tmp/mariadb-references" -- 'and the same references'

vmferry db >/dev/null 2>&1
is $? 2 'no verb: wrong use'
out=$(with "mysql://x" vmferry db status 2>&1)
is $? 2 'no such kind of database: wrong use'
done_testing
