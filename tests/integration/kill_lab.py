"""For the tests that kill vmferry: its two databases, kill -9 at a chosen call, and what must
not be left when all is over."""

import fcntl
import hashlib
import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time

from simulated_vm import VM, Replica

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
NAME = "app01"


class Sqlite:
    """The one in the state directory."""

    def __init__(self, lab):
        self.environment = {}
        self.socket = None
        self.file = os.path.join(lab.state, "vmferry.db")

    def query(self, *statements):
        db = sqlite3.connect("file:%s?mode=ro" % self.file, uri=True, timeout=20)
        try:
            return [db.execute(s).fetchall() for s in statements]
        finally:
            db.close()

    def stop(self):
        pass


class MariaDB:
    """A server of its own, as long as this process lives."""

    def __init__(self, lab):
        self.server = os.path.join(lab.directory, "server")
        uri = self.tool("start").strip()
        self.environment = {"VMFERRY_DATABASE": uri}
        self.socket = os.path.join(os.path.realpath(self.server), "socket")

    def tool(self, action):
        return subprocess.run(
            [os.path.join(TOP, "tests/mariadb"), action, self.server],
            env=dict(os.environ, OWNER=str(os.getpid())),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def query(self, *statements):
        client = ["mariadb", "--no-defaults", "--socket=" + self.socket, "--batch", "--raw"]
        client += ["--skip-column-names", "vmferry"]
        marked = "".join("%s; SELECT '--';\n" % s for s in statements)
        out = subprocess.run(
            client, input=marked, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        results = [[]]
        for line in out.splitlines():
            if line == "--":
                results.append([])
            else:
                results[-1].append(tuple(self.value(v) for v in line.split("\t")))
        return results[:-1]

    @staticmethod
    def value(text):
        if text == "NULL":
            return None
        return int(text) if text.lstrip("-").isdigit() else text

    def stop(self):
        self.tool("kill")


STORES = {"sqlite": Sqlite, "mariadb": MariaDB}

# Each selects what must not be there when nothing runs and all is done.
ROWS = {
    "open job": "SELECT id, replication_type, status FROM replication_jobs"
    " WHERE status IN ('queued', 'running', 'paused')",
    "lease or owner of a job": "SELECT id, lease, owner_pid FROM replication_jobs"
    " WHERE coalesce(lease, '') <> '' OR lease_expires_at IS NOT NULL",
    "snapshot": "SELECT id, source_snapshot FROM replication_jobs"
    " WHERE coalesce(source_snapshot, '') <> ''",
    "step without an end": "SELECT s.job_id, s.step FROM job_steps s"
    " JOIN replication_jobs j ON j.id = s.job_id"
    " WHERE s.state = 'running' AND j.status = 'completed'",
    "unfinished point": "SELECT number FROM restore_points WHERE complete = 0 OR going <> 0",
    "disk of an unfinished point": "SELECT id FROM restore_point_disks WHERE complete = 0",
    "granted lease": "SELECT export_name, lease, status FROM vm_export_mappings"
    " WHERE coalesce(lease, '') <> '' OR status = 'active'",
}
FILES = (
    "SELECT p.number, d.overlay, d.leaves FROM restore_points p"
    " JOIN restore_point_disks d ON d.point_id = p.id"
)
EXPORTS = "SELECT export_name, device_path FROM vm_export_mappings"


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


class NbdSource:
    """The VM of simulated_vm, described in a file."""

    port = None
    kept = set()  # in STATE/run

    def __init__(self, directory, sizes, seed):
        self.vm = VM(os.path.join(directory, "vm"), sizes, seed)
        self.vm.describe()

    def words(self):
        return ["nbd", "lab", "--file", self.vm.file]

    def left(self):
        return []

    def stop(self):
        pass


class VsphereDisk:
    """A disk of the simulator, as one of simulated_vm."""

    def __init__(self, vm, state):
        self.vm, self.key, self.size = vm, state["key"], state["capacity"]
        self.path = state["path"]

    def write(self, offset, data):
        self.vm.machine.write(self.key, offset, data[: self.size - offset])

    def write_randomly(self):
        self.vm.machine.write_randomly(self.key, self.vm.rng)


class VsphereVM:
    """Its guest writes only between two replications: a snapshot holds what the disks hold."""

    def __init__(self, directory, machine, seed):
        self.dir, self.machine, self.rng = directory, machine, random.Random(seed)
        self.disks = [VsphereDisk(self, d) for d in machine.state()["disks"]]

    def describe(self, spoil=None):
        for key in spoil or {}:
            self.machine.control("reset-cbt", key=key)

    def expected(self):
        found = {}
        for disk in self.disks:
            with open(disk.path, "rb") as f:
                found[disk.key] = hashlib.sha256(f.read()).hexdigest()
        return found


class VsphereSource:
    kept = {"no-cas", "server-certificate.pem"}  # of the server, for its next client

    def __init__(self, directory, sizes, seed):
        sys.path.insert(0, os.path.join(TOP, "tests/vsphere-sim"))
        import simlib

        home = os.path.join(directory, "vm")
        os.makedirs(home)
        self.sim = simlib.Simulator(directory=home, keep_moments=False)
        self.port = self.sim.port
        self.machine = self.sim.add_vm(NAME, [s // 512 * 512 for s in sizes], cbt=True)
        self.vm = VsphereVM(home, self.machine, seed)

    def words(self):
        words = ["vsphere", "lab", "--server", self.sim.server, "--user", self.sim.user]
        words += ["--fingerprint", self.sim.fingerprint]
        return words + ["--password-file", self.sim.password_file]

    def left(self):
        return self.machine.snapshots()

    def stop(self):
        self.sim.stop()


SOURCES = {"nbd": NbdSource, "vsphere": VsphereSource}


class Lab(Replica):
    """A replica of a VM of two disks whose worker is killed."""

    def __init__(self, directory, store, sizes, seed, state=None, source="nbd"):
        os.makedirs(directory, exist_ok=True)
        self.directory = directory
        self.source = SOURCES[source](directory, sizes, seed)
        vm = self.source.vm
        super().__init__(state or os.path.join(directory, "state"), vm)
        self.rng = vm.rng
        self.store = STORES[store](self)
        self.temporary = os.path.join(directory, "tmp")
        os.makedirs(self.temporary, exist_ok=True)
        self.record = os.path.join(directory, "killer.record")
        # Children of ours are known by this in their environment, whatever their words are.
        self.mark = "VMFERRY_KILL_TEST=%s\0" % directory
        os.environ.update(self.store.environment, TMPDIR=self.temporary)
        os.environ["VMFERRY_KILL_TEST"] = directory
        self.run("source", "add", *self.source.words())
        self.run("point", "keep", NAME, "last:2")

    def stop(self):
        self.store.stop()
        self.source.stop()

    # ---- killing ----

    def start(self, words, at=0, torn=False, child_lives=False):
        """It dies at call number `at` (0: never); calls that are counted: see killer.c."""
        if os.path.exists(self.record):
            os.unlink(self.record)
        environment = dict(
            os.environ,
            LD_PRELOAD=os.path.join(os.environ["BUILD"], "killer.so"),
            KILLER_RECORD=self.record,
            KILLER_AT=str(at),
        )
        if self.store.socket:
            environment["KILLER_SOCKET"] = self.store.socket
        if self.source.port:
            environment["KILLER_PORT"] = str(self.source.port)
        if torn:
            environment["KILLER_TORN"] = "1"
        if child_lives:
            environment["KILLER_CHILD"] = "lives"
        return subprocess.Popen(
            self.command(*words),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self):
        data = read(self.record)
        return struct.unpack("I", data[:4])[0] if data else 0

    def killed(self, words, at, **how):
        """(Whether it died, calls, what it printed.)"""
        process = self.start(words, at, **how)
        out, err = process.communicate(timeout=120)
        status = process.returncode
        assert status in (0, -signal.SIGKILL), (words, at, status, out, err)
        return status != 0, self.calls(), out

    # ---- what is there ----

    def take_new_points(self):
        """A point is the source's moment, even when its maker died right after making it."""
        rows = self.store.query("SELECT number FROM restore_points WHERE complete = 1 AND going = 0")
        stored = {n for n, in rows[0]}
        for number in stored - set(self.points):
            self.points[number] = self.vm.expected()
        return stored

    def keep_to_rules(self):
        """Of our list: last:2, as `point keep` was told. It is the product that is asked whether
        it has done so."""
        for number in sorted(self.points)[:-2]:
            del self.points[number]

    def has_journal(self):
        """Something was durable of a copy: it need not be done again."""
        for folder, _, names in os.walk(os.path.join(self.state, "replicas")):
            for name in names:
                if name.endswith((".journal", ".resend")):
                    if os.path.getsize(os.path.join(folder, name)) > 64:
                        return True
        return False

    def processes(self):
        found = []
        for pid in os.listdir("/proc"):
            if not pid.isdigit() or int(pid) == os.getpid():
                continue
            words = read("/proc/%s/cmdline" % pid)
            named = self.state.encode() in words
            if not named and self.mark.encode() not in read("/proc/%s/environ" % pid):
                continue
            if words and b"mariadb" not in words.split(b"\0")[0]:
                found.append((int(pid), words.decode(errors="replace").split("\0")))
        return found

    def check_no_process(self):
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not self.processes(), "processes are left: %s" % self.processes()

    def check_rows(self):
        results = self.store.query(FILES, EXPORTS, *ROWS.values())
        files, exports = results[:2]
        for what, rows in zip(ROWS, results[2:]):
            assert not rows, "%s is left: %s" % (what, rows)
        assert {n for n, _, _ in files} == set(self.points), (files, sorted(self.points))
        return {f for row in files for f in row[1:]}, dict(exports)

    def check_files(self, named, exports):
        """Of the state directory: nothing but what a row names, and all of that is sealed."""
        top = set(os.listdir(self.state)) - {"replicas", "exports", "locks", "run", "vmferry.db"}
        assert top <= {"vmferry.db-wal", "vmferry.db-shm"}, top
        running = set(os.listdir(os.path.join(self.state, "run")))
        assert running <= self.source.kept, running
        found = set()
        for folder, _, names in os.walk(os.path.join(self.state, "replicas")):
            for name in names:
                path = os.path.join(folder, name)
                found.add(os.path.relpath(path, self.state))
                assert os.stat(path).st_mode & 0o777 == 0o400, "%s is not sealed" % path
        assert found == named, ("not named", found - named, "not there", named - found)
        folder = os.path.join(self.state, "exports")
        assert set(os.listdir(folder)) - {".exportmap"} == set(exports), os.listdir(folder)
        for name, image in exports.items():
            served = json.loads(read(os.path.join(folder, name)))
            assert served["mode"] == "ro" and not served["lease"], served
            assert served["path"] == os.path.join(self.state, image) and image in named, served

    def check_locks(self):
        folder = os.path.join(self.state, "locks")
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), "r+b") as f:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def check_nothing_left(self):
        self.check_no_process()
        self.check_files(*self.check_rows())
        self.check_locks()
        assert not self.source.left(), "snapshots stand: %s" % self.source.left()
        assert os.listdir(self.temporary) == [], os.listdir(self.temporary)
