"""The simulator as a server: do its sessions, datastore, tasks and faults behave as its
manual says, and does it start and end well."""

import base64
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from xml.etree import ElementTree as ET

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import plain  # noqa: E402
import simlib  # noqa: E402
import tap  # noqa: E402
from plain import client_of, fault_of, vm_ref  # noqa: E402
from simlib import MiB  # noqa: E402
from tap import is_, ok, raises  # noqa: E402


def sessions(sim):
    client = plain.Client(sim)
    now = lambda: client.call("CurrentTime", ("ServiceInstance", "ServiceInstance"))
    is_(fault_of(now), "NotAuthenticated", "nothing without a login")
    is_(fault_of(lambda: client.login(password="no")), "InvalidLogin", "a wrong password")
    ok(client.set_cookie, "gets a cookie all the same")
    is_(fault_of(now), "NotAuthenticated", "that is good for nothing")
    client.login()
    ok('session="' in client.set_cookie and now() is not None, "a quoted cookie")
    is_(fault_of(client.login), "InvalidLogin", "a second login is refused")
    sim.set(cookie="plain")
    other = client_of(sim)
    ok('"' not in other.set_cookie, "a plain cookie")
    sim.set(cookie="quoted", exact_cookie=True)
    is_(
        fault_of(lambda: other.call("CurrentTime", ("ServiceInstance", "ServiceInstance"))),
        "NotAuthenticated",
        "a server that wants its quotes back",
    )
    sim.set(exact_cookie=False)
    sim.control("expire")
    is_(fault_of(now), "NotAuthenticated", "expired")
    _, missing = client.properties(("Folder", "group-d1"), ["name", "parent"])
    is_(
        missing,
        {"name": "NotAuthenticated", "parent": "NotAuthenticated"},
        "properties are missing then",
    )
    client = client_of(sim)
    sim.set(session_calls=3)
    outcomes = [
        fault_of(lambda: client.call("CurrentTime", ("ServiceInstance", "ServiceInstance")))[:4]
        for _ in range(5)
    ]
    is_(outcomes, ["none"] * 3 + ["NotA"] * 2, "a session that ends after three calls")
    sim.set(session_calls=0)
    client = client_of(sim)
    client.call("Logout", ("SessionManager", "SessionManager"))
    is_(
        fault_of(lambda: client.call("CurrentTime", ("ServiceInstance", "ServiceInstance"))),
        "NotAuthenticated",
        "logged out",
    )


def styles(sim, vm):
    shapes = []
    for style in ("vcenter", "local", "prefixed"):
        sim.set(style=style)
        client = client_of(sim)
        _, _, data = client.raw("RetrieveServiceContent", ("ServiceInstance", "ServiceInstance"))
        shapes.append((data[:2000].count(b"xsi"), data.count(b"v:"), client.disks(vm_ref(vm))))
        is_(
            fault_of(lambda: client.properties(("VirtualMachine", "vm-0"), ["name"])),
            "ManagedObjectNotFound",
            "style %s: a fault" % style,
        )
    ok(shapes[0][2] == shapes[1][2] == shapes[2][2], "three styles say the same")
    ok(shapes[0][0] and not shapes[1][0] and shapes[2][1], "each in its own way")
    sim.set(style="vcenter")
    client = client_of(sim, accept="gzip")
    _, headers, _ = client.raw("RetrieveServiceContent", ("ServiceInstance", "ServiceInstance"))
    is_(headers["Content-Encoding"], "gzip", "gzip when it is accepted")
    sim.set(gzip=False)
    _, headers, _ = client.raw("RetrieveServiceContent", ("ServiceInstance", "ServiceInstance"))
    is_(headers["Content-Encoding"], None, "or not")
    sim.set(gzip=True)


