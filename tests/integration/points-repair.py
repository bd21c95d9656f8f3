#!/usr/bin/python3
"""Damage in the images of a replica, anywhere: `vmferry verify` names it to the block in every
point that shows it, and --repair mends what the source still has, in all of them, and changes no
other point. What it can't mend it names.

usage: points-repair.py DIRECTORY ROUNDS [SEED]"""

import json
import os
import struct
import subprocess
import sys

from simulated_points import Points

BLOCK = 65536


def allocated(path):
    """Guest offset → offset in the file, of the 64 KiB that this qcow2 image itself holds."""
    out = subprocess.run(
        ["qemu-img", "map", "--output=json", "-f", "qcow2", path], check=True, stdout=subprocess.PIPE
    ).stdout
    found = {}
    for extent in json.loads(out):
        if extent["depth"] == 0 and extent["data"] and "offset" in extent:
            for at in range(0, extent["length"], BLOCK):
                found[extent["start"] + at] = extent["offset"] + at
    return found


class Repairs:
    def __init__(self, directory, seed):
        self.points = Points(directory, [(1 << 20) + 512, 458752], seed)
        self.rng = self.points.rng
        self.damaged = []  # (path, offset in it, what was there)
        self.counts = {"blocks": 0, "repaired": 0, "left": 0}

    def contents(self):
        """Point → key → content, as the images show it now."""
        shown = {}
        for stored in self.points.stored_points():
            shown[stored["point"]] = {
                int(d["disk_id"][5:]): self.read(d) for d in stored["disks"]
            }
        return shown

    def read(self, disk):
        raw = os.path.join(self.points.directory, "shown")
        image = os.path.join(self.points.state, disk["image"])
        subprocess.run(
            ["qemu-img", "convert", "-f", disk["format"], "-O", "raw", image, raw], check=True
        )
        with open(raw, "rb") as f:
            return f.read()

    def write(self, path, offset, data, keep=True):
        os.chmod(path, 0o600)
        with open(path, "r+b") as f:
            f.seek(offset)
            old = f.read(len(data))
            f.seek(offset)
            f.write(data)
        os.chmod(path, 0o400)
        if keep:
            self.damaged.append((path, offset, old))

    def damage(self):
        """A block of some image: noise, zeroes, or a single bit."""
        stored = self.rng.choice(self.points.stored_points())
        disk = self.rng.choice(stored["disks"])
        path = os.path.join(self.points.state, disk["image"])
        if disk["format"] == "raw":
            offset = self.rng.randrange(disk["capacity"]) // BLOCK * BLOCK
            length = min(BLOCK, disk["capacity"] - offset)
        else:
            held = allocated(path)
            if not held:
                return
            guest = self.rng.choice(sorted(held))
            offset, length = held[guest], min(BLOCK, disk["capacity"] - guest)
        kind = self.rng.choice(("noise", "zero", "bit"))
        with open(path, "rb") as f:
            f.seek(offset)
            old = bytearray(f.read(length))
        new = bytes(len(old))
        if kind == "noise":
            new = self.rng.randbytes(len(old))
        elif kind == "bit":
            at = self.rng.randrange(len(old))
            old[at] ^= 1 << self.rng.randrange(8)
            new = bytes(old)
        self.write(path, offset, new)

    def undo(self):
        for path, offset, old in reversed(self.damaged):
            if os.path.exists(path):
                self.write(path, offset, old, keep=False)
        self.damaged = []

    def differing(self, shown, right):
        """As verify names it: ranges of whole blocks."""
        ranges = []
        for at in range(0, len(right), BLOCK):
            if shown[at : at + BLOCK] == right[at : at + BLOCK]:
                continue
            length = min(BLOCK, len(right) - at)
            if ranges and ranges[-1]["offset"] + ranges[-1]["length"] == at:
                ranges[-1]["length"] += length
            else:
                ranges.append({"offset": at, "length": length})
        return ranges

    def check_verify(self, number, shown):
        done = self.points.run(
            "verify", "app01", "--point=%d" % number, "--json", "--progress=none", check=False
        )
        said = json.loads(done.stdout)
        for disk in said["disks"]:
            key = int(disk["disk_id"][5:])
            want = self.differing(shown[key], self.right[number][key])
            assert disk["replica"]["ranges"] == want, (number, key, disk, want)
        assert done.returncode == (0 if said["ok"] else 1), done
        listed = [p for p in self.points.stored_points() if p["point"] == number][0]
        assert listed["verified"] == ("ok" if said["ok"] else "damaged"), listed
        return said["ok"]

    def repair(self, number, before):
        done = self.points.run(
            "verify",
            "app01",
            "--repair",
            "--point=%d" % number,
            "--json",
            "--progress=none",
            check=False,
        )
        said = json.loads(done.stdout)
        after = self.contents()
        for disk in said["disks"]:
            key = int(disk["disk_id"][5:])
            right = self.right[number][key]
            source = bytes(self.points.vm.disks[key - 2000].content)
            damage = self.differing(before[number][key], right)
            want = bytearray(before[number][key])
            for at in range(0, len(right), BLOCK):  # what the source has, and zeroes
                block = right[at : at + BLOCK]
                if block == source[at : at + BLOCK] or not block.strip(b"\0"):
                    want[at : at + BLOCK] = block
            assert after[number][key] == bytes(want), (number, key, disk)
            left = self.differing(bytes(want), right)
            if damage:
                assert disk["repair"]["left"] == left, (disk, left)
                self.counts["blocks"] += disk["repair"]["blocks"]
                self.counts["repaired"] += disk["repair"]["repaired"]
                self.counts["left"] += sum(-(-r["length"] // BLOCK) for r in left)
                assert (disk["repair"]["why"] is None) == (not left), disk
        ok = all(after[number][k] == c for k, c in self.right[number].items())
        assert done.returncode == (0 if ok else 1), done
        for other, disks in after.items():  # no other point lost anything
            for key, content in disks.items():
                right = self.right[other][key]
                for at in range(0, len(right), BLOCK):
                    was, now = before[other][key][at : at + BLOCK], content[at : at + BLOCK]
                    assert now == was or now == right[at : at + BLOCK], (number, other, key, at)

    def round(self):
        for _ in range(self.rng.randint(1, 6)):
            self.damage()
        numbers = sorted(self.right)
        for number in self.rng.sample(numbers, 2):
            self.check_verify(number, self.contents()[number])
        self.repair(numbers[-1], self.contents())  # the source is at this moment
        assert self.check_verify(numbers[-1], self.contents()[numbers[-1]])
        number = self.rng.choice(numbers)
        self.repair(number, self.contents())
        self.undo()
        self.points.check_points()
        self.points.check_files()
        self.points.check_nothing_running()

    def sync(self, *arguments):
        """As Points.sync, and the content is remembered."""
        result = self.points.replicate(*arguments)
        self.right[result["point"]] = {
            d.key: bytes(d.content) for d in self.points.vm.disks
        }

    def lost_entry(self):
        """An overlay forgets that it holds a block: what is below shows, and stays."""
        disk = self.points.vm.disks[0]
        disk.write(0, self.rng.randbytes(BLOCK))
        self.points.vm.describe()
        self.sync()
        newest = max(self.right)
        stored = [p for p in self.points.stored_points() if p["point"] == newest][0]["disks"][0]
        path = os.path.join(self.points.state, stored["image"])
        assert 0 in allocated(path)
        with open(path, "rb") as f:
            f.seek(40)
            (l1,) = struct.unpack(">Q", f.read(8))
            f.seek(l1)
            (l2,) = struct.unpack(">Q", f.read(8))
        self.write(path, l2 & 0x00FFFFFFFFFFFE00, bytes(8), keep=False)
        before = self.contents()
        assert before[newest][disk.key][:BLOCK] == before[newest - 1][disk.key][:BLOCK]
        self.repair(newest, before)
        self.points.check_points()

    def cut_overlay(self):
        """An overlay without its end: what is missing is written again."""
        disk = self.points.vm.disks[0]
        disk.write(0, self.rng.randbytes(BLOCK * 4))
        self.points.vm.describe()
        self.sync()
        newest = max(self.right)
        stored = [p for p in self.points.stored_points() if p["point"] == newest][0]["disks"][0]
        path = os.path.join(self.points.state, stored["image"])
        os.chmod(path, 0o600)
        os.truncate(path, max(allocated(path).values()) - BLOCK + 1000)
        before = self.contents()
        assert before[newest][disk.key] != self.right[newest][disk.key]
        self.repair(newest, before)
        assert self.contents()[newest] == self.right[newest]
        self.points.check_points()

    def adopted_damage(self):
        """A later point took damaged data for its own, as the source held the same by then."""
        disk = self.points.vm.disks[1]
        first = self.rng.randbytes(BLOCK)
        disk.write(BLOCK, first)
        self.points.vm.describe()
        self.sync()
        number = max(self.right)
        stored = [p for p in self.points.stored_points() if p["point"] == number][0]["disks"][1]
        path = os.path.join(self.points.state, stored["image"])
        self.write(path, allocated(path)[BLOCK], bytes(BLOCK), keep=False)
        disk.write(BLOCK, bytes(BLOCK))
        self.points.vm.describe()
        self.sync("--full")
        adopted = [p for p in self.points.stored_points() if p["point"] == number + 1][0]["disks"][1]
        assert BLOCK not in allocated(os.path.join(self.points.state, adopted["image"]))
        disk.write(BLOCK, first)  # the source has it again
        self.points.vm.describe()
        self.repair(number, self.contents())
        self.points.check_points()
        self.points.verify_all()

    def killed_repair(self, kills):
        """Killed anywhere, a repair can be run again, and has changed no other point."""
        number = max(self.right)
        arguments = ("verify", "app01", "--repair", "--progress=none")
        while len(self.damaged) < 4:
            self.damage()
        self.points.keep_template()
        _, calls = self.points.killed(arguments, 0)
        for at in self.rng.sample(range(1, calls + 1), min(kills, calls)):
            self.points.restore_template()
            before = self.contents()
            self.points.killed(arguments, at, torn=self.rng.random() < 0.5)
            after = self.contents()
            for other, disks in after.items():
                for key, content in disks.items():
                    right, was = self.right[other][key], before[other][key]
                    for block in range(0, len(right), BLOCK):
                        now = content[block : block + BLOCK]
                        # A block in the middle of being written is damaged as before.
                        assert (
                            now == was[block : block + BLOCK]
                            or now == right[block : block + BLOCK]
                            or was[block : block + BLOCK] != right[block : block + BLOCK]
                        ), (at, other, key, block)
            self.points.run(*arguments)
            self.points.run("recover")
            assert self.contents()[number] == self.right[number], at
            self.points.check_files()
            self.points.check_nothing_running()
        self.undo()
        self.points.check_points()

    def damaged_leaves(self):
        number = min(self.right)
        shown = json.loads(self.points.run("point", "show", "app01", str(number), "--json").stdout)
        leaves = os.path.join(self.points.state, shown["disks"][0]["leaves"])
        with open(leaves, "rb") as f:
            good = f.read()
        self.write(leaves, 3, b"\xff\xff\xff", keep=False)
        self.repair(number, self.contents())
        with open(leaves, "rb") as f:
            assert f.read().rstrip(b"\0") == good.rstrip(b"\0")
        self.points.check_files()

    def run(self, rounds):
        self.right = {}
        for _ in range(4):
            for disk in self.points.vm.disks:
                disk.write_randomly()
            self.points.vm.describe()
            self.sync()
        for step in range(rounds):
            self.round()
            if step == rounds // 2:
                self.points.run("point", "delete", "app01", "2")
                self.points.forget(2)
                del self.right[2]
        if not (os.environ.get("REPORTS") or os.environ.get("SANITIZE")):
            self.killed_repair(rounds)  # killer.so and a sanitizer can't both be first
        self.damaged_leaves()
        self.lost_entry()
        self.cut_overlay()
        self.adopted_damage()
        self.points.check_files()
        assert self.counts["repaired"] > 0, self.counts
        print(self.counts)


def main():
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int.from_bytes(os.urandom(4), "big")
    print("seed %d" % seed, flush=True)
    Repairs(sys.argv[1], seed).run(int(sys.argv[2]))


main()
