"""Is the simulator's change tracking true: what it tells between any two snapshots, in
pages of any size, and what it does when tracking starts, ends or is lost."""

import os
import random
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import simlib  # noqa: E402
import tap  # noqa: E402
from plain import client_of, fault_of, vm_ref  # noqa: E402
from simlib import GRAIN, KiB, MiB, TiB  # noqa: E402
from simulator import content  # noqa: E402
from tap import is_, ok  # noqa: E402


def grains(areas):
    return {n for s, length in areas for n in range(s // GRAIN, (s + length - 1) // GRAIN + 1)}


def differing(old, new):
    with open(old, "rb") as a, open(new, "rb") as b:
        result, n = set(), 0
        while True:
            x, y = a.read(GRAIN), b.read(GRAIN)
            if not x and not y:
                return result
            if x != y:
                result.add(n)
            n += 1


def pages():
    """Pages together are what was to be told, whatever the limits."""
    rng = random.Random(1)
    for _ in range(500):
        capacity = rng.randrange(1, 20 * 128) * 512
        count = (capacity + GRAIN - 1) // GRAIN
        chosen = sorted(rng.sample(range(count), rng.randrange(count + 1)))
        areas = content.areas(chosen, capacity)
        cap, slice_ = rng.randrange(1, 5), rng.choice((0, 512, GRAIN, 3 * GRAIN + 512))
        at, told = 0, []
        while at < capacity:
            some, length = content.page(areas, at, capacity, cap, slice_)
            inside = all(at <= s and s + n <= at + length for s, n in some)
            if length <= 0 or len(some) > cap or not inside:
                return ok(False, "pages", (capacity, areas, cap, slice_, at, some, length))
            told += some
            at += length
        joined = []
        for start, length in told:
            if joined and sum(joined[-1]) == start:
                joined[-1][1] += length
            else:
                joined.append([start, length])
        if joined != areas or at != capacity:
            return ok(False, "pages", (capacity, areas, cap, slice_, told))
    return ok(True, "500 random lists of areas arrive whole, page by page")


def histories(sim, client):
    """Random writes, snapshots, and questions about any two moments."""
    seed = int(os.environ.get("SEED") or time.time())
    tap.diag("SEED=%d" % seed)
    rng = random.Random(seed)
    vm = sim.add_vm("history", [4 * MiB, 3 * MiB + 1536, {"size": MiB, "key": 2033}], cbt=True)
    this, moments, wrong = vm_ref(vm), [], []
    for n in range(12):
        for key in vm.keys():
            if rng.random() < 0.8:
                vm.write_randomly(key, rng, count=rng.randrange(1, 6))
            if rng.random() < 0.3:
                vm.zero(key, rng.randrange(16) * GRAIN, rng.randrange(1, 5) * GRAIN)
        name = "moment-%d" % n
        snapshot = client.snapshot(this, name)
        moments.append((name, client.disks(snapshot)))
        sim.set(areas_per_answer=rng.choice((1, 2, 2000)), slice=rng.choice((0, 256 * KiB)))
        vm.write_randomly(2000, rng)  # while it stands
        for old_name, old in moments:
            for key, disk in moments[-1][1].items():
                areas, _ = client.all_changed(
                    this, snapshot, key, old[key]["change_id"], disk["capacity"]
                )
                truth = differing(vm.file(key, old_name), vm.file(key, name))
                if grains(areas) != truth or any(s + c > disk["capacity"] for s, c in areas):
                    wrong.append((old_name, name, key))
        client.remove(snapshot)
    sim.set(areas_per_answer=2000, slice=0)
    ok(not wrong, "12 moments of 3 disks: what changed between any two is told, no more", wrong)


def empty_pages(sim, client):
    vm = sim.add_vm("empty", [64 * MiB + 512], cbt=True)
    this = vm_ref(vm)
    one = client.snapshot(this, "one")
    change_id = client.disks(one)[2000]["change_id"]
    client.remove(one)
    vm.write(2000, 0, b"first")
    vm.write(2000, 64 * MiB, b"last")
    two = client.snapshot(this, "two")
    sim.set(slice=16 * MiB)
    areas, pages_ = client.all_changed(this, two, 2000, change_id, 64 * MiB + 512)
    is_(pages_, [1, 0, 0, 0, 1], "pages in the middle can be empty")
    is_(areas[-1], (64 * MiB, 512), "the tail is not aligned")
    sim.set(slice=0)
    client.remove(two)


def more_than_a_page(sim, client):
    vm = sim.add_vm("many", [300 * MiB], cbt=True)
    this = vm_ref(vm)
    one = client.snapshot(this, "one")
    change_id = client.disks(one)[2000]["change_id"]
    client.remove(one)
    path = vm.disk(2000)["path"]
    for n in range(2300):
        simlib.write(path, 2 * n * GRAIN, b"x")
    two = client.snapshot(this, "two")
    _, pages_ = client.all_changed(this, two, 2000, change_id, 300 * MiB)
    is_(pages_, [2000, 300], "2300 areas are two answers")
    client.remove(two)


def huge(sim, client):
    vm = sim.add_vm("huge", [4 * TiB], cbt=True)
    this = vm_ref(vm)
    vm.write(2000, 3 * TiB, b"here")
    started = time.monotonic()
    one = client.snapshot(this, "one")
    change_id = client.disks(one)[2000]["change_id"]
    client.remove(one)
    vm.write(2000, 4 * TiB - 1, b"z")
    two = client.snapshot(this, "two")
    areas, _ = client.all_changed(this, two, 2000, change_id, 4 * TiB)
    is_(areas, [(4 * TiB - GRAIN, GRAIN)], "a disk of 4 TiB: one grain at its end")
    used, _ = client.all_changed(this, two, 2000, "*", 4 * TiB)
    is_(used, [(3 * TiB, GRAIN), (4 * TiB - GRAIN, GRAIN)], 'and "*" is what it holds')
    ok(time.monotonic() - started < 20, "in no time")
    client.remove(two)


def star(sim, client, vm):
    this = vm_ref(vm)
    snapshot = client.snapshot(this, "star")
    ask = lambda: client.changed(this, snapshot, 2000, 0, "*")
    sim.set(star="whole")
    is_(ask()[2], [(0, vm.disk(2000)["capacity"])], 'other storage: one area for "*"')
    sim.set(star="fault")
    is_(fault_of(ask), "FileFault", "or a fault")
    sim.set(star="areas")
    client.remove(snapshot)


def tracking(sim, client):
    vm = sim.add_vm("tracked", [MiB, {"size": MiB, "mode": "independent_persistent"}])
    this = vm_ref(vm)
    ids = lambda of: [d["change_id"] for d in client.disks(of).values()]
    plain_one = client.snapshot(this, "s")
    is_(ids(plain_one), [None, None], "tracking is off: no change ids")
    ask = lambda: client.changed(this, plain_one, 2000, 0, "*")
    is_(fault_of(ask), "FileFault", "and no answers")
    client.remove(plain_one)
    sim.set(cbt_effect="cycle")
    client.track(this)
    first = client.snapshot(this, "first")
    is_(ids(first), [None, None], "a host on which only a whole cycle starts it")
    client.remove(first)
    second = client.snapshot(this, "second")
    ok(ids(second)[0] and not ids(second)[1], "an independent disk has none", ids(second))
    sim.set(cbt_effect="create")
    old = ids(second)[0]
    client.remove(second)
    vm.control("reset-cbt", key=2000)
    third = client.snapshot(this, "third")
    new = ids(third)[0]
    ok(new.rpartition("/")[0] != old.rpartition("/")[0], "a reset changes the uuid")
    ask = lambda: client.changed(this, third, 2000, 0, old)
    is_(fault_of(ask), "FileFault", "and forgets the old ids")
    client.remove(third)
    vm.control("power-cut")
    fourth = client.snapshot(this, "fourth")
    ok(ids(fourth)[0].rpartition("/")[0] != new.rpartition("/")[0], "so does a power cut")
    client.remove(fourth)
    client.track(this, False)
    fifth = client.snapshot(this, "fifth")
    is_(ids(fifth), [None, None], "it can be turned off")
    client.track(this, True)  # with a snapshot standing
    sixth = client.snapshot(this, "sixth")
    change_id = ids(sixth)[0]
    client.remove(sixth)
    for n in range(4):
        vm.write(2000, 2 * n * GRAIN, b"%d" % n)
    seventh = client.snapshot(this, "seventh")
    areas, _ = client.all_changed(this, seventh, 2000, change_id, MiB)
    truth = differing(vm.file(2000, "sixth"), vm.file(2000, "seventh"))
    ok(grains(areas) < truth, "turned on over a snapshot, it tells less than is true")
    client.remove(seventh)
    client.remove(fifth)


def disk_surgery(sim, client):
    vm = sim.add_vm("surgery", [MiB, 2 * MiB, 3 * MiB], cbt=True)
    this = vm_ref(vm)
    vm.control("order", keys=[2002, 2000, 2001])
    is_(list(client.disks(this)), [2002, 2000, 2001], "disks in another order")
    vm.control("disk", key=2001, new_key=2040, unit=9)
    is_(client.disks(this)[2040]["unit"], 9, "a disk with another key")
    vm.control("remove-disk", key=2040)
    simlib.write(vm.disk(2000)["path"], 0, b"1")
    with open(os.path.join(vm.directory, "more.raw"), "wb") as f:
        f.truncate(5 * MiB)
    vm.control("add-disk", file="more.raw", key=2100, controller=1001, unit=0)
    is_(list(client.disks(this)), [2002, 2000, 2100], "one removed, one added")
    before = client.snapshot(this, "before")
    change_id = client.disks(before)[2000]["change_id"]
    client.remove(before)
    vm.control("grow", key=2000, size=2 * MiB + 512)
    vm.write(2000, 2 * MiB, b"new")
    after = client.snapshot(this, "after")
    capacity = client.disks(after)[2000]["capacity"]
    is_(capacity, 2 * MiB + 512, "a grown disk")
    areas, _ = client.all_changed(this, after, 2000, change_id, capacity)
    is_(areas, [(2 * MiB, 512)], "and what was written to the new part")
    is_(client.disks(this)[2000]["capacity"], capacity, "the VM has the new size")
    client.remove(after)


def elsewhere(sim, client):
    """An image on a file system that is not the one of the VM's directory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        if os.stat(directory).st_dev == os.stat(sim.directory).st_dev:
            return tap.skip("an image elsewhere", "there is one file system only")
        file = os.path.join(directory, "image")
        with open(file, "wb") as f:
            f.truncate(3 * MiB)
        vm = sim.add_vm("elsewhere", [{"file": file}])
        vm.write_randomly(2000)
        snapshot = client.snapshot(vm_ref(vm), "s")
        is_(vm.sha256(2000, "s"), vm.sha256(2000), "an image elsewhere")
        client.remove(snapshot)
        return sim.control("remove-vm", vm="elsewhere")


def paused(sim, client):
    """Commands that stop a real guest for the moment of a snapshot."""
    write = 'printf %s | dd of="$0" conv=notrunc status=none'
    vm = sim.add_vm("paused", [MiB])
    path = vm.disk(2000)["path"]
    vm.control(
        "vm",
        pause=["sh", "-c", write % "paused", path],
        resume=["sh", "-c", write % "resumed", path],
    )
    snapshot = client.snapshot(vm_ref(vm), "s")
    starts = []
    for file in (vm.file(2000, "s"), path):
        with open(file, "rb") as f:
            starts.append(f.read(7).rstrip(b"\0"))
    is_(starts, [b"paused", b"resumed"], "a snapshot is taken while the guest is paused")
    client.remove(snapshot)


def main():
    pages()
    with simlib.Simulator() as sim:
        vm = sim.add_vm("app01", [2 * MiB], cbt=True)
        client = client_of(sim)
        star(sim, client, vm)
        tracking(sim, client)
        disk_surgery(sim, client)
        empty_pages(sim, client)
        more_than_a_page(sim, client)
        huge(sim, client)
        elsewhere(sim, client)
        paused(sim, client)
        histories(sim, client)


tap.run(main)
