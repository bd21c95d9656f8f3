"""Change queries: what comes out is what differs, or that it can't be told, or an error, and
never less than what changed."""

import os
import random

from scenarios import Frozen, fails, main, run, scenario
from simlib import GRAIN, KiB, MiB, TiB


def areas(sim, vm, snapshot, key, since):
    """The map's ranges; a text when it can't be told why."""
    path = os.path.join(sim.directory, "map")
    if os.path.exists(path):
        os.unlink(path)
    printed = run(sim, "changes", vm, snapshot, key, since, path)
    assert not os.path.exists(path + ".new")
    if printed.startswith("unknown "):
        assert not os.path.exists(path)
        return printed[8:]
    word, count, total, pages = printed.split()
    with open(path) as f:
        ranges = [tuple(int(n) for n in line.split()) for line in f if line[0] != "#"]
    assert word == "map" and len(ranges) == int(count), printed
    assert sum(length for _, length in ranges) == int(total), printed
    return Map(ranges, int(pages))


class Map(list):
    def __init__(self, ranges, pages):
        super().__init__(ranges)
        self.pages = pages


def differing(old, new):
    """Grains that differ between two files."""
    with open(old, "rb") as a, open(new, "rb") as b:
        at, result = 0, []
        while True:
            one, two = a.read(GRAIN), b.read(GRAIN)
            if not one and not two:
                return result
            if one != two:
                result.append(at)
            at += GRAIN


def covers(ranges, starts, capacity):
    return all(
        any(a <= s and min(s + GRAIN, capacity) <= a + n for a, n in ranges) for s in starts
    )


def expect(vm, key, ranges, old, new, slack=0):
    capacity = vm.disk(key)["capacity"]
    changed = differing(vm.file(key, old), vm.file(key, new))
    assert covers(ranges, changed, capacity), (key, changed[:5], ranges[:5])
    total = sum(n for _, n in ranges)
    assert total <= len(changed) * GRAIN + slack, (total, len(changed))
    return changed


def two_moments(sim, disks, change, **description):
    """A VM frozen twice, with changes in between: VM, change ids then, moment now."""
    vm = sim.add_vm("app01", disks, cbt=True, **description)
    first = Frozen(sim, "app01", "one")
    run(sim, "thaw", "app01", "one")
    change(vm)
    Frozen(sim, "app01", "two")
    return vm, first.change_ids


@scenario("each disk by its own change id: what differs, and no more", page_size=3)
def own(sim):
    rng = random.Random(7)

    def change(vm):
        for key in vm.keys():
            vm.write_randomly(key, rng)

    vm, ids = two_moments(sim, [8 * MiB, {"size": 6 * MiB + 512, "controller": 1001, "unit": 0},
                                {"size": 5 * MiB, "key": 3555}], change)
    vm.control("order", keys=[3555, 2001, 2000])
    for key in vm.keys():
        expect(vm, key, areas(sim, "app01", "two", key, ids[key]), "one", "two")


@scenario("a change id of another disk, or of none, is never used")
def others(sim):
    vm, ids = two_moments(sim, [MiB, MiB], lambda vm: vm.write(2000, 0, b"x"))
    sim.forget()
    assert "was reset" in areas(sim, "app01", "two", 2000, ids[2001])
    assert "was reset" in areas(sim, "app01", "two", 2001, ids[2000])
    assert "was reset" in areas(sim, "app01", "two", 2000, "nonsense")
    assert "back in time" in areas(sim, "app01", "two", 2000, ids[2000].split("/")[0] + "/999999")
    assert sim.requests("QueryChangedDiskAreas") == 0
    assert areas(sim, "app01", "two", 2000, ids[2000]) == [(0, GRAIN)]
    assert areas(sim, "app01", "two", 2001, ids[2001]) == []


@scenario("tracking reset on one disk: that one can't be told, the other can")
def reset(sim):
    def change(vm):
        vm.write(2000, 0, b"x")
        vm.write(2001, 0, b"x")
        vm.control("reset-cbt", key=2000)

    vm, ids = two_moments(sim, [MiB, MiB], change)
    assert "was reset" in areas(sim, "app01", "two", 2000, ids[2000])
    assert areas(sim, "app01", "two", 2001, ids[2001]) == [(0, GRAIN)]
    vm.control("power-cut")
    Frozen(sim, "app01", "three")
    assert "was reset" in areas(sim, "app01", "three", 2001, ids[2001])


@scenario("tracking off: nothing is asked")
def off(sim):
    sim.add_vm("app01", [MiB])
    Frozen(sim, "app01", "one")
    assert "is off" in areas(sim, "app01", "one", 2000, "52 de/1")
    assert "is off" in areas(sim, "app01", "one", 2000, "*")
    assert sim.requests("QueryChangedDiskAreas") == 0


@scenario("pages: empty ones in the middle, an unaligned end, thousands of areas",
          areas_per_answer=3, slice=512 * KiB)
