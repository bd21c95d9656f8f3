#!/bin/bash
# vmferry report: the same facts as text, JSON and HTML; hostile names; long histories.
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

cd "$tmp" || exit 1
export VMFERRY_STATE=$tmp/state
uuid=6d7b3c52-1f0a-4c0e-9d55-0c8f5a1d2e3f
name='a<b>&"01'"'"' €'

sql() {
    sqlite3 "$VMFERRY_STATE/vmferry.db" "$1"
}
as_json() { # JQ-EXPRESSION [SUBJECT]
    vmferry report "${2:-$uuid}" --format=json | jq -r "$1"
}

head -c 2M /dev/urandom >system
truncate -s 8M system
head -c 1M /dev/urandom >data
truncate -s 4M data
jq -n --arg uuid $uuid --arg name "$name" '{uuid: $uuid, name: $name, firmware: "uefi", cpus: 2,
    memory: 1073741824, nics: [{mac: "52:54:00:12:34:56", network: "<script>LAN", model: "virtio"}],
    disks: [{key: 2000, unit: 0, capacity: 8388608, backing_uuid: "b-system", file: "system",
             change_id: "u/1"},
            {key: 2001, unit: 1, capacity: 4194304, backing_uuid: "b-data", file: "data",
             change_id: "u/1"}]}' >vm.json
vmferry source add nbd lab --file vm.json >/dev/null

vmferry report $uuid --format=html --output=empty.html
is "$?" 0 "a VM that was never replicated has a report"
ok xmllint --noout empty.html -- "... whose HTML is well-formed"

# A sync that is interrupted, a first one, one that changes a disk, a failover with a screen.
timeout -s INT 2 vmferry replicate $uuid --rate=256k --progress=none 2>/dev/null
is "$?" 124 "a sync is interrupted"
vmferry replicate $uuid --progress=none >/dev/null 2>&1
first=$(vmferry digest data 2>/dev/null | cut -d' ' -f1)
printf changed | dd of=data bs=1 seek=70000 conv=notrunc status=none
printf '65536 65536\n' >data.map
jq '.disks[0].change_id = "u/2" | .disks[1].change_id = "u/2" |
    .disks[1].changes = {since: "u/1", map: "data.map"} ' vm.json >vm.new && mv vm.new vm.json
