"""A replica whose restore points come and go, for the tests of `vmferry point`: what each
surviving point must show, what may lie on the disk, and kill -9 at a chosen call."""

import json
import os
import shutil
import signal
import struct
import subprocess

from simulated_vm import VM, Replica


class Points(Replica):
    def __init__(self, directory, sizes, seed):
        self.directory = directory
        vm = VM(os.path.join(directory, "vm"), sizes, seed)
        super().__init__(os.path.join(directory, "state"), vm)
        self.rng = vm.rng
        self.gone = set()
        vm.describe()
        self.run("source", "add", "nbd", "lab", "--file", vm.file)

    def sync(self, spoil=None):
        for disk in self.vm.disks:
            if self.rng.random() < 0.85:
                disk.write_randomly()
        self.vm.describe(spoil)
        result = self.replicate()
        assert result["point"] not in self.gone, "number %d is given twice" % result["point"]
        return result["point"]

    def keep_template(self):
        self.template = self.state + ".template"
        self.kept = dict(self.points)
        shutil.rmtree(self.template, ignore_errors=True)
        subprocess.run(["cp", "-a", self.state, self.template], check=True)

    def restore_template(self):
        shutil.rmtree(self.state)
        subprocess.run(["cp", "-a", self.template, self.state], check=True)
        self.points = dict(self.kept)

    def killed(self, arguments, at, torn=False, child_lives=False):
        """Run it with a kill at call number `at` (0: none); returns (died, calls)."""
        record = os.path.join(self.directory, "killer.record")
        if os.path.exists(record):
            os.unlink(record)
        environment = dict(
            os.environ,
            LD_PRELOAD=os.path.join(os.environ["BUILD"], "killer.so"),
            KILLER_RECORD=record,
            KILLER_AT=str(at),
        )
        if torn:
            environment["KILLER_TORN"] = "1"
        if child_lives:
            environment["KILLER_CHILD"] = "lives"
        done = subprocess.run(
            self.command(*arguments),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode in (0, -signal.SIGKILL), (arguments, at, done)
        with open(record, "rb") as f:
            calls = struct.unpack("I", f.read(4))[0]
        return done.returncode != 0, calls

    def numbers(self):
        return [p["point"] for p in self.stored_points()]

    def forget(self, number):
        del self.points[number]
        self.gone.add(number)

    def forget_gone(self, may_go):
        """Of the points that an operation was to delete, those that are not listed."""
        for number in set(may_go) - set(self.numbers()):
            if number in self.points:
                self.forget(number)

    def verify_all(self):
        """`vmferry verify` finds every point as it was made."""
        for number in self.points:
            self.run("verify", "app01", "--point=%d" % number, "--progress=none")

    def check_files(self):
        """Nothing lies about, all is sealed, and every disk's row names the newest image."""
        named = set()
        for number in self.points:
            shown = json.loads(self.run("point", "show", "app01", str(number), "--json").stdout)
            for disk in shown["disks"]:
                named |= {disk["image"], disk["leaves"]}
                chain = disk["chain"]
                assert chain[0]["point"] == number and len(set(c["image"] for c in chain)) == len(
                    chain
                ), chain
                newest = disk if number == max(self.points) else None
                if newest:
                    self.check_newest(newest)
        found = set()
        for folder, _, files in os.walk(os.path.join(self.state, "replicas")):
            for name in files:
                path = os.path.join(folder, name)
                found.add(os.path.relpath(path, self.state))
                assert os.stat(path).st_mode & 0o777 == 0o400, "%s is not sealed" % path
        assert found == named, (found - named, named - found)

    def check_newest(self, disk):
        vm = json.loads(self.run("vm", "show", "app01", "--json").stdout)
        row = [d for d in vm["disks"] if d["disk_id"] == disk["disk_id"]][0]
        assert row["replica"] == disk["image"], (row, disk)
        assert row["change_id"] == disk["change_id"], (row, disk)
        with open(os.path.join(self.state, "exports", row["export"]), encoding="ascii") as f:
            exported = json.load(f)
        assert exported["path"] == os.path.join(self.state, disk["image"]), exported
        assert exported["mode"] == "ro"
