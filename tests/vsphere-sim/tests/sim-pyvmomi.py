"""The simulator, seen by VMware's own client library: login, inventory, disks, change
tracking, snapshots, change queries, tasks; and every message by VMware's schema."""

import glob
import os
import random
import ssl
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import schema  # noqa: E402
import simlib  # noqa: E402
import tap  # noqa: E402
from simlib import GRAIN, KiB, MiB  # noqa: E402
from tap import is_, ok, raises, skip  # noqa: E402

try:
    from pyVim import connect
    from pyVim.task import WaitForTask
    from pyVmomi import vim, vmodl
except ImportError:
    tap.skip_all("python3-pyvmomi is not installed")

Disk = vim.vm.device.VirtualDisk


def disks(holder):
    return {d.key: d for d in holder.config.hardware.device if isinstance(d, Disk)}


def login(sim, version=None):
    kwargs = {"preferredApiVersions": [version]} if version else {}
    context = ssl.create_default_context(cafile=sim.ca_file)
    return connect.SmartConnect(
        host=sim.host, port=sim.port, user=sim.user, pwd=sim.password, sslContext=context, **kwargs
    )


def result_of(task):
    WaitForTask(task)
    return task.info.result


def all_areas(vm, snapshot, disk, change_id):
    """Page by page to the end; the areas and the number of pages."""
    areas, pages, at = [], 0, 0
    while at < disk.capacityInKB * 1024 + 1023 and at < capacity_of(disk):
        answer = vm.QueryChangedDiskAreas(snapshot, disk.key, at, change_id)
        if answer.startOffset != at or answer.length <= 0:
            raise AssertionError("the answer is %s" % answer)
        areas += [(a.start, a.length) for a in answer.changedArea]
        at, pages = answer.startOffset + answer.length, pages + 1
    return areas, pages


def capacity_of(disk):
    return disk.capacityInBytes or disk.capacityInKB * 1024


def differing(old, new):
    """Grains whose bytes differ, by looking."""
    result = []
    with open(old, "rb") as a, open(new, "rb") as b:
        n = 0
        while True:
            x, y = a.read(GRAIN), b.read(GRAIN)
            if not x and not y:
                return result
            if x != y:
                result.append(n)
            n += 1


def grains(areas):
    return sorted({n for s, l in areas for n in range(s // GRAIN, (s + l - 1) // GRAIN + 1)})


# The walk, for one version of the API


def walk(sim, vm, version):
    si = login(sim, version)
    content = si.RetrieveContent()
    is_(content.about.apiType, "VirtualCenter", "login; it is a vCenter")
    is_(content.sessionManager.currentSession.userName, sim.user, "the session is ours")
    inventory(content, vm)
    read_everything(si, content, vm)
    machine = content.searchIndex.FindByInventoryPath(vm.path)
    tracking(sim, vm, machine)
    changes(sim, vm, machine)
    tasks(sim, vm, machine, content)
    power(vm, machine)
    connect.Disconnect(si)


def inventory(content, vm):
    index = content.searchIndex
    machine = index.FindByInventoryPath(vm.path)
    is_(machine._moId, vm.moref, "a VM by its path")
    is_(index.FindByInventoryPath("/DC0/vm/nobody"), None, "a miss is nothing, and no fault")
    found = index.FindByUuid(None, vm.instance_uuid, True, True)
    is_(found, machine, "a VM by its instance UUID")
    is_(index.FindByUuid(None, vm.instance_uuid, True, False), None, "which is no BIOS UUID")
    twins = index.FindAllByUuid(None, machine.config.uuid, True, False)
    is_(len(twins), 2, "BIOS UUIDs are not unique")
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    names = sorted(v.name for v in view.view)
    is_(names, ["app01", "far", "twin"], "a container view has all of them")
    by_view = retrieve(content, view, "view", vim.view.ContainerView, 1)
    is_(by_view, names, "their names through the view, an object a page")
    view.Destroy()
    raises(lambda: view.view, "ManagedObjectNotFound", "a destroyed view is gone")
    is_(by_folders(content), names, "their names by walking folders")


def retrieve(content, start, path, start_type, limit):
    query = vmodl.query.PropertyCollector
    traversal = query.TraversalSpec(name="t", type=start_type, path=path, skip=False)
    spec = query.FilterSpec(
        propSet=[query.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])],
        objectSet=[query.ObjectSpec(obj=start, skip=True, selectSet=[traversal])],
    )
    return all_pages(content, spec, limit)


def by_folders(content):
    query = vmodl.query.PropertyCollector
    again = query.SelectionSpec(name="folders")
    to_vms = query.TraversalSpec(
        name="vms", type=vim.Datacenter, path="vmFolder", skip=True, selectSet=[again]
    )
    folders = query.TraversalSpec(
        name="folders",
        type=vim.Folder,
        path="childEntity",
        skip=False,
        selectSet=[again, query.SelectionSpec(name="vms")],
    )
    spec = query.FilterSpec(
        propSet=[query.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])],
        objectSet=[
            query.ObjectSpec(obj=content.rootFolder, skip=True, selectSet=[folders, to_vms])
        ],
    )
    return all_pages(content, spec, 2)


