"""A plain SOAP and HTTPS client for the simulator's own tests: it sends what it is told,
and shows what came back, also when that makes no sense."""

import gzip
import http.client
import ssl
import time
from xml.etree import ElementTree as ET

ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
MANAGERS = {
    "SessionManager": "SessionManager",
    "PropertyCollector": "PropertyCollector",
    "SearchIndex": "SearchIndex",
    "ViewManager": "ViewManager",
}


class SoapFault(Exception):
    def __init__(self, name, text, detail):
        super().__init__("%s: %s" % (name, text))
        self.name, self.text, self.detail = name, text, detail


def local(tag):
    return tag.rpartition("}")[2]


def find(element, path):
    for name in path.split("/"):
        element = next((e for e in element if local(e.tag) == name), None)
        if element is None:
            return None
    return element


def every(element, name):
    return [e for e in element.iter() if local(e.tag) == name]


def text(element, path):
    found = find(element, path)
    return None if found is None else found.text or ""


def ref(name, moref):
    return '<%s type="%s">%s</%s>' % (name, moref[0], moref[1], name)


class Client:
    def __init__(self, sim, accept=""):
        self.sim, self.cookie, self.accept = sim, None, accept
        self.connection = http.client.HTTPSConnection(
            sim.host, sim.port, context=ssl.create_default_context(cafile=sim.ca_file), timeout=30
        )
        self.set_cookie = None

    def http(self, method, path, body=None, headers=None):
        """status, headers, body."""
        headers = dict(headers or {})
        if self.cookie:
            headers.setdefault("Cookie", self.cookie)
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def raw(self, op, this, arguments=""):
        body = (
            '<?xml version="1.0"?><e:Envelope xmlns:e="%s" xmlns:xsi="%s"><e:Body>'
            '<%s xmlns="urn:vim25">%s%s</%s></e:Body></e:Envelope>'
            % (ENVELOPE, XSI_TYPE[1:].partition("}")[0], op, ref("_this", this), arguments, op)
        )
        headers = {"Content-Type": "text/xml", "SOAPAction": '"urn:vim25/6.7"'}
        if self.accept:
            headers["Accept-Encoding"] = self.accept
        status, headers, data = self.http("POST", "/sdk", body, headers)
        self.set_cookie = headers.get("Set-Cookie")
        if headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        return status, headers, data

    def call(self, op, this, arguments=""):
        """The element of the response; SoapFault."""
        _, _, data = self.raw(op, this, arguments)
        body = ET.fromstring(data).find("{%s}Body" % ENVELOPE)
        fault = body.find("{%s}Fault" % ENVELOPE)
        if fault is not None:
            detail = fault.find("detail")[0]
            raise SoapFault(
                detail.get(XSI_TYPE).rpartition(":")[2], fault.findtext("faultstring"), detail
            )
        return body[0]

    def login(self, user=None, password=None):
        arguments = "<userName>%s</userName><password>%s</password>" % (
            escape(user or self.sim.user),
            escape(password or self.sim.password),
        )
        try:
            answer = self.call("Login", ("SessionManager", "SessionManager"), arguments)
        finally:
            if self.set_cookie:
                self.cookie = self.set_cookie.partition(";")[0]
        return answer

    def properties(self, this, paths):
        """path → its <val>; and path → fault for what is missing."""
        answer = self.call(
            "RetrievePropertiesEx",
            ("PropertyCollector", "PropertyCollector"),
            "<specSet><propSet><type>%s</type>%s</propSet><objectSet>%s</objectSet></specSet><options/>"
            % (this[0], "".join("<pathSet>%s</pathSet>" % p for p in paths), ref("obj", this)),
        )
        values = {text(p, "name"): find(p, "val") for p in every(answer, "propSet")}
        missing = {
            text(m, "path"): find(m, "fault/fault").get(XSI_TYPE)
            for m in every(answer, "missingSet")
        }
        return values, missing

    def disks(self, this):
        """key → {change_id, file, parent, unit, …}, in the server's order."""
        values, _ = self.properties(this, ["config.hardware.device"])
        result = {}
        for device in values["config.hardware.device"]:
            if device.get(XSI_TYPE).rpartition(":")[2] == "VirtualDisk":
                result[int(text(device, "key"))] = {
                    "change_id": text(device, "backing/changeId"),
                    "file": text(device, "backing/fileName"),
                    "parent": text(device, "backing/parent/fileName"),
                    "uuid": text(device, "backing/uuid"),
                    "controller": int(text(device, "controllerKey")),
                    "unit": int(text(device, "unitNumber")),
                    "capacity": int(text(device, "capacityInBytes")),
                }
        return result

    # Tasks

    def start(self, op, this, arguments=""):
        return ("Task", text(self.call(op, this, arguments), "returnval"))

    def wait(self, task, seconds=20):
        """Its result (or None); SoapFault."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            info = self.properties(task, ["info"])[0]["info"]
            state = text(info, "state")
            if state == "success":
                return text(info, "result")
            if state == "error":
                fault = find(info, "error/fault")
                raise SoapFault(
                    fault.get(XSI_TYPE).rpartition(":")[2],
                    text(info, "error/localizedMessage"),
                    fault,
                )
            time.sleep(0.01)
        raise TimeoutError("%s is still %s" % (task[1], state))

    def state_of(self, task):
        return text(self.properties(task, ["info"])[0]["info"], "state")

    def snapshot(self, vm, name, quiesce=False):
        arguments = "<name>%s</name><description/><memory>false</memory><quiesce>%s</quiesce>" % (
            name,
            "true" if quiesce else "false",
        )
        task = self.start("CreateSnapshot_Task", vm, arguments)
        return ("VirtualMachineSnapshot", self.wait(task))

    def remove(self, snapshot):
        arguments = "<removeChildren>false</removeChildren><consolidate>true</consolidate>"
        self.wait(self.start("RemoveSnapshot_Task", snapshot, arguments))

    def track(self, vm, on=True):
        spec = "<spec><changeTrackingEnabled>%s</changeTrackingEnabled></spec>" % str(on).lower()
        self.wait(self.start("ReconfigVM_Task", vm, spec))

    def changed(self, vm, snapshot, key, start, change_id):
        """startOffset, length, areas of one answer."""
        answer = self.call(
            "QueryChangedDiskAreas",
            vm,
            ref("snapshot", snapshot)
            + "<deviceKey>%d</deviceKey><startOffset>%d</startOffset><changeId>%s</changeId>"
            % (key, start, change_id),
        )
        areas = [
            (int(text(a, "start")), int(text(a, "length"))) for a in every(answer, "changedArea")
        ]
        value = find(answer, "returnval")
        return int(text(value, "startOffset")), int(text(value, "length")), areas

    def all_changed(self, vm, snapshot, key, change_id, capacity):
        """Areas, and how many each answer had."""
        at, areas, pages = 0, [], []
        while at < capacity:
            start, length, some = self.changed(vm, snapshot, key, at, change_id)
            if start != at or length <= 0:
                raise ValueError("%d, %d is no answer for %d" % (start, length, at))
            areas += some
            pages.append(len(some))
            at += length
        if at != capacity:
            raise ValueError("the last answer ends at %d of %d" % (at, capacity))
        return areas, pages


def escape(value):
    return value.replace("&", "&amp;").replace("<", "&lt;")


def vm_ref(vm):
    return ("VirtualMachine", vm.moref)


def fault_of(function):
    try:
        return "none, but %r" % (function(),)
    except SoapFault as e:
        return e.name


def client_of(sim, **kwargs):
    client = Client(sim, **kwargs)
    client.login()
    return client
