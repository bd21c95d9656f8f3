"""The API's operations. Each is a function of the call that gives the response's content:
pairs of element name and value."""

import uuid

from . import collector, services, tasks
from .services import PRIVILEGE, PRIVILEGES
from .soap import Fault
from .values import Array, Enum, Long, Obj, Ref, now, refs
from .world import Entity, is_a, not_found

OPERATIONS = {}
NO_LOGIN = {"RetrieveServiceContent", "Login"}


def operation(function):
    OPERATIONS[function.__name__] = function
    return function


class Call:
    """One request on its way: who calls, on what, with which arguments."""

    def __init__(self, simulator, request, session):
        self.simulator, self.world, self.request = simulator, simulator.world, request
        self.session, self.args, self.this = session, request.call, request.this

    def vm(self):
        """The VM that this is about, also when it is called on a snapshot; or None."""
        if self.this is None:
            return None
        if self.this.type == "VirtualMachineSnapshot":
            return next((v for v in list(self.world.vms.values()) if v.snapshot(self.this.id)), None)
        return self.world.vms.get(self.this.id)

    def need(self, privilege, vm):
        if privilege in vm.d["missing_privileges"]:
            raise Fault("NoPermission", object=Ref("VirtualMachine", vm.id), privilegeId=privilege)

    def task(self, vm, work):
        def named():
            result = work()
            self.world.notify()
            return result

        ref = tasks.start(
            self.world, self.simulator.rules, self.request.op, vm, self.session.user, named
        )
        return [("returnval", ref)]


def perform(call):
    op = call.request.op
    function = OPERATIONS.get(op)
    if function is None:
        raise Fault("MethodNotFound", "Unable to resolve WSDL method name %s" % op,
                    receiver=call.this, method=op)
    if op in PRIVILEGE:
        call.need(PRIVILEGE[op], call.vm() or raise_(not_found(call.this)))
    return function(call) or []


def raise_(e):
    raise e


def not_authenticated(call):
    return Fault("NotAuthenticated", object=call.this, privilegeId="System.View")


def without_login(call):
    """A retrieval of named objects' properties is answered without a login: all are in
    missingSet. None: it is a fault."""
    if call.request.op not in ("RetrievePropertiesEx", "RetrieveProperties"):
        return None
    objects = []
    for spec in call.args.children("specSet"):
        for one in spec.children("objectSet"):
            if one.child("selectSet"):
                return None
            paths = [p for s in spec.children("propSet") for p in s.texts("pathSet")]
            fault = Fault("NotAuthenticated", object=one.ref("obj"), privilegeId="System.View")
            missing = [Obj("MissingProperty", path=p, fault=fault.localized()) for p in paths]
            objects.append(Obj("ObjectContent", obj=one.ref("obj"), missingSet=missing))
    if call.request.op == "RetrieveProperties":
        return [("returnval", objects)]
    return [("returnval", Obj("RetrieveResult", objects=objects))]


def fault_members(call, name, members):
    """What the schema asks of a fault's members, where a rule did not say it."""
    ref = call.this or Ref("VirtualMachine", "")
    needed = {
        "ManagedObjectNotFound": {"obj": call.args.ref("snapshot") or ref},
        "NotAuthenticated": {"object": ref, "privilegeId": "System.View"},
        "NoPermission": {"object": ref, "privilegeId": "System.View"},
        "TaskInProgress": {"task": Ref("Task", "task-1")},
        "FileFault": {"file": "/vmfs/volumes/datastore1/unknown.vmdk"},
        "MethodNotFound": {"receiver": ref, "method": call.request.op},
        "InvalidProperty": {"name": "unknown"},
        "GenericVmConfigFault": {"reason": "vsphere-sim"},
    }
    return dict(needed.get(name, {}), **members)


# Sessions


@operation
def RetrieveServiceContent(call):
    return [("returnval", services.content(call.world))]


@operation
def Login(call):
    sessions = call.simulator.sessions
    call.session = sessions.login(
        call.session, call.args.text("userName"), call.args.text("password")
    )
    return [("returnval", call.session.value())]


@operation
def Logout(call):
    call.simulator.sessions.logout(call.session)


@operation
def SessionIsActive(call):
    key, user = call.args.text("sessionID"), call.args.text("userName")
    alive = any(s.key == key and s.user == user for s in call.simulator.sessions.open())
    return [("returnval", alive)]


@operation
def CurrentTime(call):
    return [("returnval", now())]


# Looking for VMs


@operation
def FindByInventoryPath(call):
    path = call.args.text("inventoryPath").strip("/")
    return [("returnval", call.world.by_path.get(path))]


