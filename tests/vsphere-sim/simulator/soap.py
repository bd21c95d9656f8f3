"""SOAP envelopes: requests in, responses and faults out. A request whose elements are not
in the schema's order is refused, as real servers do."""

import re
from xml.etree import ElementTree as ET

from .values import ENVELOPE, Obj, Ref, Writer


class Fault(Exception):
    """A fault as the API has it: the name of its type, its members, a text for people."""

    def __init__(self, name, message=None, /, **members):
        super().__init__(message or name)
        self.name, self.message, self.members = name, message or TEXT.get(name, name), members

    def value(self):
        return Obj(self.name, derived=True, **self.members)

    def localized(self):
        return Obj("LocalizedMethodFault", fault=self.value(), localizedMessage=self.message)


TEXT = {
    "InvalidLogin": "Cannot complete login due to an incorrect user name or password.",
    "NotAuthenticated": "The session is not authenticated.",
    "ManagedObjectNotFound": "The object has already been deleted or has not been completely created",
    "TaskInProgress": "Another task is already in progress.",
    "InvalidArgument": "A specified parameter was not correct.",
    "DuplicateName": "The name already exists.",
    "InvalidName": "The name is not valid.",
    "NotFound": "The object or item referred to could not be found.",
    "InvalidPowerState": "The attempted operation cannot be performed in the current state (Powered off).",
    "ToolsUnavailable": "Cannot complete operation because VMware Tools is not running in this virtual machine.",
    "NoPermission": "Permission to perform this operation was denied.",
    "NotSupported": "The operation is not supported on the object.",
    "InvalidProperty": "Invalid property.",
    "InvalidCollectorVersion": "The version is not known to this property collector.",
    "RequestCanceled": "The request was canceled.",
    "FileFault": "An error occurred while accessing a file.",
    "FilesystemQuiesceFault": "Cannot quiesce this virtual machine because the guest did not answer in time.",
    "ApplicationQuiesceFault": "Cannot quiesce this virtual machine because an application refused.",
}


def completed(name, message, members, ref, op):
    """A fault that a test asked for, with what the schema asks of its members."""
    needed = {
        "ManagedObjectNotFound": {"obj": ref},
        "NotAuthenticated": {"object": ref, "privilegeId": "System.View"},
        "NoPermission": {"object": ref, "privilegeId": "System.View"},
        "TaskInProgress": {"task": Ref("Task", "task-1")},
        "FileFault": {"file": "/vmfs/volumes/datastore1/unknown.vmdk"},
        "MethodNotFound": {"receiver": ref, "method": op},
        "InvalidProperty": {"name": "unknown"},
        "GenericVmConfigFault": {"reason": "vsphere-sim"},
    }
    return Fault(name, message, **dict(needed.get(name, {}), **members))


class Element:
    """A request's element, by local names."""

    def __init__(self, node):
        self.node = node
        self.name = node.tag.rpartition("}")[2]

    def children(self, name=None):
        every = (Element(n) for n in self.node)
        return [e for e in every if name is None or e.name == name]

    def child(self, name):
        for node in self.node:
            if node.tag.rpartition("}")[2] == name:
                return Element(node)
        return None

    def text(self, name=None, default=None):
        node = self if name is None else self.child(name)
        return default if node is None else (node.node.text or "").strip()

    def texts(self, name):
        return [e.text() for e in self.children(name)]

    def true(self, name, default=False):
        text = self.text(name)
        return default if text is None else text in ("true", "1")

    def number(self, name, default=None):
        text = self.text(name)
        try:
            return default if text is None else int(text)
        except ValueError:
            raise Fault("InvalidArgument", invalidProperty=name) from None

    def ref(self, name=None):
        node = self if name is None else self.child(name)
        return None if node is None else Ref(node.node.get("type", ""), node.text())

    def xsi_type(self):
        for key, value in self.node.items():
            if key.rpartition("}")[2] == "type" and key.startswith("{"):
                return value.rpartition(":")[2]
        return ""


