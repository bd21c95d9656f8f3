"""The objects that are not of the inventory: ServiceInstance and the managers. What each
operation needs, privilege by privilege, is here too."""

from .tasks import manager_properties
from .values import Array, Obj, Ref, now, refs

# What each operation needs on the VM, beside System.Read.
PRIVILEGE = {
    "Rename_Task": "VirtualMachine.Config.Rename",
    "CreateSnapshot_Task": "VirtualMachine.State.CreateSnapshot",
    "RemoveSnapshot_Task": "VirtualMachine.State.RemoveSnapshot",
    "RemoveAllSnapshots_Task": "VirtualMachine.State.RemoveSnapshot",
    "QueryChangedDiskAreas": "VirtualMachine.Provisioning.DiskRandomRead",
    "PowerOffVM_Task": "VirtualMachine.Interact.PowerOff",
    "PowerOnVM_Task": "VirtualMachine.Interact.PowerOn",
    "ShutdownGuest": "VirtualMachine.Interact.PowerOff",
}
PRIVILEGES = sorted(
    set(PRIVILEGE.values())
    | {
        "System.Anonymous",
        "VirtualMachine.Config.ChangeTracking",
        "VirtualMachine.Config.Annotation",
        "System.Read",
        "System.View",
        "Datastore.Browse",
        "Datastore.FileManagement",
        "VirtualMachine.Provisioning.GetVmFiles",
        "VirtualMachine.Provisioning.DiskRandomAccess",
        "VirtualMachine.Config.Settings",
        "VirtualMachine.Config.DiskLease",
        "VirtualMachine.State.RevertToSnapshot",
        "VirtualMachine.State.RenameSnapshot",
        "Global.DisableMethods",
        "Global.EnableMethods",
        "Global.Licenses",
        "Sessions.ValidateSession",
    }
)


def manager(world, type_, id_):
    """A manager's reference: hosts name theirs otherwise."""
    return Ref(type_, "ha-" + id_ if world.esxi else type_)


def content(world):
    return Obj(
        "ServiceContent",
        rootFolder=world.root.ref,
        propertyCollector=manager(world, "PropertyCollector", "property-collector"),
        viewManager=Ref("ViewManager", "ViewManager"),
        about=world.about(),
        sessionManager=manager(world, "SessionManager", "sessionmgr"),
        authorizationManager=manager(world, "AuthorizationManager", "authmgr"),
        taskManager=manager(world, "TaskManager", "taskmgr"),
        searchIndex=manager(world, "SearchIndex", "searchindex"),
    )


def properties(world, ref, session):
    """name → function, of a service; None: there is no such one."""
    known = content(world).members.values()
    if ref == Ref("ServiceInstance", "ServiceInstance"):
        return {
            "content": lambda: content(world),
            "serverClock": now,
            "capability": lambda: Obj(
                "Capability",
                provisioningSupported=True,
                multiHostSupported=not world.esxi,
                userShellAccessSupported=world.esxi,
            ),
        }
    if ref not in [k for k in known if isinstance(k, Ref)]:
        return None
    if ref.type == "SessionManager":
        return {
            "currentSession": lambda: session.value() if session and session.user else None,
            "sessionList": lambda: Array("UserSession", [session.value()] if session else []),
            "message": lambda: None,
            "messageLocaleList": lambda: Array("string", ["en"]),
            "supportedLocaleList": lambda: Array("string", ["en"]),
            "defaultLocale": lambda: "en",
        }
    if ref.type == "AuthorizationManager":
        return {"roleList": lambda: roles(world), "privilegeList": privileges}
    if ref.type == "TaskManager":
        return manager_properties(world)
    if ref.type == "PropertyCollector":
        return {"filter": lambda: refs(Ref("PropertyFilter", f) for f in session.filters)}
    if ref.type == "ViewManager":
        return {"viewList": lambda: refs(Ref("ContainerView", v) for v in session.views)}
    return {}


RESTRICTED = 100  # role numbers from here on: one for each VM that lacks privileges


def role_of(vm):
    return RESTRICTED + int(vm.id.rpartition("-")[2]) if vm.d["missing_privileges"] else -1


def roles(world):
    result = [role(-1, "Admin", "Administrator", PRIVILEGES, True)]
    for vm in list(world.vms.values()):
        if vm.d["missing_privileges"]:
            rest = [p for p in PRIVILEGES if p not in vm.d["missing_privileges"]]
            result.append(role(role_of(vm), "restricted-" + vm.id, "Restricted", rest, False))
    return Array("AuthorizationRole", result)


def role(id_, name, label, granted, system):
    return Obj(
        "AuthorizationRole",
        roleId=id_,
        system=system,
        name=name,
        info=Obj("Description", label=label, summary=label),
        privilege=granted,
    )


def privileges():
    return Array(
        "AuthorizationPrivilege",
        [
            Obj(
                "AuthorizationPrivilege",
                privId=p,
                onParent=False,
                name=p.rpartition(".")[2],
                privGroupName=p.rpartition(".")[0],
            )
            for p in PRIVILEGES
        ],
    )