def by_uuid(call):
    if not call.args.true("vmSearch"):
        return []
    kind = "instance_uuid" if call.args.true("instanceUuid") else "bios_uuid"
    wanted = call.args.text("uuid").lower()
    inside = call.args.ref("datacenter")
    allowed = set(call.world.below(inside)) if inside else None
    found = [
        Ref("VirtualMachine", vm.id)
        for vm in list(call.world.vms.values())
        if vm.d["connected"] and vm.d[kind].lower() == wanted
    ]
    return [ref for ref in found if allowed is None or ref in allowed]


@operation
def FindByUuid(call):
    return [("returnval", ref) for ref in by_uuid(call)[:1]]


@operation
def FindAllByUuid(call):
    return [("returnval", ref) for ref in by_uuid(call)]


@operation
def CreateContainerView(call):
    world, session = call.world, call.session
    container, types = call.args.ref("container"), call.args.texts("type")
    recursive = call.args.true("recursive")
    inside = world.below(container)
    if not recursive:
        entity = world.entities[container.id]
        direct = {getattr(c, "ref", None) or Ref("VirtualMachine", c.id) for c in entity.children}
        inside = [ref for ref in inside if ref in direct]
    view = [r for r in inside if not types or any(is_a(r.type, t) for t in types)]
    id_ = "session[%s]%s" % (session.key, uuid.uuid4())
    session.views[id_] = Entity(
        "ContainerView", id_, id_, None,
        view=refs(view), container=container, type=Array("string", types), recursive=recursive,
    )
    return [("returnval", Ref("ContainerView", id_))]


@operation
def DestroyView(call):
    if call.session.views.pop(call.this.id, None) is None:
        raise not_found(call.this)


# Properties


@operation
def RetrievePropertiesEx(call):
    pending = pending_of(call)
    limit = call.simulator.settings["page_size"] or len(pending) or 1
    options = call.args.child("options")
    asked = options.number("maxObjects") if options else None
    if asked:
        limit = min(limit, asked)
    return [("returnval", collector.page(call.world, call.session, pending, limit))]


def pending_of(call):
    pending = [
        one
        for spec in call.args.children("specSet")
        for one in collector.select(call.world, call.session, spec)
    ]
    pending.reverse()
    return pending


@operation
def RetrieveProperties(call):
    pending = pending_of(call)
    result = collector.page(call.world, call.session, pending, len(pending) or 1)
    return [("returnval", result.members["objects"] if result else None)]


@operation
def ContinueRetrievePropertiesEx(call):
    pending = call.session.tokens.pop(call.args.text("token"), None)
    if pending is None:
        raise Fault("InvalidArgument", invalidProperty="token")
    limit = call.simulator.settings["page_size"] or len(pending)
    return [("returnval", collector.page(call.world, call.session, pending, limit))]


@operation
def CancelRetrievePropertiesEx(call):
    if call.session.tokens.pop(call.args.text("token"), None) is None:
        raise Fault("InvalidArgument", invalidProperty="token")


@operation
def CreateFilter(call):
    session, id_ = call.session, "session[%s]%s" % (call.session.key, uuid.uuid4())
    spec = call.args.child("spec")
    list(collector.select(call.world, session, spec))  # a fault when it makes no sense
    session.filters[id_] = collector.Filter(
        call.world, session, id_, spec, call.args.true("partialUpdates")
    )
    return [("returnval", Ref("PropertyFilter", id_))]


@operation
def DestroyPropertyFilter(call):
    if call.session.filters.pop(call.this.id, None) is None:
        raise not_found(call.this)


@operation
def WaitForUpdatesEx(call):
    options = call.args.child("options")
    seconds = options.number("maxWaitSeconds") if options else None
    limit = call.simulator.settings["wait_limit"]
    seconds = limit if seconds is None else min(seconds, limit)
    result = collector.wait(call.world, call.session, call.args.text("version"), seconds)
    return [("returnval", result)]


@operation
def WaitForUpdates(call):
    result = collector.wait(call.world, call.session, call.args.text("version"), None)
    return [("returnval", result)]


@operation
def CheckForUpdates(call):
    result = collector.wait(call.world, call.session, call.args.text("version"), 0)
    return [("returnval", result)]


@operation
def CancelWaitForUpdates(call):
    call.session.cancel_wait = True
    call.world.notify()


# VMs


@operation
def ReconfigVM_Task(call):
    vm = call.world.find_vm(call.this)
    wanted = {}
    for element in call.args.child("spec").children():
        if element.name not in ("changeTrackingEnabled", "annotation"):
            raise Fault("NotSupported", "This server can't reconfigure %s" % element.name)
        wanted[element.name] = element.text()

    def work():
        if "changeTrackingEnabled" in wanted:
            vm.set_tracking(wanted["changeTrackingEnabled"] in ("true", "1"))
        vm.d["annotation"] = wanted.get("annotation", vm.d["annotation"])

    return call.task(vm, work)


