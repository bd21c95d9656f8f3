"""The operations of the property collector: retrieval, page by page, and filters."""

import uuid

from . import collector
from .operations import not_authenticated, operation
from .soap import Fault
from .values import Obj, Ref
from .world import not_found


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
            fault = not_authenticated(one.ref("obj"))
            missing = [Obj("MissingProperty", path=p, fault=fault.localized()) for p in paths]
            objects.append(Obj("ObjectContent", obj=one.ref("obj"), missingSet=missing))
    if call.request.op == "RetrieveProperties":
        return [("returnval", objects)]
    return [("returnval", Obj("RetrieveResult", objects=objects))]


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
    rest = call.session.tokens.pop(call.args.text("token"), None)
    if rest is None:
        raise Fault("InvalidArgument", invalidProperty="token")
    return [("returnval", collector.page(call.world, call.session, *rest))]


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
