#!/usr/bin/python3
"""vmferry against the simulator, from the command line: what is replicated is what the
snapshot held, only what changed moves, and nothing stays at the source."""

import random
import sys
import time

from vsphere_lab import GRAIN, Lab, MiB, ended, kill, sync_types, wait_for

import tap

rng = random.Random(20261121)


def ordinary():
    with Lab() as lab:
        vm = lab.sim.add_vm("/DC0/vm/web/app01", [64 * MiB, 32 * MiB + 512])
        for key in vm.keys():
            vm.write_randomly(key, rng)
        added = lab.add_source()
        tap.is_(added.status, 0, "a source is added")
        tap.ok("VMware vCenter" in lab.vmferry("source", "check", "vc").out, "and checked")
        flight = lab.vmferry("preflight", "app01")
        tap.is_(flight.status, 0, "preflight finds no blocker")
        tap.ok("--enable-cbt" in flight.out, "and says how change tracking is turned on")

        lab.sim.forget()
        first = lab.replicate("/DC0/vm/web/app01", "--enable-cbt")
        tap.is_(first.status, 0, "the first copy, of a VM named by its path")
        tap.ok("transport https" in first.err, "the transport that was chosen is said")
        tap.ok(lab.sim.requests("GET /folder") > 0, "and was used")
        tap.is_(sync_types(first), {2000: "initial", 2001: "initial"}, "is of all disks")
        tap.ok(lab.all_same(vm), "and holds what the snapshot held")
        for disk in first.json()["disks"]:
            near(disk["bytes"], vm.bytes_read(disk["key"], True), "disk-%d" % disk["key"])
            tap.ok(disk["bytes"] < disk["capacity"] / 4, "no more than what is in use moved")

        vm.write(2000, 1 * MiB, b"a" * 100)
        vm.write(2000, 40 * MiB, rng.randbytes(300000))
        vm.zero(2001, 0, 2 * MiB)
        vm.write(2001, 32 * MiB, b"the end's")
        lab.sim.forget()
        second = lab.replicate(vm.moref)
        tap.is_(second.status, 0, "a second run, of the VM by its moref")
        tap.is_(sync_types(second), {2000: "incremental", 2001: "incremental"}, "is incremental")
        tap.ok(lab.all_same(vm), "and again holds what the snapshot held")
        for disk in second.json()["disks"]:
            near(disk["bytes"], vm.bytes_read(disk["key"], True), "disk-%d" % disk["key"])
            tap.ok(disk["bytes"] <= 48 * GRAIN, "only changed areas moved")

        third = lab.replicate(vm.instance_uuid)
        tap.is_(sync_types(third), {2000: "incremental", 2001: "incremental"}, "nothing changed")
        tap.is_([d["bytes"] for d in third.json()["disks"]], [0, 0], "nothing moved")
        tap.is_(lab.standing(vm), [], "no snapshot stays")
        tap.is_(lab.sim.state()["sessions"]["open"], 0, "nor a session")
        history(lab, [d["change_id"] for d in third.json()["disks"]])
        tap.ok(lab.vmferry("verify", "app01").status == 0, "the replica verifies")
        tap.ok("app01" in lab.vmferry("vm", "list").out, "and is listed")


def powered_off():
    """As a live failover has it: a last sync after the power-off, and one after it is on again."""
    with Lab() as lab:
        vm = lab.sim.add_vm("app01", [16 * MiB, 8 * MiB], pause=["false"], resume=["false"],
                            power="poweredOff")
        lab.add_source()
        vm.write_randomly(2000, rng)
        tap.is_(lab.replicate("app01", "--enable-cbt").status, 0, "a VM that is off: a first copy")
        incremental = {2000: "incremental", 2001: "incremental"}
        for power in ("poweredOff", "poweredOn", "poweredOff", "poweredOff", "poweredOn"):
            if power == "poweredOn":
                lab.sim.control("vm", vm=vm.path, power=power, pause=None, resume=None)
                vm.write(2001, 3 * MiB, rng.randbytes(5000))
            vm.write(2000, 5 * MiB, rng.randbytes(100000))
            lab.sim.control("vm", vm=vm.path, power=power)
            result = lab.replicate("app01")
            tap.is_((result.status, sync_types(result)), (0, incremental),
                    "%s: incremental" % power)
            tap.ok(lab.all_same(vm), "... and holds what the snapshot held")
            tap.ok(sum(d["bytes"] for d in result.json()["disks"]) <= 6 * GRAIN,
                   "... and only that moved")


