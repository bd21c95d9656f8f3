"""A virtual machine: what vm.json says of it, its disks, its snapshots, its power."""

import json
import os
import random
import shutil
import subprocess
import threading
import time
import uuid

from .disks import Disk
from .soap import Fault
from .values import now

DEFAULTS = {
    "bios_uuid": None,
    "firmware": "bios",
    "secure_boot": False,
    "vtpm": False,
    "encrypted": False,
    "guest_id": "debian11_64Guest",
    "guest_name": "Debian GNU/Linux 11 (64-bit)",
    "memory_mb": 2048,
    "cpus": 2,
    "cores": 1,
    "boot_order": [],  # keys of disks
    "hardware": "vmx-19",
    "power": "poweredOn",
    "tools": "guestToolsRunning",
    "tools_version": "12352",
    "quiesce": "ok",  # or the name of the fault that a quiesced snapshot ends with
    "cbt": False,
    "cbt_supported": True,
    "template": False,
    "connected": True,  # no: the host does not answer, there is no config
    "annotation": "",
    "datastore": "datastore1",
    "missing_privileges": [],
    "power_off_resets_cbt": False,
    "pause": None,  # commands (argv) around the moment of a snapshot, for a real guest
    "resume": None,
    "power_command": None,  # argv; of a real guest, whose power state is the VM's
    "shutdown_seconds": None,  # that its guest takes to shut down; None: as in the settings
    "snapshots": [],  # names of snapshots that stand from the start
}

GUEST_STATES = {"on": "poweredOn", "off": "poweredOff", "suspended": "suspended"}

DISK_DEFAULTS = {
    "controller": 1000,
    "controller_type": "pvscsi",
    "mode": "persistent",
    "thin": True,
    "sharing": "sharingNone",
    "rdm": None,  # or virtualMode, physicalMode
    "encrypted": False,
}


def with_defaults(world, description, directory):
    vm = dict(DEFAULTS, **description)
    if "path" not in vm:
        vm["path"] = "/DC0/vm/" + vm.get("name", os.path.basename(directory))
    vm["name"] = vm["path"].rpartition("/")[2]
    vm["directory"] = world.free_directory(vm["name"])
    seeded = random.Random(vm["path"])
    vm.setdefault("instance_uuid", str(uuid.UUID(int=seeded.getrandbits(128), version=4)))
    vm["bios_uuid"] = vm["bios_uuid"] or str(uuid.UUID(int=seeded.getrandbits(128), version=4))
    vm["disks"] = [disk_with_defaults(vm, n, d) for n, d in enumerate(vm.get("disks", []))]
    vm.setdefault("nics", [{}])
    vm["nics"] = [
        dict(
            {
                "key": 4000 + n,
                "type": "vmxnet3",
                "mac": "00:50:56:%02x:%02x:%02x" % tuple(seeded.randbytes(3)),
                "network": "VM Network",
            },
            **nic,
        )
        for n, nic in enumerate(vm["nics"])
    ]
    return vm


def disk_with_defaults(vm, n, description):
    disk = dict(DISK_DEFAULTS, **description)
    disk.setdefault("key", 2000 + n)
    disk.setdefault("unit", n if n < 7 else n + 1)  # 7 is the controller itself
    disk.setdefault("label", "Hard disk %d" % (n + 1))
    disk.setdefault("datastore", vm["datastore"])
    disk.setdefault(
        "vmdk", "%s/%s%s.vmdk" % (vm["directory"], vm["directory"], "_%d" % n if n else "")
    )
    text = uuid.uuid5(uuid.UUID(vm["instance_uuid"]), "disk-%s" % disk["key"]).hex
    disk.setdefault(
        "uuid", "6000C29%s-%s-%s-%s-%s" % (text[0], text[1:5], text[5:9], text[9:13], text[13:25])
    )
    return disk


class DiskView:
    """How a disk looks: in the VM now, or in a snapshot."""

    def __init__(self, disk, moment=None):
        self.description = dict(moment.description if moment else disk.description)
        self.capacity = moment.capacity if moment else disk.capacity
        self.change_id = moment.change_id if moment else disk.change_id()
        self.moment, self.disk = moment, disk

    def chain(self):
        return self.disk.chain(self.moment.layer if self.moment else self.disk.layers - 1)


class Snapshot:
    def __init__(self, vm, id_, name, description, quiesced):
        self.vm, self.id, self.name, self.description = vm, id_, name, description
        self.quiesced, self.created, self.power = quiesced, now(), vm.power
        self.moments = {}  # key → Moment
        self.views = []
        self.details = dict(vm.d)


