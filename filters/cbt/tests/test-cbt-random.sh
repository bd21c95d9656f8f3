#!/bin/bash
# Random disks, random changes, maps in random forms, against a model: block status
# and reads through the cbt filter, and copies by stock clients. SEED= repeats a run,
# ROUNDS= makes it longer.
# shellcheck disable=SC2016 source=tests/lib.sh
. "$(dirname "$0")/../../../tests/lib.sh"

cd "$tmp" || exit 1
cat >model.py <<'END'
import json, os, random, subprocess, sys

seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
print("SEED=%d" % seed, flush=True)
random.seed(seed)
cbt = sys.argv[1]

def runs(size):
    """Cut [0, size) into random pieces, some on sectors, some on pages, some on none."""
    offset = 0
    while offset < size:
        grain = random.choice((1, 512, 4096, 65536))
        length = min(size - offset, grain * random.randint(1, 12))
        yield offset, length
        offset += length

def change(disk):
    """Returns the changed ranges, with some that did not change among them."""
    changes = []
    for offset, length in runs(len(disk)):
        dice = random.random()
        if dice < 0.2:
            disk[offset:offset + length] = bytes(length)
        elif dice < 0.4:
            disk[offset:offset + length] = random.randbytes(length)
        elif dice > 0.5:
            continue
        changes.append((offset, length))
    return changes

def as_text(ranges):
    units = {"": 1, "b": 1, "K": 1024, "s": 512, "M": 1 << 20}
    def number(n):
        unit, factor = random.choice([u for u in units.items() if n % u[1] == 0])
        return "%d%s" % (n // factor, unit)
    return "# a map\n" + "".join("%s\t%s %s\n" % (number(o), number(l), random.choice(
        ("", "0", "3", "hole,zero", "# text"))) for o, l in ranges)

def as_array(ranges):
    start = random.choice(("start", "offset"))
    return json.dumps([{start: o, "length": l, "zero": random.choice((True, False))}
                       for o, l in ranges], indent=random.choice((None, 1)))

def as_vsphere(ranges):
    return json.dumps({"startOffset": 0, "length": size, "changedArea":
                       [{"start": str(o), "length": l} for o, l in ranges]})

def as_nbdinfo(ranges):
    entries, offset = [], 0
    for o, l in sorted(ranges) + [(size, 0)]:
        entries.append({"offset": offset, "length": o - offset, "type": 0, "description": "clean"})
        entries.append({"offset": o, "length": l, "type": 1, "description": "dirty"})
        offset = o + l
    return json.dumps(entries)

def as_qemu(ranges):
    return json.dumps([{"start": o, "length": l, "depth": 0, "present": True, "zero": False,
                        "data": True, "offset": random.randrange(1 << 40)} for o, l in ranges])

def write_sparse(name, disk):
    """Zeroes are holes, here and there stored ones."""
    with open(name, "wb") as f:
        for offset in range(0, len(disk), 4096):
            block = disk[offset:offset + 4096]
            if any(block) or random.random() < 0.2:
                f.seek(offset)
                f.write(block)
        f.truncate(len(disk))

def run(source, command):
    subprocess.run(["bash", "-c", 'nbdkit "$@"', "nbdkit", "-U", "-", "--filter=" + cbt, *source, "--run", command], check=True)

def read(name):
    with open(name, "rb") as f:
        return f.read()

for round in range(int(os.environ.get("ROUNDS") or 15)):
    size = random.choice((1, 511, 512, 513, 4096, 70000, 300001, 1 << 20, (1 << 20) + 512))
    old = bytearray(random.choice((bytes, random.randbytes))(size))
    change(old)
    new = bytearray(old)
    changes = change(new)
    write_sparse("new.img", new)
    ranges = list(changes)
    form = random.choice((as_text, as_array, as_vsphere, as_nbdinfo, as_qemu))
    if form is not as_nbdinfo:
        random.shuffle(ranges)
        ranges += [r for r in ranges if random.random() < 0.1]
    with open("map", "w") as f:
        f.write(form(ranges))
    with open("truth.json", "w") as f:
        json.dump(changes, f)

    plugin = random.choice((["file", "new.img"], ["--filter=noextents", "file", "new.img"]))
    source = [*plugin, "cbt-map=map", "cbt-size=%d" % size]
    request = "--request-size=%d" % random.choice((4096, 65536, 1 << 20))
    what = "round %d: %d bytes, %s, %s" % (round, size, form.__name__, request)
    for mode in "hole", "zero":
        run([*source, "cbt-unchanged=" + mode], "/usr/bin/python3 client.py $uri " + mode)
    write_sparse("copy.img", old)
    run([*source, "cbt-unchanged=zero"], "nbdcopy --destination-is-zero --sparse=0 %s -- "
        "$uri [ nbdkit --exit-with-parent file copy.img ]" % request)
    assert read("copy.img") == new, what + ": nbdcopy, zero mode"
    write_sparse("copy.img", old)
    run(source, "nbdcopy %s -- $uri [ nbdkit --exit-with-parent file copy.img ]" % request)
    assert read("copy.img") == new, what + ": nbdcopy, hole mode"
    run(source, "qemu-img convert -f raw $uri -O raw copy.img")
    assert read("copy.img")[:size] == new, what + ": qemu-img convert"
END
cat >client.py <<'END'
import json, random, sys, nbd

mode = sys.argv[2]
new = open("new.img", "rb").read()
changed = bytearray(len(new))
for offset, length in json.load(open("truth.json")):
    changed[offset:offset + length] = b"\1" * length

h = nbd.NBD()
h.add_meta_context("base:allocation")
h.set_strict_mode(0)
h.connect_uri(sys.argv[1])
HOLE, ZERO = nbd.STATE_HOLE, nbd.STATE_ZERO

def status(offset, count, flags):
    got = []
    h.block_status(count, offset, lambda m, o, e, err: got.extend(zip(e[::2], e[1::2])) or 0, flags)
    return got

for flags in 0, nbd.CMD_FLAG_REQ_ONE:
    offset = 0
    while offset < len(new):
        count = random.randint(1, len(new) - offset)
        extents = status(offset, count, flags)
        assert extents and sum(e[0] for e in extents) <= count and (len(extents) == 1 or not flags)
        for length, type in extents:
            inside = set(changed[offset:offset + length])
            assert len(inside) == 1, (offset, length, type)
            if inside == {0}:
                assert type == (HOLE if mode == "hole" else HOLE | ZERO), (offset, type)
            elif mode == "zero":
                assert type == 0, (offset, type)
            else:
                assert type in (0, ZERO), (offset, type)
                assert type == 0 or not any(new[offset:offset + length]), (offset, length)
            offset += length
for _ in range(50):
    offset = random.randrange(len(new))
    count = random.randint(1, len(new) - offset)
    assert h.pread(count, offset) == new[offset:offset + count], (offset, count)
END
/usr/bin/python3 model.py "$CBT" >model.out 2>&1
is $? 0 "random disks and changes, $(head -1 model.out)" || diag "$(cat model.out)"

done_testing
