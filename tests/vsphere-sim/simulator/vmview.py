"""A VM's and a snapshot's properties, as the API shows them."""

from . import hardware, services
from .values import Array, Enum, Long, New, Obj, Ref, now, refs

# Members that exist in the API and that no VM here has: no value, and no fault.
UNSET = {
    "VirtualMachineConfigInfo": "npivNodeWorldWideName npivPortWorldWideName npivWorldWideNameType "
    "npivDesiredNodeWwns npivDesiredPortWwns npivTemporaryDisabled npivOnNonRdmDisks locationId "
    "consolePreferences memoryHotAddEnabled cpuHotAddEnabled cpuHotRemoveEnabled hotPlugMemoryLimit "
    "hotPlugMemoryIncrementSize cpuAffinity memoryAffinity networkShaper cpuFeatureMask swapPlacement "
    "ftInfo vAppConfig vAssertsEnabled repConfig maxMksConnections guestAutoLockEnabled managedBy "
    "memoryReservationLockedToMax initialOverhead nestedHVEnabled vPMCEnabled forkConfigInfo "
    "vFlashCacheReservation vmxConfigChecksum messageBusTunnelEnabled vmStorageObjectId "
    "swapStorageObjectId guestIntegrityInfo latencySensitivity createDate guestIdAlias",
    "VirtualMachineRuntimeInfo": "device suspendTime suspendInterval question memoryOverhead "
    "needSecondaryReason onlineStandby minRequiredEVCModeKey dasVmProtection "
    "featureRequirement snapshotInBackground instantCloneFrozen cryptoState quiescedForkParent",
    "GuestInfo": "net ipStack disk screen appHeartbeatStatus guestKernelCrashed appState "
    "guestOperationsReady interactiveGuestOperationsReady generationInfo",
    "VirtualMachine": "parentVApp resourceConfig rootSnapshot customValue configIssue permission "
    "disabledMethod declaredAlarmState triggeredAlarmState tag availableField value "
    "environmentBrowser capability",
}


def known_unset(type_):
    return UNSET.get(type_, "").split()


def vm_properties(vm):
    """name → function, for each top-level property."""
    world = vm.world
    result = {
        "name": lambda: vm.name,
        "parent": lambda: world.parent_of(vm),
        "config": lambda: config(vm) if vm.d["connected"] else None,
        "runtime": lambda: runtime(vm),
        "guest": lambda: guest(vm),
        "guestHeartbeatStatus": lambda: heartbeat(vm),
        "summary": lambda: summary(vm),
        "snapshot": lambda: snapshot_info(vm),
        "rootSnapshot": lambda: refs(snapshot_ref(s) for s in vm.snapshots[:1]),
        "datastore": lambda: refs(datastores(vm)),
        "network": lambda: refs({world.network(n["network"]): 1 for n in vm.d["nics"]}),
        "resourcePool": lambda: world.pool,
        "storage": lambda: storage(vm),
        "layoutEx": lambda: layout_ex(vm),
        "layout": lambda: layout(vm),
        "overallStatus": lambda: Enum("ManagedEntityStatus", "green"),
        "configStatus": lambda: Enum("ManagedEntityStatus", "green"),
        "effectiveRole": lambda: Array("int", [services.role_of(vm)]),
        "recentTask": lambda: refs([vm.task.ref()] if vm.task else []),
        "alarmActionsEnabled": lambda: True,
    }
    for name in known_unset("VirtualMachine"):
        result.setdefault(name, lambda: None)
    return result


def with_unset(obj):
    for name in known_unset(obj.type):
        obj.members.setdefault(name, None)
    return obj


def vm_ref(vm):
    return Ref("VirtualMachine", vm.id)


def snapshot_ref(snapshot):
    return Ref("VirtualMachineSnapshot", snapshot.id)


def power(state):
    return Enum("VirtualMachinePowerState", state)


def vmx(d):
    return "[%s] %s/%s.vmx" % (d["datastore"], d["directory"], d["directory"])