def all_pages(content, spec, limit):
    collector = content.propertyCollector
    options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=limit)
    page = collector.RetrievePropertiesEx([spec], options)
    names = []
    while page:
        if len(page.objects) > limit:
            raise AssertionError("%d objects on a page" % len(page.objects))
        names += [o.propSet[0].val for o in page.objects]
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
    return sorted(names)


def read_everything(si, content, vm):
    """Every property that the simulator has can be read."""
    view = content.viewManager.CreateContainerView(content.rootFolder, [], True)
    objects = [si, content.rootFolder, content.sessionManager, content.authorizationManager]
    objects += list(view.view)
    read, failed = 0, []
    for one in objects:
        for name in OBJECTS.get(type(one).__name__, []):
            try:
                getattr(one, name)
                read += 1
            except Exception as e:
                failed.append("%s %s: %s" % (one, name, getattr(e, "msg", e)))
    ok(not failed and read > 100, "%d properties of %d objects" % (read, len(objects)), *failed)
    view.Destroy()


OBJECTS = {
    "vim.ServiceInstance": ["content", "serverClock", "capability"],
    "vim.SessionManager": ["currentSession", "sessionList"],
    "vim.AuthorizationManager": ["roleList", "privilegeList"],
    "vim.Folder": ["name", "parent", "childEntity", "childType", "overallStatus"],
    "vim.Datacenter": ["name", "vmFolder", "hostFolder", "datastore", "network", "parent"],
    "vim.ComputeResource": ["name", "host", "resourcePool", "datastore", "network"],
    "vim.ResourcePool": ["name", "owner", "vm"],
    "vim.HostSystem": ["name", "runtime", "config", "summary", "vm", "datastore", "network"],
    "vim.Datastore": ["name", "summary", "vm"],
    "vim.Network": ["name", "summary", "vm", "host"],
    "vim.VirtualMachine": [
        p.name for p in vim.VirtualMachine._GetPropertyList() if p.name != "environmentBrowser"
    ],
}


def tracking(sim, vm, machine):
    ok(not machine.config.changeTrackingEnabled, "change tracking is off")
    is_(
        [d.backing.changeId for d in disks(machine).values()], [None] * 3, "no disk has a change id"
    )
    WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    ok(machine.config.changeTrackingEnabled, "it is turned on")
    is_(disks(machine)[2000].backing.changeId, None, "but not in force until the VM is stunned")
    snapshot = result_of(machine.CreateSnapshot_Task("stun", "", False, False))
    WaitForTask(snapshot.RemoveSnapshot_Task(removeChildren=False))
    is_(machine.snapshot, None, "no snapshot stays")
    ids = [d.backing.changeId for d in disks(machine).values()]
    ok(all(ids) and len({i.rpartition("/")[0] for i in ids}) == 3, "now each disk has its own", ids)


