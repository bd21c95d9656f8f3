"""The property collector: which objects a filter selects, what their properties are,
pages with tokens, and waiting for changes."""

import re
import secrets
import time

from .soap import Fault
from .values import Array, Enum, Obj, Ref, Style, Writer, unwrap
from .world import is_a

STEP = re.compile(r'^(\w+)(?:\["?([^"\]]*)"?\])?$')


def prop_sets(spec):
    return [(p.text("type"), p.true("all"), p.texts("pathSet")) for p in spec.children("propSet")]


def select(world, session, spec):
    """The objects of one filter spec, each once, with the paths that are wanted of it:
    (Ref, all, paths)."""
    wanted = prop_sets(spec)
    seen = set()
    for object_set in spec.children("objectSet"):
        start = object_set.ref("obj")
        named = {}
        for selection in object_set.children("selectSet"):
            collect_names(selection, named)
        found = []
        walk(
            world,
            session,
            start,
            object_set.true("skip"),
            object_set.children("selectSet"),
            named,
            found,
            set(),
        )
        for ref in found:
            if ref in seen:
                continue
            seen.add(ref)
            for type_, every, paths in wanted:
                if is_a(ref.type, type_):
                    yield ref, every, paths
                    break


def collect_names(selection, named):
    if selection.xsi_type() == "TraversalSpec" or selection.child("path") is not None:
        if selection.text("name"):
            named[selection.text("name")] = selection
        for inner in selection.children("selectSet"):
            collect_names(inner, named)


def walk(world, session, start, skip, selections, named, found, visited):
    stack = [(start, skip, selections)]
    while stack:
        ref, skip, selections = stack.pop()
        key = (ref, tuple(id(s.node) for s in selections))
        if key in visited:
            continue
        visited.add(key)
        properties = world.properties_of(ref, session)
        if not skip:
            found.append(ref)
        more = []
        for selection in selections:
            if selection.child("path") is None:
                name = selection.text("name")
                if name not in named:
                    raise Fault("InvalidArgument", invalidProperty="selectSet")
                selection = named[name]
            if not is_a(ref.type, selection.text("type")):
                continue
            path = selection.text("path")
            if path not in properties:
                raise Fault("InvalidProperty", name=path)
            value = unwrap(properties[path])
            targets = value.items if isinstance(value, Array) else [value] if value else []
            more += [(t, selection.true("skip"), selection.children("selectSet")) for t in targets]
        stack.extend(reversed(more))


def lookup(properties, path):
    """The value at a path; None: unset. InvalidProperty when there is no such thing."""
    value, known = None, properties
    for n, step in enumerate(path.split(".")):
        match = STEP.match(step)
        if not match or (n and value is None):
            if match:
                return None
            raise Fault("InvalidProperty", name=path)
        members = known if n == 0 else value.members if isinstance(value, Obj) else {}
        if match[1] not in members:
            raise Fault("InvalidProperty", name=path)
        value = unwrap(members[match[1]])
        if match[2] is not None and value is not None:
            items = [unwrap(i) for i in (value.items if isinstance(value, Array) else value)]
            value = next((i for i in items if str(i.members.get("key")) == match[2]), None)
    return [*value] if isinstance(value, tuple) else value


def content(world, session, ref, every, paths):
    """An ObjectContent."""
    properties = world.properties_of(ref, session)
    props = []
    for path in sorted(properties) if every else paths:
        value = lookup(properties, path)
        if isinstance(value, list):
            value = Array(value[0].type, value) if value else None
        if value is not None:
            props.append(Obj("DynamicProperty", name=path, val=value))
    return Obj("ObjectContent", obj=ref, propSet=props)


def page(world, session, pending, limit):
    """The next objects of a retrieval: a RetrieveResult, or None when there are none."""
    objects = []
    while pending and len(objects) < limit:
        ref, every, paths = pending.pop()
        try:
            objects.append(content(world, session, ref, every, paths))
        except Fault as e:
            if e.name != "ManagedObjectNotFound":  # it went away in between
                raise
    token = None
    if pending:
        token = secrets.token_hex(8)
        session.tokens[token] = (pending, limit)
    if not objects:
        return None
    return Obj("RetrieveResult", token=token, objects=objects)


class Filter:
    """What a client watches, and what it was last told."""

    def __init__(self, world, session, id_, spec, partial):
        self.world, self.session, self.id = world, session, id_
        self.spec, self.partial = spec, partial
        self.told = {}  # Ref → path → XML

    def updates(self):
        """ObjectUpdates since the last call."""
        try:
            selected = list(select(self.world, self.session, self.spec))
        except Fault as e:
            if e.name != "ManagedObjectNotFound":
                raise
            selected = []
        result = []
        for ref, every, paths in selected:
            new = ref not in self.told
            told = self.told.setdefault(ref, {})
            changes = self.changes(ref, every, paths, told)
            if new or changes:
                result.append(update("enter" if new else "modify", ref, changes))
        for ref in set(self.told) - {s[0] for s in selected}:
            del self.told[ref]
            result.append(update("leave", ref, []))
        return result

    def changes(self, ref, every, paths, told):
        properties = self.world.properties_of(ref, self.session)
        result = []
        for path in sorted(properties) if every else paths:
            value = lookup(properties, path)
            xml = as_xml(value)
            before = told.get(path)
            told[path] = xml
            if before == xml or (before is None and value is None):
                continue
            if self.partial and before and isinstance(value, Obj):
                members = ((path + "." + m, unwrap(v), m) for m, v in value.members.items())
                result += [(n, v) for n, v, m in members if as_xml(v, m) not in before]
            else:
                result.append((path, value))
        return result


def as_xml(value, name="x"):
    if value is None:
        return ""
    writer = Writer(Style("vcenter"))
    writer.element(name, value)
    return writer.text()


def update(kind, ref, changes):
    return Obj(
        "ObjectUpdate",
        kind=Enum("ObjectUpdateKind", kind),
        obj=ref,
        changeSet=[
            Obj("PropertyChange", name=name, op=Enum("PropertyChangeOp", "assign"), val=value)
            for name, value in changes
        ],
    )


def update_set(session):
    """What changed for this session's filters: an UpdateSet, or None."""
    sets = []
    for id_, one in list(session.filters.items()):
        updates = one.updates()
        if updates:
            sets.append(
                Obj("PropertyFilterUpdate", filter=Ref("PropertyFilter", id_), objectSet=updates)
            )
    if not sets:
        return None
    session.version += 1
    return Obj("UpdateSet", version=str(session.version), filterSet=sets)


def wait(world, session, version, seconds):
    """An UpdateSet, or None after so many seconds (None: no limit)."""
    with session.waiting:
        if not version:
            for one in session.filters.values():
                one.told = {}
        elif version != str(session.version):
            raise Fault("InvalidCollectorVersion")
        session.cancel_wait = False
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            result = update_set(session)
            left = None if deadline is None else deadline - time.monotonic()
            if result or (left is not None and left <= 0):
                return result
            if session.gone:
                ref = Ref("PropertyCollector", "PropertyCollector")
                raise Fault("NotAuthenticated", object=ref, privilegeId="System.View")
            if session.cancel_wait:
                raise Fault("RequestCanceled")
            with world.changed:
                # Not everything that shows tells of its changes: look now and then.
                world.changed.wait(0.2 if left is None else min(left, 0.2))