def datastores(vm):
    names = {vm.d["datastore"]: 1}
    names.update((disk.description["datastore"], 1) for disk in vm.disks)
    return [vm.world.datastore(name) for name in names]


def config(vm, snapshot=None):
    d = snapshot.details if snapshot else vm.d
    views = snapshot.views if snapshot else vm.views()
    world = vm.world
    return with_unset(
        Obj(
            "VirtualMachineConfigInfo",
            changeVersion="2026-11-21T10:00:00.000000Z",
            modified=now(),
            name=d["name"],
            guestFullName=d["guest_name"],
            version=d["hardware"],
            uuid=d["bios_uuid"],
            instanceUuid=d["instance_uuid"],
            template=d["template"],
            guestId=d["guest_id"],
            alternateGuestName="",
            annotation=d["annotation"],
            files=Obj(
                "VirtualMachineFileInfo",
                vmPathName=vmx(d),
                snapshotDirectory=vmx(d).rpartition("/")[0] + "/",
                suspendDirectory=vmx(d).rpartition("/")[0] + "/",
                logDirectory=vmx(d).rpartition("/")[0] + "/",
            ),
            tools=Obj(
                "ToolsConfigInfo",
                toolsVersion=int(d["tools_version"]),
                afterPowerOn=True,
                afterResume=True,
                beforeGuestStandby=True,
                beforeGuestShutdown=True,
                toolsUpgradePolicy="manual",
                syncTimeWithHost=False,
            ),
            flags=Obj(
                "VirtualMachineFlagInfo",
                disableAcceleration=False,
                enableLogging=True,
                useToe=False,
                runWithDebugInfo=False,
                htSharing="any",
                snapshotDisabled=False,
                snapshotLocked=False,
                diskUuidEnabled=True,
                virtualMmuUsage="automatic",
                virtualExecUsage="hvAuto",
                snapshotPowerOffBehavior="powerOff",
                recordReplayEnabled=False,
            ),
            defaultPowerOps=Obj(
                "VirtualMachineDefaultPowerOpInfo",
                powerOffType="soft",
                suspendType="hard",
                resetType="soft",
                defaultPowerOffType="soft",
                defaultSuspendType="hard",
                defaultResetType="soft",
                standbyAction="checkpoint",
            ),
            hardware=lambda: Obj(
                "VirtualHardware",
                numCPU=d["cpus"],
                numCoresPerSocket=New(d["cores"]),
                memoryMB=d["memory_mb"],
                device=lambda: hardware.devices(world, d, views),
            ),
            cpuAllocation=allocation(),
            memoryAllocation=allocation(),
            extraConfig=lambda: extra_config(d, views),
            datastoreUrl=lambda: [
                Obj(
                    "VirtualMachineConfigInfoDatastoreUrlPair",
                    name=name,
                    url=world.datastore_url(name),
                )
                for name in {v.description["datastore"]: 1 for v in views}
            ],
            bootOptions=Obj(
                "VirtualMachineBootOptions",
                bootDelay=Long(0),
                enterBIOSSetup=False,
                efiSecureBootEnabled=New(d["secure_boot"]),
                bootRetryEnabled=False,
                bootRetryDelay=Long(10000),
                bootOrder=[
                    Obj("VirtualMachineBootOptionsBootableDiskDevice", derived=True, deviceKey=key)
                    for key in d["boot_order"]
                ]
                or None,
            ),
            changeTrackingEnabled=d["cbt"],
            firmware=New(d["firmware"]),
            keyId=New(hardware.crypto_key()) if d["encrypted"] else None,
            migrateEncryption=New("opportunistic"),
        )
    )


def allocation():
    return Obj(
        "ResourceAllocationInfo",
        reservation=Long(0),
        expandableReservation=False,
        limit=Long(-1),
        shares=Obj("SharesInfo", shares=2000, level=Enum("SharesLevel", "normal")),
    )