def requests(sim, client, vm):
    this = vm_ref(vm)
    order = "<name>n</name><quiesce>false</quiesce><memory>false</memory>"
    is_(
        fault_of(lambda: client.call("CreateSnapshot_Task", this, order)),
        "InvalidRequest",
        "a wrong order",
    )
    is_(
        fault_of(lambda: client.call("CreateSnapshot_Task", this, "<name>n</name>")),
        "InvalidRequest",
        "too little",
    )
    is_(fault_of(lambda: client.call("Nonsense", this)), "MethodNotFound", "an unknown operation")
    is_(
        fault_of(lambda: client.properties(this, ["config.nonsense"])),
        "InvalidProperty",
        "an unknown property",
    )
    status, _, data = client.http("POST", "/sdk", "no XML")
    ok(status == 500 and b"InvalidRequestFault" in data, "no XML")
    values, _ = client.properties(
        this, ["config.firmware", "config.vAppConfig", "config.hardware.device[2000].key"]
    )
    is_(
        {k: v.text for k, v in values.items()},
        {"config.firmware": "bios", "config.hardware.device[2000].key": "2000"},
        "set, unset, and one of an array",
    )


def faults(sim, client):
    now = lambda: client.call("CurrentTime", ("ServiceInstance", "ServiceInstance"))
    raw = lambda: client.raw("CurrentTime", ("ServiceInstance", "ServiceInstance"))
    sim.fault("CurrentTime", "http", status=503)
    status, headers, data = raw()
    is_(
        (status, headers["Content-Type"], data[:6]),
        (503, "text/html", b"<html>"),
        "HTTP 503 with HTML",
    )
    ok(now() is not None, "once")
    sim.fault("CurrentTime", "drop", after=1, times=2)
    now()
    raises(now, "RemoteDisconnected", "a connection that breaks, after a call that passes")
    raises(now, "RemoteDisconnected", "twice")
    now()
    sim.fault("CurrentTime", "truncate")
    raises(lambda: ET.fromstring(raw()[2]), "ParseError", "XML that is cut off")
    sim.fault("CurrentTime", "doctype")
    data = raw()[2]
    ok(
        b"<!DOCTYPE" in data and b"&i;" in data and b"<!ENTITY i " in data,
        "an XML bomb",
        data[:300],
    )
    sim.fault("CurrentTime", "entity")
    ok(b"file:///etc/passwd" in raw()[2], "an external entity")
    sim.fault("CurrentTime", "answer", xml="")
    is_(len(now()), 0, "an empty answer")
    sim.fault("CurrentTime", "replace", find="<returnval>", **{"with": "<returnval>x"})
    is_(text_of(now())[:1], "x", "a changed answer")
    sim.fault("CurrentTime", "delay", seconds=0.3)
    started = time.monotonic()
    now()
    ok(time.monotonic() - started >= 0.3, "a slow answer")
    sim.fault("CurrentTime", "expire")
    is_(fault_of(now), "NotAuthenticated", "a session that ends just then")
    client.login()
    for name in (
        "FileFault",
        "NotFound",
        "MethodNotFound",
        "ManagedObjectNotFound",
        "NotAuthenticated",
    ):
        sim.fault("Current*", "fault", fault=name)
        is_(fault_of(now), name, "fault %s" % name)
    raises(lambda: sim.fault("x", "nonsense"), simlib.ControlError, "an unknown fault is refused")
    raises(lambda: sim.fault("x", "drop", tiems=3), simlib.ControlError, "a rule with a slip, too")
    raises(lambda: sim.set(star="moon"), simlib.ControlError, "and a setting")
    is_(sim.state()["faults_met"], 15, "rules that were met are counted")


def text_of(element):
    return plain.text(element, "returnval")


