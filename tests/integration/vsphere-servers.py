#!/usr/bin/python3
"""Servers and their VMs, of all kinds: what they have and lack, what they refuse and whom vmferry
trusts, many of them at once, and what the operator is told of it."""

import os
import pty
import random
import select
import sys
import termios

from vsphere_lab import Lab, MiB, ended, sync_types

import tap

rng = random.Random(20261121)


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

        lab.sim.add_vm("raw", [dict(size=16 * MiB, uuid=""), dict(size=0), dict(size=MiB)])
        ended(lab.vmferry("source", "refresh"), 0, "disks without uuid or size are listed")
        flight = lab.vmferry("preflight", "raw", "--json").json()["findings"]
        blocked = {f["check"]: f["text"] for f in flight if f["level"] == "blocker"}
        tap.ok("no uuid" in blocked["disk-2000"], "the preflight says which", blocked)
        tap.ok("no size" in blocked["disk-2001"], "and which", blocked)
        tap.is_(len(lab.vmferry("vm", "show", "raw", "--json").json()["spec"]["disks"]), 3, "shown")
        tap.is_(lab.replicate("raw").status, 1, "and not replicated")

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
        tap.is_(names("--source=vc", "--folder=DC0/vm/web"), ["web01", "web02"], "without the slash before it, too")
        tap.is_(names("--folder=DC0/vm/we"), [], "and not by a part of its name")
        lab.vmferry("source", "refresh")
        tap.is_(names(), ["db01", "web01", "web02"], "a refresh writes all of them down")
        listed = lab.vmferry("vm", "list", "--json").json()[1]
        tap.is_((listed["power"], listed["tracking"], listed["disks"]), ("on", "off", 2), "facts")
        lab.sim.add_vm("/DC0/vm/" + web.instance_uuid, [MiB])
        lab.vmferry("source", "refresh")
        ended(lab.vmferry("source", "refresh"), 0, "a VM may be called by another one's uuid")
        tap.ok(web.instance_uuid in names() and "web01" in names(), "both are listed")
        tap.ok(web.instance_uuid in names("--source=vc"), "also of the source")
        lab.sim.control("remove-vm", vm="/DC0/vm/db01")
        gone = lab.replicate("db01")
        tap.ok(gone.status == 1 and "it was deleted, or" in gone.err, "one that is gone", gone.err)
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


def away():
    """A server that does not answer: only what goes on when it is repeated is paused."""
    with Lab() as lab:
        lab.sim.add_vm("app01", [MiB])
        lab.add_source()
        lab.sim.process.terminate()
        lab.sim.process.wait()
        here = [("source", "check", "vc"), ("vm", "list", "--source=vc"), ("preflight", "app01")]
        for words in here:
            result = lab.vmferry(*words)
            ended(result, 1, "%s: not reached, failed" % " ".join(words))
            tap.ok("paused" not in result.err, "and nothing is said to be paused", result.err)
        tap.is_(lab.replicate("app01").status, 3, "replicate can be run again")


def typed(argv, prompt, keys):
    """On a terminal: the exit status, what was shown, and whether the terminal echoes afterwards."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.pop("VMFERRY_PASSWORD", None)
        os.execv(argv[0], argv)
    shown = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # it has ended
            break
        if prompt in shown and keys:
            os.write(terminal, keys)
            keys = b""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    echoes = bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
    os.close(terminal)
    return status, shown.decode(), echoes


def prompt():
    with Lab() as lab:
        lab.sim.add_vm("app01", [MiB])
        words = ["source", "add", "vsphere", "vc", "--server", lab.sim.server]
        argv = lab.argv(*words, "--user", lab.sim.user, "--fingerprint", lab.sim.fingerprint)
        status, shown, echoes = typed(argv, b"Password", b"wrong\x03")
        tap.ok(status == 1 and "no password was given" in shown, "^C at a password", status, shown)
        tap.ok(echoes, "leaves a terminal that shows what is typed")
        tap.is_(lab.sim.state()["sessions"]["failed"], 0, "nobody was asked")
        secret = lab.sim.password.encode()
        status, shown, echoes = typed(argv, b"Password", b"wrong\x15" + secret + b"\xc3\xa9\x7f\n")
        tap.ok(status == 0 and "1 VM" in shown, "one that is typed, and mended", status, shown)
        tap.ok(lab.sim.password not in shown and echoes, "is not shown", shown)
        lab.add_source()
        status, shown, echoes = typed(lab.argv("replicate", "app01"), b"[y/N]", b"\x03")
        tap.ok(status == 3, "^C at a question stops a replication", status, shown)


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
        tap.is_(lab.vmferry(*words, "--fingerprint", "0" * 128).status, 2, "a fingerprint too long")
        pinned = [*words, "--fingerprint", lab.sim.fingerprint]
        tap.is_(lab.vmferry(*pinned, "--ssh-port=70000").status, 2, "a port that is none")
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


SECTIONS = (telling, refused, habits, poor, many, inventory, away, prompt, trust)

if __name__ == "__main__":
    tap.run(lambda: [f() for f in SECTIONS if not sys.argv[1:] or f.__name__ in sys.argv[1:]])