def near(job, seen, what):
    tap.ok(abs(job - seen) <= GRAIN, "%s: the job's bytes are those read" % what, job, seen)


def history(lab, newest):
    rows = lab.query(
        "SELECT change_id_before, change_id_after, sync_type, outcome FROM cbt_history "
        "ORDER BY id"
    )
    tap.is_([r[2] for r in rows], 2 * ["initial"] + 4 * ["incremental"], "cbt_history: types")
    tap.is_([r[1] for r in rows[-2:]], newest, "cbt_history: the newest change ids")
    tap.is_([r[0] for r in rows[2:]], [r[1] for r in rows[:-2]], "each begins where one ended")
    tap.is_({r[3] for r in rows}, {"completed"}, "cbt_history: all completed")


def reset():
    with Lab() as lab:
        vm = lab.sim.add_vm("db", [32 * MiB, 16 * MiB])
        lab.add_source()
        vm.write_randomly(2000, rng)
        vm.write_randomly(2001, rng)
        tap.is_(lab.replicate("db", "--enable-cbt").status, 0, "a VM with two disks")
        vm.write_randomly(2000, rng)
        vm.write_randomly(2001, rng)
        lab.sim.control("reset-cbt", vm=vm.path, key=2001)
        result = lab.replicate("db")
        tap.is_(
            sync_types(result), {2000: "incremental", 2001: "resync"}, "a reset is that disk's alone"
        )
        tap.ok("disk-2001: resync" in result.err and "reset" in result.err, "and said, with why")
        tap.ok(lab.all_same(vm), "the replica is right")

        vm.write_randomly(2001, rng)
        lab.sim.control("power-cut", vm=vm.path)
        vm.write_randomly(2000, rng)
        lab.sim.control("vm", vm=vm.path, power="poweredOn")
        result = lab.replicate("db")
        tap.is_(sync_types(result), {2000: "resync", 2001: "resync"}, "a power cut resets all")
        tap.ok(lab.all_same(vm), "the replica is right")

        for how in (
            dict(fault="FileFault"),
            dict(fault="InvalidArgument", members={"invalidProperty": "changeId"}),
            dict(fault="MethodNotFound"),
            dict(fault="NotFound"),
        ):
            lab.sim.fault("QueryChangedDiskAreas", "fault", **how)
            vm.write_randomly(2000, rng)
            vm.write_randomly(2001, rng)
            result = lab.replicate("db")
            tap.is_(
                sorted(sync_types(result).values()),
                ["incremental", "resync"],
                "%s: a resync of that disk" % how["fault"],
            )
            tap.ok(lab.all_same(vm), "the replica is right")
        lab.sim.control("cbt", vm=vm.path, on=False)
        vm.write_randomly(2000, rng)
        result = lab.replicate("db")
        tap.is_(sync_types(result), {2000: "resync", 2001: "resync"}, "tracking off: resync")
        tap.ok("--enable-cbt" in result.err, "it says how to turn it on")
        tap.ok(lab.all_same(vm), "the replica is right")
        tap.is_(lab.standing(vm), [], "no snapshot stays")


