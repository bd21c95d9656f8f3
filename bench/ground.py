"""What a benchmark stands on: a directory in memory, disks, certificates, servers.

Everything is made under one directory and is gone at the end, whatever happens."""

import atexit
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))

# One cipher for everybody: the fastest that Debian's GnuTLS has (docs/benchmarks.md).
PRIORITY = os.path.join(TOP, "share/vmferry/gnutls-priority")


def family(pid):
    """A process and all its descendants."""
    try:
        children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    except FileNotFoundError:
        return []
    return [pid, *itertools.chain.from_iterable(family(int(child)) for child in children)]


def ticks(pid):
    """CPU time of a process, and of those of its children that are over."""
    try:
        stat = open(f"/proc/{pid}/stat").read()
    except FileNotFoundError:
        return 0
    return sum(map(int, stat.rsplit(")", 1)[1].split()[11:15]))


class Server:
    """An nbdkit (or a server like it) and the URI of what it serves."""

    def __init__(self, process, uri, port=None):
        self.process, self.uri, self.port = process, uri, port
        self.idle = 1  # processes that are there when nobody is connected

    def cpu_seconds(self):
        """What it has used so far, with the processes for connections that are over."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and len(family(self.process.pid)) > self.idle:
            time.sleep(0.005)
        return sum(map(ticks, family(self.process.pid))) / os.sysconf("SC_CLK_TCK")

    def settle(self):
        """Until those are there that stand by for connections."""
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            before = len(family(self.process.pid))
            time.sleep(0.1)
            self.idle = len(family(self.process.pid))
            if 1 < self.idle == before:
                break
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ground:
    def __init__(self, size):
        self.size = size  # of a disk of random data, bytes
        self.servers = []
        self.numbers = itertools.count()
        self.dir = None
        atexit.register(self.clear)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda n, _: os._exit(128 + n) if self.clear() else None)
        self.dir = tempfile.mkdtemp(prefix=f"vmferry-bench.{os.getpid()}.",
                                    dir=self._place(3 * size))

    @staticmethod
    def _place(room):
        """Memory when there is room for it, so that no disk is measured."""
        memory = "/dev/shm"
        if os.access(memory, os.W_OK):
            free = min(shutil.disk_usage(memory).free, available_memory())
            if free >= room:
                return memory
        place = os.environ.get("TMPDIR", "/var/tmp")
        print(f"note: {memory} has no {room // MiB} MiB free: disks are files in {place}, "
              "and the numbers are also the disk's")
        return place

    def clear(self):
        self.stop_servers()
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        return True

    def path(self, name):
        return os.path.join(self.dir, name)

    # -- disks

    def random_disk(self, name, size=None):
        path = self.path(name)
        with open("/dev/urandom", "rb") as source, open(path, "wb") as disk:
            for _ in range((size or self.size) // MiB):
                disk.write(source.read(MiB))
        return path

    def sparse_disk(self, name, size, share, island):
        """Random data in a share of the disk, in islands."""
        path = self.path(name)
        choice = random.Random(1)
        with open("/dev/urandom", "rb") as source, open(path, "wb") as disk:
            disk.truncate(size)
            for at in sorted(choice.sample(range(size // island), int(size * share / island))):
                os.pwrite(disk.fileno(), source.read(island), at * island)
        return path

    def areas(self, name, disk_size, share, lengths):
        """A change map: areas of the given lengths that do not touch, in order."""
        path = self.path(name)
        choice = random.Random(2)
        slot = max(lengths) * 2
        todo, taken = int(disk_size * share), []
        for at in choice.sample(range(disk_size // slot), disk_size // slot):
            length = choice.choice(lengths)
            offset = at * slot + choice.randrange((slot - length) // (64 * KiB)) * 64 * KiB
            taken.append((offset, length))
            todo -= length
            if todo <= 0:
                break
        with open(path, "w") as out:
            out.writelines(f"{offset} {length}\n" for offset, length in sorted(taken))
        return path

    # -- servers

    def serve(self, args, export=""):
        """nbdkit on a unix socket."""
        sock = self.path(f"{next(self.numbers)}.sock")
        process, pidfile = self._nbdkit(["-U", sock, *args])
        return self._ready(Server(process, f"nbd+unix:///{export}?socket={sock}"), pidfile)

    def serve_tls(self, args, export="", **options):
        """nbdkit on TCP with X.509 certificates on both sides."""
        port = free_port()
        tls = ["--tls=require", "--tls-verify-peer",
               f"--tls-certificates={self.certificates('server')}"]
        process, pidfile = self._nbdkit(["-i", "127.0.0.1", "-p", str(port), *tls, *args], **options)
        uri = f"nbds://localhost:{port}/{export}?tls-certificates={self.certificates()}"
        return self._ready(Server(process, uri, port), pidfile)

    def _nbdkit(self, args, **options):
        pidfile = self.path(f"{next(self.numbers)}.pid")
        argv = ["nbdkit", "--foreground", "--exit-with-parent", "--pidfile", pidfile, *args]
        env = {**os.environ, "GNUTLS_SYSTEM_PRIORITY_FILE": PRIORITY}
        return subprocess.Popen(argv, env=env, **options), pidfile

    def _ready(self, server, pidfile):
        self.servers.append(server)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and server.process.poll() is None:
            if os.path.exists(pidfile):
                return server
            time.sleep(0.02)
        raise SystemExit(f"bench: a server did not start: {server.process.args}")

    def stop(self, server):
        self.servers.remove(server)
        server.stop()

    def serve_exports(self, disks, tls=False):
        """The export map, {name: file}; the URI of the first name."""
        maps = self.path(f"map{next(self.numbers)}")
        os.mkdir(maps, 0o700)
        for name, path in disks.items():
            status = os.stat(path)
            with open(os.path.join(maps, name), "w") as out:
                json.dump({"path": path, "format": "raw", "size": status.st_size, "mode": "rw",
                           "lease": None,
                           "identity": {"dev": f"{os.major(status.st_dev)}:"
                                               f"{os.minor(status.st_dev)}",
                                        "inode": status.st_ino}}, out)
        name = next(iter(disks))
        pidfile = self.path(f"{next(self.numbers)}.pid")
        if tls:
            port = free_port()
            uri = f"nbds://localhost:{port}/{name}?tls-certificates={self.certificates()}"
            listen = [f"--listen=127.0.0.1:{port}",
                      f"--tls-certificates={self.certificates('server')}"]
        else:
            port, sock = None, self.path(f"{next(self.numbers)}.sock")
            uri = f"nbd+unix:///{name}?socket={sock}"
            listen = [f"--unix={sock}"]
        process = subprocess.Popen(
            [os.path.join(BUILD, "nbdkit-exportmap-server"), "--exit-with-parent",
             f"--pidfile={pidfile}", f"--map={maps}", *listen], stderr=subprocess.DEVNULL)
        return self._ready(Server(process, uri, port), pidfile).settle().uri

    def stop_servers(self):
        for server in self.servers:
            server.stop()
        self.servers.clear()

    # -- TLS

    def certificates(self, end="client"):
        """A directory with the certificates of one end."""
        directory = self.path("pki")
        if not os.path.isdir(directory):
            subprocess.run([os.path.join(TOP, "scripts/vmferry-make-certs"), "--days=2", directory,
                            "localhost", "127.0.0.1"], check=True, capture_output=True)
        return os.path.join(directory, end)

    def cipher(self):
        """What a session between these ends negotiates, as nbdkit says it."""
        with open(self.path("cipher.log"), "w+") as log:
            server = self.serve_tls(["--verbose", "-D", "nbdkit.tls.session=1", "null"], stderr=log)
            subprocess.run(["nbdinfo", "--size", server.uri], stdout=subprocess.DEVNULL, check=True)
            self.stop(server)
            log.seek(0)
            sessions = [line for line in log if "TLS session:" in line]
        return sessions[-1].split("TLS session: ")[1].strip()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def available_memory():
    with open("/proc/meminfo") as info:
        for line in info:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * KiB
    return 0
