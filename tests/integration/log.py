#!/usr/bin/python3
"""The log of a replication: its shapes, its levels, its copy in the store, what stands beside
it on a terminal, and what never gets into it, the audit log or a report."""

import json
import os
import pty
import re
import subprocess
import sys

from vsphere_lab import Lab, MiB

import tap

MEMBERS = ["time", "level", "part", "job", "vm", "disk", "message"]
SECRET = "hunter2 & <co>"


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def stored(lab, job, *more):
    return lines_of(lab.vmferry("job", "log", str(job), "--json", *more).out)


def essence(lines):
    return [tuple(line[m] for m in MEMBERS) for line in lines]


def of_job(lines):
    return [line for line in lines if line["job"] and "command" not in line]


def shapes():
    with Lab() as lab:
        vm = lab.sim.add_vm("app01", [8 * MiB, 4 * MiB])
        vm.write(2000, 0, b"a" * 3 * MiB)
        tap.is_(lab.add_source().status, 0, "a source is added")

        first = lab.replicate("app01", "--enable-cbt", "--log-json", "--log-level=debug")
        job = first.json()["job"]
        lines = lines_of(first.err)
        tap.ok(all(list(line)[:7] == MEMBERS for line in lines), "each line is an object", first.err)
        stamp = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        tap.ok(all(stamp.match(line["time"]) for line in lines), "with a time")
        tap.ok({"job", "vsphere"} <= {line["part"] for line in lines}, "of several parts")
        tap.ok("debug" in {line["level"] for line in lines}, "down to the level that was asked for")
        about = of_job(lines)
        tap.is_({(line["job"], line["vm"]) for line in about}, {(job, "app01")}, "job and VM")
        tap.is_(
            {line["disk"] for line in about if line["part"] == "copy"},
            {"disk-2000", "disk-2001"},
            "and disk",
        )
        tap.is_(essence(stored(lab, job)), essence(about), "the store has the same lines")
        tap.is_(
            essence(stored(lab, job, "--level=notice")),
            [line for line in essence(about) if line[1] in ("notice", "warning", "error")],
            "of a level and above, on demand",
        )

        second = lab.vmferry("--log=json", "--log-level", "warning,vsphere=debug", "replicate",
                             "app01", "--progress=none")
        lines = lines_of(second.err)
        tap.ok(
            lines
            and all(l["part"] == "vsphere" or l["level"] in ("warning", "error") for l in lines),
            "a level for one part, options before the command's name",
            second.err,
        )
        notices = {line["message"] for line in stored(lab, job + 1) if line["level"] != "debug"}
        tap.ok(len(notices) > 3, "the store has what happened, whatever was shown")

        third = lab.vmferry("replicate", "app01", "--progress=none")
        plain = [line for line in third.err.splitlines()]
        messages = ["%s: %s" % (l["disk"], l["message"]) if l["disk"] else l["message"]
                    for l in stored(lab, job + 2)]
        tap.ok(plain and all(line in messages for line in plain), "plain lines are those of the store",
               plain, messages)
        text = lab.vmferry("job", "log", str(job + 2)).out.splitlines()
        tap.is_(len(text), len(messages), "job log as text has a line for each")
        audit = lines_of_audit(lab, "app01")
        tap.is_([a["what"] for a in audit if a["subject"] == "job %d" % job],
                ["replicate start", "replicate end"], "the audit log has begin and end")


def lines_of_audit(lab, *words):
    return lab.vmferry("audit", *words, "--json").json()


def journal():
    with Lab() as lab:
        lab.sim.add_vm("app01", [4 * MiB])
        lab.add_source()
        reading, writing = os.pipe()
        status = os.fstat(writing)
        environment = dict(os.environ, JOURNAL_STREAM="%d:%d" % (status.st_dev, status.st_ino))
        process = subprocess.Popen(
            lab.argv("replicate", "app01", "--progress=none"),
            stdout=subprocess.DEVNULL,
            stderr=writing,
            env=environment,
        )
        os.close(writing)
        with os.fdopen(reading) as f:
            lines = f.read().splitlines()
        tap.is_(process.wait(), 0, "replicated with the journal as standard error")
        tap.ok(
            lines and all(re.match(r"^<[3-7]>job 1: app01: (disk-\d+: )?[a-z]+: ", l) for l in lines),
            "each line has its level, job, VM and part",
            *lines,
        )
        environment["JOURNAL_STREAM"] = "1:1"
        other = subprocess.run(
            lab.argv("replicate", "nobody"), capture_output=True, text=True, env=environment
        )
        tap.ok(other.stderr.startswith("vmferry replicate: "), "another stream is no journal")


