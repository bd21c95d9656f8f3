#!/usr/bin/python3
"""The simulator for tests written in Python:

    with simlib.Simulator() as sim:
        vm = sim.add_vm("app01", [64 * simlib.MiB, 32 * simlib.MiB])
        vm.write(2000, 4096, b"data")          # what a guest does
        sim.fault("QueryChangedDiskAreas", "expire")
        …run something against sim.server, sim.user, sim.password_file…
        assert vm.sha256(2000, "snapshot's name") == …

It listens on a free port of 127.0.0.1, has its VMs in a temporary directory, and ends
with the block. Files of snapshots are kept, so that a test can compare with them."""

import fcntl
import hashlib
import json
import os
import random
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.realpath(__file__))
KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
GRAIN = 64 * KiB


def make_vm(directory, path, disks, **description):
    """A VM's directory: vm.json and raw images. `path`: "/DC0/vm/app01" or a name. `disks`:
    sizes, or dicts as in vm.json with "size" (or "file", an image that is there)."""
    os.makedirs(directory, exist_ok=True)
    listed = []
    for n, disk in enumerate(disks):
        disk = {"size": disk} if isinstance(disk, int) else dict(disk)
        size = disk.pop("size", None)
        if "file" not in disk:
            disk["file"] = "disk%d.raw" % n
            with open(os.path.join(directory, disk["file"]), "wb") as f:
                f.truncate(size)
        listed.append(disk)
    if not path.startswith("/"):
        path = "/DC0/vm/" + path
    vm = dict({"path": path, "name": path.rpartition("/")[2], "disks": listed}, **description)
    with open(os.path.join(directory, "vm.json"), "w") as f:
        json.dump(vm, f, indent=1)
        f.write("\n")


def write(path, offset, data):
    """As a guest writes: a snapshot sees all of it or nothing."""
    with open(path, "r+b", buffering=0) as f:
        fcntl.flock(f, fcntl.LOCK_SH)
        f.seek(offset)
        f.write(data)


