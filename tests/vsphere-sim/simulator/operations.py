"""The API's operations. Each is a function of the call that gives the response's content:
pairs of element name and value."""

import uuid

from . import services, tasks
from .services import PRIVILEGE, PRIVILEGES
from .soap import Fault
from .values import Array, Obj, Ref, now, refs
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
            return next(
                (v for v in list(self.world.vms.values()) if v.snapshot(self.this.id)), None
            )
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
        raise Fault(
            "MethodNotFound",
            "Unable to resolve WSDL method name %s" % op,
            receiver=call.this,
            method=op,
        )
    if op in PRIVILEGE:
        call.need(PRIVILEGE[op], call.vm() or raise_(not_found(call.this)))
    return function(call) or []


def raise_(e):
    raise e


def not_authenticated(ref):
    return Fault("NotAuthenticated", object=ref, privilegeId="System.View")


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
        "ContainerView",
        id_,
        id_,
        None,
        view=refs(view),
        container=container,
        type=Array("string", types),
        recursive=recursive,
    )
    return [("returnval", Ref("ContainerView", id_))]


@operation
def DestroyView(call):
    if call.session.views.pop(call.this.id, None) is None:
        raise not_found(call.this)


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