def identity():
    with Lab() as lab:
        vm = lab.sim.add_vm("files", [16 * MiB, 16 * MiB])
        lab.add_source()
        lab.replicate("files", "--enable-cbt")
        for key in (2000, 2001):
            vm.write_randomly(key, rng)
        lab.sim.control("order", vm=vm.path, keys=[2001, 2000])
        result = lab.replicate("files")
        tap.is_(
            sync_types(result),
            {2000: "incremental", 2001: "incremental"},
            "the order of the list means nothing",
        )
        tap.ok(lab.all_same(vm), "the replica is right")

        uuid = vm.disk(2001)["uuid"]
        lab.sim.control("disk", vm=vm.path, key=2001, uuid="6000C290-aaaa-bbbb-cccc-dddddddddddd")
        result = lab.replicate("files")
        tap.is_(result.status, 1, "another uuid is another disk: refused")
        tap.ok("preflight" in result.err or "backing uuid" in result.err, "with the map", result.err)
        lab.sim.control("disk", vm=vm.path, key=2001, uuid=uuid)

        lab.sim.control("disk", vm=vm.path, key=2001, new_key=2005)
        tap.is_(lab.replicate("files").status, 1, "another key: refused")
        lab.sim.control("disk", vm=vm.path, key=2005, new_key=2001)
        with open(vm.directory + "/more.raw", "wb") as f:
            f.truncate(8 * MiB)
        lab.sim.control("add-disk", vm=vm.path, key=2002, file="more.raw")
        tap.is_(lab.replicate("files").status, 1, "a disk more: refused")
        lab.sim.control("remove-disk", vm=vm.path, key=2002)
        lab.sim.control("remove-disk", vm=vm.path, key=2001)
        tap.is_(lab.replicate("files").status, 1, "a disk less: refused")
        tap.is_(lab.query("SELECT count(*) FROM restore_points"), [(2,)], "none made a point")
        tap.is_(lab.standing(vm), [], "or left a snapshot")
        tap.is_(len(vm.snapshots(False)), 3, "or even took one")


def growth():
    with Lab() as lab:
        vm = lab.sim.add_vm("growing", [16 * MiB, 8 * MiB])
        lab.add_source()
        for key in vm.keys():
            vm.write_randomly(key, rng)
        lab.replicate("growing", "--enable-cbt")
        lab.sim.control("grow", vm=vm.path, key=2000, size=24 * MiB + 512)
        vm.write(2000, 20 * MiB, rng.randbytes(100000))
        vm.write_randomly(2001, rng)
        result = lab.replicate("growing")
        tap.is_(
            sync_types(result), {2000: "resync", 2001: "incremental"}, "a grown disk is compared"
        )
        tap.ok("grown from 16777216 to 25166336" in result.err, "it is said why", result.err)
        tap.ok(lab.all_same(vm), "the replica has grown, and is right")
        ended(lab.vmferry("verify", "growing"), 0, "the new point verifies")
        ended(lab.vmferry("verify", "growing", "--point=1"), 0, "the old one, too, in its own size")
        vm.write(2000, 24 * MiB, b"x" * 512)
        result = lab.replicate("growing")
        tap.is_(sync_types(result)[2000], "incremental", "then what changed")
        tap.ok(lab.all_same(vm), "the replica is right")
        lab.sim.control("shrink", vm=vm.path, key=2000, size=20 * MiB)
        result = lab.replicate("growing")
        tap.is_(result.status, 1, "a disk that shrank: refused")

        other = lab.sim.add_vm("early", [32 * MiB])
        other.write(2000, 0, rng.randbytes(30 * MiB))
        process = lab.start("replicate", "early", "--rate=4M")
        wait_for(lambda: other.bytes_read(2000) > 8 * MiB)
        kill(process)
        lab.vmferry("recover")
        lab.sim.control("grow", vm=other.path, key=2000, size=40 * MiB)
        ended(lab.replicate("early"), 0, "grown before its first copy was complete")
        tap.ok(lab.all_same(other), "the replica is right")


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
        result = lab.replicate("big")
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
        result = lab.replicate("big")
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
            kill(process)
            tap.is_(lab.standing(vm), [], "killed while its snapshot was being made")
            result = lab.replicate("slow") if sweep == "replicate" else lab.vmferry("recover")
            ended(result, 0, sweep)
            time.sleep(4)
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
        process = lab.start("replicate", "app02", "--rate=2M")
        wait_for(lambda: vm.bytes_read(2000) > before + 8 * MiB)
        lab.sim.control("expire")
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
        result = lab.replicate("app04")
        ended(result, 0, "a job that dies with its snapshot just made: the next one goes on")
        tap.is_(lab.standing(vm), [], "nothing stays")