def write_zeroes(path, offset, length):
    """Zeroes that take no space, as a guest's trim leaves them."""
    with open(path, "r+b") as f:
        fcntl.flock(f, fcntl.LOCK_SH)
        size = os.fstat(f.fileno()).st_size
    length = min(length, size - offset)
    subprocess.run(["fallocate", "-p", "-o", str(offset), "-l", str(length), path], check=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while data := f.read(MiB):
            digest.update(data)
    return digest.hexdigest()


class ControlError(Exception):
    pass


def control(url, order=None, token=None):
    """Ask /control; None: its state."""
    context = ssl._create_unverified_context()  # it is our own process, on loopback
    data = None if order is None else json.dumps(order).encode()
    request = urllib.request.Request(url, data, {"X-Control-Token": token or ""})
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as e:
        raise ControlError(e.read().decode()) from None


class VM:
    """One VM of a running simulator."""

    def __init__(self, sim, path, directory):
        self.sim, self.path, self.directory = sim, path, directory

    def state(self):
        for vm in self.sim.state()["vms"]:
            if vm["path"] == self.path:
                return vm
        raise ControlError("there is no VM %s" % self.path)

    def control(self, verb, **arguments):
        return self.sim.control(verb, vm=self.path, **arguments)

    @property
    def moref(self):
        return self.state()["moref"]

    @property
    def instance_uuid(self):
        return self.state()["instance_uuid"]

    def keys(self):
        return [d["key"] for d in self.state()["disks"]]

    def disk(self, key):
        """Its state: path, capacity, change_id, bytes_read …"""
        for disk in self.state()["disks"]:
            if disk["key"] == key:
                return disk
        raise ControlError("%s has no disk %d" % (self.path, key))

    def write(self, key, offset, data):
        write(self.disk(key)["path"], offset, data)

    def zero(self, key, offset, length):
        write_zeroes(self.disk(key)["path"], offset, length)

    def write_randomly(self, key, rng=random, count=8, largest=300000):
        """Some writes anywhere, some of them zeroes; returns the bytes written."""
        disk = self.disk(key)
        total = 0
        for _ in range(count):
            length = min(rng.choice((1, 511, 512, 4096, GRAIN, GRAIN + 1, largest)), largest)
            offset = rng.randrange(disk["capacity"])
            length = min(length, disk["capacity"] - offset)
            data = bytes(length) if rng.random() < 0.3 else rng.randbytes(length)
            write(disk["path"], offset, data)
            total += length
        return total

    def snapshots(self, standing=True):
        return [s for s in self.state()["snapshots"] if s["standing"] or not standing]

    def snapshot(self, name):
        """The latest of this name, standing or not: "disks" has a file for each key."""
        for snapshot in reversed(self.snapshots(standing=False)):
            if name in (snapshot["name"], snapshot["moref"]):
                return snapshot
        raise ControlError("%s never had a snapshot %s" % (self.path, name))

    def last_snapshot(self):
        return self.snapshots(standing=False)[-1]

    def file(self, key, snapshot):
        """The file that holds what the disk held then."""
        return self.snapshot(snapshot)["disks"][str(key)]["path"]

    def sha256(self, key, snapshot=None):
        """Of the disk at a snapshot, or as it is now."""
        return sha256(self.file(key, snapshot) if snapshot else self.disk(key)["path"])

    def bytes_read(self, key, distinct=False):
        return self.disk(key)["distinct_bytes_read" if distinct else "bytes_read"]


class Simulator:
    def __init__(self, vms=(), directory=None, **options):
        """`vms`: directories. `options`: as on the command line, with _ for -."""
        self.own = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="vsphere-sim-test.")
        self.user = options.setdefault("user", "administrator@vsphere.local")
        self.password = options.pop("password", "se<cr&et \"1'")
        options.setdefault("keep_moments", True)
        argv = ["/usr/bin/python3", os.path.join(HERE, "sim")]
        argv += ["--listen", options.pop("listen", "127.0.0.1:0")]
        for vm in vms:
            argv += ["--vm", vm]
        for name, value in options.items():
            option = "--" + name.replace("_", "-")
            if name == "esxi":
                argv += [option] if value else []
            elif isinstance(value, bool):
                argv += [option, "on" if value else "off"]
            else:
                argv += [option, str(value)]
        environment = dict(os.environ, VSPHERE_SIM_PASSWORD=self.password)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            self.read_greeting()
        except BaseException:
            self.stop()
            raise

    def read_greeting(self):
        line = self.process.stdout.readline().split()
        if len(line) < 6:
            raise RuntimeError("the simulator did not start: exit %s" % self.process.wait())
        self.url, self.fingerprint, self.control_url = line[1], line[3][len("SHA256:") :], line[5]
        self.token = self.process.stdout.readline().split()[1]
        self.server = self.url[len("https://") :]
        self.host, _, self.port = self.server.rpartition(":")
        self.port = int(self.port)
        self.password_file = os.path.join(self.directory, "password")
        with open(os.open(self.password_file, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write(self.password + "\n")
        self.ca_file = os.path.join(self.directory, "server.pem")
        with open(self.ca_file, "w") as f:
            f.write(ssl.get_server_certificate((self.host, self.port)))

    def add_vm(self, path, disks, **description):
        """Make a VM and hand it to the simulator."""
        name = path.rpartition("/")[2]
        directory = tempfile.mkdtemp(prefix=name + ".", dir=self.directory)
        make_vm(directory, path, disks, **description)
        state = self.control("add-vm", dir=directory)
        return VM(self, state["path"], directory)

    def control(self, verb, **arguments):
        return control(self.control_url, dict(arguments, do=verb), self.token)

    def set(self, **settings):
        return self.control("set", **settings)

    def fault(self, op, how, **rule):
        return self.control("fault", op=op, how=how, **rule)

    def clear_faults(self):
        return self.control("clear-faults")

    def state(self):
        return control(self.control_url, None, self.token)

    def requests(self, op):
        return self.state()["requests"].get(op, 0)

    def forget(self):
        """Statistics start at zero again."""
        return self.control("forget")

    def stop(self):
        self.process.terminate()
        status = self.process.wait(timeout=30)
        self.process.stdout.close()
        if self.own:
            shutil.rmtree(self.directory, ignore_errors=True)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def main(argv):
    """For shell tests: simlib.py URL JSON  asks /control and prints what it says."""
    if len(argv) not in (2, 3):
        sys.exit("usage: simlib.py CONTROL-URL [JSON]")
    order = json.loads(argv[2]) if len(argv) == 3 else None
    try:
        print(json.dumps(control(argv[1], order), indent=1))
    except ControlError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main(sys.argv)
