#!/usr/bin/python3
"""`vmferry replicate --all`: fifty VMs of two sources, some at a time, through one export
server; limits that hold at every moment; a fair order; failures and stops; rates and windows
that all workers share."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
sys.path.insert(0, os.path.join(TOP, "tests/vsphere-sim/tests"))

import tap  # noqa: E402

rng = random.Random(20261124)
KiB, MiB = 1 << 10, 1 << 20


class VM:
    def __init__(self, folder, name, size):
        self.name, self.folder, self.source = name, folder, os.path.basename(folder)
        self.uuid = str(uuid.UUID(int=rng.getrandbits(128)))
        self.version = 1
        self.files = [os.path.join(folder, "%s-%d.raw" % (name, i)) for i in range(2)]
        for path in self.files:
            with open(path, "wb") as f:
                f.truncate(size)
        self.write(4, size, False)

    def write(self, pieces, size, changes=True):
        """The guest writes; `changes`: the source can tell where."""
        maps = []
        for path in self.files:
            ranges = sorted(rng.sample(range(0, size // (64 * KiB)), pieces))
            with open(path, "r+b") as f:
                for grain in ranges:
                    f.seek(grain * 64 * KiB)
                    f.write(rng.randbytes(64 * KiB))
            maps.append(path + ".map")
            with open(maps[-1], "w") as f:
                f.writelines("%d %d\n" % (g * 64 * KiB, 64 * KiB) for g in ranges)
        disks = []
        for i, path in enumerate(self.files):
            disk = dict(key=2000 + i, unit=i, capacity=size, backing_uuid="%s-%d" % (self.name, i))
            disk.update(file=os.path.basename(path), change_id="u/%d" % (self.version + changes))
            if changes:
                since = dict(since="u/%d" % self.version, map=os.path.basename(maps[i]))
                disk["changes"] = since
            disks.append(disk)
        self.version += changes
        spec = dict(uuid=self.uuid, name=self.name, firmware="bios", cpus=1, memory=1 << 28)
        with open(os.path.join(self.folder, self.name + ".json"), "w") as f:
            json.dump(dict(spec, disks=disks), f)


class Lab:
    def __init__(self, size=MiB, **sources):
        self.directory = tempfile.mkdtemp(prefix="vmferry-all-test.")
        self.state = os.path.join(self.directory, "state")
        self.environment = dict(os.environ, VMFERRY_CONFIG=self.path("conf"))
        self.configure()
        self.size, self.vms = size, []
        for source, count in sources.items():
            os.mkdir(self.path(source))
            for i in range(count):
                self.vms.append(VM(self.path(source), "%s%02d" % (source, i), size))
            self.vmferry("source", "add", "nbd", source, "--file", self.path(source))
        self.vmferry("source", "refresh")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def configure(self, text=""):
        with open(self.path("conf"), "w") as f:
            f.write(text)

    def start(self, *words, **environment):
        return subprocess.Popen(
            [os.path.join(BUILD, "vmferry"), *words, "--state=" + self.state],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(self.environment, **environment),
        )

    def vmferry(self, *words):
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def query(self, sql, *values):
        db = sqlite3.connect(os.path.join(self.state, "vmferry.db"), timeout=20)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def write_all(self, pieces=2):
        for vm in self.vms:
            vm.write(pieces, self.size)

    def wrong(self):
        """Disks whose replica is not what the source holds."""
        found = []
        rows = self.query("SELECT uuid, disk_key, replica_volume FROM vm_disks d JOIN vms v ON v.id = vm_id")
        by_uuid = {vm.uuid: vm for vm in self.vms}
        for vm_uuid, key, image in rows:
            vm, image = by_uuid[vm_uuid], image and os.path.join(self.state, image)
            same = ["qemu-img", "compare", "-q", "-F", "raw", image or "/", vm.files[key - 2000]]
            if subprocess.run(same, capture_output=True).returncode != 0:
                found.append((vm.name, key))
        return found if len(rows) == 2 * len(self.vms) else ["%d disks" % len(rows)]


class Watch(threading.Thread):
    """Looks at the database and the processes all the time."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.over = lab, threading.Event()
        self.most, self.most_of, self.servers, self.waits, self.looks = 0, {}, set(), set(), 0
        self.start()

    def run(self):
        db = sqlite3.connect(os.path.join(self.lab.state, "vmferry.db"), timeout=20)
        while not self.over.wait(0.01):
            rows = db.execute(
                "SELECT s.name, count(*) FROM replication_jobs j JOIN vms v ON v.id = vm_id "
                "JOIN sources s ON s.id = source_id WHERE status = 'running' GROUP BY s.name"
            ).fetchall()
            self.looks += 1
            self.most = max(self.most, sum(n for _, n in rows))
            for source, n in rows:
                self.most_of[source] = max(self.most_of.get(source, 0), n)
            waiting = "SELECT current_operation FROM replication_jobs WHERE status = 'queued'"
            self.waits.update(w for (w,) in db.execute(waiting) if w)
            if self.looks % 10 == 0:
                self.servers.update(servers(self.lab))
        db.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def servers(lab):
    """Sockets that export servers of this state directory listen on."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                words = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words and words[0].endswith("nbdkit-exportmap-server") and any(lab.state in w for w in words):
            found.update(w for w in words if w.startswith("--unix="))
    return found


def statuses(out):
    return [vm["status"] for vm in json.loads(out)["vms"]]


def fifty():
    with Lab(a=30, b=20) as lab:
        with Watch(lab) as watch:
            status, out, err = lab.vmferry("replicate", "--all", "--parallel=8", "--json")
        tap.is_(status, 0, "50 VMs of 2 disks each")
        tap.is_(statuses(out), 50 * ["completed"], "all are completed")
        tap.is_(lab.wrong(), [], "every replica is right")
        tap.is_(len(watch.servers), 1, "through one export server")
        tap.ok(2 <= watch.most <= 8, "up to 8 at a time", watch.most)
        steps = lab.query("SELECT count(*) FROM job_steps WHERE state <> 'done'")
        tap.is_(steps, [(0,)], "every step of every job is done")
        order = [vm["source"] for vm in json.loads(out)["vms"]]
        tap.is_("".join(order), 20 * "ab" + 10 * "a", "sources take turns")

        lab.write_all()
        late = [vm["vm"] for vm in json.loads(out)["vms"]][:3]
        lab.vmferry("replicate", *late[1:], late[0], "--progress=none")
        lab.write_all()
        status, out, err = lab.vmferry("replicate", "--all", "--parallel=8", "--json")
        tap.is_(status, 0, "again, what changed")
        vms = json.loads(out)["vms"]
        types = {d["sync_type"] for vm in vms for d in vm["result"]["disks"]}
        tap.is_(types, {"incremental", "resync"}, "incrementally, where the source can tell")
        tap.is_(lab.wrong(), [], "every replica is right")
        newest = {"%s" % vm["vm"] for vm in vms if vm["source"] == "a"}
        mine = [vm["vm"] for vm in vms if vm["source"] == "a"]
        tap.ok(set(mine[-2:]) | {"a00", "a01"} == set(mine[-2:]), "who waits for longest is first", mine)
        status, out, err = lab.vmferry("replicate", "--source=b", "--progress=none")
        tap.is_(status, 0, "all of one source")
        rows = [line.split() for line in out.splitlines()[1:]]
        tap.is_({r[1] for r in rows}, {"b"}, "and no other")
        tap.is_(len(rows), 20, "with a line for each")
        tap.ok(all(" ".join(r[2:5]) == "up to date" for r in rows), "up to date", out)
        tap.is_(len(newest), 30, "none is left out")


def limits():
    with Lab(a=8, b=5) as lab:
        lab.configure("[limits]\ntotal = 3\nper_source = 2\n")
        with Watch(lab) as watch:
            both = [lab.start("replicate", "--source=" + s, "--parallel=6", "--json", "--rate=2M") for s in "ab"]
            ends = [p.communicate(timeout=200) for p in both]
        tap.is_([p.returncode for p in both], [0, 0], "two runs at once, with limits")
        tap.ok(watch.most <= 3 and watch.looks > 20, "never more than 3 jobs", watch.most, watch.looks)
        tap.ok(max(watch.most_of.values()) <= 2, "nor more than 2 of a source", watch.most_of)
        tap.ok(watch.most == 3, "but as many as may be", watch.most_of)
        said = [w for w in watch.waits if re.match("waits: (3 jobs run|source|others of)", w)]
        tap.ok(said, "those that wait say why", watch.waits)
        tap.is_([statuses(out) for out, _ in ends], [8 * ["completed"], 5 * ["completed"]], "all are done")
        tap.is_(lab.wrong(), [], "every replica is right")

        lab.configure("[limits]\ntotal = 1\n")
        lab.write_all()
        first = lab.start("replicate", "a00", "--rate=100k", "--json")
        wait_for(lambda: running(lab))
        second = lab.start("replicate", "a01", "--json", "--progress=none")
        wait_for(lambda: lab.query("SELECT 1 FROM replication_jobs WHERE current_operation = 'waits: 1 job runs, which is the limit'") or lab.query("SELECT 1 FROM replication_jobs WHERE current_operation LIKE 'waits: 1 job%'"))
        second.send_signal(signal.SIGTERM)
        out, err = second.communicate(timeout=20)
        tap.is_(second.returncode, 3, "one that waits can be stopped: it is paused")
        tap.ok("stopped while job" in err, "and says so", err)
        for verb, status, word in (("pause", 3, "was paused"), ("cancel", 1, "was cancelled")):
            second = lab.start("replicate", "a01", "--json", "--progress=none")
            job = wait_for(lambda: lab.query("SELECT id FROM replication_jobs WHERE status = 'queued'"))[0][0]
            time.sleep(1)
            tap.is_(lab.vmferry("job", verb, str(job))[0], 0, "job %s of one that waits" % verb)
            out, err = second.communicate(timeout=20)
            tap.is_(second.returncode, status, "its worker ends")
            tap.ok(word in err, "and says so", err)
            newest = lab.query("SELECT max(id) FROM replication_jobs")[0][0]
            tap.is_(newest, job, "and makes no other job")
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
        tap.is_(lab.vmferry("replicate", "a01", "--json")[0], 0, "there is room again")


def together():
    with Lab(a=10) as lab:
        words = ("replicate", "--all", "--parallel=3", "--rate=2M", "--json", "--progress=none")
        first = lab.start(*words)
        wait_for(lambda: running(lab))
        both = [first, lab.start(*words)]
        ends = [p.communicate(timeout=200) for p in both]
        tap.is_([p.returncode for p in both], [0, 0], "all VMs, twice at once: nothing has failed")
        each = [set(statuses(out)) for out, _ in ends]
        tap.ok(each[0] | each[1] <= {"completed", "up to date", "elsewhere"}, "what another has is elsewhere", each)
        tap.is_(lab.query("SELECT max(number) FROM restore_points"), [(1,)], "no VM is replicated twice")
        tap.is_(lab.wrong(), [], "every replica is right")


def failures():
    with Lab(a=6) as lab:
        os.rename(lab.vms[2].files[1], lab.path("gone"))
        status, out, err = lab.vmferry("replicate", "--all", "--progress=none", "--json")
        tap.is_(status, 1, "a VM whose disk is gone: exit 1")
        states = {vm["vm"]: vm["status"] for vm in json.loads(out)["vms"]}
        tap.is_([states["a%02d" % i] for i in range(6)].count("completed"), 5, "the others are done")
        reason = next(vm["reason"] for vm in json.loads(out)["vms"] if vm["vm"] == "a02")
        tap.ok("a02-1.raw" in reason, "the table says why", reason)
        tap.ok("1 of 6 VMs failed" in err, "the end counts them", err)
        os.rename(lab.path("gone"), lab.vms[2].files[1])
        lab.write_all()

        process = lab.start("replicate", "--all", "--parallel=3", "--rate=100k", "--json")
        wait_for(lambda: running(lab) >= 3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        tap.is_(process.returncode, 3, "stopped: exit 3")
        tap.is_(set(statuses(out)), {"paused"}, "all are paused, those that had not begun, too")
        rows = lab.query("SELECT DISTINCT status FROM replication_jobs WHERE id > 6")
        tap.is_(rows, [("paused",)], "and their rows say so")
        tap.is_(servers(lab), set(), "no server stays")
        status, out, err = lab.vmferry("replicate", "--all", "--json")
        tap.is_(status, 0, "once more")
        tap.is_(statuses(out), 6 * ["completed"], "all are done")
        tap.is_(lab.wrong(), [], "every replica is right")

        lab.write_all()
        process = lab.start("replicate", "--all", "--parallel=2", "--rate=100k", "--json")
        wait_for(lambda: running(lab) >= 2)
        busy = lab.query("SELECT v.name, owner_pid FROM replication_jobs j JOIN vms v ON v.id = vm_id WHERE status = 'running'")
        os.kill(busy[0][1], signal.SIGKILL)
        status, out, err = lab.vmferry("replicate", busy[1][0], "--json")
        tap.is_(status, 1, "a VM that is being replicated: a second request is refused")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        dead = [vm for vm in json.loads(out)["vms"] if vm["vm"] == busy[0][0]]
        tap.is_(dead[0]["status"], "failed", "a worker that is killed has failed, and no other")
        tap.ok("status 137" in dead[0]["reason"], "its end is said", dead[0]["reason"])
        tap.is_(lab.vmferry("replicate", "--all", "--json")[0], 0, "and is gone on with")
        tap.is_(lab.wrong(), [], "every replica is right")

        lab.write_all()
        last = lab.query("SELECT max(id) FROM replication_jobs")[0][0]
        process = lab.start("replicate", "--all", "--parallel=3", "--rate=100k", "--json")
        wait_for(lambda: running(lab) >= 3)
        process.kill()
        process.communicate(timeout=60)
        wait_for(lambda: not lab.query("SELECT 1 FROM replication_jobs WHERE status = 'running'"))
        rows = lab.query("SELECT status, paused_by, id FROM replication_jobs WHERE id > ? AND status <> 'queued'", last)
        tap.is_([row[:2] for row in rows], 3 * [("paused", "worker")], "the process that runs all is killed: jobs are paused, by nobody's wish")
        for row in rows:
            lab.vmferry("job", "rate", str(row[2]), "0")
        status, out, err = lab.vmferry("recover", "--json")
        tap.is_((status, json.loads(out)["jobs_completed"]), (0, 3), "recover goes on with them")
        tap.is_(lab.vmferry("replicate", "--all", "--json")[0], 0, "those that had not begun wait for the next run")
        tap.is_(lab.wrong(), [], "every replica is right")


def moved(lab):
    return lab.query("SELECT sum(bytes_done) FROM replication_jobs")[0][0] or 0


def speed(lab, seconds):
    """MiB/s of all jobs together."""
    began, before = time.monotonic(), moved(lab)
    time.sleep(seconds)
    return (moved(lab) - before) / (time.monotonic() - began) / MiB


def rates():
    """What all jobs may move together, shared and changed while they run."""
    with Lab(size=16 * MiB, a=4) as lab:
        for vm in lab.vms:
            vm.write(254, lab.size, False)
        status, out, err = lab.vmferry("job", "rate", "--all", "6M", "--json")
        tap.is_((status, json.loads(out)), (0, {"rate": 6 * MiB}), "a rate of all jobs")
        process = lab.start("replicate", "--all", "--parallel=4", "--json")
        wait_for(lambda: running(lab) == 4)
        time.sleep(2)
        got = speed(lab, 4)
        tap.ok(4 < got < 8, "is kept by four workers together: %.2f MiB/s" % got)
        each = lab.query("SELECT bytes_done FROM replication_jobs")
        tap.ok(min(each)[0] * 3 > max(each)[0], "shared fairly", each)
        lab.vmferry("job", "rate", "--all", "14M")
        time.sleep(2)
        got = speed(lab, 2.5)
        tap.ok(9 < got < 18, "a change is heard within two seconds: %.2f MiB/s" % got)
        lab.vmferry("job", "rate", "--all", "0")
        out, err = process.communicate(timeout=60)
        tap.is_((process.returncode, statuses(out)), (0, 4 * ["completed"]), "then unlimited")
        tap.is_(lab.wrong(), [], "every replica is right")
        shown = lab.vmferry("job", "rate", "--all")[1]
        tap.is_(shown, "all jobs together: unlimited\n", "it is shown")
        audit = lab.query("SELECT before, after FROM audit_log WHERE what = 'job rate --all' ORDER BY id")
        tap.is_(audit[1:], [("6291456", "14680064"), ("14680064", "0")], "changes are audited")


def zone(local):
    """A TZ in which it is this time now."""
    h, m, s = map(int, local.split(":"))
    west = (int(time.time()) - (h * 3600 + m * 60 + s)) % 86400
    return "TST%+d:%02d:%02d" % (west // 3600, west // 60 % 60, west % 60)


def windows():
    with Lab(a=2) as lab:
        lab.configure("[throttle]\nwindow = 08:00-09:00 0\n  * unlimited\n")
        process = lab.start("replicate", "--all", "--json", TZ=zone("08:59:56"))
        waits = "SELECT DISTINCT current_operation FROM replication_jobs WHERE status = 'queued'"
        wait_for(lambda: lab.query(waits + " AND current_operation IS NOT NULL"))
        why = lab.query(waits)[0][0]
        tap.ok(re.match("waits: its time window is closed until ... 09:00$", why), "a closed window: %s" % why)
        tap.is_(running(lab), 0, "nothing runs")
        out, err = process.communicate(timeout=30)
        tap.is_((process.returncode, statuses(out)), (0, 2 * ["completed"]), "it opens: all goes on by itself")
        tap.is_(lab.wrong(), [], "every replica is right")

        lab.write_all(12)
        lab.configure()
        rules = "--window=08:00-08:01 0; * 250k"
        process = lab.start("replicate", "a00", rules, "--json", TZ=zone("07:59:57"))
        wait_for(lambda: running(lab) == 1, 20)
        wait_for(lambda: lab.query(waits))
        why = lab.query(waits)[0][0]
        tap.ok(re.match("waits: its time window is closed until ... 08:01$", why), "it closes: %s" % why)
        if "ROUNDS" not in os.environ:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
            tap.is_(process.returncode, 3, "one that waits can be stopped")
            process = lab.start("replicate", "a00", rules, "--json", TZ=zone("08:00:57"))
        out, err = process.communicate(timeout=120)
        tap.is_(process.returncode, 0, "it opens: the job goes on")
        jobs = lab.query("SELECT count(*) FROM replication_jobs WHERE id > 2")
        tap.is_(jobs, [(1,)], "the same job")
        tap.is_([w for w in lab.wrong() if w[0] == "a00"], [], "the replica is right")

        lab.write_all(13)
        process = lab.start("replicate", "a01", "--window=08:00-09:00 0", "--rate=1G", TZ=zone("08:30:00"))
        wait_for(lambda: lab.query(waits + " AND current_operation > ''") or process.poll() is not None)
        tap.is_(process.poll(), None, "where its own window is closed no job begins")
        tap.ok("08:00-09:00 0" in lab.query("SELECT options FROM replication_jobs WHERE status = 'queued'")[0][0],
               "which is written down before")
        process.kill()
        process.communicate()
        process = lab.start("replicate", "a01", "--window=08:00-09:00 unlimited", "--json", TZ=zone("08:30:00"))
        out, err = process.communicate(timeout=20)
        tap.is_(process.returncode, 0, "the next command has another window")


def running(lab):
    return lab.query("SELECT count(*) FROM replication_jobs WHERE status = 'running' AND current_operation = 'copying'")[0][0]


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("it never happened")
        time.sleep(0.05)
    return value


def hosts():
    """Where a VM's data comes from, for limits."""
    places = {
        "nbd://storage7:10809/x": "storage7",
        "nbds://me@storage8/x?tls-certificates=/c": "storage8",
        "nbd://[fd00::1]:10809/": "[fd00::1]",
        "nbd+unix:///x?socket=/a@b": None,
    }
    with Lab(a=1) as lab:
        for i, place in enumerate(places):
            disk = dict(key=2000, unit=0, capacity=MiB, backing_uuid="b", uri=place, change_id="u/1")
            spec = dict(uuid=str(uuid.UUID(int=i + 1)), name="h%d" % i, firmware="bios", cpus=1, memory=1 << 28)
            with open(lab.path("a/h%d.json" % i), "w") as f:
                json.dump(dict(spec, disks=[disk]), f)
        status, out, err = lab.vmferry("source", "refresh")
        tap.is_(status, 0, "VMs on other hosts")
        found = lab.query("SELECT source_host FROM vms WHERE name LIKE 'h%' ORDER BY name")
        tap.is_([h for (h,) in found], list(places.values()), "are known by their hosts")


def wrong_use():
    with Lab(a=1) as lab:
        for words in (("--all", "a00"), ("--source=a", "a00"), ("a00", "a00x"), ("--all", "--device=disk-2000=/x")):
            status, out, err = lab.vmferry("replicate", *words)
            tap.ok(status in (1, 2), "%s: refused" % " ".join(words), status, err)
        status, out, err = lab.vmferry("replicate", "--source=nowhere")
        tap.ok(status == 1 and "no VM of source nowhere" in err, "a source without VMs", err)


SECTIONS = (fifty, limits, together, failures, rates, windows, hosts, wrong_use)

if __name__ == "__main__":
    tap.run(lambda: [f() for f in SECTIONS if not sys.argv[1:] or f.__name__ in sys.argv[1:]])
