# The client's layers against the simulator: every style of server that it plays, sessions
# that end, tasks that hang, 10,000 VMs; and every request of all that by VMware's schema.
import os
import re
import resource
import subprocess
import sys
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../../.."))
sys.path.insert(0, TOP + "/tests/vsphere-sim")

import simlib
from scripted import CLIENT, done, equal, like, ok, tmp

SNAPSHOT = "<name>{}</name><description>d</description><memory>false</memory><quiesce>false</quiesce>"
captured = 0


def client(sim, *command, options=(), capture=True):
    """Each run's messages are captured in a directory of its own."""
    global captured
    captured += capture
    run = subprocess.run(
        [CLIENT, "--fingerprint", sim.fingerprint, "--user", sim.user, *options, sim.server, *command],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "VMFERRY_TEST_PASSWORD": sim.password,
             "VMFERRY_VSPHERE_CAPTURE": f"{tmp}/capture/{captured}" if capture else ""})
    if sim.password in run.stdout + run.stderr:
        ok(False, "a password is printed", run)
    return run.stdout, run.stderr, run.returncode


def snapshot(vm, name, *more, **keywords):
    return client(vm.sim, "task", "VirtualMachine:" + vm.moref, "CreateSnapshot_Task",
                  "CreateSnapshot_Task on VM " + vm.path.rpartition("/")[2], SNAPSHOT.format(name),
                  *more, **keywords)


def nothing_left(sim, name):
    sessions = sim.state()["sessions"]
    equal((sessions["open"], sessions["views"], sessions["filters"]), (0, 0, 0), f"{name}: no session, view, filter is left")


def names(count, first=0):
    return ["app%02d" % n for n in range(first, count)]


def styles():
    for options in ({}, {"style": "local", "cookie": "plain", "exact_cookie": True},
                    {"style": "prefixed", "exact_cookie": True}, {"esxi": True, "version": "5.5.0", "gzip": False}):
        with simlib.Simulator(**options) as sim:
            vms = [sim.add_vm(name, [simlib.MiB]) for name in names(5)]
            out, err, status = client(sim, "login")
            ok(status == 0 and out.endswith("host\n" if options.get("esxi") else "vcenter\n"), f"{options}: login", (out, err))
            sim.set(page_size=2)
            out, err, status = client(sim, "all", "VirtualMachine", "name")
            equal((status, sorted(line.split()[2] for line in out.splitlines())), (0, names(5)), f"{options}: all VMs, in pages")
            out, err, status = snapshot(vms[0], "one")
            ok(status == 0 and "result VirtualMachineSnapshot:" + vms[0].last_snapshot()["moref"] in out, f"{options}: a task", (out, err))
            out, err, status = snapshot(vms[0], "two", "+", "properties", "VirtualMachine:" + vms[0].moref, "name snapshot")
            ok(status == 0 and "one" in out and "two" in out, f"{options}: properties", (out, err))
            nothing_left(sim, str(options))


def listed(out):
    return [line.split()[2] for line in out.splitlines() if not line.startswith("fault")]


def expiry(sim, vms):
    sim.set(page_size=2)
    for op in ("ContinueRetrievePropertiesEx", "CreateContainerView", "RetrievePropertiesEx", "WaitForUpdatesEx", "CreateFilter",
               "CreateSnapshot_Task", "DestroyView"):
        sim.clear_faults()
        sim.fault(op, "expire", after=1 if op.startswith("Continue") else 0)
        out, err, status = client(sim, "all", "VirtualMachine", "name")
        equal((status, listed(out)), (0, names(7)), f"session ends at {op}: every VM once, in order")
        out, err, status = snapshot(vms[1], "at " + op)
        ok(status == 0 and vms[1].last_snapshot()["name"] == "at " + op, f"session ends at {op}: one snapshot", (out, err))
        nothing_left(sim, op)
    equal(len(vms[1].snapshots()), 7, "... and not one more")
    sim.clear_faults()
    sim.set(session_calls=4)
    sim.forget()
    out, err, status = client(sim, "all", "VirtualMachine", "name")
    equal((status, listed(out)), (3, names(6)), "sessions too short for the listing: an error")
    ok(sim.requests("Login") <= 4, "... soon", sim.state()["requests"])
    sim.set(session_calls=0, page_size=1000)


