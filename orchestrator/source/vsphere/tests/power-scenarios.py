"""The power of a VM: what a live failover does with it is done once and for sure, whatever
becomes of the answers."""

import os
import threading
import time

from scenarios import Failed, fails, main, run, scenario
from simlib import MiB


def power(sim, vm="app01"):
    return run(sim, "power", vm).strip()


def wait_until_off(sim):
    for _ in range(100):
        if power(sim) == "off":
            return
        time.sleep(0.05)
    raise AssertionError("it is not off")


@scenario("off and on again, and each twice")
def both(sim):
    vm = sim.add_vm("app01", [MiB])
    assert power(sim) == "on"
    run(sim, "on", "app01")
    assert sim.requests("PowerOnVM_Task") == 0
    for _ in range(2):
        run(sim, "off", "app01")
        assert power(sim) == "off" and vm.state()["power"] == "poweredOff"
    assert sim.requests("PowerOffVM_Task") == 1
    for _ in range(2):
        run(sim, "on", "app01")
        assert power(sim) == "on" and vm.state()["power"] == "poweredOn"
    assert sim.requests("PowerOnVM_Task") == 1


@scenario("a guest that is asked takes its time, and is off when it is off", shutdown_seconds=0.5)
def guest(sim):
    sim.add_vm("app01", [MiB])
    run(sim, "shutdown", "app01")
    assert power(sim) == "on"
    run(sim, "shutdown", "app01")
    wait_until_off(sim)
    sim.forget()
    run(sim, "shutdown", "app01")
    assert sim.requests("ShutdownGuest") == 0
    run(sim, "on", "app01")
    time.sleep(0.7)
    assert power(sim) == "on", "an old request turned it off"


@scenario("nobody in the guest: said as such, and the power stays as it is")
def nobody(sim):
    vm = sim.add_vm("app01", [MiB], tools="guestToolsNotRunning")
    text = fails(sim, "shutdown", "app01")
    assert "ENOTSUP: " in text and "ToolsUnavailable" in text and "powered off" in text, text
    vm.control("vm", tools="guestToolsRunning")
    sim.fault("ShutdownGuest", "fault", fault="NotSupported")
    assert "ENOTSUP: " in fails(sim, "shutdown", "app01")
    sim.fault("ShutdownGuest", "fault", fault="NoPermission")
    text = fails(sim, "shutdown", "app01")
    assert "ENOTSUP" not in text and "NoPermission" in text, text
    assert power(sim) == "on"


@scenario("it shuts down by itself between our question and our request")
def race(sim):
    vm = sim.add_vm("app01", [MiB])
    sim.fault("ShutdownGuest", "fault", fault="InvalidPowerState")
    text = fails(sim, "shutdown", "app01")
    assert "InvalidPowerState" in text and "ENOTSUP" not in text, text
    for request, op, wanted, now in (("shutdown", "ShutdownGuest", "off", "poweredOff"),
                                     ("off", "PowerOffVM_Task", "off", "poweredOff"),
                                     ("on", "PowerOnVM_Task", "on", "poweredOn")):
        vm.control("vm", power="poweredOff" if wanted == "on" else "poweredOn")
        sim.fault(op, "delay", seconds=1.5)
        sim.forget()
        timer = threading.Timer(0.9, vm.control, ["vm"], {"power": now})
        timer.start()
        run(sim, request, "app01")
        timer.join()
        assert sim.requests(op) == 1 and power(sim) == wanted, (request, sim.requests(op))


@scenario("answers that are lost: done once, or once more when nothing was done")
def lost(sim):
    sim.add_vm("app01", [MiB])
    for request, op, wanted in (("off", "PowerOffVM_Task", "off"), ("on", "PowerOnVM_Task", "on")):
        sim.forget()
        sim.fault(op, "drop-answer")
        run(sim, request, "app01")
        assert power(sim) == wanted and sim.requests(op) == 1, sim.requests(op)
    sim.forget()
    sim.fault("PowerOffVM_Task", "drop")
    run(sim, "off", "app01")
    assert power(sim) == "off" and sim.requests("PowerOffVM_Task") == 2
    run(sim, "on", "app01")
    sim.fault("ShutdownGuest", "drop-answer")
    run(sim, "shutdown", "app01")
    wait_until_off(sim)


@scenario("a session that ends with the request")
def session(sim):
    sim.add_vm("app01", [MiB])
    for request, op, wanted in (("off", "PowerOffVM_Task", "off"), ("on", "PowerOnVM_Task", "on"),
                                ("shutdown", "ShutdownGuest", "off")):
        sim.fault(op, "expire")
        run(sim, request, "app01")
        if wanted == "off":
            wait_until_off(sim)
        assert power(sim) == wanted


@scenario("another task is in progress: waited out, a bounded time")
def busy(sim):
    vm = sim.add_vm("app01", [MiB])
    for op, request in (("PowerOffVM_Task", "off"), ("PowerOnVM_Task", "on"),
                        ("ShutdownGuest", "shutdown")):
        sim.fault(op, "fault", fault="TaskInProgress")
        run(sim, request, "app01")
    wait_until_off(sim)
    vm.control("vm", power="poweredOn")
    sim.fault("PowerOffVM_Task", "fault", fault="TaskInProgress", times=-1)
    text = fails(sim, "off", "app01")
    assert "gave up after waiting" in text and "TaskInProgress" in text, text
    assert power(sim) == "on"