def failures():
    with Lab() as lab:
        vm = lab.sim.add_vm("app01", [4 * MiB])
        lab.add_source()
        lab.replicate("app01")
        lab.sim.fault("CreateSnapshot_Task", "fault", fault="FileFault", times=-1)
        failed = lab.replicate("app01", "--log-json")
        last = lines_of(failed.err)[-1]
        tap.ok(failed.status in (1, 3), "a sync fails")
        tap.is_(last["level"], "error", "the last line says so")
        tap.is_((last["command"], last["job"]), ("replicate", 2), "of which command and job")
        tap.ok(last["error_kind"] in ("failed", "paused"), "and what kind of error it is")
        errors = [l for l in stored(lab, 2) if l["level"] == "error"]
        tap.is_([l["message"] for l in errors], [last["message"]], "the job's log ends with it")
        ends = [a for a in lines_of_audit(lab, "app01") if a["subject"] == "job 2"]
        tap.ok(last["message"][:40] in ends[-1]["after"], "and so does the audit log", ends)


def follow():
    with Lab() as lab:
        vm = lab.sim.add_vm("app01", [8 * MiB])
        vm.write(2000, 0, b"a" * 2 * MiB)
        lab.add_source()
        copy = lab.start("replicate", "app01", "--rate=3M")
        while not lab.query("SELECT 1 FROM job_log"):
            pass
        followed = lab.vmferry("job", "log", "1", "--follow", "--json")
        tap.is_(copy.wait(), 0, "a copy ends")
        tap.is_(followed.status, 0, "and so does --follow")
        tap.is_(essence(lines_of(followed.out)), essence(stored(lab, 1)), "with all of its lines")


def operators():
    with Lab() as lab:
        vm = lab.sim.add_vm("app01", [8 * MiB])
        vm.write(2000, 0, b"a" * 6 * MiB)
        lab.add_source()
        copy = lab.start("replicate", "app01", "--rate=256k")
        while not lab.query("SELECT 1 FROM job_steps WHERE step = 'copy'"):
            pass
        lab.vmferry("job", "rate", "1", "128k")
        lab.vmferry("job", "pause", "1")
        copy.wait()
        copy = lab.start("job", "resume", "1")
        while lab.query("SELECT status FROM replication_jobs")[0][0] != "running":
            pass
        lab.vmferry("job", "cancel", "1")
        copy.wait()
        rows = [r for r in lines_of_audit(lab, "app01") if r["subject"] == "job 1"]
        tap.is_(
            [r["what"] for r in rows],
            ["replicate start", "job rate", "job pause", "replicate end", "job resume", "job cancel",
             "replicate end"],
            "who started, throttled, paused, resumed and cancelled a job is in the audit log",
        )
        tap.is_((rows[1]["before"], rows[1]["after"]), ("262144 bytes/s", "131072 bytes/s"),
                "with what was before and after")
        tap.ok(rows[5]["command"].startswith("vmferry job cancel 1"), "and by which command")


def together():
    with Lab() as lab:
        for name in ("app01", "app02"):
            lab.sim.add_vm(name, [4 * MiB])
        lab.add_source()
        run = lab.vmferry("replicate", "--all", "--log-json", "--log-level=info,vsphere=debug")
        lines = [line for line in lines_of(run.err) if "level" in line]
        tap.is_(run.status, 0, "two VMs at once")
        for name, job in {(l["vm"], l["job"]) for l in lines if l["job"]}:
            mine = [line for line in of_job(lines) if line["vm"] == name]
            key = [(l["part"], l["disk"], l["message"]) for l in mine]
            kept = [(l["part"], l["disk"], l["message"]) for l in stored(lab, job)]
            tap.is_(sorted(key), sorted(kept), "the lines of %s are those of its job" % name)
            tap.ok("vsphere" in {l["part"] for l in mine}, "at the levels that were asked for")
        plain = lab.vmferry("replicate", "--all", "--log-level=info").err.splitlines()
        tap.ok(any(l.startswith("app01: ") for l in plain) and any(l.startswith("app02: ") for l in plain),
               "plain lines name their VM", *plain)