@operation
def CreateSnapshot_Task(call):
    vm = call.world.find_vm(call.this)
    name, text = call.args.text("name"), call.args.text("description", "")
    quiesce = call.args.true("quiesce")
    if not name:
        raise Fault("InvalidName", name="")

    def work():
        return Ref("VirtualMachineSnapshot", vm.create_snapshot(name, text, quiesce).id)

    return call.task(vm, work)


@operation
def RemoveSnapshot_Task(call):
    snapshot = call.world.find_snapshot(call.this)
    children = call.args.true("removeChildren")
    return call.task(snapshot.vm, lambda: snapshot.vm.remove_snapshot(snapshot, children))


@operation
def RemoveAllSnapshots_Task(call):
    vm = call.world.find_vm(call.this)

    def work():
        if vm.snapshots:
            vm.remove_snapshot(vm.snapshots[0], True)

    return call.task(vm, work)


@operation
def QueryChangedDiskAreas(call):
    vm = call.world.find_vm(call.this)
    ref, key = call.args.ref("snapshot"), call.args.number("deviceKey")
    start, change_id = call.args.number("startOffset"), call.args.text("changeId")
    settings = call.simulator.settings
    with vm.lock:
        snapshot = None
        if ref:
            snapshot = vm.snapshot(ref.id)
            if snapshot is None:
                raise not_found(ref)
        disk = vm.disk(key)
        if snapshot and key in snapshot.moments:
            disk = snapshot.moments[key].disk
        if disk is None or (snapshot and key not in snapshot.moments):
            raise Fault("InvalidArgument", "A specified parameter was not correct: deviceKey",
                        invalidProperty="deviceKey")
        moment = snapshot.moments[key] if snapshot else None
        areas, capacity = disk.areas_since(change_id, moment)
    if not 0 <= start < capacity:
        raise Fault("InvalidArgument", "A specified parameter was not correct: startOffset",
                    invalidProperty="startOffset")
    inside, length = disk.page(areas, start, capacity)
    return [
        (
            "returnval",
            Obj(
                "DiskChangeInfo",
                startOffset=Long(start),
                length=Long(length),
                changedArea=[
                    Obj("DiskChangeExtent", start=Long(a), length=Long(n)) for a, n in inside
                ],
            ),
        )
    ]


def power(call, wanted):
    vm = call.world.find_vm(call.this)
    if vm.power == wanted:
        raise Fault(
            "InvalidPowerState",
            "The attempted operation cannot be performed in the current state (%s)."
            % ("Powered on" if wanted == "poweredOn" else "Powered off"),
            requestedState=Enum("VirtualMachinePowerState", wanted),
            existingState=Enum("VirtualMachinePowerState", vm.power),
        )
    return call.task(vm, lambda: vm.set_power(wanted))


@operation
def PowerOffVM_Task(call):
    return power(call, "poweredOff")


@operation
def PowerOnVM_Task(call):
    return power(call, "poweredOn")


@operation
def ShutdownGuest(call):
    vm = call.world.find_vm(call.this)
    if vm.power != "poweredOn":
        raise Fault("InvalidPowerState", existingState=Enum("VirtualMachinePowerState", vm.power))
    if not vm.tools_running():
        raise Fault("ToolsUnavailable")
    call.simulator.later(call.simulator.settings["shutdown_seconds"],
                         lambda: (vm.set_power("poweredOff"), call.world.notify()))


@operation
def CancelTask(call):
    task = call.world.tasks.get(call.this.id)
    if task is None:
        raise not_found(call.this)
    if task.rule is None:
        raise Fault("NotSupported")
    task.cancel()


# Privileges


def granted(call, ref, privilege):
    vm = call.world.vms.get(ref.id)
    return privilege in PRIVILEGES and not (vm and privilege in vm.d["missing_privileges"])


@operation
def HasPrivilegeOnEntities(call):
    wanted = call.args.texts("privId")
    return [
        (
            "returnval",
            Obj(
                "EntityPrivilege",
                entity=e.ref(),
                privAvailability=[
                    Obj("PrivilegeAvailability", privId=p, isGranted=granted(call, e.ref(), p))
                    for p in wanted
                ],
            ),
        )
        for e in call.args.children("entity")
    ]


@operation
def HasPrivilegeOnEntity(call):
    ref = call.args.ref("entity")
    return [("returnval", granted(call, ref, p)) for p in call.args.texts("privId")]


@operation
def FetchUserPrivilegeOnEntities(call):
    return [
        (
            "returnval",
            Obj(
                "UserPrivilegeResult",
                entity=e.ref(),
                privileges=[p for p in PRIVILEGES if granted(call, e.ref(), p)],
            ),
        )
        for e in call.args.children("entities")
    ]
