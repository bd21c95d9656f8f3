"""The inventory: every managed object, how they are nested, and what each shows. VMs come
from directories with a vm.json; folders, one host, datastores and networks follow from
what the VMs name."""

import itertools
import random
import re
import threading
import uuid

from . import services, vmview
from .machine import VM
from .soap import Fault
from .values import Array, Enum, Long, Obj, Ref, now, refs

BASES = {
    "VirtualMachine": ("ManagedEntity", "ExtensibleManagedObject"),
    "Folder": ("ManagedEntity", "ExtensibleManagedObject"),
    "Datacenter": ("ManagedEntity", "ExtensibleManagedObject"),
    "HostSystem": ("ManagedEntity", "ExtensibleManagedObject"),
    "Datastore": ("ManagedEntity", "ExtensibleManagedObject"),
    "Network": ("ManagedEntity", "ExtensibleManagedObject"),
    "ResourcePool": ("ManagedEntity", "ExtensibleManagedObject"),
    "ComputeResource": ("ManagedEntity", "ExtensibleManagedObject"),
    "VirtualMachineSnapshot": ("ExtensibleManagedObject",),
    "ContainerView": ("ManagedObjectView", "View"),
    "Task": ("ExtensibleManagedObject",),
}


def is_a(type_, wanted):
    return wanted in (type_, "ManagedObject") or wanted in BASES.get(type_, ())


class Entity:
    """A managed object that is no VM: a type, an id, and functions for its properties."""

    def __init__(self, type_, id_, name, parent=None, **properties):
        self.ref, self.name, self.parent = Ref(type_, id_), name, parent
        self.children = []  # of a folder
        self.properties = {
            "name": lambda: self.name,
            "parent": lambda: self.parent.ref if self.parent else None,
            "overallStatus": lambda: Enum("ManagedEntityStatus", "green"),
            "effectiveRole": lambda: Array("int", [-1]),
            **{k: (v if callable(v) else (lambda v=v: v)) for k, v in properties.items()},
        }


def folder(id_, name, parent, kinds):
    self = Entity("Folder", id_, name, parent)
    self.properties["childEntity"] = lambda: refs(self.child_refs())
    self.properties["childType"] = lambda: Array("string", kinds)
    self.child_refs = lambda: [
        vmview.vm_ref(c) if isinstance(c, VM) else c.ref for c in self.children
    ]
    if parent:
        parent.children.append(self)
    return self