class Screen:
    """What a terminal shows: newline, return, cursor up, erase to the end of line and screen."""

    def __init__(self):
        self.lines, self.row, self.column = [""], 0, 0

    def write(self, text):
        for part in re.findall(r"\x1b\[\d*[A-Z]|[\r\n]|[^\x1b\r\n]+", text):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row += 1
                while len(self.lines) <= self.row:
                    self.lines.append("")
            elif part.endswith("A") and part[0] == "\x1b":
                self.row -= int(part[2:-1])
            elif part == "\x1b[J":
                self.lines = self.lines[: self.row] + [self.lines[self.row][: self.column]]
            elif part == "\x1b[K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            elif part[0] != "\x1b":
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + part + line[self.column + len(part):]
                self.column += len(part)


def terminal():
    with Lab() as lab:
        vm = lab.sim.add_vm("app01", [8 * MiB, 8 * MiB])
        vm.write(2000, 0, b"a" * 2 * MiB)
        lab.add_source()
        master, slave = pty.openpty()
        process = subprocess.Popen(
            lab.argv("replicate", "app01", "--rate=6M", "--log-level=debug"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=slave,
            env=dict(os.environ, TERM="xterm", LC_ALL="C"),
        )
        os.close(slave)
        raw = b""
        try:
            while True:
                raw += os.read(master, 65536)
        except OSError:
            pass
        tap.is_(process.wait(), 0, "replicated on a terminal")
        screen = Screen()
        screen.write(raw.decode().replace("\r\n", "\r\n"))
        shown = [line for line in screen.lines if line]
        bars = [line for line in shown if re.match(r"^app01 disk-\d+ .*(done|failed)$", line)]
        tap.is_(len(bars), 2, "a bar for each disk is left")
        tap.is_(shown[-2:], bars, "below all lines of the log")
        messages = [l["message"] for l in stored(lab, 1)]
        lost = [m for m in messages if not any(line.endswith(m) for line in shown)]
        tap.is_(lost, [], "each of which stands whole on a line of its own")


def secrets():
    with Lab(password=SECRET) as lab:
        vm = lab.sim.add_vm("app01", [4 * MiB])
        lab.add_source()
        said = lab.replicate("app01", "--log-json", "--log-level=debug").text
        lab.sim.fault("CreateSnapshot_Task", "fault", fault="FileFault", times=-1)
        said += lab.replicate("app01", "--log-json", "--log-level=debug").text
        said += lab.vmferry("job", "log", "1").text + lab.vmferry("job", "log", "2", "--json").text
        said += lab.vmferry("audit").text + lab.vmferry("audit", "--json").text
        for kind in ("text", "json", "html"):
            report = lab.vmferry("report", "app01", "--format=" + kind)
            tap.is_(report.status, 0, "a report as " + kind)
            said += report.text
        for name in ("vmferry.db", "vmferry.db-wal"):
            path = os.path.join(lab.state, name)
            if os.path.exists(path):
                with open(path, "rb") as f:
                    said += f.read().decode("latin-1")
        password = lab.sim.password
        forms = [password, json.dumps(password)[1:-1], password.replace("&", "&amp;")
                 .replace("<", "&lt;").replace(">", "&gt;")]
        tap.ok(len(password) > 5 and len(said) > 10000, "much was said")
        tap.is_([f for f in forms if f in said], [], "and never the password")


def main():
    sections = [shapes, journal, failures, follow, operators, together, terminal, secrets]
    for section in sections:
        if len(sys.argv) == 1 or section.__name__ in sys.argv[1:]:
            section()


tap.run(main)
