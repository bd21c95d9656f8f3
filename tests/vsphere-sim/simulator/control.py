"""What a test may ask of the simulator beside the API: look at everything, change VMs and
disks behind the client's back, order faults. POST /control with {"do": VERB, …} or a list
of such; GET /control shows the state. The verbs are the functions below."""

import os

from .disks import Disk
from .machine import disk_with_defaults

VERBS = {}


def verb(function):
    VERBS[function.__name__.rstrip("_").replace("_", "-")] = function
    return function


def perform(simulator, order):
    if isinstance(order, list):
        return [perform(simulator, one) for one in order]
    order = dict(order)
    name = order.pop("do", None)
    if name not in VERBS:
        raise ValueError("do what? One of: %s" % ", ".join(sorted(VERBS)))
    result = VERBS[name](simulator, **order) if name != "fault" else fault(simulator, order)
    simulator.world.notify()
    return {"ok": True} if result is None else result


# What there is


def state(simulator):
    world, sessions = simulator.world, simulator.sessions
    return {
        "settings": {k: v for k, v in simulator.settings.items() if k != "password"},
        "requests": dict(simulator.requests),
        "faults_met": simulator.rules.met,
        "sessions": {
            "open": len(sessions.open()),
            "logins": sessions.logins,
            "failed": sessions.failed,
            "logouts": sessions.logouts,
            "expired": sessions.expired,
            "views": sum(len(s.views) for s in sessions.open()),
            "filters": sum(len(s.filters) for s in sessions.open()),
        },
        "snapshots_standing": sum(len(vm.snapshots) for vm in list(world.vms.values())),
        "tasks": {
            t.id: {"op": t.op, "vm": t.vm.name, "state": t.state}
            for t in list(world.tasks.values())[-50:]
        },
        "vms": [vm_state(vm) for vm in shown(world)],
    }


def shown(world):
    """Every VM with content, and a few of those without."""
    every = list(world.vms.values())
    return [vm for vm in every if vm.directory] + [vm for vm in every if not vm.directory][:20]


def vm_state(vm):
    return {
        "moref": vm.id,
        "path": vm.path,
        "instance_uuid": vm.d["instance_uuid"],
        "power": vm.power,
        "annotation": vm.d["annotation"],
        "cbt": vm.d["cbt"],
        "disks": [disk_state(disk) for disk in list(vm.disks)],
        "snapshots": [
            snapshot_state(s, s in vm.snapshots)
            for s in list(vm.history)[-200:]
            if s in vm.snapshots or vm.settings["keep_moments"]
        ],
    }


def disk_state(disk):
    return {
        "key": disk.key,
        "path": disk.path,
        "capacity": disk.capacity,
        "uuid": disk.description["uuid"],
        "file": disk.file_name(disk.layers - 1),
        "change_id": disk.change_id(),
        "bytes_read": disk.bytes_read,
        "distinct_bytes_read": disk.distinct_read(),
        "reads": disk.reads,
        "largest_read": disk.largest_read,
    }


def snapshot_state(snapshot, standing):
    return {
        "moref": snapshot.id,
        "name": snapshot.name,
        "standing": standing,
        "quiesced": snapshot.quiesced,
        "disks": {
            str(key): {
                "path": moment.file,
                "change_id": moment.change_id,
                "capacity": moment.capacity,
            }
            for key, moment in snapshot.moments.items()
        },
    }


# Faults and settings


def fault(simulator, order):
    """A rule: see rules.py."""
    simulator.rules.add(order)


VERBS["fault"] = fault


@verb
def clear_faults(simulator):
    simulator.rules.clear()


@verb
def set_(simulator, **changes):
    if "esxi" in changes:
        raise ValueError("what it is can't be changed")
    simulator.settings.update(simulator.checked(changes))


@verb
def expire(simulator):
    """All sessions end now."""
    simulator.sessions.expire_all()


@verb
def forget(simulator):
    """Statistics start at zero again."""
    simulator.requests.clear()
    simulator.rules.met = 0
    for vm in list(simulator.world.vms.values()):
        for disk in vm.disks:
            disk.forget_reads()


@verb
def release_tasks(simulator):
    """Tasks that a rule holds go on."""
    for task in list(simulator.world.tasks.values()):
        task.release.set()


# VMs