class World:
    def __init__(self, settings):
        self.settings = settings
        self.lock = threading.RLock()
        self.changed = threading.Condition()  # something that a property shows
        self.started = now()
        self.rng = random.Random()
        self.counters = {}
        self.directories = set()
        self.entities = {}  # id → Entity
        self.vms = {}  # id → VM
        self.by_path = {}  # inventory path → Ref
        self.tasks = {}
        self.esxi = settings["esxi"]
        self.datastores, self.networks = {}, {}
        self.instance_uuid = str(uuid.uuid4())
        self.build_frame()

    # Building

    def new_id(self, kind):
        with self.lock:
            count = self.counters.setdefault(kind, itertools.count(self.first(kind)))
            number = next(count)
        return "%d" % number if kind == "vm" and self.esxi else "%s-%d" % (kind, number)

    def first(self, kind):
        if self.esxi:
            return 1
        return {"vm": 62, "snapshot": 76, "task": 101}.get(kind, 20)

    def add(self, entity):
        self.entities[entity.ref.id] = entity
        return entity

    def build_frame(self):
        esxi = self.esxi
        ids = ESXI_IDS if esxi else VCENTER_IDS
        root = self.add(
            folder(
                ids["root"],
                "ha-folder-root" if esxi else "Datacenters",
                None,
                ["Folder", "Datacenter"],
            )
        )
        self.root = root
        self.host = Ref("HostSystem", ids["host_system"])
        self.pool = Ref("ResourcePool", ids["pool"])
        self.datacenters = {}
        dc = self.datacenter("ha-datacenter" if esxi else "DC0", root, ids)
        hosts = self.datacenters[dc.name]["host"]
        host_name = "esxi01.example.org"
        compute = self.add(
            Entity(
                "ComputeResource",
                ids["compute"],
                host_name,
                hosts,
                host=lambda: refs([self.host]),
                resourcePool=self.pool,
                datastore=lambda: refs(e.ref for e in self.datastores.values()),
                network=lambda: refs(e.ref for e in self.networks.values()),
            )
        )
        hosts.children.append(compute)
        self.add(
            Entity(
                "ResourcePool",
                ids["pool"],
                "Resources",
                compute,
                owner=compute.ref,
                vm=lambda: self.vm_refs(),
                resourcePool=lambda: refs([]),
            )
        )
        self.host_entity = self.add(
            Entity(
                "HostSystem",
                ids["host_system"],
                host_name,
                compute,
                **self.host_properties(host_name)
            )
        )
        self.network("VM Network")

    def datacenter(self, path, parent, ids=None):
        if path in self.datacenters:
            return self.datacenters[path]["entity"]
        ids = ids or {k: self.new_id(p) for k, p in DC_PREFIXES.items()}
        dc = self.add(Entity("Datacenter", ids["dc"], path.rpartition("/")[2], parent))
        parent.children.append(dc)
        part = dc.part = {"entity": dc}
        for kind, type_ in (
            ("vm", "VirtualMachine"),
            ("host", "ComputeResource"),
            ("datastore", "Datastore"),
            ("network", "Network"),
        ):
            one = self.add(folder(ids[kind], kind, None, ["Folder", type_]))
            one.parent = dc
            part[kind] = one
            dc.properties[kind + "Folder"] = lambda one=one: one.ref
        dc.properties["datastore"] = lambda: refs(e.ref for e in self.datastores.values())
        dc.properties["network"] = lambda: refs(e.ref for e in self.networks.values())
        self.datacenters[path] = part
        self.by_path[path] = dc.ref
        for kind in ("vm", "host", "datastore", "network"):
            self.by_path[path + "/" + kind] = part[kind].ref
        return dc

    def host_properties(self, name):
        about = lambda: self.about(host=True)
        return {
            "vm": lambda: self.vm_refs(),
            "datastore": lambda: refs(e.ref for e in self.datastores.values()),
            "network": lambda: refs(e.ref for e in self.networks.values()),
            "runtime": lambda: Obj(
                "HostRuntimeInfo",
                connectionState=Enum("HostSystemConnectionState", "connected"),
                powerState=Enum("HostSystemPowerState", "poweredOn"),
                inMaintenanceMode=False,
                bootTime=self.started,
            ),
            "config": lambda: Obj("HostConfigInfo", host=self.host, product=about),
            "summary": lambda: Obj(
                "HostListSummary",
                host=self.host,
                config=lambda: Obj(
                    "HostConfigSummary",
                    name=name,
                    port=443,
                    product=about,
                    vmotionEnabled=False,
                    faultToleranceEnabled=False,
                ),
                quickStats=Obj(
                    "HostListSummaryQuickStats", overallCpuUsage=400, overallMemoryUsage=4096
                ),
                overallStatus=Enum("ManagedEntityStatus", "green"),
                rebootRequired=False,
            ),
        }

    def about(self, host=False):
        settings = self.settings
        host = host or self.esxi
        version = settings["host_version"] if host else settings["version"]
        build = settings["host_build"] if host else settings["build"]
        name = "VMware ESXi" if host else "VMware vCenter Server"
        return Obj(
            "AboutInfo",
            name=name,
            fullName="%s %s build-%s" % (name, version, build),
            vendor="VMware, Inc.",
            version=version,
            build=build,
            localeVersion="INTL",
            localeBuild="000",
            osType="vmnix-x86" if host else "linux-x64",
            productLineId="embeddedEsx" if host else "vpx",
            apiType="HostAgent" if host else "VirtualCenter",
            apiVersion=".".join((version + ".0.0").split(".")[:3]),
            instanceUuid=None if host else self.instance_uuid,
        )

    # VMs

    def add_vm(self, directory=None, description=None):
        id_ = self.new_id("vm")
        if description is None:
            vm = VM.load(self, id_, directory)
        else:
            vm = VM(self, id_, directory, description)
        if self.esxi:
            vm.d["path"] = "/ha-datacenter/vm/" + vm.d["name"]
        parts = vm.path.strip("/").split("/")
        if "vm" not in parts[1:-1]:
            raise ValueError("%s: a VM's path is /DATACENTER/vm/…/NAME" % vm.path)
        top = parts.index("vm", 1)
        with self.lock:
            if "/".join(parts) in self.by_path:
                raise ValueError("%s: there are two" % vm.path)
            at = self.root
            for depth in range(top - 1):
                at = self.subfolder(at, parts[: depth + 1], "Datacenter")
            vm.center = "/".join(parts[:top])
            self.datacenter(vm.center, at)
            at = self.datacenters[vm.center]["vm"]
            for depth in range(top + 1, len(parts) - 1):
                at = self.subfolder(at, parts[: depth + 1], "VirtualMachine")
            at.children.append(vm)
            vm.parent = at
            self.by_path["/".join(parts)] = vmview.vm_ref(vm)
            self.vms[vm.id] = vm
            for name in {vm.d["datastore"]} | {d.description["datastore"] for d in vm.disks}:
                self.datastore(name)
        return vm

    def free_directory(self, name):
        """A directory of its own on the datastores: VMs in different folders may have the
        same name, and names have characters that files can't."""
        base = re.sub(r"%2f|[^\w .-]", "_", name)
        with self.lock:
            for n in itertools.count():
                directory = "%s_%d" % (base, n) if n else base
                if directory not in self.directories:
                    self.directories.add(directory)
                    return directory

    def subfolder(self, parent, parts, kind):
        path = "/".join(parts)
        if path not in self.by_path:
            id_ = self.new_id("group-d" if kind == "Datacenter" else "group-v")
            one = self.add(folder(id_, parts[-1], parent, ["Folder", kind]))
            self.by_path[path] = one.ref
        return self.entities[self.by_path[path].id]

    def remove_vm(self, vm):
        with self.lock:
            vm.parent.children.remove(vm)
            self.by_path.pop(vm.path.strip("/"))
            self.vms.pop(vm.id)
            self.directories.discard(vm.d["directory"])
        vm.close()

    def rename_vm(self, vm, name):
        path = vm.path.rpartition("/")[0] + "/" + name
        with self.lock:
            other = self.by_path.get(path.strip("/"))
            if other and other.id != vm.id:
                raise Fault("DuplicateName", name=name, object=other)
            self.by_path[path.strip("/")] = self.by_path.pop(vm.path.strip("/"))
            vm.d["name"], vm.d["path"] = name, path

    def parent_of(self, vm):
        return vm.parent.ref

    def vm_refs(self):
        return refs(vmview.vm_ref(vm) for vm in list(self.vms.values()))

    # Datastores and networks are there as soon as somebody names them

    def datastore(self, name):
        return self.named(self.datastores, name, "Datastore", self.datastore_properties(name)).ref

    def datastore_url(self, name):
        return "ds:///vmfs/volumes/%s/" % uuid.uuid5(uuid.NAMESPACE_DNS, name)

    def datastore_properties(self, name):
        return {
            "summary": lambda: Obj(
                "DatastoreSummary",
                datastore=self.datastores[name].ref,
                name=name,
                url=self.datastore_url(name),
                capacity=Long(1 << 42),
                freeSpace=Long(1 << 41),
                uncommitted=Long(0),
                accessible=True,
                multipleHostAccess=False,
                type="VMFS",
            ),
            "vm": lambda: refs(
                vmview.vm_ref(v)
                for v in list(self.vms.values())
                if self.datastores[name].ref in vmview.datastores(v)
            ),
        }

    def network(self, name):
        properties = {
            "summary": lambda: Obj(
                "NetworkSummary", network=self.networks[name].ref, name=name, accessible=True
            ),
            "host": lambda: refs([self.host]),
            "vm": lambda: self.vm_refs(),
        }
        return self.named(self.networks, name, "Network", properties).ref

    def named(self, table, name, type_, properties):
        with self.lock:
            if name not in table:
                kind = type_.lower()
                parent = next(iter(self.datacenters.values()))[kind]
                table[name] = self.add(Entity(type_, self.new_id(kind), name, parent, **properties))
                parent.children.append(table[name])
            return table[name]

    # Looking up

    def properties_of(self, ref, session=None):
        """name → function; ManagedObjectNotFound."""
        if ref.type == "VirtualMachine" and ref.id in self.vms:
            return vmview.vm_properties(self.vms[ref.id])
        if ref.type == "VirtualMachineSnapshot":
            return vmview.snapshot_properties(self.find_snapshot(ref))
        if ref.type == "Task" and ref.id in self.tasks:
            return self.tasks[ref.id].properties()
        if session and ref.id in session.views:
            return session.views[ref.id].properties
        entity = self.entities.get(ref.id)
        if entity is not None and entity.ref.type == ref.type:
            return entity.properties
        service = services.properties(self, ref, session)
        if service is None:
            raise not_found(ref)
        return service

    def find_vm(self, ref):
        if ref is None or ref.id not in self.vms:
            raise not_found(ref)
        return self.vms[ref.id]

    def find_snapshot(self, ref):
        for vm in list(self.vms.values()):
            found = vm.snapshot(ref.id)
            if found:
                return found
        raise not_found(ref)

    def below(self, ref):
        """Every object inside a container, the container itself not."""
        if ref == self.pool:
            return list(self.vm_refs().items)
        entity = self.entities.get(ref.id)
        if entity is None:
            raise not_found(ref)
        result = []
        stack = [entity]
        while stack:
            one = stack.pop(0)
            inside = list(one.children)
            if one.ref.type == "Datacenter":
                inside = [one.part[k] for k in ("vm", "host", "datastore", "network")]
            elif one.ref.type == "ComputeResource":
                inside = [self.host_entity, self.entities[self.pool.id]]
            for child in inside:
                if isinstance(child, VM):
                    result.append(vmview.vm_ref(child))
                else:
                    result.append(child.ref)
                    stack.append(child)
        return result

    def notify(self):
        with self.changed:
            self.changed.notify_all()

    def close(self):
        for vm in self.vms.values():
            vm.close()


def not_found(ref):
    message = "The object '%s' has already been deleted or has not been completely created" % (
        "vim.%s:%s" % (ref.type, ref.id) if ref else ""
    )
    return Fault("ManagedObjectNotFound", message, obj=ref or Ref("ManagedObject", ""))


VCENTER_IDS = {
    "root": "group-d1",
    "dc": "datacenter-2",
    "vm": "group-v3",
    "host": "group-h4",
    "datastore": "group-s5",
    "network": "group-n6",
    "compute": "domain-s7",
    "pool": "resgroup-8",
}
VCENTER_IDS["host_system"] = "host-9"
ESXI_IDS = {
    "root": "ha-folder-root",
    "dc": "ha-datacenter",
    "vm": "ha-folder-vm",
    "host": "ha-folder-host",
    "datastore": "ha-folder-datastore",
    "network": "ha-folder-network",
    "compute": "ha-compute-res",
    "pool": "ha-root-pool",
    "host_system": "ha-host",
}
DC_PREFIXES = {
    "dc": "datacenter",
    "vm": "group-v",
    "host": "group-h",
    "datastore": "group-s",
    "network": "group-n",
}
