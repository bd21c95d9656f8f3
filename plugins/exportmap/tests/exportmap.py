# Shared by the Python tests of the export map: maps, servers, clients, TAP.
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import nbd

BUILD = os.environ["BUILD"]
PLUGIN = BUILD + "/nbdkit-exportmap-plugin.so"
VMFERRY = BUILD + "/vmferry"


class Tap:
    count = 0
    failures = 0

    @classmethod
    def ok(cls, good, name, got=None):
        cls.count += 1
        print("%sok %d - %s" % ("" if good else "not ", cls.count, name), flush=True)
        if not good:
            cls.failures += 1
            if got is not None:
                print("# got: %r" % (got,), flush=True)
        return good

    @classmethod
    def equal(cls, got, expected, name):
        return cls.ok(got == expected, name, (got, "expected", expected))

    @classmethod
    def done(cls):
        print("1..%d" % cls.count)
        sys.exit(cls.failures > 0)


ok = Tap.ok
equal = Tap.equal
done = Tap.done


class Map:
    """A map directory, with a server (one process) in front of it if asked."""

    def __init__(self, *parameters):
        self.top = tempfile.mkdtemp(prefix="exportmap.", dir=os.environ.get("TMPDIR", "/tmp"))
        self.dir = self.top + "/map"
        self.log = self.top + "/log"
        os.mkdir(self.dir, 0o700)
        self.parameters = list(parameters)
        self.server = None
        self.clients = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for h in self.clients:
            try:
                h.shutdown()
            except nbd.Error:
                pass
            del h
        self.clients = []
        self.stop()
        if os.environ.get("KEEP"):
            print("# kept", self.top)
        else:
            shutil.rmtree(self.top, ignore_errors=True)

    def arguments(self):
        return [PLUGIN, "map=" + self.dir, *self.parameters]

    def alone(self):
        """argv of an nbdkit for one connection on its stdin."""
        return ["nbdkit", "-s", "--exit-with-parent", *self.arguments()]

    def start(self):
        self.socket = self.top + "/sock"
        ready = self.top + "/pid"  # written when it listens
        argv = ["nbdkit", "-f", "--exit-with-parent", "-P", ready, "-U", self.socket, *self.arguments()]
        self.server = subprocess.Popen(argv, stderr=open(self.log, "ab"))
        wait_for(lambda: os.path.exists(ready), 20)
        return self

    def stop(self):
        if self.server:
            self.server.send_signal(signal.SIGTERM)
            self.server.wait()
            if self.server.returncode not in (0, -signal.SIGTERM):
                ok(False, "nbdkit ends well", self.server.returncode)
            self.server = None

    def path(self, name):
        return self.top + "/" + name

    def raw(self, name, size, fill=None):
        with open(self.path(name), "wb") as f:
            if fill:
                f.write(fill * (size // len(fill)))
            f.truncate(size)
        return self.path(name)

    def qcow2(self, name, size, *options):
        subprocess.check_call(["qemu-img", "create", "-q", "-f", "qcow2", *options,
                               self.path(name), str(size)])
        return self.path(name)

    def put(self, name, disk, fmt="raw", mode="rw", lease=None, description=None):
        argv = [VMFERRY, "export", "put", "--map=" + self.dir, "--format=" + fmt, "--mode=" + mode]
        if lease:
            argv.append("--lease=" + lease)
        if description:
            argv.append("--description=" + description)
        subprocess.check_call([*argv, name, disk])

    def write(self, name, text, mode=0o600):
        """A map file with this text or object, by rename."""
        if not isinstance(text, str):
            text = json.dumps(text)
        temporary = self.dir + "/.tmp-%d" % os.getpid()
        with open(temporary, "w") as f:
            f.write(text)
        os.chmod(temporary, mode)
        os.rename(temporary, self.dir + "/" + name)

    def read(self, name):
        with open(self.dir + "/" + name) as f:
            return json.load(f)

    def change(self, name, **values):
        entry = self.read(name)
        entry.update(values)
        self.write(name, entry)

    def remove(self, name):
        subprocess.check_call([VMFERRY, "export", "remove", "--map=" + self.dir, name])

    def connect(self, export, alone=False):
        """A client: of the one server, or `alone` with an nbdkit process of its own."""
        h = nbd.NBD()
        h.add_meta_context("base:allocation")
        h.set_export_name(export)
        h.set_strict_mode(0)
        if alone:
            argv = self.alone()
            log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            saved = os.dup(2)
            os.dup2(log, 2)
            try:
                h.connect_command(argv)
            finally:
                os.dup2(saved, 2)
                os.close(saved)
                os.close(log)
        else:
            h.connect_unix(self.socket)
        self.clients.append(h)
        return h

    def refused(self, export, alone=False):
        """Why the server's log says it refused this export; None: it did not."""
        before = len(self.logged())
        try:
            self.connect(export, alone).shutdown()
        except nbd.Error:
            return self.logged()[before:].strip() or "?"
        self.clients.pop()
        return None

    def logged(self):
        if not os.path.exists(self.log):
            return ""
        with open(self.log) as f:
            return f.read()

    def qemus(self):
        """The qemu-nbd processes that serve a disk of this test."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid) as f:
                    args = f.read().split("\0")
            except OSError:
                continue
            if args[0] == "qemu-nbd" and any(a.startswith(self.top + "/") for a in args):
                found.append(int(pid))
        return found


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def error_of(function, *args):
    """The errno of what libnbd reports; 0 when it works."""
    try:
        function(*args)
    except nbd.Error as e:
        return e.errnum or errno.ECONNRESET
    return 0


def extents(h, size, offset=0):
    """[(offset, length, flags)], neighbours that are equal merged."""
    found = []

    def add(_context, at, entries, _error):
        for length, flags in zip(entries[::2], entries[1::2]):
            if found and found[-1][2] == flags and found[-1][0] + found[-1][1] == at:
                found[-1] = (found[-1][0], found[-1][1] + length, flags)
            else:
                found.append((at, length, flags))
            at += length

    while offset < size:
        h.block_status(min(size - offset, 1 << 30), offset, add)
        assert found and found[-1][0] + found[-1][1] > offset
        offset = found[-1][0] + found[-1][1]
    return found
