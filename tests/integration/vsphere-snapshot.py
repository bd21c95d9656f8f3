#!/usr/bin/python3
"""A job's snapshot at the source, and what is in its way: jobs that die, tasks that fail, sessions
that end. The next job goes on with it or removes it, and nothing stays."""

import random
import sys
import time

from vsphere_lab import Lab, MiB, ended, kill, sync_types, wait_for

import tap

rng = random.Random(20261121)


def crashes():
    with Lab() as lab:
        vm = lab.sim.add_vm("big", [96 * MiB, 16 * MiB])
        lab.add_source()
        vm.write(2000, 0, rng.randbytes(64 * MiB))
        vm.write_randomly(2001, rng)
        process = lab.start("replicate", "big", "--enable-cbt", "--rate=4M")
        wait_for(lambda: vm.bytes_read(2000) > 12 * MiB)
        kill(process)
        first = lab.standing(vm)
        tap.is_(len(first), 1, "a killed job's snapshot stands")
        tap.ok(first[0].startswith("vmferry-1-"), "named after it")
        tap.is_(
            lab.query("SELECT source_snapshot FROM replication_jobs")[0][0],
            first[0],
            "and is in its row",
        )
        vm.write(2000, 0, rng.randbytes(8 * MiB))
        result = lab.replicate("big", "--rate=0")
        ended(result, 0, "the next run")
        tap.ok("going on with snapshot " + first[0] in result.err, "goes on with it")
        tap.ok(result.json()["disks"][0]["bytes_resumed"] > 0, "and with what was copied")
        tap.ok(lab.all_same(vm), "it holds what that snapshot held")
        tap.is_(lab.standing(vm), [], "which is gone")

        result = lab.replicate("big")
        tap.is_(sync_types(result), {2000: "incremental", 2001: "incremental"}, "then what changed")
        tap.ok(lab.all_same(vm), "the replica is right")

        vm.write(2000, 0, rng.randbytes(32 * MiB))
        process = lab.start("replicate", "big", "--rate=4M")
        wait_for(lambda: lab.query("SELECT 1 FROM job_steps WHERE step = 'copy' AND job_id = 3"))
        busy = lab.vmferry("recover")
        tap.ok("being worked on by job 3" in busy.out and lab.standing(vm), "recover leaves a living job")
        kill(process)
        lab.vmferry("job", "rate", "3", "0")
        swept = lab.vmferry("recover", "big")
        ended(swept, 0, "recover, after it died")
        tap.is_(lab.standing(vm), [], "goes on with it, and removes its snapshot")
        tap.is_(
            lab.query("SELECT status, source_snapshot FROM replication_jobs WHERE id = 3"),
            [("completed", None)],
            "and the job has completed",
        )
        tap.ok(lab.all_same(vm), "it holds what that snapshot held")
        vm.write(2000, 0, rng.randbytes(32 * MiB))
        process = lab.start("replicate", "big", "--rate=4M")
        wait_for(lambda: lab.query("SELECT 1 FROM job_steps WHERE step = 'copy' AND job_id = 4"))
        kill(process)
        ended(lab.vmferry("recover", "--pause"), 0, "recover --pause")
        tap.is_(len(lab.standing(vm)), 1, "leaves the snapshot that it would go on from")
        ended(lab.vmferry("job", "cancel", "4"), 0, "job cancel")
        tap.is_(lab.standing(vm), [], "removes it")
        vm.write_randomly(2001, rng)
        tap.is_(lab.replicate("big").status, 0, "the next run starts anew")
        tap.ok(lab.all_same(vm), "the replica is right")

        vm.write(2000, 0, rng.randbytes(32 * MiB))
        process = lab.start("replicate", "big", "--rate=4M")
        wait_for(lambda: lab.query("SELECT 1 FROM job_steps WHERE step = 'copy' AND job_id = 6"))
        process.terminate()
        tap.is_(process.wait(), 3, "a job that is stopped is paused")
        stands = lab.standing(vm)
        tap.is_(len(stands), 1, "and keeps its snapshot, to go on from it")
        result = lab.replicate("big", "--rate=0")
        ended(result, 0, "the next run")
        tap.ok("going on with snapshot " + stands[0] in result.err, "does so")
        tap.ok(lab.all_same(vm), "is right")
        tap.is_(lab.standing(vm), [], "and removes it")
        tap.is_(
            lab.query("SELECT status, source_snapshot FROM replication_jobs WHERE id = 6"),
            [("completed", None)],
            "all in one job",
        )


def unborn():
    with Lab() as lab:
        vm = lab.sim.add_vm("slow", [16 * MiB])
        lab.add_source()
        vm.write_randomly(2000, rng)
        for sweep in ("recover", "replicate"):
            lab.sim.fault("CreateSnapshot_Task", "slow", seconds=4)
            calls = lab.sim.requests("CreateSnapshot_Task")
            process = lab.start("replicate", "slow")
            wait_for(lambda: lab.sim.requests("CreateSnapshot_Task") > calls)
            born = time.monotonic() + 6  # at the latest
            kill(process)
            tap.is_(lab.standing(vm), [], "killed while its snapshot was being made")
            result = lab.replicate("slow") if sweep == "replicate" else lab.vmferry("recover")
            ended(result, 0, sweep)
            time.sleep(max(0, born - time.monotonic()))
            tap.is_(lab.standing(vm), [], "waits for it, and removes it")
        tap.ok(lab.all_same(vm), "the replica is right")


