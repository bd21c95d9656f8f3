"""HTTPS: takes requests to /sdk, /folder and /control, and sends what they answer. One
thread for each connection."""

import gzip
import http.server
import itertools
import json
import re
import socket
import threading
import time
import traceback

from . import control, datastore, operations, retrieval, rules, soap
from . import vmoperations  # noqa: F401  its operations enter themselves in a table
from .sessions import Sessions
from .soap import Fault
from .values import Style
from .world import World

# What can be set at the start and by control, and what it is until then.
SETTINGS = {
    "user": "administrator@vsphere.local",
    "password": "secret",
    "esxi": False,
    "version": "7.0.3",
    "build": "19193900",
    "host_version": "7.0.3",
    "host_build": "19193900",
    "cookie": "quoted",  # or plain
    "exact_cookie": False,  # quotes have to come back as they were sent
    "style": "vcenter",  # prefixes: see values.Style
    "gzip": True,  # for clients that accept it
    "page_size": 1000,  # objects in one answer of RetrievePropertiesEx; 0: all
    "areas_per_answer": 2000,
    "slice": 0,  # bytes of the disk that one change query looks at, at most; 0: all
    "star": "areas",  # what changeId "*" gives: areas, whole, or fault
    "cbt_effect": "create",  # tracking is in force from a snapshot's creation, or: cycle
    "change_id_style": "spaced",  # or dashed
    "keep_moments": False,  # files of removed snapshots stay until the end
    "session_timeout": 1800,
    "session_calls": 0,  # a session ends after so many calls; 0: never
    "wait_limit": 60,  # seconds that WaitForUpdatesEx waits at most
    "task_queued": 0,
    "task_seconds": 0.02,
    "shutdown_seconds": 0.2,
    "capture": "",  # a directory, to which every request and response is written
    "latency": 0,  # seconds that every call takes longer
}


CHOICES = {
    "cookie": ("quoted", "plain"),
    "style": ("vcenter", "local", "prefixed"),
    "star": ("areas", "whole", "fault"),
    "cbt_effect": ("create", "cycle"),
    "change_id_style": ("spaced", "dashed"),
}

PASSWORD = re.compile(rb"(<(?:\w+:)?password>)(.*?)(</)", re.S)


def checked(changes):
    """Settings that make sense; ValueError."""
    for name, value in changes.items():
        if name not in SETTINGS:
            raise ValueError("there is no setting %s" % name)
        default = SETTINGS[name]
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        if not isinstance(value, (int, float) if number else type(default)):
            raise ValueError("%s is no value for %s" % (value, name))
        if value not in CHOICES.get(name, (value,)):
            raise ValueError("%s is one of: %s" % (name, ", ".join(CHOICES[name])))
    return changes


class Simulator:
    def __init__(self, settings, token):
        self.settings = dict(SETTINGS, **checked(settings))
        self.world = World(self.settings)
        self.sessions = Sessions(self.settings)
        self.rules = rules.Rules()
        self.token = token
        self.lock = threading.Lock()
        self.requests = {}
        self.captured = itertools.count(1)

    checked = staticmethod(checked)

    def count(self, name):
        with self.lock:
            self.requests[name] = self.requests.get(name, 0) + 1

    def next_capture(self):
        with self.lock:
            return next(self.captured)

    def later(self, seconds, work):
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()


