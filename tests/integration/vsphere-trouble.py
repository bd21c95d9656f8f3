#!/usr/bin/python3
"""What goes wrong at a source in the middle of things, and what vmferry makes of it: nobody
can tell what changed, the source is gone for a while, or for good."""

import os
import random
import re
import sys
import time

from line import Line
from vsphere_lab import Lab, MiB, ended, kill, sync_types, wait_for

import tap

rng = random.Random(20261123)

QUERY = "QueryChangedDiskAreas"


def points(lab):
    return lab.query("SELECT number FROM restore_points WHERE complete = 1")


def lost():
    """The operator's choice for disks whose changes can't be told."""
    with Lab() as lab:
        vm = lab.sim.add_vm("lost", [8 * MiB, 4 * MiB + 512])
        lab.add_source()
        for key in vm.keys():
            vm.write_randomly(key, rng)
        ended(lab.replicate("lost", "--enable-cbt", "--cbt-lost=fail"), 0, "a first copy is no loss")
        vm.write_randomly(2000, rng)
        vm.write_randomly(2001, rng)

        lab.sim.fault(QUERY, "fault", fault="MethodNotFound", times=-1)
        before = points(lab), lab.files()
        result = lab.replicate("lost", "--cbt-lost=fail")
        ended(result, 1, "a server without %s, --cbt-lost=fail: the job fails" % QUERY)
        for words in ("disk-2000: ", "disk-2001: ", "MethodNotFound", "--cbt-lost=full"):
            tap.ok(words in result.err, "it says: %s" % words, result.err)
        tap.is_((points(lab), lab.files()), before, "nothing was written")
        tap.is_(lab.standing(vm), [], "no snapshot stays")

        lab.configure("[replicate]", "cbt_lost = fail")
        ended(lab.replicate("lost"), 1, "the same from vmferry.conf")
        result = lab.replicate("lost", "--cbt-lost=resync")
        ended(result, 0, "--cbt-lost=resync wins over it")
        tap.is_(sync_types(result), {2000: "resync", 2001: "resync"}, "all is compared")
        tap.ok(all(d["bytes"] < 4 * MiB for d in result.json()["disks"]), "what differs moves")
        tap.ok(lab.all_same(vm), "the replica is right")
        lab.sim.clear_faults()
        lab.configure()

        for key in vm.keys():
            vm.write_randomly(key, rng)
        vm.zero(2000, 0, 2 * MiB)
        lab.sim.fault(QUERY, "fault", fault="FileFault")
        result = lab.replicate("lost", "--cbt-lost=full")
        ended(result, 0, "--cbt-lost=full, a failed question for one disk")
        tap.is_(sync_types(result), {2000: "resync", 2001: "incremental"}, "is that disk's alone")
        tap.ok("disk-2000: resync, sending everything anew" in result.err, "it is said", result.err)
        disks = result.json()["disks"]
        tap.is_([d["sent_whole"] for d in disks], [True, False], "and in the result")
        tap.is_(disks[0]["bytes"], disks[0]["capacity"], "everything moved")
        tap.ok(lab.all_same(vm), "the replica is right, zeroes too")
        ended(lab.vmferry("verify", "lost"), 0, "and verifies")

        lab.sim.control("grow", vm=vm.path, key=2001, size=6 * MiB)
        vm.write_randomly(2001, rng)
        result = lab.replicate("lost", "--cbt-lost=fail")
        ended(result, 1, "a grown disk counts as one that can't be told")
        ended(lab.replicate("lost", "--cbt-lost=full"), 0, "--cbt-lost=full sends it")
        tap.ok(lab.all_same(vm), "the replica is right")
        vm.write_randomly(2001, rng)
        result = lab.replicate("lost", "--cbt-lost=fail")
        tap.is_(sync_types(result)[2001], "incremental", "changes are told again")
        tap.ok(lab.all_same(vm), "the replica is right")


def lost_twice():
    """Sending everything anew is gone on with, and only by itself."""
    with Lab() as lab:
        vm = lab.sim.add_vm("big", [40 * MiB])
        lab.add_source()
        vm.write(2000, 0, rng.randbytes(40 * MiB))
        ended(lab.replicate("big", "--enable-cbt"), 0, "a disk full of data")

        def stopped(choice):
            vm.write(2000, rng.randrange(30) * MiB, rng.randbytes(MiB))
            lab.sim.control("reset-cbt", vm=vm.path)
            before = vm.bytes_read(2000)
            process = lab.start("replicate", "big", "--cbt-lost=" + choice, "--rate=6M")
            wait_for(lambda: vm.bytes_read(2000) > before + 24 * MiB)
            kill(process)

        stopped("full")
        result = lab.replicate("big", "--cbt-lost=full", "--rate=0")
        ended(result, 0, "killed while everything was sent: the next run")
        tap.ok(result.json()["disks"][0]["bytes_resumed"] > 0, "goes on", result.out)
        tap.ok(lab.all_same(vm), "the replica is right")
        for first, then in (("full", "resync"), ("resync", "full")):
            stopped(first)
            result = lab.replicate("big", "--cbt-lost=" + then, "--rate=0")
            ended(result, 0, "killed with %s, then %s" % (first, then))
            tap.is_(result.json()["disks"][0]["bytes_resumed"], 0, "does not go on with that")
            tap.ok(lab.all_same(vm), "the replica is right")
            ended(lab.vmferry("verify", "big"), 0, "and verifies")
        tap.is_([f for f in lab.files() if "journal" in f or "resend" in f], [], "no journal stays")