def telling():
    """What the source does and says reaches the operator, and the job's record."""
    with Lab(task_seconds=3) as lab:
        vm = lab.sim.add_vm("talk", [MiB])
        lab.add_source()
        lab.sim.control("vm", vm=vm.path, quiesce="ApplicationQuiesceFault")
        result = lab.vmferry("replicate", "talk")
        ended(result, 0, "a guest that can't be quiesced, and slow tasks")
        for op in ("CreateSnapshot_Task", "RemoveSnapshot_Task"):
            lines = [l for l in result.err.splitlines() if l.startswith(op + " on VM ")]
            tap.ok(any(l.endswith(" %") for l in lines), "%s: its progress is shown" % op, result.err)
        tap.ok("could not be quiesced" in result.err, "that it was not quiesced is said")
        detail = lab.query("SELECT detail FROM job_steps WHERE step = 'snapshot'")[0][0]
        tap.ok("could not be quiesced" in detail, "and the job says so", detail)
        tap.ok(detail.startswith("vmferry-1-"), "beside the snapshot's name", detail)
        result = lab.replicate("talk", "--quiesce=yes")
        tap.is_(result.status, 1, "--quiesce=yes: it is an error")
        tap.ok("CreateSnapshot_Task on VM talk:" in result.err, "that names the task", result.err)
        tap.ok(" %\n" not in result.err, "--progress=none: no progress", result.err)
        tap.is_(lab.standing(vm), [], "nothing stays")


def refused():
    with Lab() as lab:
        vm = lab.sim.add_vm(
            "odd", [dict(size=16 * MiB), dict(size=16 * MiB, mode="independent_persistent")]
        )
        lab.add_source()
        flight = lab.vmferry("preflight", "odd", "--json")
        blockers = [f for f in flight.json()["findings"] if f["level"] == "blocker"]
        tap.is_(flight.status, 1, "preflight: an independent disk is a blocker")
        tap.ok(any("2001" in b["check"] for b in blockers), "named by its key", blockers)
        result = lab.replicate("odd")
        tap.is_(result.status, 1, "replicate stops there")
        tap.ok("independent" in result.err, "and says why", result.err)
        tap.is_(vm.snapshots(False), [], "before it touches anything")
        jobs = lab.query("SELECT status, error FROM replication_jobs")
        tap.is_(len(jobs), 1, "there is one job of it")
        tap.ok(jobs[0][0] == "failed" and "independent" in jobs[0][1], "which failed, and why", jobs)
        steps = lab.query("SELECT step, state FROM job_steps WHERE step IN ('preflight', 'snapshot')")
        tap.is_(steps, [("preflight", "failed")], "at its preflight")

        other = lab.sim.add_vm("snapped", [16 * MiB])
        lab.sim.control("snapshot", vm=other.path, name="by hand")
        result = lab.replicate("snapped", "--transport=https")
        tap.is_(result.status, 1, "a disk with a snapshot is not read over https")
        tap.ok("vddk" in result.err, "it says what could", result.err)
        tap.is_(lab.standing(other), ["by hand"], "somebody else's snapshot is left alone")

        lab.sim.add_vm("/DC0/vm/a/twin", [MiB])
        lab.sim.add_vm("/DC0/vm/b/twin", [MiB])
        result = lab.vmferry("preflight", "twin")
        tap.is_(result.status, 2, "a name that two VMs have")
        tap.ok("/DC0/vm/a/twin" in result.err and "/DC0/vm/b/twin" in result.err, "lists both")
        tap.is_(lab.vmferry("preflight", "/DC0/vm/b/twin").status, 0, "a path says which")