def pages(sim):
    def change(vm):
        for at in (0, 64 * GRAIN, 66 * GRAIN, 68 * GRAIN, 70 * GRAIN):
            vm.write(2000, at, b"x")
        vm.write(2000, vm.disk(2000)["capacity"] - 1, b"y")

    vm, ids = two_moments(sim, [16 * MiB + 512], change)
    found = areas(sim, "app01", "two", 2000, ids[2000])
    expect(vm, 2000, found, "one", "two")
    assert found[-1] == (16 * MiB, 512) and found.pages > 30, (found, found.pages)


@scenario("more areas than an answer holds")
def thousands(sim):
    def change(vm):
        with open(vm.disk(2000)["path"], "r+b") as f:
            for n in range(4500):
                f.seek(2 * n * GRAIN)
                f.write(b"x")

    vm, ids = two_moments(sim, [9000 * GRAIN + 512], change)
    found = areas(sim, "app01", "two", 2000, ids[2000])
    assert len(found) == 4500 and found.pages == 3, (len(found), found.pages)
    assert found == [(2 * n * GRAIN, GRAIN) for n in range(4500)]


@scenario("four tebibytes, changed at the very end", star="whole")
def large(sim):
    vm = sim.add_vm("app01", [4 * TiB], cbt=True)
    Frozen(sim, "app01", "one")
    assert areas(sim, "app01", "one", 2000, "*") == [(0, 4 * TiB)]
    sim.set(star="areas")
    run(sim, "thaw", "app01", "one")
    vm.write(2000, 4 * TiB - 1, b"x")
    Frozen(sim, "app01", "two")
    assert areas(sim, "app01", "two", 2000, "*") == [(4 * TiB - GRAIN, GRAIN)]


@scenario("what is in use: areas, the whole disk, or a fault, and none of them is an error")
def star(sim):
    vm = sim.add_vm("app01", [MiB + 512, MiB], cbt=True)
    vm.write(2000, 3 * GRAIN, b"x")
    Frozen(sim, "app01", "one")
    found = areas(sim, "app01", "one", 2000, "*")
    assert covers(found, [3 * GRAIN], MiB + 512) and sum(n for _, n in found) < MiB, found
    sim.set(star="whole")
    assert areas(sim, "app01", "one", 2000, "*") == [(0, MiB + 512)]
    sim.set(star="fault")
    assert "FileFault" in areas(sim, "app01", "one", 2000, "*")
    sim.set(star="areas")
    for how in (dict(how="fault", fault="NoPermission"), dict(how="fault", fault="SystemError"),
                dict(how="fault", fault="InvalidArgument",
                     members={"invalidProperty": "deviceKey"}),
                dict(how="replace", find="<length>", **{"with": "<length>-"}),
                dict(how="answer", xml="")):
        sim.fault("QueryChangedDiskAreas", **how)
        assert "in use" in areas(sim, "app01", "one", 2000, "*"), how


@scenario("faults that mean: it can't be told")
def unknown(sim):
    vm, ids = two_moments(sim, [MiB], lambda vm: vm.write(2000, 0, b"x"))
    for fault, members in (("FileFault", {}), ("NotFound", {}), ("MethodNotFound", {}),
                           ("NotSupported", {}), ("SystemError", {"reason": "x"}),
                           ("InvalidArgument", {"invalidProperty": "changeId"}),
                           ("InvalidArgument", {"invalidProperty": "startOffset"})):
        sim.fault("QueryChangedDiskAreas", "fault", fault=fault, members=members)
        assert fault in areas(sim, "app01", "two", 2000, ids[2000])
    # A server that does not know the call at all, and says so in its own way.
    sim.fault("QueryChangedDiskAreas", "http", status=500, type="text/xml", times=-1, body=(
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault>'
        "<faultcode>Client</faultcode><faultstring>no such operation</faultstring></e:Fault>"
        "</e:Body></e:Envelope>"))
    assert "no such operation" in areas(sim, "app01", "two", 2000, ids[2000])
    sim.clear_faults()
    assert areas(sim, "app01", "two", 2000, ids[2000]) == [(0, GRAIN)]


@scenario("faults that are errors: no snapshot, no disk, no right, no connection")
def errors(sim):
    vm, ids = two_moments(sim, [MiB], lambda vm: vm.write(2000, 0, b"x"))
    path = os.path.join(sim.directory, "map")

    def message(**rule):
        sim.fault("QueryChangedDiskAreas", **rule)
        text = fails(sim, "changes", "app01", "two", 2000, ids[2000], path)
        sim.clear_faults()
        assert not os.path.exists(path) and not os.path.exists(path + ".new")
        assert "app01: disk-2000" in text, text
        return text

    assert "is gone" in message(how="fault", fault="ManagedObjectNotFound")
    assert "no disk of this key" in message(how="fault", fault="InvalidArgument",
                                            members={"invalidProperty": "deviceKey"})
    assert "NoPermission" in message(how="fault", fault="NoPermission")
    assert "exit" not in message(how="http", status=500, body="<html>broken</html>", times=-1)
    message(how="truncate", times=-1)
    message(how="doctype", times=-1)
    vm.control("remove-snapshot", name="two")
    fails(sim, "changes", "app01", "two", 2000, ids[2000], path)


