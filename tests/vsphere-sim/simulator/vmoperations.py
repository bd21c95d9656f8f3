"""The operations of VMs and snapshots, and of the tasks that they are."""

from .operations import operation
from .soap import Fault
from .values import Enum, Long, Obj, Ref
from .world import not_found


# What can be, and the privilege that it needs.
RECONFIGURABLE = {
    "changeTrackingEnabled": "VirtualMachine.Config.ChangeTracking",
    "annotation": "VirtualMachine.Config.Annotation",
}


@operation
def ReconfigVM_Task(call):
    vm = call.world.find_vm(call.this)
    wanted = {}
    for element in call.args.child("spec").children():
        if element.name not in RECONFIGURABLE:
            raise Fault("NotSupported", "This server can't reconfigure %s" % element.name)
        call.need(RECONFIGURABLE[element.name], vm)
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
            raise Fault(
                "InvalidArgument",
                "A specified parameter was not correct: deviceKey",
                invalidProperty="deviceKey",
            )
        moment = snapshot.moments[key] if snapshot else None
        areas, capacity = disk.areas_since(change_id, moment)
    if not 0 <= start < capacity:
        raise Fault(
            "InvalidArgument",
            "A specified parameter was not correct: startOffset",
            invalidProperty="startOffset",
        )
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
    return call.task(vm, lambda: vm.switch(wanted))


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
    vm.shut_down(call.simulator.later)


@operation
def Rename_Task(call):
    vm = call.world.find_vm(call.this)
    name = call.args.text("newName")
    if not name or len(name) > 80:
        raise Fault("InvalidName", name=name or "")
    return call.task(vm, lambda: call.world.rename_vm(vm, name))


@operation
def CancelTask(call):
    task = call.world.tasks.get(call.this.id)
    if task is None:
        raise not_found(call.this)
    if task.rule is None:
        raise Fault("NotSupported")
    task.cancel()