def find(simulator, name):
    for vm in list(simulator.world.vms.values()):
        if name in (vm.id, vm.path, vm.name, vm.d["instance_uuid"]):
            return vm
    raise ValueError("there is no VM %s" % name)


def find_disk(vm, key):
    disk = vm.disk(key)
    if disk is None:
        raise ValueError("%s has no disk %s" % (vm.name, key))
    return disk


@verb
def vm(simulator, vm, **changes):
    """Change what vm.json said: power, tools, quiesce, missing_privileges, hardware …"""
    one = find(simulator, vm)
    with one.lock:
        for name, value in changes.items():
            if name not in one.d or name in ("disks", "path", "name", "cbt"):
                raise ValueError("%s can't be changed so" % name)
            if name == "power":
                one.set_power(value)
            one.d[name] = value


@verb
def add_vm(simulator, dir):
    return vm_state(simulator.world.add_vm(dir))


@verb
def remove_vm(simulator, vm):
    simulator.world.remove_vm(find(simulator, vm))


@verb
def power_cut(simulator, vm):
    """The host lost its power: off at once, and the changes tracked are lost."""
    find(simulator, vm).set_power("poweredOff", clean=False)


@verb
def cbt(simulator, vm, on):
    """Turn tracking on or off, at once."""
    one = find(simulator, vm)
    with one.lock:
        one.set_tracking(on)
        one.stun()


@verb
def reset_cbt(simulator, vm, key=None):
    one = find(simulator, vm)
    with one.lock:
        for disk in one.disks if key is None else [find_disk(one, key)]:
            if disk.tracking:
                disk.reset_tracking()


@verb
def snapshot(simulator, vm, name, quiesce=False):
    """One that somebody else makes."""
    one = find(simulator, vm)
    return snapshot_state(one.create_snapshot(name, "", quiesce), True)


@verb
def remove_snapshot(simulator, vm, name):
    """One that somebody else removes: to its user, it vanishes."""
    one = find(simulator, vm)
    with one.lock:
        for found in [s for s in one.snapshots if name in (s.name, s.id)]:
            one.remove_snapshot(found)


# Disks


@verb
def grow(simulator, vm, key, size, reset=False, wrong=False):
    """`reset`: tracking starts afresh. `wrong`: it goes on, and tells less than is true."""
    one = find(simulator, vm)
    with one.lock:
        disk = find_disk(one, key)
        if one.snapshots:
            raise ValueError("a disk with snapshots can't grow")
        if size < disk.capacity:
            raise ValueError("a disk can't shrink")
        os.truncate(disk.path, size)
        if reset and disk.tracking:
            disk.reset_tracking()
        disk.wrong = disk.wrong or wrong


@verb
def shrink(simulator, vm, key, size):
    """No host does it; a disk exchanged under its name looks so."""
    disk = find_disk(find(simulator, vm), key)
    os.truncate(disk.path, size)


@verb
def add_disk(simulator, vm, **description):
    one = find(simulator, vm)
    with one.lock:
        description = disk_with_defaults(one.d, len(one.disks), description)
        if one.disk(description["key"]):
            raise ValueError("%s has a disk %d" % (one.name, description["key"]))
        disk = Disk(one, description, one.directory, simulator.settings)
        if not os.path.exists(disk.path):
            raise ValueError("%s does not exist" % disk.path)
        one.disks.append(disk)
        if one.d["cbt"]:
            disk.start_tracking()
        return disk_state(disk)


@verb
def remove_disk(simulator, vm, key):
    one = find(simulator, vm)
    with one.lock:
        one.disks.remove(find_disk(one, key))


@verb
def disk(simulator, vm, key, **changes):
    """Change a disk's description: key, unit, uuid, controller, mode, label, vmdk …"""
    one = find(simulator, vm)
    with one.lock:
        found = find_disk(one, key)
        for name, value in changes.items():
            name = {"new_key": "key"}.get(name, name)
            if name not in found.description or name == "file":
                raise ValueError("a disk's %s can't be changed" % name)
            found.description[name] = value


@verb
def order(simulator, vm, keys):
    """The order in which the disks are listed."""
    one = find(simulator, vm)
    with one.lock:
        if sorted(keys) != sorted(d.key for d in one.disks):
            raise ValueError("these are not the keys of %s's disks" % one.name)
        one.disks.sort(key=lambda d: keys.index(d.key))