class Request:
    def __init__(self, body, action=""):
        try:
            root = ET.fromstring(body)
        except ET.ParseError as e:
            raise Fault("InvalidRequest", "This is no XML: %s" % e) from None
        soap_body = root.find("{%s}Body" % ENVELOPE)
        if soap_body is None or len(soap_body) != 1:
            raise Fault("InvalidRequest", "There is no SOAP body with one element")
        self.call = Element(soap_body[0])
        self.op = self.call.name
        self.this = self.call.ref("_this")
        version = re.search(r"urn:vim25/(\d+)(?:\.(\d+))?", action)
        self.newer = not version or (int(version[1]), int(version[2] or 0)) > (4, 1)
        in_order(self.call)


# The order of elements in requests, ? for those that may be missing; real servers parse
# strictly in this order.
ORDER = {
    "Login": "_this userName password locale?",
    "FindByInventoryPath": "_this inventoryPath",
    "FindByUuid": "_this datacenter? uuid vmSearch instanceUuid?",
    "FindAllByUuid": "_this datacenter? uuid vmSearch instanceUuid?",
    "CreateContainerView": "_this container type? recursive",
    "RetrievePropertiesEx": "_this specSet options",
    "RetrieveProperties": "_this specSet",
    "ContinueRetrievePropertiesEx": "_this token",
    "CreateFilter": "_this spec partialUpdates",
    "WaitForUpdatesEx": "_this version? options?",
    "CreateSnapshot_Task": "_this name description? memory quiesce",
    "RemoveSnapshot_Task": "_this removeChildren consolidate?",
    "QueryChangedDiskAreas": "_this snapshot? deviceKey startOffset changeId",
    "HasPrivilegeOnEntities": "_this entity sessionId privId?",
    "HasPrivilegeOnEntity": "_this entity sessionId privId?",
    "FetchUserPrivilegeOnEntities": "_this entities userName",
    "ReconfigVM_Task": "_this spec",
    "Rename_Task": "_this newName",
    "PowerOffVM_Task": "_this",
    "PowerOnVM_Task": "_this host?",
    "ShutdownGuest": "_this",
    "specSet": "propSet objectSet reportMissingObjectsInResults?",
    "propSet": "type all? pathSet?",
    "objectSet": "obj skip? selectSet?",
    "selectSet": "name? type? path? skip? selectSet?",
    "options": "maxObjects? maxWaitSeconds? maxObjectUpdates?",
}
# A filter's spec has the order of specSet.
ORDER["CreateFilter/spec"] = ORDER["specSet"]


def in_order(element, name=None):
    children = element.children()
    order = ORDER.get(name or element.name)
    if order:
        check_order(element, [c.name for c in children], order.split())
    for child in children:
        path = "%s/%s" % (element.name, child.name)
        if path in ORDER or child.name in ORDER:
            in_order(child, path if path in ORDER else child.name)


def check_order(element, names, order):
    at = 0
    words = [word.rstrip("?") for word in order]
    for name in names:
        if name not in words[at:]:
            raise Fault(
                "InvalidRequest",
                'Unexpected element tag "%s" seen while parsing %s; expected one of: %s'
                % (name, element.name, ", ".join(words[at:])),
            )
        at = words.index(name, at)
    for word in order:
        if not word.endswith("?") and word not in names:
            raise Fault(
                "InvalidRequest",
                "Required parameter %s is missing in %s" % (word, element.name),
            )


def envelope(style, inner):
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<{0}:Envelope {1}>\n<{0}:Body>\n{2}\n'
        "</{0}:Body>\n</{0}:Envelope>\n"
    ).format(style.soap, style.envelope(), inner)


def response(request, style, members, more=""):
    """`members`: pairs of name and value; `more`: XML."""
    writer = Writer(style, request.newer)
    for name, value in members:
        writer.element(name, value)
    tag = style.vim + request.op + "Response"
    return envelope(style, "<%s %s>%s</%s>" % (tag, style.namespace(), writer.text() + more, tag))


def fault_envelope(fault, style):
    writer = Writer(style)
    writer.element(fault.name + "Fault", fault.value())
    inner = writer.text().replace(
        fault.name + "Fault", fault.name + "Fault " + style.namespace(), 1
    )
    message = Writer(style)
    message.element("faultstring", fault.message)
    text = message.text().replace("<" + style.vim, "<").replace("</" + style.vim, "</")
    return envelope(
        style,
        "<{0}:Fault><faultcode>ServerFaultCode</faultcode>{1}<detail>{2}</detail></{0}:Fault>".format(
            style.soap, text, inner
        ),
    )
