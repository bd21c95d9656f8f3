"""A simulated vSphere and a vmferry with a state directory of its own, for tests."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
sys.path[:0] = [os.path.join(TOP, "tests/vsphere-sim"), os.path.join(TOP, "tests/vsphere-sim/tests")]

import simlib  # noqa: E402
import tap  # noqa: E402

MiB = simlib.MiB
GRAIN = simlib.GRAIN


class Result:
    def __init__(self, process):
        self.status, self.out, self.err = process.returncode, process.stdout, process.stderr
        self.text = self.out + self.err

    def json(self):
        return json.loads(self.out)


class Lab:
    """`options`: of the simulator. The source is called vc."""

    def __init__(self, source_options=(), **options):
        self.directory = tempfile.mkdtemp(prefix="vmferry-vsphere-test.")
        self.state = os.path.join(self.directory, "state")
        self.sim = simlib.Simulator(**options)
        self.source_options = source_options
        self.environment = {}  # of vmferry, beside ours

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sim.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def argv(self, *words):
        return [os.path.join(BUILD, "vmferry"), *words, "--state=" + self.state]

    def vmferry(self, *words, **environment):
        env = dict(os.environ, **self.environment, **environment)
        return Result(
            subprocess.run(
                self.argv(*words),
                capture_output=True,
                text=True,
                env=env,
                stdin=subprocess.DEVNULL,
                timeout=600,
            )
        )

    def add_source(self, *more, password_file=True):
        words = ["source", "add", "vsphere", "vc", "--server", self.sim.server]
        words += ["--user", self.sim.user, "--fingerprint", self.sim.fingerprint]
        if password_file:
            words += ["--password-file", self.sim.password_file]
        return self.vmferry(*words, *self.source_options, *more)

    def replicate(self, vm, *more):
        return self.vmferry("replicate", vm, "--json", "--progress=none", *more)

    def start(self, *words):
        """In the background."""
        return subprocess.Popen(
            self.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def configure(self, *lines):
        """vmferry.conf of these lines; without any there is none."""
        self.environment["VMFERRY_CONFIG"] = os.path.join(self.directory, "vmferry.conf")
        with open(self.environment["VMFERRY_CONFIG"], "w") as f:
            f.write("".join(line + "\n" for line in lines))

    def files(self):
        """Of all replicas, with their sizes and times."""
        found = {}
        for folder, _, names in os.walk(os.path.join(self.state, "replicas")):
            for name in names:
                path = os.path.join(folder, name)
                status = os.stat(path)
                found[os.path.relpath(path, self.state)] = (status.st_size, status.st_mtime_ns)
        return found

    def listen(self, *words):
        return Job(self.argv(*words), dict(os.environ, **self.environment))

    def query(self, sql, *values):
        db = sqlite3.connect(os.path.join(self.state, "vmferry.db"), timeout=20)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def newest_job(self):
        return str(self.query("SELECT max(id) FROM replication_jobs")[0][0])

    def replica_sha(self, vm, key):
        """Of the newest point's image, as its guest would read it."""
        folder = os.path.join(self.state, "replicas", vm.instance_uuid, "disk-%d" % key)
        image = self.query(
            "SELECT replica_volume FROM vm_disks JOIN vms ON vms.id = vm_id "
            "WHERE uuid = ? AND disk_key = ?",
            vm.instance_uuid,
            key,
        )[0][0]
        out = os.path.join(self.directory, "out.raw")
        subprocess.run(
            ["qemu-img", "convert", "-O", "raw", os.path.join(self.state, image), out], check=True
        )
        assert os.path.dirname(os.path.join(self.state, image)) == folder
        # An image's end may be rounded up to a sector; the simulator's disks have whole ones.
        return simlib.sha256(out)

    def same_as_snapshot(self, vm):
        """Each disk's replica is what the last snapshot held."""
        name = vm.last_snapshot()["name"]
        return {k: self.replica_sha(vm, k) == vm.sha256(k, name) for k in vm.keys()}

    def all_same(self, vm):
        return all(self.same_as_snapshot(vm).values())

    def secrets_left(self):
        """Files in STATE/run that hold a cookie or a password."""
        run = os.path.join(self.state, "run")
        return [n for n in os.listdir(run) if n.endswith(("cookie", "password", ".new"))]

    def standing(self, vm):
        return [s["name"] for s in vm.snapshots()]


class Job:
    """A vmferry in the background whose words are heard while it runs."""

    def __init__(self, argv, environment):
        self.text, self.heard = "", threading.Condition()
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            with self.heard:
                self.text += line
                self.heard.notify_all()

    def wait_for_line(self, pattern, seconds):
        """The first line that fits; "" when there is none in time."""

        def found():
            return next((l for l in self.text.splitlines() if re.search(pattern, l)), "")

        with self.heard:
            self.heard.wait_for(found, seconds)
            return found()

    def end(self):
        status = self.process.wait(600)
        self.reader.join()
        self.process.stderr.close()
        return status


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError("it never happened")


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def sync_types(result):
    return {d["key"]: d["sync_type"] for d in result.json()["disks"]}


def ended(result, status, name):
    tap.ok(result.status == status, name, "exit %d" % result.status, result.text)