def task_faults(sim, client, vm):
    this = vm_ref(vm)
    sim.fault("CreateSnapshot_Task", "fault", fault="TaskInProgress", times=2)
    sim.fault("CreateSnapshot_Task", "fault", fault="TaskInProgress", where="task", after=0)
    outcomes = [fault_of(lambda: client.snapshot(this, "s")) for _ in range(3)]
    is_(
        outcomes, ["TaskInProgress"] * 3, "another task is in progress, said at once or by the task"
    )
    snapshot = client.snapshot(this, "s")
    sim.fault(
        "RemoveSnapshot_Task", "fault", fault="GenericVmConfigFault", where="task", message="no way"
    )
    e = raises(lambda: client.remove(snapshot), "SoapFault", "a snapshot that can't be removed")
    is_((e.name, e.text), ("GenericVmConfigFault", "no way"), "and why")
    is_(len(vm.snapshots()), 1, "stays")
    sim.fault("RemoveSnapshot_Task", "drop-answer")
    raises(lambda: client.remove(snapshot), "RemoteDisconnected", "a removal whose answer is lost")
    ok(wait_for(lambda: not vm.snapshots()), "is done all the same")
    sim.fault("CreateSnapshot_Task", "stuck", vm="app01")
    task = client.start(
        "CreateSnapshot_Task", this, "<name>s</name><memory>false</memory><quiesce>false</quiesce>"
    )
    time.sleep(0.2)
    is_(client.state_of(task), "running", "a task that is stuck")
    sim.control("release-tasks")
    snapshot = ("VirtualMachineSnapshot", client.wait(task))
    sim.fault("RemoveSnapshot_Task", "queued")
    task = client.start("RemoveSnapshot_Task", snapshot, "<removeChildren>false</removeChildren>")
    time.sleep(0.2)
    is_(client.state_of(task), "queued", "a task that does not start")
    client.call("CancelTask", task)
    is_(fault_of(lambda: client.wait(task)), "RequestCanceled", "can be cancelled")
    vm.control("remove-snapshot", name="s")
    is_(
        fault_of(lambda: client.remove(snapshot)),
        "ManagedObjectNotFound",
        "a snapshot that vanished",
    )
    vm.control("vm", quiesce="FilesystemQuiesceFault")
    is_(
        fault_of(lambda: client.snapshot(this, "q", quiesce=True)),
        "FilesystemQuiesceFault",
        "no quiescing",
    )
    client.remove(client.snapshot(this, "q"))
    vm.control(
        "vm", quiesce="ok", missing_privileges=["VirtualMachine.Provisioning.DiskRandomRead"]
    )
    snapshot = client.snapshot(this, "p")
    is_(
        fault_of(lambda: client.changed(this, snapshot, 2000, 0, "*")),
        "NoPermission",
        "a missing privilege",
    )
    vm.control("vm", missing_privileges=[])
    client.remove(snapshot)


def wait_for(condition):
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.02)
    return False


def datastore(sim, client, vm):
    path = "/folder/%s?dcPath=DC0&dsName=datastore1"

    def get(name, method="GET", **headers):
        return client.http(method, path % name, headers={k: v for k, v in headers.items()})

    name = "app01/app01-flat.vmdk"
    is_(get(name)[0], 500, "what the guest writes to is locked")
    vm.write_randomly(2000)
    snapshot = client.snapshot(vm_ref(vm), "frozen")
    sha256 = vm.sha256(2000, "frozen")
    vm.write_randomly(2000)
    ok(vm.sha256(2000) != sha256, "the guest writes while a snapshot stands")
    sim.forget()
    is_(hashlib.sha256(get(name)[2]).hexdigest(), sha256, "the base stays what it was")
    size = vm.disk(2000)["capacity"]
    is_(vm.bytes_read(2000), size, "bytes read are counted")
    status, headers, body = get(name, "HEAD")
    is_(
        (status, headers["Content-Length"], headers["Accept-Ranges"], body),
        (200, str(size), "bytes", b""),
        "HEAD",
    )
    is_(vm.bytes_read(2000), size, "and reads nothing")
    with open(vm.file(2000, "frozen"), "rb") as f:
        frozen = f.read()
    for header, start, end in (
        ("bytes=5-20", 5, 21),
        ("bytes=%d-" % (size - 7), size - 7, size),
        ("bytes=-9", size - 9, size),
        ("bytes=%d-%d" % (size - 1, size + 500), size - 1, size),
    ):
        status, headers, body = get(name, Range=header)
        told = headers["Content-Range"]
        is_(
            (status, told, body),
            (206, "bytes %d-%d/%d" % (start, end - 1, size), frozen[start:end]),
            header,
        )
    is_(get(name, Range="bytes=%d-" % size)[0], 416, "a range behind the end")
    is_(get("app01/nothing-flat.vmdk")[0], 404, "no such file")
    is_(client.http("GET", path.replace("DC0", "DC9") % name)[0], 404, "no such datacenter")
    ok(b'VMFS "app01-flat.vmdk"' in get("app01/app01.vmdk")[2], "descriptors are text")
    sim.fault("folder", "truncate", keep=1000)
    raises(lambda: get(name), "IncompleteRead", "a body that is cut off")
    sim.fault("folder", "http", status=503)
    is_(get(name)[0], 503, "an error on demand")
    authorize(sim, path % name, sha256)
    client.remove(snapshot)
    is_(get(name)[0], 500, "locked again without the snapshot")
    vm.control("vm", power="poweredOff")
    is_(hashlib.sha256(get(name)[2]).hexdigest(), vm.sha256(2000), "free when the VM is off")
    vm.control("vm", power="poweredOn")
    chains(sim, client, get)