def many():
    """Several VMs at once, each with a session, a snapshot and readers of its own."""
    with Lab() as lab:
        vms = [lab.sim.add_vm("many%d" % i, [2 * MiB, MiB]) for i in range(5)]
        for vm in vms:
            for key in vm.keys():
                vm.write_randomly(key, rng)
        lab.add_source()
        lab.vmferry("source", "refresh")
        lab.configure("[limits]", "per_host = 2")
        for types in ("initial", "incremental"):
            result = lab.vmferry("replicate", "--all", "--parallel=4", "--enable-cbt", "--json")
            ended(result, 0, "five VMs at once")
            got = {d["sync_type"] for vm in result.json()["vms"] for d in vm["result"]["disks"]}
            tap.is_(got, {types}, types)
            tap.ok(all(lab.all_same(vm) for vm in vms), "each replica is right")
            for vm in vms:
                vm.write_randomly(2000, rng)
                vm.write_randomly(2001, rng)
        tap.is_([lab.standing(vm) for vm in vms], 5 * [[]], "no snapshot stays")
        tap.is_(lab.sim.state()["sessions"]["open"], 0, "nor a session")
        tap.is_(lab.secrets_left(), [], "nor a secret")
        host = lab.query("SELECT DISTINCT source_host FROM vms")
        tap.ok(len(host) == 1 and host[0][0] and " " not in host[0][0], "the host is known", host)


def inventory():
    with Lab() as lab:
        web = lab.sim.add_vm("/DC0/vm/web/web01", [16 * MiB, 8 * MiB])
        lab.add_source()
        lab.sim.add_vm("/DC0/vm/web/web02", [16 * MiB])
        lab.sim.add_vm("/DC0/vm/db01", [16 * MiB])

        def names(*words):
            return sorted(v["name"] for v in lab.vmferry("vm", "list", "--json", *words).json())

        tap.is_(names(), ["web01"], "vm list: what was written down")
        tap.is_(names("--source=vc"), ["db01", "web01", "web02"], "what there is now")
        tap.is_(names("--source=vc", "--folder=/DC0/vm/web"), ["web01", "web02"], "in a folder")
        tap.is_(names("--source=vc", "--name=*01"), ["db01", "web01"], "of a name")
        tap.is_(names("--folder=/DC0/vm/web/"), ["web01"], "also of those written down")
        lab.vmferry("source", "refresh")
        tap.is_(names(), ["db01", "web01", "web02"], "a refresh writes all of them down")
        listed = lab.vmferry("vm", "list", "--json").json()[1]
        tap.is_((listed["power"], listed["tracking"], listed["disks"]), ("on", "off", 2), "facts")
        shown = lab.vmferry("vm", "show", "/DC0/vm/web/web01", "--json").json()
        disk = shown["disks"][1]
        wanted = web.disk(2001)
        tap.is_(disk["backing_uuid"].lower(), wanted["uuid"].lower(), "vm show: a disk's uuid")
        tap.is_(disk["backing"], wanted["file"], "its file")
        tap.ok(disk["address"] and disk["controller"] and disk["label"], "and its place", disk)
        tap.ok("Hard disk" in lab.vmferry("vm", "show", "web01").out, "for people, too")


def habits():
    """Servers differ; so do VMs."""
    odd = dict(
        esxi=dict(esxi=True),
        other=dict(style="prefixed", cookie="plain", gzip=False, star="fault"),
        whole=dict(star="whole", page_size=2, areas_per_answer=3, cbt_effect="cycle"),
    )
    for name, options in odd.items():
        with Lab(**options) as lab:
            disks = [
                dict(size=16 * MiB, key=2016, controller=1001, unit=0),
                dict(size=8 * MiB + 512, key=2003, controller=1000, unit=0),
            ]
            vm = lab.sim.add_vm("odd one's [1]" if name == "esxi" else "odd", disks)
            lab.add_source()
            for key in vm.keys():
                vm.write_randomly(key, rng)
            result = lab.replicate(vm.path, "--enable-cbt")
            ended(result, 0, "%s: the first copy" % name)
            hint = "the server can't tell which areas are in use: FileFault" in result.err
            tap.is_(hint, options.get("star") == "fault", "where there is no hint it is said")
            tap.ok(lab.all_same(vm), "holds what the snapshot held")
            for key in vm.keys():
                vm.write_randomly(key, rng)
            result = lab.replicate(vm.path)
            tap.is_(set(sync_types(result).values()), {"incremental"}, "%s: then changes" % name)
            tap.ok(lab.all_same(vm), "the replica is right")
            units = [d["unit"] for d in result.json()["disks"]]
            tap.ok(len(set(units)) == 2, "equal unit numbers on two controllers differ here", units)
            tap.is_(lab.standing(vm), [], "no snapshot stays")