@scenario("the end of a disk that the server will not speak of counts as changed")
def tail(sim):
    vm, ids = two_moments(sim, [4 * MiB + 512], lambda vm: vm.write(2000, 0, b"x"))
    # The server answers up to the last whole MiB, and faults on what is left.
    sim.fault("QueryChangedDiskAreas", "replace",
              **{"find": "<length>%d<" % (4 * MiB + 512), "with": "<length>%d<" % (4 * MiB)})
    sim.fault("QueryChangedDiskAreas", "fault", after=1, fault="InvalidArgument",
              members={"invalidProperty": "startOffset"})
    assert areas(sim, "app01", "two", 2000, ids[2000]) == [(0, GRAIN), (4 * MiB, 512)]


@scenario("the session ends between two pages", areas_per_answer=2)
def expiry(sim):
    rng = random.Random(3)
    vm, ids = two_moments(sim, [16 * MiB], lambda vm: vm.write_randomly(2000, rng, 20))
    for after in (1, 2, 4):
        sim.fault("QueryChangedDiskAreas", "expire", after=after)
        expired = sim.state()["sessions"]["expired"]
        expect(vm, 2000, areas(sim, "app01", "two", 2000, ids[2000]), "one", "two")
        assert sim.state()["sessions"]["expired"] > expired
        sim.clear_faults()
    sim.fault("QueryChangedDiskAreas", "drop", after=2)
    expect(vm, 2000, areas(sim, "app01", "two", 2000, ids[2000]), "one", "two")


@scenario("a server that lies is an error, and never a map", areas_per_answer=1)
def lies(sim):
    vm, ids = two_moments(sim, [4 * MiB], lambda vm: [vm.write(2000, 4 * n * GRAIN, b"x")
                                                      for n in range(8)])
    path = os.path.join(sim.directory, "map")

    def page(start, length, *areas):
        return "<returnval><startOffset>%d</startOffset><length>%d</length>%s</returnval>" % (
            start, length, "".join("<changedArea><start>%d</start><length>%d</length></changedArea>"
                                   % area for area in areas))

    assert len(areas(sim, "app01", "two", 2000, ids[2000])) == 8
    for after, xml, says in (
        (0, page(0, 0), "do not go on"),
        (2, page(4 * GRAIN + GRAIN, 0), "do not go on"),
        (0, page(0, -1), "impossible range"),
        (1, page(0, GRAIN), "was asked from"),
        (0, page(0, 4 * MiB + 512), "the disk ends at"),
        (0, page(0, GRAIN, (GRAIN, GRAIN)), "outside of what"),
        (0, page(0, 2 * GRAIN, (GRAIN, GRAIN), (0, GRAIN)), "before the one before it ends"),
        (0, page(0, 2 * GRAIN, (0, GRAIN + 1), (GRAIN, GRAIN)), "before the one before it ends"),
        (0, page(0, GRAIN, (0, -GRAIN)), "impossible range"),
        (0, "", "answered nothing"),
        (0, "<returnval><startOffset>0</startOffset></returnval>", "lacks"),
    ):
        with open(path, "w") as f:
            f.write("0 512\n")  # of another query: not to be taken for this one's
        sim.fault("QueryChangedDiskAreas", "answer", after=after, times=-1, xml=xml)
        text = fails(sim, "changes", "app01", "two", 2000, ids[2000], path)
        assert says in text and "app01: disk-2000" in text, (xml, text)
        assert not os.path.exists(path) and not os.path.exists(path + ".new")
        sim.clear_faults()
    assert len(areas(sim, "app01", "two", 2000, ids[2000])) == 8


@scenario("random histories: every changed byte is in the map", areas_per_answer=5,
          slice=768 * KiB)
def histories(sim):
    seed = int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "big"))
    print("# seed %d" % seed)
    rng = random.Random(seed)
    vm = sim.add_vm("app01", [3 * MiB + 512, {"size": 2 * MiB, "controller": 1001, "unit": 0}],
                    cbt=True)
    before = Frozen(sim, "app01", "s0")
    for n in range(1, int(os.environ.get("ROUNDS") or 25)):
        run(sim, "thaw", "app01", "s%d" % (n - 1))
        for key in vm.keys():
            if rng.random() < 0.7:
                vm.write_randomly(key, rng, rng.randrange(1, 8))
            if rng.random() < 0.1:
                vm.control("reset-cbt", key=key)
        now = Frozen(sim, "app01", "s%d" % n)
        vm.write_randomly(2000, rng, 1)  # after the moment: not in it
        for key in vm.keys():
            found = areas(sim, "app01", "s%d" % n, key, before.change_ids[key])
            if isinstance(found, str):
                assert "was reset" in found
            else:
                expect(vm, key, found, "s%d" % (n - 1), "s%d" % n)
        before = now


main()