class VM:
    def __init__(self, world, id_, directory, description):
        self.world, self.id, self.directory = world, id_, directory
        self.d = with_defaults(world, description, directory)
        self.lock, self.task_lock = threading.RLock(), threading.Lock()
        self.settings = world.settings
        self.moments_dir = os.path.join(directory, ".moments") if directory else None
        self.close()
        self.disks = [Disk(self, d, directory, world.settings) for d in self.d["disks"]]
        self.snapshots = []  # a chain, oldest first
        self.history = []  # every one that ever was: name, id, key → Moment
        self.next_number = 1
        self.wrong_tracking = False
        self.task = None  # that is running on this VM
        self.asked = 0  # when the real guest was, last
        self.shutdowns = 0
        for name in self.d["snapshots"]:
            self.create_snapshot(name, "", False)
        if self.d["cbt"]:
            self.stun()

    @classmethod
    def load(cls, world, id_, directory):
        with open(os.path.join(directory, "vm.json")) as f:
            return cls(world, id_, directory, json.load(f))

    def close(self):
        if self.moments_dir:
            shutil.rmtree(self.moments_dir, ignore_errors=True)

    # Shorthand for what vm.json named and control may change

    @property
    def name(self):
        return self.d["name"]

    @property
    def path(self):
        return self.d["path"]

    @property
    def power(self):
        if self.d["power_command"]:
            self.follow_guest()
        return self.d["power"]

    def tools_running(self):
        return self.power == "poweredOn" and self.d["tools"] == "guestToolsRunning"

    def disk(self, key):
        for disk in self.disks:
            if disk.key == key:
                return disk
        return None

    def views(self):
        return [DiskView(disk) for disk in self.disks]

    # Change tracking

    def set_tracking(self, on):
        """Asked for now, in force from the next stun on."""
        with self.lock:
            if on and not self.d["cbt_supported"]:
                raise Fault("NotSupported", "Changed block tracking is not supported by this VM.")
            if on and not self.d["cbt"]:
                self.wrong_tracking = bool(self.snapshots)
            self.d["cbt"] = on

    def stun(self):
        for disk in self.disks:
            if self.d["cbt"]:
                if not disk.tracking:
                    disk.start_tracking()
                    disk.wrong = self.wrong_tracking
            elif disk.tracking:
                disk.stop_tracking()

    # Snapshots

    def create_snapshot(self, name, description, quiesce):
        with self.lock:
            if quiesce and self.power == "poweredOn":
                if self.d["quiesce"] != "ok":
                    raise Fault(self.d["quiesce"])
                if not self.tools_running():
                    raise Fault("FilesystemQuiesceFault")
            if self.moments_dir:
                os.makedirs(self.moments_dir, exist_ok=True)
            if self.settings["cbt_effect"] == "create":
                self.stun()
            quiesced = quiesce and self.power == "poweredOn"
            id_ = self.world.new_id("snapshot")
            snapshot = Snapshot(self, id_, name, description, quiesced)
            snapshot.number = self.next_number
            self.next_number += 1
            paused = self.power == "poweredOn"
            self.run(self.d["pause"] if paused else None)
            try:
                for disk in self.disks:
                    if disk.in_snapshots():
                        snapshot.moments[disk.key] = disk.freeze(self.moments_dir, True)
            finally:
                self.run(self.d["resume"] if paused else None)
            snapshot.views = [DiskView(d, snapshot.moments.get(d.key)) for d in self.disks]
            self.snapshots.append(snapshot)
            self.history.append(snapshot)
            return snapshot

    def run(self, argv):
        if argv:
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    def snapshot(self, id_):
        for snapshot in self.snapshots:
            if snapshot.id == id_:
                return snapshot
        return None

    def remove_snapshot(self, snapshot, children=False):
        with self.lock:
            if snapshot not in self.snapshots:
                raise Fault("ManagedObjectNotFound")
            at = self.snapshots.index(snapshot)
            gone = self.snapshots[at:] if children else [snapshot]
            for one in reversed(gone):
                self.snapshots.remove(one)
                for moment in one.moments.values():
                    self.merge(moment)
                    moment.settle(self.settings["keep_moments"])
            self.stun()

    def merge(self, moment):
        """The delta above a frozen file goes into it: the chain is one shorter."""
        moment.disk.layers -= 1
        for other in self.snapshots:
            for above in other.moments.values():
                if above.disk is moment.disk and above.layer > moment.layer:
                    above.layer -= 1

    # Power

    def set_power(self, state, clean=True):
        with self.lock:
            was, self.d["power"] = self.d["power"], state
            if state == "poweredOn" and was != state:
                self.stun()
            if state == "poweredOff" and (not clean or self.d["power_off_resets_cbt"]):
                for disk in self.disks:
                    if disk.tracking:
                        disk.reset_tracking()

    def command(self, verb):
        """The real guest's: `power_command VERB NAME UUID`, as a hook of vmferry's."""
        argv = self.d["power_command"] + [verb, self.name, self.d["instance_uuid"]]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)

    def follow_guest(self):
        """A guest that shut itself down, or that somebody stopped, is off."""
        with self.lock:
            if time.monotonic() - self.asked < 0.2:
                return
            done = self.command("state")
            state = GUEST_STATES.get(done.stdout.strip())
            if done.returncode or not state:
                raise Fault("SystemError", done.stderr or "no state", reason="the guest's state")
            self.asked = time.monotonic()
            if state != self.d["power"]:
                self.set_power(state)

    def switch(self, state):
        """As PowerOnVM_Task and PowerOffVM_Task do."""
        if self.d["power_command"]:
            done = self.command("power-on" if state == "poweredOn" else "power-off")
            self.asked = 0
            if done.returncode:
                raise Fault("SystemError", done.stderr, reason=done.stderr)
        self.shutdowns += 1  # what was asked of the guest before is over
        self.set_power(state)

    def shut_down(self, later):
        """Ask the guest; `later` calls a function after so many seconds."""
        if self.d["power_command"]:
            if self.command("shutdown").returncode:
                raise Fault("ToolsUnavailable")
            self.asked = 0
            return
        with self.lock:
            self.shutdowns += 1
            mine = self.shutdowns
        seconds = self.d["shutdown_seconds"]
        later(self.settings["shutdown_seconds"] if seconds is None else seconds,
              lambda: self.has_shut_down(mine))

    def has_shut_down(self, which):
        with self.lock:
            if which != self.shutdowns:
                return
            self.set_power("poweredOff")
        self.world.notify()
