#!/usr/bin/python3
"""Random histories of a replica's restore points: syncs, deletions, pins, retention, kills at
random calls, recoveries. After each step every point that must be there is there and shows
what it showed when it was made, byte for byte; the others are gone, with their files.

usage: points-model.py DIRECTORY STEPS [SEED]"""

import os
import sys

from simulated_points import Points

SPOILS = [None, None, None, "reset", "no-map"]
KEEPS = ["all", "last:3", "last:5", "daily:2", "last:1 hourly:3"]


class Model:
    def __init__(self, directory, seed):
        self.points = Points(directory, [(2 << 20) + 512, 512, 655360], seed)
        self.rng = self.points.rng
        self.pinned = set()
        self.keep = "all"
        self.done = {}

    def numbers(self):
        return sorted(self.points.points)

    def by_rules(self, dead=()):
        """What stays of the points that are there: all tests run within an hour or so, so that
        of hours and days as many are kept as are told apart by the real clock."""
        free = [n for n in self.numbers() if n not in self.pinned and n not in dead]
        if self.keep == "all":
            return set(self.numbers())
        counts = dict(rule.split(":") for rule in self.keep.split())
        stay = set(free[-int(counts.get("last", 0)) :]) if "last" in counts else set()
        return stay | set(self.numbers()[-1:]) | self.pinned

    def settle(self):
        """Rules with days and hours keep the newest; how many more is the unit test's."""
        listed = set(self.points.numbers())
        must = self.by_rules()
        assert must <= listed, (must, listed, self.keep)
        if "ly:" not in self.keep:
            assert listed == must, (must, listed, self.keep)
        for number in set(self.points.points) - listed:
            self.points.forget(number)

    def sync(self):
        self.points.sync({d.key: self.rng.choice(SPOILS) for d in self.points.vm.disks})
        self.settle()

    def delete(self):
        number = self.rng.choice(self.numbers())
        newest = number == self.numbers()[-1]
        words = ["point", "delete", "app01", str(number)]
        if newest and self.rng.random() < 0.5:
            words.append("--newest")
        refused = number in self.pinned or len(self.numbers()) < 2 or (newest and len(words) == 4)
        done = self.points.run(*words, check=False)
        assert done.returncode == (1 if refused else 0), (words, self.pinned, done)
        if not refused:
            self.points.forget(number)

    def pin(self):
        number = self.rng.choice(self.numbers())
        pin = self.rng.random() < 0.4
        self.points.run("point", "pin" if pin else "unpin", "app01", str(number))
        self.pinned = self.pinned | {number} if pin else self.pinned - {number}

    def prune(self):
        self.keep = self.rng.choice(KEEPS)
        self.points.run("point", "keep", "app01", self.keep)
        before = self.points.numbers()
        self.points.run("point", "prune", "app01", "--dry-run")
        assert self.points.numbers() == before
        self.points.run("point", "prune", "app01")
        self.settle()

    def crash(self):
        """A deletion that is killed somewhere; sometimes the next step has to live with that."""
        free = [n for n in self.numbers()[:-1] if n not in self.pinned]
        if not free:
            return
        number = self.rng.choice(free)
        died, _ = self.points.killed(
            ("point", "delete", "app01", str(number)),
            self.rng.randint(1, 160),
            torn=self.rng.random() < 0.5,
            child_lives=self.rng.random() < 0.2,
        )
        if not died:
            self.points.forget(number)
            return
        self.points.forget_gone({number})
        self.points.check_points()
        if self.rng.random() < 0.5:
            self.points.run("recover")
            self.points.check_files()
        elif self.rng.random() < 0.5:
            self.sync()  # finishes it, too

    def run(self, steps):
        self.sync()
        choices = [self.sync] * 4 + [self.delete, self.pin, self.prune]
        if not (os.environ.get("REPORTS") or os.environ.get("SANITIZE")):
            choices += [self.crash] * 2  # killer.so and a sanitizer can't both be first
        for step in range(steps):
            what = self.rng.choice(choices)
            try:
                what()
                self.points.check_points()
            except BaseException:
                print("step %d, %s" % (step, what.__name__))
                raise
            self.done[what.__name__] = self.done.get(what.__name__, 0) + 1
        self.points.run("point", "prune", "app01")
        self.settle()
        self.points.run("recover")
        self.points.check_points()
        self.points.verify_all()
        self.points.check_files()
        self.points.check_nothing_running()
        print("%s; points %s" % (self.done, self.numbers()))


def main():
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int.from_bytes(os.urandom(4), "big")
    print("seed %d" % seed, flush=True)
    Model(sys.argv[1], seed).run(int(sys.argv[2]))


main()