def extra_config(d, views):
    options = {"nvram": d["directory"] + ".nvram", "svga.present": "TRUE"}
    if d["cbt"]:
        options["ctkEnabled"] = "TRUE"
        for view in views:
            if view.change_id:
                bus = view.description["controller"] % 100
                options["scsi%d:%d.ctkEnabled" % (bus, view.description["unit"])] = "TRUE"
    return Array("OptionValue", [Obj("OptionValue", key=k, value=v) for k, v in options.items()])


def runtime(vm):
    connected = vm.d["connected"]
    return with_unset(
        Obj(
            "VirtualMachineRuntimeInfo",
            host=vm.world.host,
            connectionState=Enum(
                "VirtualMachineConnectionState", "connected" if connected else "disconnected"
            ),
            powerState=power(vm.power),
            faultToleranceState=Enum("VirtualMachineFaultToleranceState", "notConfigured"),
            toolsInstallerMounted=False,
            bootTime=vm.world.started if vm.power == "poweredOn" else None,
            maxCpuUsage=vm.d["cpus"] * 2600,
            maxMemoryUsage=vm.d["memory_mb"],
            numMksConnections=0,
            recordReplayState=Enum("VirtualMachineRecordReplayState", "inactive"),
            cleanPowerOff=None if vm.power == "poweredOn" else True,
            consolidationNeeded=New(vm.d.get("consolidation_needed", False)),
        )
    )


def tools_status(vm):
    if vm.d["tools"] == "guestToolsNotInstalled":
        return "toolsNotInstalled"
    return "toolsOk" if vm.tools_running() else "toolsNotRunning"


def guest(vm):
    running = vm.tools_running()
    return with_unset(
        Obj(
            "GuestInfo",
            toolsStatus=Enum("VirtualMachineToolsStatus", tools_status(vm)),
            toolsVersionStatus="guestToolsUnmanaged",
            toolsVersionStatus2=New("guestToolsUnmanaged"),
            toolsRunningStatus="guestToolsRunning" if running else "guestToolsNotRunning",
            toolsVersion=vm.d["tools_version"],
            guestId=vm.d["guest_id"] if running else None,
            guestFamily="linuxGuest" if running else None,
            guestFullName=vm.d["guest_name"] if running else None,
            hostName=vm.name if running else None,
            ipAddress="192.0.2.10" if running else None,
            guestState="running" if running else "notRunning",
        )
    )


def heartbeat(vm):
    return Enum("ManagedEntityStatus", "green" if vm.tools_running() else "gray")


def summary(vm):
    d = vm.d
    return Obj(
        "VirtualMachineSummary",
        vm=vm_ref(vm),
        runtime=lambda: runtime(vm),
        guest=lambda: Obj(
            "VirtualMachineGuestSummary",
            guestId=d["guest_id"],
            guestFullName=d["guest_name"],
            toolsStatus=Enum("VirtualMachineToolsStatus", tools_status(vm)),
            toolsVersionStatus="guestToolsUnmanaged",
            toolsRunningStatus="guestToolsRunning"
            if vm.tools_running()
            else "guestToolsNotRunning",
            hostName=vm.name if vm.tools_running() else None,
            ipAddress="192.0.2.10" if vm.tools_running() else None,
        ),
        config=lambda: Obj(
            "VirtualMachineConfigSummary",
            name=d["name"],
            template=d["template"],
            vmPathName=vmx(d),
            memorySizeMB=d["memory_mb"],
            cpuReservation=0,
            memoryReservation=0,
            numCpu=d["cpus"],
            numEthernetCards=len(d["nics"]),
            numVirtualDisks=len(vm.disks),
            uuid=d["bios_uuid"] if d["connected"] else None,
            instanceUuid=d["instance_uuid"] if d["connected"] else None,
            guestId=d["guest_id"],
            guestFullName=d["guest_name"],
            annotation=d["annotation"],
        ),
        storage=lambda: Obj(
            "VirtualMachineStorageSummary",
            committed=Long(sum(disk.used() for disk in vm.disks)),
            uncommitted=Long(sum(disk.capacity - disk.used() for disk in vm.disks)),
            unshared=Long(sum(disk.used() for disk in vm.disks)),
            timestamp=now(),
        ),
        quickStats=lambda: Obj(
            "VirtualMachineQuickStats",
            overallCpuUsage=26,
            guestMemoryUsage=128,
            hostMemoryUsage=d["memory_mb"],
            guestHeartbeatStatus=heartbeat(vm),
            uptimeSeconds=3600 if vm.power == "poweredOn" else 0,
        ),
        overallStatus=Enum("ManagedEntityStatus", "green"),
    )


