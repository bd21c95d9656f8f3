#!/usr/bin/python3
"""The power goes at a random moment of a replication. The state directory is in a file system of
its own, in an image whose clone, made at that moment, is all that comes back: what no fsync
had ordered to the disk is lost. With SQLite the database is cut, too; MariaDB is on another
machine, and knows everything. Then `vmferry recover` and the next `replicate` go on: what was
reported complete is there, older points are what they were, nothing is left behind.

usage: power-cut.py DIRECTORY sqlite|mariadb ext4|xfs CUTS [SEED]
In a mount namespace of its own, as root. Exit 77 with the reason where that can't be."""

import fcntl
import os
import signal
import subprocess
import sys
import time

from kill_lab import NAME, Lab

FICLONE = 0x40049409
KIB, MIB = 1 << 10, 1 << 20
SIZES = [3072 * KIB, 1024 * KIB + 512]
SKIP = 77


def unable(why):
    print(why)
    sys.exit(SKIP)


def must(*words):
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        unable("%s is not here" % words[0])
    if done.returncode:
        unable("%s: %s" % (" ".join(words), done.stdout.strip()))


def clone(source, target):
    with open(source, "rb") as a, open(target, "wb") as b:
        fcntl.ioctl(b, FICLONE, a.fileno())


class Power:
    """A file system whose image can be cloned at a moment. `state`: the directory in it."""

    def __init__(self, directory, kind):
        self.outer = os.path.join(directory, "outer")
        self.mounted = os.path.join(directory, "mounted")
        os.makedirs(self.outer)
        os.makedirs(self.mounted)
        self.kind, self.number = kind, 0
        self.make_outer(directory)
        with open(self.image(), "wb") as f:
            f.truncate(320 * MIB)
        quick = ["-q"] if kind == "xfs" else ["-q", "-F", "-E", "lazy_itable_init=1"]
        must("mkfs." + kind, *quick, self.image())
        self.mount()
        try:
            clone(self.image(), self.image() + ".probe")
        except OSError as problem:
            unable("images can't be cloned here: %s" % problem)
        os.unlink(self.image() + ".probe")
        self.state = os.path.join(self.mounted, "state")

    def make_outer(self, directory):
        image = os.path.join(directory, "outer.img")
        with open(image, "wb") as f:
            f.truncate(2048 * MIB)
        must("mkfs.btrfs", "-q", image)
        must("mount", "-o", "loop", image, self.outer)

    def image(self):
        return os.path.join(self.outer, "%d.img" % self.number)

    def mount(self):
        must("mount", "-o", "loop", self.image(), self.mounted)

    def cut(self):
        """Of now there is only what the disk has."""
        old = self.image()
        self.number += 1
        clone(old, self.image())
        return old

    def restore(self, old):
        """The machine starts again."""
        deadline = time.monotonic() + 10
        while subprocess.run(["umount", self.mounted], stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline, "something is still using the state directory"
            time.sleep(0.02)
        os.unlink(old)
        self.mount()


class Cuts:
    def __init__(self, directory, store, kind, seed):
        self.power = Power(directory, kind)
        self.lab = Lab(os.path.join(directory, "lab"), store, SIZES, seed, self.power.state)
        self.rng = self.lab.rng
        self.counts = {"cuts": 0, "after the end": 0, "with a point": 0, "resumed": 0}
        self.lasts = {"0": 0.2, "16M": 0.4}  # seconds of a replication at each rate
        os.sync()

    def change(self):
        lab = self.lab
        kind = self.rng.random()
        if kind < 0.3 and lab.points:
            lab.run("point", "delete", NAME, "--all")
            lab.points.clear()
        for disk in lab.vm.disks:
            if not lab.points:
                disk.write(0, self.rng.randbytes(disk.size * 2 // 3))
            disk.write_randomly()
        lost = {lab.vm.disks[0].key: "reset"} if kind > 0.8 else None
        lab.vm.describe(lost)

    def end_processes(self):
        for _ in range(200):
            found = self.lab.processes()
            for pid, _ in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if not found:
                return
            time.sleep(0.02)
        raise AssertionError("processes do not end: %s" % self.lab.processes())

    @staticmethod
    def freeze(process):
        """MariaDB, which is on another machine, hears nothing after the power went: else it knew of
        a point whose files the clone can't have."""
        if process.poll() is None:
            process.send_signal(signal.SIGSTOP)
        while process.poll() is None:
            with open("/proc/%d/stat" % process.pid) as f:
                if f.read().rpartition(")")[2].split()[0] in "Tt":
                    return
            time.sleep(0.001)

    def cut(self):
        """During a replication, or soon after it. Returns whether it had said that it is done."""
        lab = self.lab
        rate = self.rng.choice(("0", "0", "16M"))
        began = time.monotonic()
        process = subprocess.Popen(
            lab.command("replicate", NAME, "--json", "--progress=none", "--rate=" + rate),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until = began + self.rng.random() * 1.2 * self.lasts[rate]
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        done = process.poll() == 0
        if done:
            self.lasts[rate] = time.monotonic() - began
        self.freeze(process)
        old = self.power.cut()
        self.end_processes()
        process.communicate()
        self.power.restore(old)
        return done

    def go_on(self, before, done):
        lab = self.lab
        lab.run("recover")
        stored = lab.take_new_points()
        new = set(lab.points) - set(before)
        self.counts["with a point"] += bool(new)
        assert new or not done, "a point that was reported complete is lost"
        gone = set(before) - stored
        assert gone <= set(sorted(lab.points)[:-2]), ("points are lost", gone)
        for number in gone:
            del lab.points[number]
        lab.check_points()
        if not new or self.rng.random() < 0.5:
            if new:
                self.change_a_little()
            result = lab.replicate()
            self.counts["resumed"] += any(d["bytes_resumed"] for d in result["disks"])
        lab.run("point", "prune", NAME)
        lab.keep_to_rules()
        lab.check_points()
        for number in lab.points:
            lab.run("verify", NAME, "--point=%d" % number, "--progress=none")
        lab.check_nothing_left()

    def change_a_little(self):
        for disk in self.lab.vm.disks:
            disk.write_randomly()
        self.lab.vm.describe()

    def run(self, cuts):
        began = time.monotonic()
        for _ in range(cuts):
            self.change()
            before = dict(self.lab.points)
            done = self.cut()
            self.counts["cuts"] += 1
            self.counts["after the end"] += done
            self.go_on(before, done)
        print("%s; %.0f s" % (self.counts, time.monotonic() - began))


def main():
    directory, store, kind, cuts = sys.argv[1:5]
    if os.geteuid() != 0:
        unable("only root can mount file systems")
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else int.from_bytes(os.urandom(4), "big")
    print("%s, %s: seed %d" % (store, kind, seed), flush=True)
    of = Cuts(directory, store, kind, seed)
    try:
        of.run(int(cuts))
    finally:
        of.lab.stop()


main()
