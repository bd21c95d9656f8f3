#!/usr/bin/python3
"""Restore points of a vsphere source: disks that grow from one point to the next while points
between them are deleted, and repairs that fetch from a snapshot.

usage: points-vsphere.py [SECTION...]"""

import os
import random
import sys

from vsphere_lab import Lab, MiB, ended

import tap

rng = random.Random(20261124)
BLOCK = 65536


def numbers(lab, vm):
    return [p["point"] for p in lab.vmferry("point", "list", vm, "--json").json()]


def verified(lab, vm):
    return [
        lab.vmferry("verify", vm, "--point=%d" % n, "--progress=none").status
        for n in numbers(lab, vm)
    ]


def damage(path, block):
    os.chmod(path, 0o600)
    with open(path, "r+b") as f:
        f.seek(block * BLOCK + 7)
        f.write(rng.randbytes(100))
    os.chmod(path, 0o400)


def growth():
    with Lab() as lab:
        vm = lab.sim.add_vm("growing", [4 * MiB, 2 * MiB])
        lab.add_source()
        vm.write(2000, 0, rng.randbytes(3 * MiB))
        lab.replicate("growing", "--enable-cbt")
        sizes = [6 * MiB + 512, 6 * MiB + 512, 8 * MiB, 9 * MiB + 1024]
        for size in sizes:
            lab.sim.control("grow", vm=vm.path, key=2000, size=size)
            vm.write(2000, size - 100000, rng.randbytes(100000))
            vm.write_randomly(2000, rng)
            vm.write_randomly(2001, rng)
            ended(lab.replicate("growing"), 0, "grown to %d" % size)
        tap.is_(verified(lab, "growing"), [0] * 5, "five points, four sizes")
        for number, left in ((1, [2, 3, 4, 5]), (3, [2, 4, 5]), (2, [4, 5])):
            ended(lab.vmferry("point", "delete", "growing", str(number)), 0, "delete %d" % number)
            tap.is_(numbers(lab, "growing"), left, "the others stay")
            tap.is_(verified(lab, "growing"), [0] * len(left), "and show what they showed")
        shown = lab.vmferry("point", "show", "growing", "4", "--json").json()
        base = os.path.join(lab.state, shown["disks"][0]["image"])
        tap.is_(os.path.getsize(base), 8 * MiB, "the base has grown with them")
        ended(lab.vmferry("point", "delete", "growing", "5", "--newest"), 0, "the newest goes")
        ended(lab.replicate("growing"), 0, "the next sync goes on")
        tap.ok(lab.all_same(vm), "the replica is the source")
        tap.is_(verified(lab, "growing"), [0, 0], "all verify")


def repair():
    with Lab() as lab:
        vm = lab.sim.add_vm("hurt", [4 * MiB, 2 * MiB])
        lab.add_source()
        vm.write(2000, 0, rng.randbytes(4 * MiB))
        vm.write(2001, 0, rng.randbytes(1 * MiB))
        lab.replicate("hurt", "--enable-cbt")
        shown = lab.vmferry("point", "show", "hurt", "--json").json()
        base = os.path.join(lab.state, shown["disks"][0]["image"])
        for block in (3, 4, 40):
            damage(base, block)
        vm.write(2000, 40 * BLOCK, rng.randbytes(512))  # the source moves on
        result = lab.vmferry("verify", "hurt", "--repair", "--json", "--progress=none")
        disk = result.json()["disks"][0]
        tap.is_(result.status, 1, "what the source has no more is not repaired")
        tap.is_(
            (disk["repair"]["blocks"], disk["repair"]["repaired"], disk["repair"]["left"]),
            (3, 2, [{"offset": 40 * BLOCK, "length": BLOCK}]),
            "the rest is, from a snapshot",
        )
        tap.is_(disk["replica"]["ranges"], disk["repair"]["left"], "and read again")
        tap.is_(len(vm.snapshots()), 0, "the snapshot is gone")
        tap.is_(
            lab.query("SELECT count(*) FROM replication_jobs WHERE source_snapshot IS NOT NULL"),
            [(0,)],
            "no row names one",
        )
        damage(base, 7)
        lab.sim.fault("CreateSnapshot_Task", "fault", fault="SnapshotFault", where="task", times=-1)
        result = lab.vmferry("verify", "hurt", "--repair", "--progress=none")
        tap.ok(
            result.status == 1 and "not repaired: offset %d" % (7 * BLOCK) in result.text,
            "a source that makes no snapshot: named, nothing lost",
            result.text,
        )


SECTIONS = (growth, repair)

if __name__ == "__main__":
    tap.run(lambda: [f() for f in SECTIONS if not sys.argv[1:] or f.__name__ in sys.argv[1:]])
