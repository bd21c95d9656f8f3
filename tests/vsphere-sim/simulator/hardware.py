"""The virtual hardware of a VM, as its config shows it: ArrayOfVirtualDevice."""

from .values import Array, Enum, Long, New, Obj

CONTROLLERS = {
    "pvscsi": "ParaVirtualSCSIController",
    "lsilogic": "VirtualLsiLogicController",
    "lsisas": "VirtualLsiLogicSASController",
    "buslogic": "VirtualBusLogicController",
    "ide": "VirtualIDEController",
    "ahci": "VirtualAHCIController",
    "nvme": "VirtualNVMEController",
}
SCSI = ("pvscsi", "lsilogic", "lsisas", "buslogic")
YOUNG = ("ahci", "nvme")  # types that API 4.1 does not know
NICS = {
    "vmxnet3": "VirtualVmxnet3",
    "vmxnet2": "VirtualVmxnet2",
    "e1000": "VirtualE1000",
    "e1000e": "VirtualE1000e",
    "pcnet": "VirtualPCNet32",
    "sriov": "VirtualSriovEthernetCard",
}


def label(text, summary=None):
    return Obj("Description", label=text, summary=summary or text)


def device(type_, key, description, **members):
    return Obj(type_, derived=True, key=key, deviceInfo=description, **members)


def controllers(details, views):
    """key → (type, bus, sharing), in the order of their keys."""
    found = {200: ("ide", 0, None), 201: ("ide", 1, None)}
    for view in views:
        key = view.description["controller"]
        if key not in found:
            found[key] = (view.description["controller_type"], key % 100 % 50, "noSharing")
    for c in details.get("controllers", []):
        type_, bus, sharing = found.get(c["key"], ("pvscsi", c["key"] % 100, "noSharing"))
        found[c["key"]] = (
            c.get("type", type_),
            c.get("bus", bus),
            c.get("sharing", sharing),
        )
    return dict(sorted(found.items()))


def devices(world, details, views, ordered=None):
    items = []
    children = {}
    for view in views:
        children.setdefault(view.description["controller"], []).append(view.description["key"])
    nics = [nic["key"] for nic in details["nics"]]
    items.append(
        device(
            "VirtualPCIController",
            100,
            label("PCI controller 0"),
            busNumber=0,
            device=[500, 12000]
            + [k for k, c in controllers(details, views).items() if c[0] in SCSI]
            + nics,
        )
    )
    items.append(
        device(
            "VirtualPS2Controller", 300, label("PS2 controller 0"), busNumber=0, device=[600, 700]
        )
    )
    items.append(device("VirtualSIOController", 400, label("SIO controller 0"), busNumber=0))
    items.append(device("VirtualKeyboard", 600, label("Keyboard"), controllerKey=300, unitNumber=0))
    items.append(
        device(
            "VirtualPointingDevice",
            700,
            label("Pointing device", "Pointing device; Device"),
            backing=Obj(
                "VirtualPointingDeviceDeviceBackingInfo",
                derived=True,
                deviceName="",
                useAutoDetect=False,
                hostPointingDevice="autodetect",
            ),
            controllerKey=300,
            unitNumber=1,
        )
    )
    items.append(
        device(
            "VirtualMachineVideoCard",
            500,
            label("Video card"),
            controllerKey=100,
            unitNumber=0,
            videoRamSizeInKB=Long(8192),
            numDisplays=1,
            useAutoDetect=False,
        )
    )
    items.append(
        device(
            "VirtualMachineVMCIDevice",
            12000,
            label("VMCI device"),
            controllerKey=100,
            unitNumber=17,
            id=Long(-1),
            allowUnrestrictedCommunication=False,
        )
    )
    for key, (type_, bus, sharing) in controllers(details, views).items():
        items.append(controller(key, type_, bus, sharing, children.get(key, [])))
    items.append(cdrom())
    items += [disk(world, view) for view in views]
    items += [nic(world, n) for n in details["nics"]]
    if details["vtpm"]:
        items.append(
            New(device("VirtualTPM", 11000, label("Virtual TPM"), controllerKey=100, unitNumber=18))
        )
    return Array("VirtualDevice", items)