def names(sim, client):
    """Datacenters in folders, VMs of the same name, names that no file has."""
    for path, center, file in (
        ("/Europe/DC1/vm/web", "Europe/DC1", "web/web-flat.vmdk"),
        ("/Europe/DC1/vm/old/web", "Europe/DC1", "web_1/web_1-flat.vmdk"),
        ("/DC0/vm/a%2fb c", "DC0", "a_b%20c/a_b%20c-flat.vmdk"),
    ):
        vm = sim.add_vm(path, [MiB], power="poweredOff")
        vm.write(2000, 0, path.encode())
        found = client.call(
            "FindByInventoryPath",
            ("SearchIndex", "SearchIndex"),
            "<inventoryPath>%s</inventoryPath>" % path,
        )
        is_(plain.text(found, "returnval"), vm.moref, "%s by its path" % path)
        status, _, body = client.http(
            "GET", "/folder/%s?dcPath=%s&dsName=datastore1" % (file, center)
        )
        is_((status, body[: len(path)]), (200, path.encode()), "its disk")
        name = client.properties(vm_ref(vm), ["name"])[0]["name"].text
        is_(name, path.rpartition("/")[2], "its name")


def authorize(sim, path, sha256):
    other = plain.Client(sim)
    status, headers, _ = other.http("GET", path)
    is_((status, headers["WWW-Authenticate"][:5]), (401, "Basic"), "not without a login")
    for password, expected in ((sim.password, 200), ("wrong", 401)):
        word = base64.b64encode(("%s:%s" % (sim.user, password)).encode()).decode()
        status, _, body = other.http("GET", path, headers={"Authorization": "Basic " + word})
        is_(status, expected, "with the %s password" % ("right" if expected == 200 else "wrong"))
        if expected == 200:
            is_(hashlib.sha256(body).hexdigest(), sha256, "the same bytes")


def chains(sim, client, get):
    vm = sim.add_vm("chain", [MiB], snapshots=["old"])
    this = vm_ref(vm)
    vm.write(2000, 0, b"after old")
    new = client.snapshot(this, "new")
    seen, live = client.disks(new)[2000], client.disks(this)[2000]
    is_(seen["file"], "[datastore1] chain/chain-000001.vmdk", "a snapshot over another is a delta")
    is_(seen["parent"], "[datastore1] chain/chain.vmdk", "with a parent")
    is_(live["file"], "[datastore1] chain/chain-000002.vmdk", "and the VM writes to the next")
    base = get("chain/chain-flat.vmdk")[2]
    is_(hashlib.sha256(base).hexdigest(), vm.sha256(2000, "old"), "the base is the oldest's")
    is_(get("chain/chain-000001-delta.vmdk")[0], 500, "a delta can't be read")
    ok(
        b'parentFileNameHint="chain.vmdk"' in get("chain/chain-000001.vmdk")[2],
        "its descriptor can",
    )
    vm.control("remove-snapshot", name="old")
    is_(
        fault_of(lambda: client.disks(("VirtualMachineSnapshot", "snapshot-1"))),
        "ManagedObjectNotFound",
        "gone",
    )
    is_(client.disks(new)[2000]["parent"], None, "the chain is shorter when one goes")
    base = get("chain/chain-flat.vmdk")[2]
    is_(hashlib.sha256(base).hexdigest(), vm.sha256(2000, "new"), "the base is the next one's")
    client.remove(new)


def many_at_once(sim, vm):
    """Threads that read, write, look and take snapshots."""
    wrong = []

    def work(n):
        try:
            client = client_of(sim)
            rng = random.Random(n)
            for _ in range(10):
                vm.write_randomly(2000, rng, count=2)
                client.disks(vm_ref(vm))
                try:
                    client.remove(client.snapshot(vm_ref(vm), "t%d" % n))
                except plain.SoapFault as e:
                    if e.name != "TaskInProgress":
                        raise
        except Exception as e:
            wrong.append(repr(e))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while vm.snapshots():
        vm.control("remove-snapshot", name=vm.snapshots()[0]["moref"])
    ok(not wrong, "four clients at once", *wrong)