def gone():
    """The source does not answer any more in mid-copy: connections break, or nothing passes."""
    with Lab() as lab, Line(lab.sim.port) as line:
        vm = lab.sim.add_vm("far", [10 * MiB, 10 * MiB])
        lab.sim.server = "127.0.0.1:%d" % line.port
        lab.add_source()

        def begin(*options):
            for key in vm.keys():
                vm.write(key, 0, rng.randbytes(10 * MiB))
            before = vm.bytes_read(2000)
            job = lab.listen("replicate", "far", "--rate=6M", *options)
            wait_for(lambda: vm.bytes_read(2000) > before + 2 * MiB)
            return job

        for how, seconds in (("cut", 6), ("freeze", 11)):
            job = begin("--enable-cbt")
            getattr(line, how)()
            began = time.monotonic()
            said = job.wait_for_line("the source does not answer", 20)
            tap.ok(time.monotonic() - began < 13, "%s: said within seconds" % how, said)
            tap.ok(said.startswith("disk-200"), "of a disk", said)
            if how == "cut":
                said = job.wait_for_line(r"trying again \([3-9] of 12\)", 20)
                tap.ok("nbdkit said: " in said, "each try, and why", said)
            wait_for(lambda: operation(lab) == "waiting", 5)
            time.sleep(max(0, began + seconds - time.monotonic()))
            line.restore()
            tap.is_(job.end(), 0, "it comes back: the job goes on by itself")
            tap.ok("it is answered again" in job.text, "and says so", job.text)
            tap.ok(lab.all_same(vm), "the replica is right")

        for how in ("cut", "freeze")[: 2 if "ROUNDS" in os.environ else 1]:
            job = begin("--patience=5")
            getattr(line, how)()
            began = time.monotonic()
            tap.is_(job.end(), 3, "%s for good: the job pauses" % how)
            took = time.monotonic() - began
            tap.ok(took < 5 + 25, "soon after its patience ends: %d s" % took, job.text)
            tap.ok(re.search("gave up after ([5-9]|1[01]) s: the source does not", job.text), "why", job.text)
            said = re.search("snapshot .* (stays, so that job|can't be removed)", job.text)
            tap.ok(said, "that its snapshot stands is said", job.text)
            line.restore()
            ended(lab.replicate("far", "--rate=0"), 0, "the next one goes on")
            tap.ok(lab.all_same(vm), "the replica is right")
            tap.is_(lab.standing(vm), [], "no snapshot stays")


def operation(lab):
    return lab.query("SELECT current_operation FROM replication_jobs ORDER BY id DESC")[0][0]


def short():
    """Sessions that end whenever it hurts."""
    with Lab() as lab:
        vm = lab.sim.add_vm("short", [4 * MiB, 2 * MiB])
        lab.add_source()
        lab.replicate("short", "--enable-cbt")
        for after in (0, 1, 2, 4):
            for key in vm.keys():
                vm.write_randomly(key, rng)
            lab.sim.fault("folder", "expire", after=after)
            result = lab.replicate("short")
            ended(result, 0, "the session ends at the reader's request %d: it goes on" % (after + 1))
            tap.ok(lab.all_same(vm), "the replica is right")
            lab.sim.clear_faults()
        tap.is_(lab.standing(vm), [], "no snapshot stays")


def merging():
    """The answer to a removal is lost while the source still merges the snapshot's files."""
    with Lab() as lab:
        vm = lab.sim.add_vm("merging", [4 * MiB])
        lab.add_source()
        for how, calls in (("drop-answer", 1), ("drop", 2)):
            before = lab.sim.requests("RemoveSnapshot_Task")
            lab.sim.fault("RemoveSnapshot_Task", "slow", seconds=4)
            lab.sim.fault("RemoveSnapshot_Task", how)
            result = lab.replicate("merging")
            ended(result, 0, "%s: the point is made" % how)
            asked = lab.sim.requests("RemoveSnapshot_Task") - before
            tap.is_(asked, calls, "a removal that was heard is not asked for again")
            states = [t["state"] for t in lab.sim.state()["tasks"].values()]
            tap.is_(set(states), {"success"}, "it is awaited, and no other task failed")
            tap.is_(lab.standing(vm), [], "the snapshot is gone")
            tap.ok("recover" not in result.err, "there is nothing to say", result.err)
            vm.write_randomly(2000, rng)


SECTIONS = (merging, lost, lost_twice, gone, short)

if __name__ == "__main__":
    tap.run(lambda: [f() for f in SECTIONS if not sys.argv[1:] or f.__name__ in sys.argv[1:]])