def controller(key, type_, bus, sharing, children):
    if type_ in SCSI:
        return device(
            CONTROLLERS[type_],
            key,
            label("SCSI controller %d" % bus, type_),
            controllerKey=100,
            unitNumber=3 + bus,
            busNumber=bus,
            device=children,
            hotAddRemove=True,
            sharedBus=Enum("VirtualSCSISharing", sharing or "noSharing"),
            scsiCtlrUnitNumber=7,
        )
    result = device(
        CONTROLLERS[type_],
        key,
        label("%s controller %d" % (type_.upper(), bus)),
        busNumber=bus,
        device=children + ([3000] if key == 200 else []),
    )
    return New(result) if type_ in YOUNG else result


def cdrom():
    return device(
        "VirtualCdrom",
        3000,
        label("CD/DVD drive 1", "Remote device"),
        backing=Obj(
            "VirtualCdromRemotePassthroughBackingInfo",
            derived=True,
            deviceName="",
            useAutoDetect=False,
            exclusive=False,
        ),
        connectable=Obj(
            "VirtualDeviceConnectInfo",
            startConnected=False,
            allowGuestControl=True,
            connected=False,
            status="untried",
        ),
        controllerKey=200,
        unitNumber=0,
    )


def nic(world, n):
    network = world.network(n["network"])
    return device(
        NICS[n["type"]],
        n["key"],
        label("Network adapter %d" % (n["key"] - 3999), n["network"]),
        backing=nic_backing(n, network),
        connectable=Obj(
            "VirtualDeviceConnectInfo",
            startConnected=True,
            allowGuestControl=True,
            connected=True,
            status="ok",
        ),
        controllerKey=100,
        unitNumber=n["key"] - 4000 + 7,
        addressType="assigned",
        macAddress=n["mac"],
        wakeOnLanEnabled=True,
    )


def nic_backing(n, network):
    if n.get("portgroup"):  # of a distributed switch: a key, and no name
        return Obj(
            "VirtualEthernetCardDistributedVirtualPortBackingInfo",
            derived=True,
            port=Obj(
                "DistributedVirtualSwitchPortConnection",
                switchUuid=n.get("switch", "50 1d"),
                portgroupKey=n["portgroup"],
                portKey="8",
            ),
        )
    return Obj(
        "VirtualEthernetCardNetworkBackingInfo",
        derived=True,
        deviceName=n["network"],
        useAutoDetect=False,
        network=network,
    )


def disk(world, view):
    d = view.description
    return device(
        "VirtualDisk",
        d["key"],
        label(d["label"], "{:,} KB".format(view.capacity // 1024)),
        backing=backing(world, view, view.chain(), view.change_id),
        controllerKey=d["controller"],
        unitNumber=d["unit"],
        capacityInKB=Long(view.capacity // 1024),
        capacityInBytes=New(Long(view.capacity)),
        shares=Obj("SharesInfo", shares=1000, level=Enum("SharesLevel", "normal")),
        diskObjectId=New("%s-%d" % (view.disk.vm.id.replace("vm-", "1-"), d["key"])),
    )


def backing(world, view, chain, change_id):
    d = view.description
    datastore = world.datastore(d["datastore"])
    if d["rdm"]:
        return Obj(
            "VirtualDiskRawDiskMappingVer1BackingInfo",
            derived=True,
            fileName=chain[0],
            datastore=datastore,
            lunUuid="0200000000" + d["uuid"].replace("-", "").lower(),
            deviceName="vml.0200000000" + d["uuid"].replace("-", "").lower(),
            compatibilityMode=d["rdm"],
            diskMode=d["mode"],
            uuid=d["uuid"],
            contentId="%08x" % (d["key"] * 2654435761 % (1 << 32)),
            changeId=change_id,
            sharing=New(d["sharing"]),
        )
    parent = backing(world, view, chain[1:], None) if len(chain) > 1 else None
    return Obj(
        "VirtualDiskFlatVer2BackingInfo",
        derived=True,
        fileName=chain[0],
        datastore=datastore,
        backingObjectId=New(""),
        diskMode=d["mode"],
        split=False,
        writeThrough=False,
        thinProvisioned=d["thin"],
        uuid=d["uuid"],
        contentId="%08x" % (d["key"] * 2654435761 % (1 << 32)),
        changeId=change_id,
        parent=parent,
        digestEnabled=New(False),
        sharing=New(d["sharing"]),
        keyId=New(crypto_key()) if d["encrypted"] else None,
    )


def crypto_key():
    return Obj("CryptoKeyId", keyId="0c2b6b4e", providerId=Obj("KeyProviderId", id="kms"))