def esxi():
    with simlib.Simulator(esxi=True, generate=3) as sim:
        vm = sim.add_vm("app01", [MiB])
        client = plain.Client(sim)
        answer = client.call("RetrieveServiceContent", ("ServiceInstance", "ServiceInstance"))
        is_(plain.text(answer, "returnval/about/apiType"), "HostAgent", "an ESXi host")
        client.login()
        found = client.call(
            "FindByInventoryPath",
            ("SearchIndex", "ha-searchindex"),
            "<inventoryPath>ha-datacenter/vm/app01</inventoryPath>",
        )
        is_(plain.text(found, "returnval"), vm.moref, "its VM by path")
        client.snapshot(vm_ref(vm), "s")
        status, _, body = client.http(
            "GET", "/folder/app01/app01-flat.vmdk?dcPath=ha-datacenter&dsName=datastore1"
        )
        is_((status, len(body)), (200, MiB), "its datastore")


def strangers():
    """Control from another host: by our own address, when there is one."""
    address = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    address = next((a for a in address if ":" not in a), None)
    if address is None:
        return tap.skip("control wants its token", "this host has no address")
    with simlib.Simulator(listen=address + ":0") as sim:
        asked = lambda token: simlib.control(sim.control_url, None, token)["snapshots_standing"]
        raises(lambda: asked("guess"), simlib.ControlError, "control wants its token")
        is_(asked(sim.token), 0, "and is content with it")


def slips():
    """How it starts when it is started wrongly."""
    for argv, wanted in (
        (["--style", "moon"], "invalid choice"),
        (["--listen", "here"], "--listen HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "port must be"),
        (["--gzip", "perhaps"], "on or off"),
        (["--vm", "/nonexistent"], "No such file"),
        (["--cert", "/nonexistent"], "No such file"),
    ):
        sim = os.path.join(os.path.dirname(HERE), "sim")
        result = subprocess.run(
            [sim, "--listen", "127.0.0.1:0", *argv], capture_output=True, text=True
        )
        said = result.stderr.splitlines()[-1]
        ok(result.returncode in (1, 2) and wanted in said, "sim %s" % " ".join(argv), result.stderr)


def making():
    """A directory that is made for it, and not made over."""
    make = os.path.join(os.path.dirname(HERE), "make-vm")
    with tempfile.TemporaryDirectory() as directory:
        vm = os.path.join(directory, "a vm")

        def made(*sizes):
            words = [make, vm, "/DC0/vm/it's", *sizes]
            return subprocess.run(words, capture_output=True, text=True)

        ok("whole sectors" in made("513").stderr, "make-vm: no disk of 513 bytes")
        is_(made("64K", "512").returncode, 0, "two disks")
        image = os.path.join(vm, "disk0.raw")
        with open(image, "r+b") as f:
            f.write(b"mine")
        ok("a VM already" in made("1M").stderr, "one that is there is not made over")
        with open(image, "rb") as f:
            is_(f.read(4), b"mine", "its disk is as it was")


def ending():
    started = time.monotonic()
    sim = simlib.Simulator(generate=1)
    took = time.monotonic() - started
    ok(took < 3, "it starts in %.2f s" % took)
    vm = sim.add_vm("app01", [MiB])
    vm.control("snapshot", name="s")
    kept = os.path.join(vm.directory, ".moments")
    ok(os.listdir(kept), "a snapshot is a file")
    sim.process.terminate()
    is_(sim.process.wait(10), 0, "SIGTERM ends it")
    ok(not os.path.exists(kept), "and nothing stays")
    sim.stop()


def main():
    with simlib.Simulator() as sim:
        vm = sim.add_vm("app01", [2 * MiB, MiB], cbt=True)
        sessions(sim)
        styles(sim, vm)
        client = client_of(sim)
        requests(sim, client, vm)
        sim.forget()
        faults(sim, client)
        task_faults(sim, client, vm)
        datastore(sim, client, vm)
        names(sim, client)
        many_at_once(sim, vm)
    esxi()
    strangers()
    slips()
    making()
    ending()


tap.run(main)
