#!/usr/bin/python3
"""Kill -9 of vmferry, qemu-nbd and nbdkit at random moments of full and incremental
syncs. The next `vmferry replicate` finishes, older points never change, the replica
is the source, and nothing is left behind. With MARIADB, the directory of a server (see
tests/mariadb), over that, and the server is killed, too.

usage: replicate-crash.py DIRECTORY KILLS [SEED]"""

import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import database  # noqa: E402
from simulated_vm import VM, Replica

MARIADB = os.environ.get("MARIADB")
VICTIMS = ("vmferry", "qemu-nbd", "nbdkit", "nbdkit-exportmap-server") + (("mariadbd",) if MARIADB else ())
SYNC_SECONDS = 0.7


class Crash:
    def __init__(self, directory, kills, seed):
        self.kills, self.killed = kills, {v: 0 for v in VICTIMS}
        self.directory = directory
        self.seed = seed
        self.histories = 0
        self.resumed = 0

    def new_history(self):
        """A VM that was never replicated."""
        self.histories += 1
        home = os.path.join(self.directory, "%d" % self.histories)
        database.fresh("history_%d" % self.histories)
        self.vm = VM(os.path.join(home, "vm"), [20 << 20, 4 << 20], self.seed + self.histories)
        self.replica = Replica(os.path.join(home, "state"), self.vm)
        self.rng = self.vm.rng
        for disk in self.vm.disks:
            disk.write(0, self.rng.randbytes(disk.size * 2 // 3))
        self.vm.describe()
        self.replica.run("source", "add", "nbd", "lab", "--file", self.vm.file)

    def change(self):
        for disk in self.vm.disks:
            disk.write_randomly()
            offset = self.rng.randrange(disk.size)
            disk.write(offset, self.rng.randbytes(disk.size // 3))
        spoil = {}
        if self.rng.random() < 0.25:
            spoil[self.rng.choice(self.vm.disks).key] = self.rng.choice(("reset", "no-map"))
        self.vm.describe(spoil)

    def victims(self, name):
        found = []
        for pid, words in self.replica.processes():
            if os.path.basename(words[0]) == name:
                found.append(pid)
        return found

    def strike(self, process, name):
        """Wait a while, then kill; returns whether anything died by our hand."""
        time.sleep(self.rng.random() * SYNC_SECONDS)
        if name == "vmferry":
            if process.poll() is not None:
                return False
            process.kill()
            return True
        if name == "mariadbd":
            database.server("kill", MARIADB)
            database.server("again", MARIADB)
            return process.poll() is None
        deadline = time.time() + 1
        while process.poll() is None and time.time() < deadline:
            pids = self.victims(name)
            if pids:
                try:
                    os.kill(self.rng.choice(pids), signal.SIGKILL)
                    return True
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        return False

    def attempt(self):
        """One replicate with a kill in it; True when it finished all the same."""
        name = self.rng.choice(VICTIMS)
        process = subprocess.Popen(
            self.replica.command(
                "replicate", "app01", "--json", "--progress=none", "--rate=40M"
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self.strike(process, name):
            self.killed[name] += 1
        out, err = process.communicate(timeout=120)
        if name == "mariadbd" and process.returncode != 0:
            raise AssertionError("the server came back, but: exit %d\n%s%s" % (process.returncode, out, err))
        if process.returncode not in (0, 1, 3, -signal.SIGKILL):
            raise AssertionError("exit %d\n%s%s" % (process.returncode, out, err))
        points = [p["point"] for p in self.replica.stored_points()]
        new = [p for p in points if p not in self.replica.points]
        if new:  # complete, even if vmferry died right after that
            self.replica.points[new[0]] = self.vm.expected()
        return bool(new)

    def finish(self):
        result = self.replica.replicate()
        self.resumed += sum(d["bytes_resumed"] > 0 for d in result["disks"])

    def one_history(self):
        self.new_history()
        for _ in range(self.rng.randint(2, 4)):
            while not self.attempt():
                if self.rng.random() < 0.5:
                    break
                if self.rng.random() < 0.3:
                    self.change()
            else:
                self.replica.check_points()
                self.change()
                continue
            if self.rng.random() < 0.3:
                self.change()  # the source has moved on meanwhile
            self.finish()
            self.replica.check_points()
            self.change()
        self.finish()
        self.replica.check_points()
        self.replica.run("verify", "app01", "--source", "--progress=none")
        self.replica.check_nothing_left()

    def run(self):
        while sum(self.killed.values()) < self.kills:
            self.one_history()
        print("killed: %s; resumed %d disks" % (self.killed, self.resumed))


def main():
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int.from_bytes(os.urandom(4), "big")
    print("seed %d" % seed, flush=True)
    Crash(sys.argv[1], int(sys.argv[2]), seed).run()


main()
