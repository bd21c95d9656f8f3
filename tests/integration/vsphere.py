#!/usr/bin/python3
"""vmferry against the simulator, from the command line: what is replicated is what the
snapshot held, and only what changed moves, whatever became of the disks and of their tracking."""

import json
import random
import sys

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
        same_amounts(lab, first)

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
        same_amounts(lab, second)

        third = lab.replicate(vm.instance_uuid)
        tap.is_(sync_types(third), {2000: "incremental", 2001: "incremental"}, "nothing changed")
        tap.is_([d["bytes"] for d in third.json()["disks"]], [0, 0], "nothing moved")
        tap.is_(lab.standing(vm), [], "no snapshot stays")
        tap.is_(lab.sim.state()["sessions"]["open"], 0, "nor a session")
        history(lab, [d["change_id"] for d in third.json()["disks"]])
        tap.ok(lab.vmferry("verify", "app01").status == 0, "the replica verifies")
        tap.ok("app01" in lab.vmferry("vm", "list").out, "and is listed")
        full = lab.vmferry("replicate", "app01", "--full", "--progress=json", "--json")
        totals(full, [d["capacity"] for d in full.json()["disks"]], "a comparison looks at all")
        lab.vmferry("point", "delete", "app01", "--all")
        anew = lab.vmferry("replicate", "app01", "--progress=json", "--json")
        totals(anew, [d["bytes"] for d in anew.json()["disks"]], "a first copy moves what is in use")
        same_amounts(lab, anew)


def same_amounts(lab, result):
    """Whatever was read again to verify it."""
    job = result.json()["job"]
    moved = [d["bytes"] for d in result.json()["disks"]]
    rows = lab.query("SELECT bytes_done, bytes_total FROM job_disks WHERE job_id = ? "
                     "ORDER BY disk_id", job)
    tap.is_([tuple(r) for r in rows], [(b, b) for b in moved], "job_disks: the bytes that moved")
    rows = lab.query("SELECT bytes_done, bytes_total FROM replication_jobs WHERE id = ?", job)
    tap.is_(tuple(rows[0]), (sum(moved), sum(moved)), "replication_jobs: their sum")


def totals(result, expected, what):
    records = [json.loads(line) for line in result.err.splitlines() if '"label"' in line]
    last = {r["label"]: r["bytes_total"] for r in records}
    tap.is_([last[k] for k in sorted(last)], expected, "progress: %s" % what)


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
        lab.vmferry("recover", "--pause")
        lab.vmferry("job", "cancel", lab.newest_job())
        lab.sim.control("grow", vm=other.path, key=2000, size=40 * MiB)
        result = lab.replicate("early")
        tap.is_(sync_types(result), {2000: "initial"}, "grown before its first copy was complete")
        tap.ok(lab.all_same(other), "the replica is right")


SECTIONS = (ordinary, powered_off, reset, identity, growth)

if __name__ == "__main__":
    tap.run(lambda: [f() for f in SECTIONS if not sys.argv[1:] or f.__name__ in sys.argv[1:]])
