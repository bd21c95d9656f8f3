#!/usr/bin/python3
"""Kill -9 of `vmferry replicate`, and of every process that it runs, at every call that changes a
file, or speaks to the database or to vSphere, before it or in the middle of it: that is each boundary between
two steps, and much more. And at random times inside a copy, of whichever process. Whatever the
moment, `vmferry recover` or the next `replicate` ends with a point that is the source's, older
points are what they were, and nothing is left behind.

usage: jobs-kill.py DIRECTORY sqlite|mariadb nbd|vsphere KILLS|all [SEED]"""

import json
import os
import signal
import sys
import time

from kill_lab import NAME, Lab

KIB = 1 << 10
SIZES = [3072 * KIB, 1024 * KIB + 512]
REPLICATE = ("replicate", NAME, "--json", "--progress=none")
VICTIMS = ("vmferry", "qemu-nbd", "nbdkit", "nbdkit-exportmap-server")


class Kills:
    def __init__(self, directory, store, source, seed):
        self.lab = Lab(directory, store, SIZES, seed, source=source)
        self.rng = self.lab.rng
        self.struck = {"boundary": 0, "copy": 0}
        self.ended = {"replicate": 0, "recover": 0}
        self.resumed = 0

    # ---- what is replicated ----

    def initial(self):
        """A VM without a replica. It has had ones before."""
        lab = self.lab
        if lab.points:
            lab.run("point", "delete", NAME, "--all")
            lab.points.clear()
        for disk in lab.vm.disks:
            disk.write(0, self.rng.randbytes(disk.size * 2 // 3))
        lab.vm.describe()

    def ready(self):
        if not self.lab.points:
            self.initial()
            self.lab.replicate()

    def incremental(self):
        self.ready()
        for disk in self.lab.vm.disks:
            disk.write_randomly()
        self.lab.vm.disks[0].write(self.rng.randrange(1 << 20), self.rng.randbytes(1 << 20))
        self.lab.vm.describe()

    def resync(self):
        self.ready()
        for disk in self.lab.vm.disks:
            disk.write_randomly()
        lost = self.rng.choice(self.lab.vm.disks).key
        self.lab.vm.describe({lost: self.rng.choice(("reset", "no-map"))})

    # ---- and what comes after the kill ----

    def check_older(self, before):
        """Whoever reads a point now reads what it was. Retention may have taken the oldest."""
        lab = self.lab
        stored = lab.take_new_points()
        may_go = set(sorted(before)[: max(0, len(lab.points) - 2)])
        gone = set(before) - stored
        assert gone <= may_go, (gone, may_go)
        for number in gone:
            del lab.points[number]
        return stored

    def complete(self, before, expect_resumed):
        lab = self.lab
        new = set(lab.points) - set(before)
        if self.rng.random() < 0.5:
            self.ended["recover"] += 1
            lab.run("recover")
            lab.take_new_points()
            if not set(lab.points) - set(before):
                # It had not even begun a point, or not written down a job.
                lab.replicate()
        else:
            self.ended["replicate"] += 1
            result = json.loads(lab.run(*REPLICATE).stdout)
            resumed = sum(d["bytes_resumed"] for d in result["disks"])
            self.resumed += resumed > 0
            if expect_resumed and not new:
                assert resumed > 0, ("copied all over again", result)
            lab.take_new_points()
        assert set(lab.points) - set(before), "no new point"
        newest = max(lab.points)
        assert lab.points[newest] == lab.vm.expected()
        self.end_retention()

    def end_retention(self):
        """What was to be deleted when the worker died is the next run's business, or recover's."""
        lab = self.lab
        if lab.take_new_points() != set(sorted(lab.points)[-2:]):
            lab.run("recover")
            lab.run("point", "prune", NAME)
        lab.keep_to_rules()

    def check(self):
        lab = self.lab
        lab.check_points()
        lab.run("verify", NAME, "--progress=none")
        lab.check_nothing_left()

    def strike(self, prepare, at):
        lab = self.lab
        prepare()
        before = dict(lab.points)
        died, calls, _ = lab.killed(
            REPLICATE, at, torn=self.rng.random() < 0.5, child_lives=self.rng.random() < 0.2
        )
        self.struck["boundary"] += died
        self.after(before)
        return died, calls

    def after(self, before):
        journal = self.lab.has_journal()
        self.check_older(before)
        if self.rng.random() < 0.2:
            self.lab.check_points(self.lab.points)
        self.complete(before, journal)
        self.check()

    # ---- random times ----

    def strike_in_copy(self, prepare):
        lab = self.lab
        prepare()
        before = dict(lab.points)
        victim = self.rng.choice(VICTIMS)
        process = lab.start((*REPLICATE, "--rate=12M"))
        time.sleep(self.rng.random() * 0.4)
        pid = self.find(process, victim)
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
                self.struck["copy"] += 1
            except ProcessLookupError:
                pass
        out, err = process.communicate(timeout=120)
        assert process.returncode in (0, 1, 3, -signal.SIGKILL), (process.returncode, out, err)
        self.after(before)

    def find(self, process, name):
        if name == "vmferry":
            return process.pid if process.poll() is None else None
        deadline = time.monotonic() + 0.3
        while process.poll() is None and time.monotonic() < deadline:
            pids = [p for p, w in self.lab.processes() if os.path.basename(w[0]) == name]
            if pids:
                return self.rng.choice(pids)
            time.sleep(0.01)
        return None

    # ---- all of it ----

    def sweep(self, prepare, kills):
        """Calls 1, 2, 3… until it completes; or so many of them, spread over all."""
        prepare()
        before = dict(self.lab.points)
        died, calls, _ = self.lab.killed(REPLICATE, 0)
        assert not died and calls > 100, calls
        self.check_older(before)
        self.lab.keep_to_rules()
        self.check()
        stride = 1 if kills is None else max(1.0, calls / kills)
        at = 1 + (0 if kills is None else self.rng.random() * stride)
        while True:
            try:
                died, calls = self.strike(prepare, int(at))
            except BaseException:
                print("%s, killed at call %d" % (prepare.__name__, at), flush=True)
                raise
            if not died:
                return
            at += stride

    def run(self, kills):
        kinds = (self.initial, self.incremental, self.resync)
        in_copy = 40 if kills is None else kills // 8
        began = time.monotonic()
        for kind in kinds:
            self.sweep(kind, None if kills is None else (kills - in_copy) // len(kinds))
        for n in range(in_copy):
            try:
                self.strike_in_copy(kinds[n % len(kinds)])
            except BaseException:
                print("%s, killed while copying" % kinds[n % len(kinds)].__name__, flush=True)
                raise
        print(
            "%d kills: %s; completed by %s; %d were resumed; %.0f s"
            % (
                sum(self.struck.values()),
                self.struck,
                self.ended,
                self.resumed,
                time.monotonic() - began,
            )
        )


def main():
    directory, store, source, kills = sys.argv[1:5]
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else int.from_bytes(os.urandom(4), "big")
    print("%s, %s: seed %d" % (store, source, seed), flush=True)
    test = Kills(directory, store, source, seed)
    try:
        test.run(None if kills == "all" else int(kills))
    finally:
        test.lab.stop()


main()