def changes(sim, vm, machine):
    rng = random.Random(sim.requests("Login"))
    for key in vm.keys():
        vm.write_randomly(key, rng)
    one = result_of(machine.CreateSnapshot_Task("one", "text", False, False))
    ids = {key: d.backing.changeId for key, d in disks(one).items()}
    tree = machine.snapshot.rootSnapshotList[0]
    is_((tree.name, tree.description, tree.snapshot), ("one", "text", one), "a snapshot stands")
    live = disks(machine)[2000].backing
    ok(live.fileName.endswith("app01-000001.vmdk"), "the VM writes to a delta", live.fileName)
    is_(live.parent.fileName, disks(one)[2000].backing.fileName, "whose parent is the snapshot's")
    ok(live.changeId != ids[2000], "the VM's change id is not the snapshot's")
    WaitForTask(one.RemoveSnapshot_Task(removeChildren=False))
    raises(lambda: one.config, "ManagedObjectNotFound", "a removed snapshot is gone")
    for key in vm.keys():
        vm.write_randomly(key, rng, count=20)
    vm.write(2017, vm.disk(2017)["capacity"] - 512, rng.randbytes(512))
    two = result_of(machine.CreateSnapshot_Task("two", "", False, True))
    sim.set(areas_per_answer=3, slice=2 * MiB)
    for key, disk in disks(two).items():
        areas, pages = all_areas(machine, two, disk, ids[key])
        truth = differing(vm.file(key, "one"), vm.file(key, "two"))
        is_(
            grains(areas),
            truth,
            "disk %d: %d areas on %d pages are what differs" % (key, len(areas), pages),
        )
    areas, _ = all_areas(machine, two, disks(two)[2017], ids[2017])
    is_(sum(areas[-1]), capacity_of(disks(two)[2017]), "the last area ends where the disk does")
    used, _ = all_areas(machine, two, disks(two)[2000], "*")
    empty = os.path.join(vm.directory, "empty")
    with open(empty, "wb") as f:
        f.truncate(vm.disk(2000)["capacity"])
    missed = set(differing(empty, vm.file(2000, "two"))) - set(grains(used))
    ok(used and not missed, '"*" has all data', missed)
    faults(machine, two, ids)
    sim.set(areas_per_answer=2000, slice=0)
    WaitForTask(two.RemoveSnapshot_Task(removeChildren=False))


def faults(machine, snapshot, ids):
    query = machine.QueryChangedDiskAreas
    end = capacity_of(disks(snapshot)[2000])
    e = raises(
        lambda: query(snapshot, 2000, end, ids[2000]), "InvalidArgument", "offset at the end"
    )
    is_(e.invalidProperty, "startOffset", "…is the wrong argument")
    e = raises(lambda: query(snapshot, 1999, 0, ids[2000]), "InvalidArgument", "an unknown disk")
    is_(e.invalidProperty, "deviceKey", "…is the wrong argument")
    e = raises(
        lambda: query(snapshot, 2000, 0, "nonsense"), "InvalidArgument", "nonsense for an id"
    )
    is_(e.invalidProperty, "changeId", "…is the wrong argument")
    raises(lambda: query(snapshot, 2000, 0, ids[2001]), "FileFault", "another disk's change id")


def tasks(sim, vm, machine, content):
    vm.control("vm", quiesce="ApplicationQuiesceFault")
    task = machine.CreateSnapshot_Task("q", "", False, True)
    raises(
        lambda: WaitForTask(task), "ApplicationQuiesceFault", "a snapshot that can't be quiesced"
    )
    is_(task.info.state, "error", "is a task that failed")
    vm.control("vm", quiesce="ok")
    sim.fault("CreateSnapshot_Task", "slow", seconds=0.5)
    seen = []
    task = machine.CreateSnapshot_Task("slow", "", False, False)
    busy = lambda: machine.CreateSnapshot_Task("other", "", False, False)
    raises(busy, "TaskInProgress", "one task at a time")
    WaitForTask(task, onProgressUpdate=lambda t, p: seen.append(p))
    ok(len([p for p in seen if isinstance(p, int) and 0 < p < 100]) > 1, "progress is told", seen)
    WaitForTask(task.info.result.RemoveSnapshot_Task(removeChildren=False))
    updates(machine, content)


def updates(machine, content):
    """Waiting with an end: nothing happened, something happened, cancelled."""
    collector = content.propertyCollector
    query = vmodl.query.PropertyCollector
    spec = query.FilterSpec(
        propSet=[query.PropertySpec(type=vim.VirtualMachine, pathSet=["config.annotation"])],
        objectSet=[query.ObjectSpec(obj=machine)],
    )
    watching = collector.CreateFilter(spec, True)
    first = collector.WaitForUpdatesEx("", query.WaitOptions(maxWaitSeconds=1))
    is_(first.filterSet[0].objectSet[0].kind, "enter", "a filter tells what there is")
    nothing = collector.WaitForUpdatesEx(first.version, query.WaitOptions(maxWaitSeconds=0))
    is_(nothing, None, "an empty answer when nothing changed")
    spec = vim.vm.ConfigSpec(annotation=os.urandom(8).hex())
    threading.Timer(0.2, lambda: machine.ReconfigVM_Task(spec)).start()
    second = collector.WaitForUpdatesEx(first.version, query.WaitOptions(maxWaitSeconds=20))
    is_(second.filterSet[0].objectSet[0].changeSet[0].val, spec.annotation, "then what changed")
    stale = lambda: collector.WaitForUpdatesEx("77", query.WaitOptions(maxWaitSeconds=1))
    raises(stale, "InvalidCollectorVersion", "a version that never was")
    threading.Timer(0.2, collector.CancelWaitForUpdates).start()
    raises(lambda: collector.WaitForUpdatesEx(second.version), "RequestCanceled", "cancelled")
    watching.Destroy()