@scenario("a task that fails is an error with its reason, and is not tried again")
def failing(sim):
    sim.add_vm("app01", [MiB])
    sim.fault("PowerOffVM_Task", "fault", where="task", fault="GenericVmConfigFault",
              message="The host is tired.")
    text = fails(sim, "off", "app01")
    assert "PowerOffVM_Task on VM app01" in text and "The host is tired." in text, text
    assert power(sim) == "on" and sim.requests("PowerOffVM_Task") == 1
    run(sim, "off", "app01")
    sim.fault("PowerOnVM_Task", "fault", fault="NoPermission")
    assert "NoPermission" in fails(sim, "on", "app01")
    assert power(sim) == "off"


@scenario("a server that says it is done and it is not")
def liar(sim):
    sim.add_vm("app01", [MiB])
    sim.fault("RetrievePropertiesEx", "replace", find=">poweredOff<", times=-1,
              **{"with": ">poweredOn<"})
    text = fails(sim, "off", "app01")
    assert "says that it is done, and it is not" in text or "InvalidPowerState" in text, text


@scenario("a host that does not answer: nobody knows, and nothing is done")
def disconnected(sim):
    vm = sim.add_vm("app01", [MiB], power="poweredOff")
    sim.fault("RetrievePropertiesEx", "replace", find=">connected<", times=-1,
              **{"with": ">disconnected<"})
    for request in ("power", "off", "on", "shutdown"):
        assert "nobody knows whether it runs" in fails(sim, request, "app01")
    assert vm.state()["power"] == "poweredOff" and sim.requests("PowerOnVM_Task") == 0


@scenario("a stop does not keep a VM from being powered on again")
def cancelled(sim):
    sim.add_vm("app01", [MiB])
    os.environ["VMFERRY_TEST_CANCEL"] = "1"
    try:
        try:
            run(sim, "off", "app01")
            raise AssertionError("it went on")
        except Failed as e:
            assert e.status == 3, e
        assert sim.state()["vms"][0]["power"] == "poweredOn"
        sim.control("vm", vm="app01", power="poweredOff")
        run(sim, "on", "app01")
    finally:
        del os.environ["VMFERRY_TEST_CANCEL"]
    assert power(sim) == "on"


@scenario("a suspended VM is none that is off")
def suspended(sim):
    sim.add_vm("app01", [MiB], power="suspended")
    assert power(sim) == "suspended"
    assert "InvalidPowerState" in fails(sim, "shutdown", "app01")
    run(sim, "off", "app01")
    assert power(sim) == "off"


GUEST = """#!/bin/sh
# A guest whose power is a word in a file, as somebody's hypervisor has it.
echo "$2 $3 $4" >>"$1/calls"
case $2 in
state) cat "$1/power" ;;
shutdown) [ ! -e "$1/deaf" ] || exit 69; (sleep 0.4; echo off >"$1/power") >/dev/null 2>&1 & ;;
power-on) echo on >"$1/power" ;;
power-off) echo off >"$1/power" ;;
esac
"""


@scenario("a real guest behind the simulator: its power is the VM's")
def real_guest(sim):
    here = os.path.join(sim.directory, "guest")
    os.mkdir(here)

    def guest(name, text):
        with open(os.path.join(here, name), "w") as f:
            f.write(text)

    def now():
        with open(os.path.join(here, "power")) as f:
            return f.read().strip()

    guest("run", GUEST)
    guest("power", "on\n")
    vm = sim.add_vm("app01", [MiB], power="poweredOff",
                    power_command=["/bin/sh", os.path.join(here, "run"), here])
    assert power(sim) == "on" and vm.state()["power"] == "poweredOn"
    run(sim, "off", "app01")
    assert now() == "off" and power(sim) == "off"
    run(sim, "on", "app01")
    assert now() == "on" and power(sim) == "on"
    run(sim, "shutdown", "app01")
    wait_until_off(sim)
    assert now() == "off"
    guest("power", "on\n")  # by somebody else
    time.sleep(0.3)
    assert power(sim) == "on"
    guest("deaf", "")
    assert "ToolsUnavailable" in fails(sim, "shutdown", "app01")
    with open(os.path.join(here, "calls")) as f:
        assert "power-off app01 %s\n" % vm.instance_uuid in f.read()


def listed(sim):
    return sim.state()["vms"][0]


@scenario("out of service: a new name, a note behind what was written, and each once")
def retired(sim):
    sim.add_vm("app01", [MiB], annotation="Owner: Ann <ann@example.org> & team", power="poweredOff")
    sim.add_vm("app02", [MiB])
    note = "Moved to KVM by vmferry <2026-11-21>: keep it off"
    for _ in range(2):
        run(sim, "retire", listed(sim)["instance_uuid"], "app01 (moved 50% a/b)", note)
        now = listed(sim)
        assert now["annotation"] == "Owner: Ann <ann@example.org> & team\n" + note, now
        assert now["path"] == "/DC0/vm/app01 (moved 50%25 a%2fb)", now
    assert sim.requests("Rename_Task") == 1 and sim.requests("ReconfigVM_Task") == 1
    uuid = listed(sim)["instance_uuid"]
    assert run(sim, "power", uuid).strip() == "off"
    assert run(sim, "resolve", "app01 (moved 50% a/b)").split()[0] == uuid
    assert "DuplicateName" in fails(sim, "retire", uuid, "app02", note)
    for op in ("Rename_Task", "ReconfigVM_Task"):
        sim.forget()
        sim.fault(op, "drop-answer")
        run(sim, "retire", uuid, "again " + op, "note of " + op)
        assert sim.requests(op) == 1, op
    assert listed(sim)["annotation"].count("note of") == 2
    sim.fault("Rename_Task", "fault", where="task", fault="InvalidName", message="No such name.")
    assert "No such name." in fails(sim, "retire", uuid, "third", "third note")


main()