def tasks(sim, vms):
    vm = vms[2]
    sim.fault("CreateSnapshot_Task", "slow", seconds=1)
    out, err, status = snapshot(vm, "slow")
    ok(status == 0 and any(0 < int(line.split(": ")[1][:-1]) < 100 for line in out.splitlines() if line.endswith("%")),
       "a slow task shows its progress", (out, err))
    sim.fault("CreateSnapshot_Task", "fault", where="task", fault="ApplicationQuiesceFault", message="The guest is not quiet.")
    out, err, status = snapshot(vm, "loud")
    equal((status, err), (1, "vsphere-client: CreateSnapshot_Task on VM app02: ApplicationQuiesceFault: The guest is not quiet.\n"),
          "a task that fails says which, where and why")
    sim.fault("CreateSnapshot_Task", "fault", fault="InvalidState", message="Not now.")
    out, err, status = snapshot(vm, "no")
    equal((status, err), (1, "vsphere-client: CreateSnapshot_Task on VM app02: CreateSnapshot_Task: InvalidState: Not now.\n"),
          "... as does one that does not begin")
    sim.fault("CreateFilter", "fault", fault="MethodNotFound", times=2)
    sim.fault("WaitForUpdatesEx", "fault", fault="InvalidCollectorVersion", after=1)
    for name in ("polled", "polled again", "polled later"):
        out, err, status = snapshot(vm, name)
        ok(status == 0 and "result VirtualMachineSnapshot:" in out, f"without updates: {name}", (out, err))
    sim.clear_faults()
    before = len(vm.snapshots())
    sim.fault("CreateSnapshot_Task", "stuck")
    out, err, status = snapshot(vm, "stuck", options=["--cancel-after", "1500"])
    equal(status, 3, "a task that hangs, and a cancel")
    like(err, "CreateSnapshot_Task on VM app02: waiting for the task: .*stopped on request", "... it says so")
    nothing_left(sim, "... after it")
    out, err, status = snapshot(vm, "busy", options=["--busy", "1"])
    equal(status, 3, "another task is in progress")
    like(err, "gave up after waiting 1 s.*TaskInProgress", "... it says so")
    threading.Timer(1.5, lambda: sim.control("release-tasks")).start()
    out, err, status = snapshot(vm, "in the end")
    equal((status, [s["name"] for s in vm.snapshots()[before:]]), (0, ["stuck", "in the end"]), "... and is waited out")
    sim.fault("CreateSnapshot_Task", "drop-answer")
    out, err, status = snapshot(vm, "perhaps")
    time.sleep(0.5)
    equal((status, [s["name"] for s in vm.snapshots()].count("perhaps")), (3, 1), "the answer is lost: one snapshot, not two")
    like(err, "nobody knows whether it was done", "... it says so")


def spoilt(sim, vms):
    for how, keep in (("truncate", {}), ("doctype", {}), ("entity", {})):
        sim.fault("RetrievePropertiesEx", how, **keep)
        out, err, status = client(sim, "properties", "VirtualMachine:" + vms[0].moref, "name", capture=False)
        equal(status, 1, f"an answer with {how}: an error")
        ok("root:" not in err, "... and no file of ours in it", err)
    sim.clear_faults()
    sim.fault("RetrievePropertiesEx", "http", status=503, times=2)
    equal(client(sim, "properties", "VirtualMachine:" + vms[0].moref, "name", capture=False)[2], 0, "busy for a while: asked again")
    sim.fault("RetrievePropertiesEx", "drop", times=2)
    equal(client(sim, "properties", "VirtualMachine:" + vms[0].moref, "name", capture=False)[2], 0, "hung up on: asked again")
    sim.clear_faults()


def large():
    with simlib.Simulator(generate=10000, generated_disks=2) as sim:
        began = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        out, err, status = client(sim, "all", "VirtualMachine", "name config.hardware.device", capture=False)
        lines = out.split("\n")
        listed = [line.split()[0] for line in lines if " name " in line]
        equal((status, len(listed), len(set(listed))), (0, 10000, 10000), "10,000 VMs with their disks")
        ok(sim.requests("ContinueRetrievePropertiesEx") == 19, "... in 20 pages", sim.state()["requests"])
        print("# %.1f s" % (time.monotonic() - began))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        ok(os.environ.get("SANITIZE") or os.environ.get("VALGRIND") or peak == before or peak < 96 << 10,
           "... one page at a time in memory", (before, peak))
        nothing_left(sim, "10,000 VMs")
    with simlib.Simulator(generate=3, generated_disks=60) as sim:
        out, err, status = client(sim, "all", "VirtualMachine", "name config.hardware.device", capture=False)
        equal((status, out.count(" name ")), (0, 3), "VMs with 60 disks")


def schema():
    tool = None
    top = TOP
    while top != "/" and not tool:
        top = os.path.dirname(top)
        candidate = top + "/shared/vsphere/validate-soap"
        tool = candidate if os.access(candidate, os.X_OK) else None
    requests = sorted(os.path.join(d, f) for d, _, files in os.walk(f"{tmp}/capture") for f in files if f.endswith("-request.xml"))
    ops = sorted({os.path.basename(f).split("-")[1] for f in requests})
    equal(ops, ["CancelRetrievePropertiesEx", "ContinueRetrievePropertiesEx", "CreateContainerView", "CreateFilter",
                "CreateSnapshot_Task", "DestroyPropertyFilter", "DestroyView", "Login", "Logout", "RetrievePropertiesEx",
                "RetrieveServiceContent", "WaitForUpdatesEx"], "every request of these layers was sent")
    if not tool:
        return ok(True, "requests by the schema # SKIP ../shared/vsphere/validate-soap, VMware's schema, is not there")
    shapes = {re.sub(r"[0-9a-f-]*[0-9][0-9a-f-]*", "0", open(f).read()): f for f in requests}
    run = subprocess.run([tool, *shapes.values()], capture_output=True, text=True)
    equal((run.returncode, run.stdout), (0, f"{len(shapes)} valid, 0 invalid\n"), "every request passes VMware's schema")


os.mkdir(f"{tmp}/capture")
styles()
with simlib.Simulator() as sim:
    vms = [sim.add_vm(name, [simlib.MiB]) for name in names(7)]
    expiry(sim, vms)
    tasks(sim, vms)
    spoilt(sim, vms)
    sim.set(page_size=2)
    out, err, status = client(sim, "all", "VirtualMachine", "name", "--stop", "3")
    equal((status, len(out.splitlines())), (0, 3), "a listing that is stopped early")
    sim.fault("CreateContainerView", "fault", fault="MethodNotFound")
    out, err, status = client(sim, "all", "VirtualMachine", "name")
    equal((status, listed(out)), (0, names(7)), "a server without views: folders are gone through")
    nothing_left(sim, "the end")
large()
schema()
done()