def poor():
    """Servers that lack what can be had in another way."""
    lacks = ("FindByUuid", "FindByInventoryPath", "CreateContainerView", "CreateFilter")
    disks = [4 * MiB, 2 * MiB]
    with Lab() as lab:
        vm = lab.sim.add_vm("/DC0/vm/web/app01", disks)
        lab.sim.add_vm("/DC0/vm/app02", [MiB])
        for op in lacks:
            lab.sim.fault(op, "fault", fault="MethodNotFound", times=-1)
        # A server that keeps no lists of privileges: whoever is Administrator has them all.
        named = "<privilege>VirtualMachine.State.CreateSnapshot</privilege>"
        lab.sim.fault("RetrievePropertiesEx", "replace", find=named, times=-1, **{"with": ""})
        ended(lab.add_source(), 0, "no %s: the source is added" % ", ".join(lacks))
        listed = [v["path"] for v in lab.vmferry("vm", "list", "--json").json()]
        tap.is_(sorted(listed), ["/DC0/vm/app02", "/DC0/vm/web/app01"], "all VMs are found")
        unknown = dict(fault="InvalidProperty", members={"name": "config.template"})
        lab.sim.fault("RetrievePropertiesEx", "fault", **unknown)
        result = lab.replicate("/DC0/vm/web/app01", "--enable-cbt")
        ended(result, 0, "one is replicated, also when a property is not known there")
        tap.ok(lab.all_same(vm), "the replica is right")


def trust():
    with Lab() as lab:
        words = ["source", "add", "vsphere", "vc", "--server", lab.sim.server]
        words += ["--user", lab.sim.user, "--password-file", lab.sim.password_file]
        result = lab.vmferry(*words)
        tap.is_(result.status, 2, "nothing to know the server by, and no terminal: refused")
        tap.ok(lab.sim.fingerprint in result.err, "the fingerprint is shown")
        wrong = lab.vmferry(*words, "--fingerprint", "00" * 32)
        tap.is_(wrong.status, 1, "another certificate than the pinned one: refused")
        tap.is_(lab.sim.state()["sessions"]["failed"], 0, "before a password is sent")
        tap.is_(lab.vmferry(*words, "--ca-file", lab.sim.ca_file).status, 0, "a CA file")
        vm = lab.sim.add_vm("app01", [4 * MiB])
        vm.write_randomly(2000, rng)
        ended(lab.replicate("app01"), 0, "disks are read with it, too")
        tap.ok(lab.all_same(vm), "the replica is right")
        result = lab.add_source(password_file=False)
        tap.is_(result.status, 1, "no password: refused")
        tap.ok("--password-file" in result.err, "and said where one may be")
        env = {"VMFERRY_PASSWORD": lab.sim.password}
        checked = lab.vmferry("source", "check", "vc", **env)
        tap.is_(checked.status, 0, "the source as it was still works")
        secret = lab.sim.password
        with open(lab.state + "/vmferry.db", "rb") as f:
            tap.ok(secret.encode() not in f.read(), "no secret in the database")


SECTIONS = (ordinary, reset, identity, growth, crashes, unborn, failures, removal, telling, refused)
SECTIONS += (habits, poor, many, inventory, trust, powered_off)

if __name__ == "__main__":
    tap.run(lambda: [f() for f in SECTIONS if not sys.argv[1:] or f.__name__ in sys.argv[1:]])