class Dropped(Exception):
    """The connection is to be closed without an answer."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "vsphere-sim"
    sys_version = ""
    timeout = 300
    wbufsize = 1 << 16

    @property
    def simulator(self):
        return self.server.simulator

    def log_message(self, format, *args):
        pass

    # Requests

    def do_POST(self):
        body = self.body()
        if self.path.split("?")[0] == "/control":
            self.control(body)
        elif self.path.rstrip("/") == "/sdk":
            self.guarded(lambda: self.sdk(body))
        else:
            self.reply(404, b"", "text/html")

    def do_GET(self):
        self.get(head=False)

    def do_HEAD(self):
        self.get(head=True)

    def get(self, head):
        self.body()
        if self.path.startswith("/folder/"):
            self.guarded(lambda: self.folder(head))
        elif self.path.split("?")[0] == "/control":
            self.control(None)
        elif self.path == "/sdk/vimServiceVersions.xml":
            self.reply(200, VERSIONS, "text/xml")
        else:
            self.reply(404, b"", "text/html")

    def body(self):
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length else b""

    def guarded(self, work):
        try:
            work()
            self.wfile.flush()
        except (Dropped, OSError):
            self.close_connection = True
            try:
                self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # SOAP

    def sdk(self, body):
        simulator = self.simulator
        style = Style(simulator.settings["style"])
        headers = {}
        session = simulator.sessions.find(self.headers.get("Cookie"))
        spoiled, status = None, 200
        try:
            request = soap.Request(body, self.headers.get("SOAPAction", ""))
            simulator.count(request.op)
            call = operations.Call(simulator, request, session)
            time.sleep(simulator.settings["latency"])
            vm = call.vm()
            answer = self.by_rule(
                simulator.rules.take("call", request.op, vm), request, style, call
            )
            if answer is None:
                return
            spoiled = simulator.rules.take("answer", request.op, vm)
            if answer is PROCEED:
                answer = soap.response(request, style, self.perform(call, headers))
        except Fault as e:
            if hasattr(e, "session"):  # a failed login gets a cookie, too
                headers["Set-Cookie"] = simulator.sessions.header(e.session)
            answer, status = soap.fault_envelope(e, style), 500
        except (Dropped, ConnectionError):
            raise
        except Exception as e:
            traceback.print_exc()
            slip = Fault("SystemError", "The simulator itself failed: %r" % e, reason=repr(e))
            answer, status = soap.fault_envelope(slip, style), 500
        data = answer.encode()
        if spoiled:
            if spoiled["how"] == "drop-answer":
                raise Dropped()
            data = rules.spoil(spoiled, data)
        self.capture(body, data)
        self.reply(status, data, "text/xml; charset=utf-8", headers)

    def capture(self, request, answer):
        """Keep what was said, for tests that look at it."""
        directory = self.simulator.settings["capture"]
        if directory:
            number = self.simulator.next_capture()
            for kind, data in (("request", request), ("response", answer)):
                with open("%s/%06d.%s.xml" % (directory, number, kind), "wb") as f:
                    f.write(PASSWORD.sub(rb"\1password\3", data))

    def perform(self, call, headers):
        simulator, request, session = self.simulator, call.request, call.session
        if request.op not in operations.NO_LOGIN:
            if session is None or not session.user:
                missing = retrieval.without_login(call)
                if missing is not None:
                    return missing
                raise operations.not_authenticated(call.this)
            simulator.sessions.touch(session)
        content = operations.perform(call)
        if request.op == "Login":
            headers["Set-Cookie"] = simulator.sessions.header(call.session)
        return content

    def by_rule(self, rule, request, style, call):
        """PROCEED, an envelope instead of the call, or None when all has been said."""
        if rule is None:
            return PROCEED
        how = rule["how"]
        if how == "fault":
            ref = call.args.ref("snapshot") or call.this
            members = rule.get("members", {})
            raise soap.completed(rule["fault"], rule.get("message"), members, ref, request.op)
        if how == "drop":
            raise Dropped()
        if how == "http":
            self.reply_by(rule)
            return None
        if how == "delay":
            time.sleep(rule.get("seconds", 1))
        elif how == "expire" and call.session:
            self.simulator.sessions.expire(call.session)
            call.session = None
        elif how == "answer":
            return soap.response(request, style, [], rule.get("xml", ""))
        return PROCEED

    def reply_by(self, rule):
        body = rule.get("body", "<html><body><h1>%d</h1></body></html>" % rule.get("status", 503))
        self.reply(
            rule.get("status", 503),
            body.encode(),
            rule.get("type", "text/html"),
            rule.get("headers", {}),
        )

    # Datastore files

    def folder(self, head):
        simulator = self.simulator
        simulator.count("HEAD /folder" if head else "GET /folder")
        rule = simulator.rules.take("call", "folder")
        if rule:
            if rule["how"] == "drop":
                raise Dropped()
            if rule["how"] == "delay":
                time.sleep(rule.get("seconds", 1))
            if rule["how"] == "http":
                self.reply_by(rule)
                return
            if rule["how"] == "expire":
                simulator.sessions.expire_all()
        cut = simulator.rules.take("answer", "folder")
        session = simulator.sessions.find(self.headers.get("Cookie"))
        if session and session.user:
            simulator.sessions.touch(session)
        elif not simulator.sessions.basic(self.headers.get("Authorization")):
            self.reply(
                401, b"", "text/html", {"WWW-Authenticate": 'Basic realm="VMware HTTP server"'}
            )
            return
        try:
            keep = cut.get("keep", 0) if cut and not head else None
            datastore.serve(self, simulator.world, head, keep)
        except datastore.Refused as e:
            text = ("<html><body>%s</body></html>" % e.text).encode()
            self.reply(e.status, b"" if head else text, "text/html", length=len(text))

    # Control

    def control(self, body):
        local = self.client_address[0] in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
        if not local and self.headers.get("X-Control-Token") != self.simulator.token:
            self.reply(403, b"", "text/plain")
            return
        try:
            if body is None:
                answer = control.state(self.simulator)
            else:
                answer = control.perform(self.simulator, json.loads(body or b"{}"))
            status = 200
        except (ValueError, KeyError, TypeError, Fault, OSError) as e:
            status, answer = 400, {"error": "%s: %s" % (type(e).__name__, e)}
        self.reply(status, (json.dumps(answer, indent=1) + "\n").encode(), "application/json")

    # Answers

    def reply(self, status, body, type_, headers=None, length=None):
        headers = dict(headers or {})
        accepted = self.headers.get("Accept-Encoding", "")
        if type_.startswith("text/xml") and len(body) > 500 and "gzip" in accepted:
            if self.simulator.settings["gzip"]:
                body = gzip.compress(body, 1)
                headers["Content-Encoding"] = "gzip"
        self.send_response(status)
        self.send_header("Content-Type", type_)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


PROCEED = object()

VERSIONS = b"""<?xml version="1.0" encoding="UTF-8" ?>
<namespaces version="1.0">
 <namespace>
  <name>urn:vim25</name>
  <version>6.7</version>
  <priorVersions>
   <version>6.5</version><version>6.0</version><version>5.5</version><version>5.1</version>
   <version>5.0</version><version>4.1</version><version>4.0</version><version>2.5u2</version>
   <version>2.5</version>
  </priorVersions>
 </namespace>
</namespaces>
"""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address, simulator, context):
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)
        self.simulator, self.context = simulator, context

    def finish_request(self, request, client_address):
        """In the connection's own thread: a client that is slow to greet stops nobody."""
        request.settimeout(30)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with self.context.wrap_socket(request, server_side=True) as tls:
                super().finish_request(tls, client_address)
        except OSError:
            pass