def power(vm, machine):
    raises(machine.PowerOnVM_Task, "InvalidPowerState", "a VM that is on can't be turned on")
    machine.ShutdownGuest()
    ok(wait_for(lambda: machine.runtime.powerState == "poweredOff"), "its guest shuts down")
    raises(machine.ShutdownGuest, "InvalidPowerState", "once")
    WaitForTask(machine.PowerOnVM_Task())
    vm.control("vm", tools="guestToolsNotRunning")
    raises(machine.ShutdownGuest, "ToolsUnavailable", "no tools, no shutdown")
    WaitForTask(machine.PowerOffVM_Task())
    is_(machine.runtime.powerState, "poweredOff", "power off")
    vm.control("vm", tools="guestToolsRunning", power="poweredOn")


def wait_for(condition):
    done = threading.Event()
    for _ in range(100):
        if condition():
            return True
        done.wait(0.05)
    return False


def sessions(sim):
    password, sim.password = sim.password, "wrong"
    raises(lambda: login(sim), "InvalidLogin", "a wrong password")
    sim.password = password
    si = login(sim)
    sim.control("expire")
    raises(si.CurrentTime, "NotAuthenticated", "an expired session")
    raises(lambda: si.content.rootFolder.name, "NotAuthenticated", "also for a property")
    is_(sim.state()["sessions"]["open"], 0, "no session stays open")


def privileges(sim, vm):
    wanted = "VirtualMachine.State.CreateSnapshot"
    vm.control("vm", missing_privileges=[wanted])
    si = login(sim)
    content = si.RetrieveContent()
    machine = content.searchIndex.FindByInventoryPath(vm.path)
    manager, key = content.authorizationManager, content.sessionManager.currentSession.key
    answer = manager.HasPrivilegeOnEntities([machine], key, [wanted, "System.Read"])
    is_([p.isGranted for p in answer[0].privAvailability], [False, True], "privileges are told")
    roles = {r.roleId: list(r.privilege) for r in manager.roleList}
    ok(wanted not in roles[machine.effectiveRole[0]], "by the role as well")
    e = raises(
        lambda: machine.CreateSnapshot_Task("n", "", False, False), "NoPermission", "and enforced"
    )
    is_(e.privilegeId, wanted, "with the one that is missing")
    vm.control("vm", missing_privileges=[])
    connect.Disconnect(si)


def messages(directory, kind):
    result = []
    for path in sorted(glob.glob("%s/*.%s.xml" % (directory, kind))):
        with open(path, "rb") as f:
            result.append(f.read())
    return result


def valid(directory, what):
    if schema.schema_file() is None:
        skip(what + " pass VMware's schema", "it is not here")
        return
    for kind in ("request", "response"):
        every = messages(directory, kind)
        bad = schema.errors(every)
        ok(
            not bad and len(every) > 50,
            "%s: %d %ss pass VMware's schema" % (what, len(every), kind),
            *bad[:10]
        )


def main():
    with simlib.Simulator(task_seconds=0.01) as sim, tempfile.TemporaryDirectory() as captured:
        last = {"size": 9 * MiB + 2 * KiB, "key": 2017, "controller": 1001, "unit": 1}
        twin = "4210aaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
        vm = sim.add_vm("/DC0/vm/app01", [24 * MiB, 8 * MiB, last], bios_uuid=twin)
        sim.add_vm("/Europe/DC1/vm/twin", [MiB, MiB], bios_uuid=twin)
        sim.add_vm("/DC0/vm/web/blue/far", [MiB])
        sim.set(capture=captured)
        for style, cookie in (("vcenter", "quoted"), ("local", "plain"), ("prefixed", "quoted")):
            tap.diag("API 4.1, style " + style)
            sim.set(style=style, cookie=cookie)
            walk(sim, vm, "vim.version.version6")
            vm.control("cbt", on=False)
        sim.set(capture="", style="vcenter")
        valid(captured, "API 4.1")
        tap.diag("API 6.7")
        walk(sim, vm, None)
        sessions(sim)
        privileges(sim, vm)
        is_(sim.state()["snapshots_standing"], 0, "no snapshot stays")
    is_(sim.process.returncode, 0, "the simulator ends in peace")


tap.run(main)
