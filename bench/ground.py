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
PRIORITY = "[overrides]\ntls-disabled-cipher = aes-256-gcm\ntls-disabled-cipher = chacha20-poly1305\n"


class Server:
    """An nbdkit (or a server like it) and the URI of what it serves."""

    def __init__(self, process, uri, port=None):
        self.process, self.uri, self.port = process, uri, port

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
        self.dir = tempfile.mkdtemp(prefix="vmferry-bench.", dir=self._place(3 * size))
        atexit.register(self.clear)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda n, _: os._exit(128 + n) if self.clear() else None)

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
        tls = ["--tls=require", "--tls-verify-peer", f"--tls-certificates={self.certificates()}"]
        process, pidfile = self._nbdkit(["-i", "127.0.0.1", "-p", str(port), *tls, *args], **options)
        uri = f"nbds://localhost:{port}/{export}?tls-certificates={self.certificates()}"
        return self._ready(Server(process, uri, port), pidfile)

    def _nbdkit(self, args, **options):
        pidfile = self.path(f"{next(self.numbers)}.pid")
        argv = ["nbdkit", "--foreground", "--exit-with-parent", "--pidfile", pidfile, *args]
        env = {**os.environ, "GNUTLS_SYSTEM_PRIORITY_FILE": self.path("priority")}
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
                           "identity": {"device": status.st_dev, "inode": status.st_ino}}, out)
        plugin = [os.path.join(BUILD, "nbdkit-exportmap-plugin.so"), f"map={maps}"]
        name = next(iter(disks))
        if tls:
            return self.serve_tls(plugin, name).uri
        return self.serve(plugin, name).uri

    def stop_servers(self):
        for server in self.servers:
            server.stop()
        self.servers.clear()

    # -- TLS

    def certificates(self):
        directory = self.path("pki")
        if os.path.isdir(directory):
            return directory
        os.mkdir(directory)
        with open(self.path("priority"), "w") as out:
            out.write(PRIORITY)
        common = "signing_key\nencryption_key\nexpiration_days = 2\n"
        make_certificate(directory, "ca", "cn = bench\nca\ncert_signing_key\nexpiration_days = 2\n")
        make_certificate(directory, "server", "cn = localhost\ndns_name = localhost\n"
                         "ip_address = 127.0.0.1\ntls_www_server\n" + common)
        make_certificate(directory, "client", "cn = client\ntls_www_client\n" + common)
        return directory

    def cipher(self):
        """What a session between these ends negotiates, as nbdkit says it."""
        with open(self.path("cipher.log"), "w+") as log:
            server = self.serve_tls(["--verbose", "-D", "nbdkit.tls.session=1", "null"], stderr=log)
            subprocess.run(["nbdinfo", "--size", server.uri], stdout=subprocess.DEVNULL, check=True)
            self.stop(server)
            log.seek(0)
            sessions = [line for line in log if "TLS session:" in line]
        return sessions[-1].split("TLS session: ")[1].strip()


def make_certificate(directory, name, template):
    def certtool(*args):
        subprocess.run(["certtool", *args], cwd=directory, check=True, capture_output=True)

    with open(f"{directory}/{name}.tmpl", "w") as out:
        out.write(template)
    certtool("--generate-privkey", "--key-type=ecdsa", f"--outfile={name}-key.pem")
    sign = (["--generate-self-signed"] if name == "ca" else
            ["--generate-certificate", "--load-ca-certificate=ca-cert.pem",
             "--load-ca-privkey=ca-key.pem"])
    certtool(*sign, f"--load-privkey={name}-key.pem", f"--template={name}.tmpl",
             f"--outfile={name}-cert.pem")


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