def failures():
    with Lab() as lab:
        vm = lab.sim.add_vm("app02", [32 * MiB, 16 * MiB])
        lab.add_source()
        vm.write_randomly(2000, rng)
        lab.sim.fault("RemoveSnapshot_Task", "fault", fault="GenericVmConfigFault", where="task")
        result = lab.replicate("app02")
        ended(result, 0, "a snapshot that can't be removed: the point is made")
        tap.ok("vmferry recover" in result.err, "it is said, with what to do")
        tap.is_(len(lab.standing(vm)), 1, "it stands")
        tap.is_(lab.vmferry("recover").status, 0, "recover")
        tap.is_(lab.standing(vm), [], "removes it")

        lab.sim.fault("CreateSnapshot_Task", "fault", fault="SnapshotFault", where="task", times=-1)
        result = lab.replicate("app02")
        tap.is_(result.status, 1, "no snapshot can be made: the job fails")
        tap.is_(
            lab.query("SELECT status, source_snapshot FROM replication_jobs WHERE id = 2"),
            [("failed", None)],
            "and is written down",
        )
        lab.sim.clear_faults()
        lab.replicate("app02", "--enable-cbt")

        for op in ("QueryChangedDiskAreas", "CreateSnapshot_Task", "RemoveSnapshot_Task", "folder"):
            lab.sim.fault(op, "expire")
            vm.write_randomly(2001, rng)
            result = lab.replicate("app02")
            ended(result, 0, "the session ends at %s: it goes on" % op)
            tap.ok(lab.all_same(vm), "the replica is right")
        vm.write(2000, 0, rng.randbytes(32 * MiB))
        before = vm.bytes_read(2000)
        process = lab.start("replicate", "app02", "--rate=4M")
        wait_for(lambda: vm.bytes_read(2000) > before + 8 * MiB)
        lab.sim.control("expire")
        lab.vmferry("job", "rate", lab.newest_job(), "0")
        tap.is_(process.wait(), 0, "the session ends while the disk is read: it goes on")
        tap.ok(lab.all_same(vm), "the replica is right")
        points = lab.query("SELECT count(*) FROM restore_points WHERE complete = 1")
        vm.write(2000, 0, rng.randbytes(24 * MiB))
        before = vm.bytes_read(2000)
        process = lab.start("replicate", "app02", "--rate=4M")
        wait_for(lambda: vm.bytes_read(2000) > before + 4 * MiB)
        lab.sim.control("remove-snapshot", vm=vm.path, name=lab.standing(vm)[0])
        vm.write(2000, 0, rng.randbytes(24 * MiB))
        tap.ok(process.wait() != 0, "somebody removes the snapshot while it is read: the job fails")
        tap.is_(
            lab.query("SELECT count(*) FROM restore_points WHERE complete = 1"),
            points,
            "and makes no point",
        )
        tap.is_(lab.replicate("app02").status, 0, "the next one does")
        tap.ok(lab.all_same(vm), "the replica is right")
        lab.sim.fault("QueryChangedDiskAreas", "fault", fault="ManagedObjectNotFound")
        result = lab.replicate("app02")
        ended(result, 3, "the snapshot is gone when it is asked about: the job pauses")
        tap.is_(lab.standing(vm), [], "nothing stays")
        tap.is_(lab.replicate("app02").status, 0, "the next one is right")
        tap.ok(lab.all_same(vm), "the replica is right")


def removal():
    """The snapshot is still there when the job ends."""
    with Lab() as lab:
        vm = lab.sim.add_vm("app04", [4 * MiB])
        lab.add_source()
        lab.replicate("app04", "--enable-cbt")
        for how, rule in (("http", dict(status=503)), ("drop", {}), ("drop-answer", {})):
            lab.sim.fault("RemoveSnapshot_Task", how, **rule)
            vm.write_randomly(2000, rng)
            result = lab.replicate("app04")
            ended(result, 0, "%s: a removal whose answer is lost" % how)
            tap.is_(lab.standing(vm), [], "is asked for again: nothing stays")
        lab.sim.fault("RemoveSnapshot_Task", "fault", fault="GenericVmConfigFault", where="task")
        lab.replicate("app04")
        tap.is_(len(lab.standing(vm)), 1, "a removal that fails: it stands")
        vm.write_randomly(2000, rng)
        result = lab.replicate("app04")
        ended(result, 0, "the next job removes it, and is in no one's way")
        tap.is_(sync_types(result), {2000: "incremental"}, "sends what changed")
        tap.ok(lab.all_same(vm), "and is right")
        tap.is_(lab.standing(vm), [], "nothing stays")
        process = lab.start("replicate", "app04", "--full", "--rate=1M")
        wait_for(lambda: lab.standing(vm))
        kill(process)
        result = lab.replicate("app04", "--rate=0")
        ended(result, 0, "a job that dies with its snapshot just made: the next one goes on")
        tap.is_(lab.standing(vm), [], "nothing stays")


SECTIONS = (crashes, unborn, failures, removal)

if __name__ == "__main__":
    tap.run(lambda: [f() for f in SECTIONS if not sys.argv[1:] or f.__name__ in sys.argv[1:]])
