"""A VM whose disks are files, with changed-block tracking, for the tests of
`vmferry replicate`: it writes, takes snapshots, and describes itself in JSON. It
also knows what every restore point must hold."""

import hashlib
import json
import os
import random
import subprocess
import uuid

GRAIN = 4096


class Disk:
    def __init__(self, vm, key, unit, size, rng):
        self.vm, self.key, self.unit, self.size, self.rng = vm, key, unit, size, rng
        self.path = os.path.join(vm.dir, "live-%d" % key)
        self.offered = os.path.join(vm.dir, "snapshot-%d" % key)
        self.map = os.path.join(vm.dir, "changes-%d" % key)
        self.backing = str(uuid.UUID(int=rng.getrandbits(128)))
        self.tracking = "t%08x" % rng.getrandbits(32)
        self.sequence = 0
        self.content = bytearray(size)
        self.at = {}  # change id → content

    def change_id(self):
        return "%s/%d" % (self.tracking, self.sequence)

    def write(self, offset, data):
        end = min(offset + len(data), self.size)
        self.content[offset:end] = data[: end - offset]

    def write_randomly(self):
        rng = self.rng
        for _ in range(rng.randint(1, 12)):
            length = rng.choice((1, 511, 512, 4096, 65536, 65537, 300000))
            offset = rng.randrange(self.size)
            if rng.random() < 0.5:
                offset -= offset % rng.choice((512, 4096, 65536))
            kind = rng.random()
            if kind < 0.3:
                data = bytes(length)
            elif kind < 0.4:  # the same again: reported, but not different
                data = bytes(self.content[offset : offset + length])
            else:
                data = rng.randbytes(length)
            self.write(offset, data)

    def snapshot(self, spoil=None):
        """Offer what is on the disk now; returns its part of the description."""
        old = self.at.get(self.change_id())
        since = self.change_id()
        if spoil == "reset":
            self.tracking = "t%08x" % self.rng.getrandbits(32)
            self.sequence = 0
            old = None
        else:
            self.sequence += 1
        self.at[self.change_id()] = bytes(self.content)
        with open(self.offered + ".new", "wb") as f:
            f.truncate(self.size)
            for start in range(0, self.size, 65536):
                block = self.content[start : start + 65536]
                if block.strip(b"\0"):
                    f.seek(start)
                    f.write(block)
        os.rename(self.offered + ".new", self.offered)
        part = {
            "key": self.key,
            "unit": self.unit,
            "capacity": self.size,
            "backing_uuid": self.backing,
            "file": self.offered,
        }
        if spoil != "no-change-id":
            part["change_id"] = self.change_id()
        else:
            self.nameless = bytes(self.content)
        if old is not None and spoil not in ("no-map", "no-change-id"):
            part["changes"] = {"since": since, "map": self.map}
            self.write_map(old, spoil)
        return part

    def write_map(self, old, spoil):
        lines = []
        for start in range(0, self.size, GRAIN):
            if old[start : start + GRAIN] != self.content[start : start + GRAIN]:
                lines.append("%d %d\n" % (start, min(GRAIN, self.size - start)))
        if self.rng.random() < 0.5:
            self.rng.shuffle(lines)
        text = "# changes\n" + "".join(lines)
        if spoil == "torn-map":
            text = text[:-1] + " 99999999999999999999999"
        with open(self.map, "w") as f:
            f.write(text)


class VM:
    def __init__(self, directory, sizes, seed):
        self.dir = directory
        os.makedirs(directory, exist_ok=True)
        self.rng = random.Random(seed)
        self.uuid = str(uuid.UUID(int=self.rng.getrandbits(128)))
        self.file = os.path.join(directory, "vm.json")
        self.disks = [
            Disk(self, 2000 + i, i, size, self.rng) for i, size in enumerate(sizes)
        ]
        self.parts = []

    def describe(self, spoil=None):
        """Snapshot all disks at one moment; spoil: {key: what is wrong with its CBT}."""
        spoil = spoil or {}
        self.parts = [d.snapshot(spoil.get(d.key)) for d in self.disks]
        self.write_description(self.parts)

    def write_description(self, parts):
        vm = {
            "uuid": self.uuid,
            "name": "app01",
            "firmware": "bios",
            "cpus": 1,
            "memory": 1 << 28,
            "nics": [{"mac": "52:54:00:12:34:56", "network": "LAN"}],
            "disks": parts,
        }
        with open(self.file + ".new", "w") as f:
            json.dump(vm, f)
        os.rename(self.file + ".new", self.file)

    def expected(self):
        """SHA-256 of each disk as offered now, by key."""
        return {d.key: hashlib.sha256(d.content).hexdigest() for d in self.disks}


class Replica:
    """The state directory, as a test sees it from outside."""

    def __init__(self, state, vm):
        self.state, self.vm = state, vm
        self.points = {}  # number → {key: sha256}
        self.program = os.path.join(os.environ["BUILD"], "vmferry")

    def command(self, *arguments):
        return [self.program, *arguments, "--state", self.state]

    def run(self, *arguments, check=True):
        done = subprocess.run(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                "vmferry %s: exit %d\n%s%s"
                % (" ".join(arguments), done.returncode, done.stdout, done.stderr)
            )
        return done

    def replicate(self, *arguments):
        done = self.run("replicate", "app01", "--json", "--progress=none", *arguments)
        result = json.loads(done.stdout)
        if not result["up_to_date"]:
            assert result["point"] not in self.points, result
            self.points[result["point"]] = self.vm.expected()
        return result

    def stored_points(self):
        return json.loads(self.run("point", "list", "app01", "--json").stdout)

    def content(self, disk):
        """SHA-256 of an image as its guest would read it."""
        image = os.path.join(self.state, disk["image"])
        raw = os.path.join(self.vm.dir, "readback")
        subprocess.run(
            ["qemu-img", "convert", "-f", disk["format"], "-O", "raw", image, raw],
            check=True,
        )
        with open(raw, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(
                hashlib, "file_digest"
            ) else hashlib.sha256(f.read()).hexdigest()

    def check_points(self, only=None):
        """Every point that was ever complete is there and holds what it must."""
        stored = {p["point"]: p for p in self.stored_points()}
        assert set(stored) == set(self.points), (sorted(stored), sorted(self.points))
        for number, disks in self.points.items():
            if only and number not in only:
                continue
            got = {
                int(d["disk_id"][5:]): self.content(d) for d in stored[number]["disks"]
            }
            assert got == disks, "point %d does not hold its moment" % number

    def processes(self):
        """Pids whose command line names our state directory."""
        found = []
        for pid in os.listdir("/proc"):
            if not pid.isdigit() or int(pid) == os.getpid():
                continue
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as f:
                    words = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(self.state in word for word in words):
                found.append((int(pid), words))
        return found

    def check_nothing_running(self):
        import time

        deadline = time.time() + 10
        while self.processes() and time.time() < deadline:
            time.sleep(0.05)
        assert not self.processes(), self.processes()
        assert os.listdir(os.path.join(self.state, "run")) == []

    def check_nothing_left(self):
        self.check_nothing_running()
        allowed = {"base.raw"}
        for number in self.points:
            allowed |= {"point-%04d.qcow2" % number, "point-%04d.leaves" % number}
        for folder, _, files in os.walk(os.path.join(self.state, "replicas")):
            for name in files:
                assert name in allowed, os.path.join(folder, name)