def storage(vm):
    per = {}
    for disk in vm.disks:
        entry = per.setdefault(disk.description["datastore"], [0, 0])
        entry[0] += disk.used()
        entry[1] += disk.capacity - disk.used()
    return Obj(
        "VirtualMachineStorageInfo",
        perDatastoreUsage=[
            Obj(
                "VirtualMachineUsageOnDatastore",
                datastore=vm.world.datastore(name),
                committed=Long(used),
                uncommitted=Long(free),
                unshared=Long(used),
            )
            for name, (used, free) in per.items()
        ],
        timestamp=now(),
    )


def layout_files(vm):
    """(disk key, name, type, size) of every file of every disk, base first."""
    for disk in vm.disks:
        for layer in range(disk.layers):
            name = disk.file_name(layer)
            extent = "-flat.vmdk" if layer == 0 else "-delta.vmdk"
            yield disk.key, name, "diskDescriptor", 512
            yield disk.key, name[: -len(".vmdk")] + extent, "diskExtent", disk.used()


def layout_ex(vm):
    files, chains = [], {}
    for key, name, type_, size in layout_files(vm):
        chain = chains.setdefault(key, [])
        if type_ == "diskDescriptor":
            chain.append([])
        chain[-1].append(len(files))
        files.append(
            Obj(
                "VirtualMachineFileLayoutExFileInfo",
                key=len(files),
                name=name,
                type=type_,
                size=Long(size),
            )
        )
    return Obj(
        "VirtualMachineFileLayoutEx",
        file=files,
        disk=[
            Obj(
                "VirtualMachineFileLayoutExDiskLayout",
                key=key,
                chain=[Obj("VirtualMachineFileLayoutExDiskUnit", fileKey=unit) for unit in chain],
            )
            for key, chain in chains.items()
        ],
        timestamp=now(),
    )


def layout(vm):
    return Obj(
        "VirtualMachineFileLayout",
        configFile=[vm.name + ".vmx"],
        disk=[
            Obj(
                "VirtualMachineFileLayoutDiskLayout",
                key=disk.key,
                diskFile=[disk.file_name(n) for n in range(disk.layers)],
            )
            for disk in vm.disks
        ],
    )


def snapshot_info(vm):
    with vm.lock:
        chain = list(vm.snapshots)
    if not chain:
        return None
    tree = None
    for snapshot in reversed(chain):
        tree = Obj(
            "VirtualMachineSnapshotTree",
            snapshot=snapshot_ref(snapshot),
            vm=vm_ref(vm),
            name=snapshot.name,
            description=snapshot.description,
            id=snapshot.number,
            createTime=snapshot.created,
            state=power(snapshot.power),
            quiesced=snapshot.quiesced,
            childSnapshotList=[tree] if tree else [],
            replaySupported=False,
        )
    return Obj(
        "VirtualMachineSnapshotInfo",
        currentSnapshot=snapshot_ref(chain[-1]),
        rootSnapshotList=Array("VirtualMachineSnapshotTree", [tree]),
    )


def snapshot_properties(snapshot):
    vm = snapshot.vm

    def children():
        at = vm.snapshots.index(snapshot) + 1 if snapshot in vm.snapshots else len(vm.snapshots)
        return refs(snapshot_ref(s) for s in vm.snapshots[at : at + 1])

    return {
        "config": lambda: config(vm, snapshot),
        "childSnapshot": children,
        "vm": lambda: vm_ref(vm),
        "customValue": lambda: None,
        "value": lambda: None,
        "availableField": lambda: None,
    }