vmferry replicate $uuid --progress=none >/dev/null 2>&1
is "$(as_json '.points | length')" 2 "two restore points"
mkdir -p "$VMFERRY_STATE/failovers/7"
base64 -d >"$VMFERRY_STATE/failovers/7/screen-1.png" <<'PNG'
iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=
PNG
echo "no image" >"$VMFERRY_STATE/failovers/7/other.png"
ln -s /etc/passwd "$VMFERRY_STATE/failovers/7/link.png"
sql "INSERT INTO failover_jobs (id, vm_id, kind, state, point_number, source_vm_spec, evidence,
        error, created_at, updated_at)
    SELECT 7, id, 'test', 'not booted', 2, '{}',
        '{\"booted\": false, \"by\": \"timeout\", \"line\": \"</td><script>alert(1)</script>\"}',
        'it said ' || CAST(x'ff1b5b6d' AS TEXT), 1700000000000, 0 FROM vms;
    UPDATE restore_points SET pinned = 1, note = 'before & after', verified_at = 1700000000000
        WHERE number = 1;
    UPDATE restore_points SET verified_at = 1700000000000, verify_error = 'disk-2001: 65536+65536'
        WHERE number = 2;
    INSERT INTO audit_log (who, what, vm_uuid, \`before\`, \`after\`, created_at)
        VALUES ('<me>', 'point pin', '$uuid', 'no', 'yes', 1700000000000)"

# JSON

is "$(as_json '[.report.layout, .report.about, .report.job] | @csv')" '1,"vm",' "what it is about"
is "$(as_json .vm.name)" "$name" "the name"
is "$(as_json '[.hardware.firmware, .hardware.cpus, .hardware.memory] | @csv')" \
    '"uefi",2,1073741824' "the hardware"
is "$(as_json '[.disks[] | [.disk_id, .capacity, .change_id]] | flatten | @csv')" \
    '"disk-2000",8388608,"u/2","disk-2001",4194304,"u/2"' "the disks"
is "$(as_json '[.syncs[] | select(.outcome == "completed") | .change_id_before // "-", .change_id_after, .sync_type] |
    join(" ")')" "- u/1 initial - u/1 initial u/1 u/2 resync u/1 u/2 incremental" "the history"
like "$(as_json '[.syncs[] | select(.outcome != "completed") | .outcome] | join(" ")')" "^paused paused" \
    "... with the interrupted sync"
is "$(as_json '[.point_disks[] | select(.disk_id == "disk-2001") | .digest][0]')" "$first" \
    "the digest of a disk at a point"
is "$(as_json '[.points[] | .pinned, .note, .verified, .verify_error] | @csv')" \
    'true,"before & after","2023-11-14T22:13:20.000Z",,false,,"2023-11-14T22:13:20.000Z","disk-2001: 65536+65536"' \
    "retention and verification"
is "$(as_json '[.summary | .points, .points_verified, .points_damaged, .failovers] | @csv')" 2,1,1,1 \
    "the summary"
is "$(as_json '.failovers[0].evidence.line')" '</td><script>alert(1)</script>' "evidence"
is "$(as_json '.failovers[0].error')" "$(printf 'it said \357\277\275\e[m')" "what is no UTF-8 is replaced"
is "$(as_json '[.screens[].file] | join(" ")')" screen-1.png "the screen, and no other file"
is "$(as_json '[.audit[] | select(.what == "point pin") | .what, .before, .after] | @csv')" '"point pin","no","yes"' "the audit trail"
like "$(as_json '.software[] | select(.name == "nbdkit") | .version')" 1 "versions"
is "$(vmferry report $uuid --json | jq -c 'del(.report.generated)')" \
    "$(as_json 'del(.report.generated)' | jq -c .)" "--json is --format=json"

# One job

job=$(as_json '.points[1].job')
is "$(as_json '[.report.job, (.jobs | length), (.points | length), (.syncs | length)] | @csv' "$job")" \
    "$job,1,1,2" "the report of a job has what is its own"
like "$(as_json '[.steps[].step] | join(" ")' "$job")" . "... and its steps"
like "$(vmferry report 4711 2>&1)" "there is no job 4711" "a job that is not there"

# HTML

vmferry report $uuid --format=html >report.html
ok xmllint --noout report.html -- "HTML is well-formed"
/usr/bin/python3 - "$name" <<'PY'
import re, sys, xml.etree.ElementTree as tree
tag = "{http://www.w3.org/1999/xhtml}"
page = tree.parse("report.html").getroot()
text = "\n".join(page.itertext())
images = [i.get("src") for i in page.iter(tag + "img")]
problems = []
def check(what, right):
    if not right:
        problems.append(what)
check("title", sys.argv[1] in page.find(f".//{tag}title").text)
check("name", sys.argv[1] in text)
check("evidence is text", "</td><script>alert(1)</script>" in text)
check("the network is text", "<script>LAN" in text)
check("scripts", not list(page.iter(tag + "script")))
check("screen", len(images) == 1 and images[0].startswith("data:image/png;base64,iVBORw0KGgo"))
check("no other place is named", not re.search(r'(src|href)="(?!data:)', open("report.html").read()))
check("events", not any(a.startswith("on") for e in page.iter() for a in e.attrib))
check("digests", len(re.findall("xxh3-64k:", text)) == 4)
check("passwd", "root:" not in open("report.html").read())
print("\n".join(problems))
sys.exit(bool(problems))
PY
is "$?" 0 "HTML has it all, as text"

# Text, and files

vmferry report $uuid >report.txt
like "$(<report.txt)" "Restore points found damaged +1" "text"
is "$(LC_ALL=C grep -c "$(printf '\e')" report.txt)" 0 "... has nothing in it that a terminal obeys"
echo old >out.json
vmferry report $uuid --format=json --output=out.json
is "$(jq -r .vm.uuid out.json)" $uuid "--output replaces a file"
mkfifo fifo
jq -r .vm.uuid <fifo >through &
reader=$!
vmferry report $uuid --format=json --output=fifo
wait "$reader"
is "$(cat through)" $uuid "--output writes into a FIFO"
ok test -p fifo -- "and does not replace it"
is "$(ls -d out.json*)" out.json "... and leaves nothing else"
status=0
vmferry report $uuid --output="$tmp/nowhere/x" 2>errors || status=$?
is "$status" 1 "a folder that is not there"
like "$(<errors)" "nowhere/x.*: No such file" "... is named"
if [ -w /dev/full ]; then
    status=0
    vmferry report $uuid >/dev/full 2>/dev/null || status=$?
    is "$status" 1 "a full disk is no success"
else
    skip "no /dev/full" "a full disk is no success"
fi
for wrong in --format=pdf --format=; do
    status=0
    vmferry report $uuid $wrong 2>/dev/null || status=$?
    is "$status" 2 "$wrong is wrong use"
done

# 10,000 syncs of two disks

sql "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
    INSERT INTO cbt_history (disk_id, job_id, change_id_before, change_id_after, sync_type, bytes,
        areas, duration_ms, outcome, created_at)
    SELECT d.id, NULL, 'u/' || i, 'u/' || (i + 1), 'incremental', i, 1, 5, 'completed', i
    FROM n, vm_disks d"
for format in json html text; do
    # Memory: what the text format keeps, the others not.
    (
        limit=250000
        [ $format != text ] || limit=400000
        [ -n "${REPORTS:-}" ] || ulimit -v $limit
        timeout 60 vmferry report $uuid --format=$format >long.$format
    )
    is "$?" 0 "a long history as $format"
done
is "$(jq '.syncs | length' long.json)" "$((20000 + $(as_json '[.syncs[] | select(.job)] | length')))" \
    "... all of it"
ok xmllint --huge --noout long.html -- "... well-formed"
done_testing
