#!/usr/bin/python3
"""Kill -9 of `vmferry point delete` and `prune`, or of the qemu-img that they run, at every
call that changes a file, before it or in the middle of it. Whatever the moment, every surviving
point shows what it showed before; the operation repeated, or `recover`, completes it, and
nothing is left behind.

usage: points-kill.py DIRECTORY KILLS|all [SEED]"""

import os
import sys

from simulated_points import Points

# What is done, and which of points 1 to 5 it may delete.
OPERATIONS = [
    (("point", "delete", "app01", "1"), {1}),  # into the raw base
    (("point", "delete", "app01", "3"), {3}),  # qcow2 into qcow2
    (("point", "delete", "app01", "5", "--newest"), {5}),
    (("point", "delete", "app01", "4"), {4}),  # the newest one moves
    (("point", "prune", "app01"), {1, 2, 3}),
]


class Kills:
    def __init__(self, directory, seed):
        self.points = Points(directory, [(1 << 20) + 512, 300000 // 512 * 512], seed)
        self.rng = self.points.rng
        self.struck = 0
        self.finished_by = {"again": 0, "recover": 0}

    def prepare(self):
        for _ in range(5):
            self.points.sync()
        self.points.run("point", "keep", "app01", "last:2")
        self.points.keep_template()

    def complete(self, arguments, may_go):
        """As an operator would: the same again, or recover and then the same if need be."""
        points = self.points
        if self.rng.random() < 0.5:
            self.finished_by["recover"] += 1
            points.run("recover", "app01")
            points.check_points()
            points.check_files()  # nothing half-done is left by it
        left = may_go & set(points.numbers())
        if left:
            points.run(*arguments)
        else:
            self.finished_by["again"] += 1
            points.run("point", "prune", "app01", "--json")  # finishes, and keeps to the rules
            points.forget_gone(set(points.points) - set(sorted(points.points)[-2:]))
        points.forget_gone(may_go)
        assert not may_go & set(points.numbers()), points.numbers()

    def strike(self, arguments, may_go, at):
        points = self.points
        points.restore_template()
        died, _ = points.killed(
            arguments, at, torn=self.rng.random() < 0.5, child_lives=self.rng.random() < 0.2
        )
        self.struck += died
        points.forget_gone(may_go)
        points.check_points()
        if self.rng.random() < 0.2:
            points.verify_all()
        self.complete(arguments, may_go)
        points.check_points()
        points.check_files()
        points.check_nothing_running()
        if self.rng.random() < 0.1:  # and life goes on
            points.sync()
            points.forget_gone(set(points.points) - set(sorted(points.points)[-2:]))
            points.check_points()
            points.check_files()

    def run(self, kills):
        self.prepare()
        for number, (arguments, may_go) in enumerate(OPERATIONS):
            self.points.restore_template()
            died, calls = self.points.killed(arguments, 0)
            assert not died and calls > 20, (arguments, calls)
            where = list(range(1, calls + 2))
            if kills is not None:
                share = kills // len(OPERATIONS) + (number < kills % len(OPERATIONS))
                where = self.rng.sample(where, min(share, len(where)))
            for at in where:
                try:
                    self.strike(arguments, may_go, at)
                except BaseException:
                    print("%s, killed at call %d of %d" % (" ".join(arguments), at, calls))
                    raise
        print("%d kills, %s" % (self.struck, self.finished_by))


def main():
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int.from_bytes(os.urandom(4), "big")
    print("seed %d" % seed, flush=True)
    Kills(sys.argv[1], seed).run(None if sys.argv[2] == "all" else int(sys.argv[2]))


main()
