# Raw disks: random requests against a model, block status against the filesystem, full
# disks, and what reaches the disk when.
import errno
import os
import random
import re
import subprocess
import time

import nbd

from exportmap import Map, done, equal, error_of, extents, ok, wait_for

SEED = int(os.environ.get("SEED", time.time_ns() % 1000000))
HOLE_ZERO = nbd.STATE_HOLE | nbd.STATE_ZERO


def random_range(rng, size):
    length = min(size, rng.choice([1, 511, 512, 4096, 65536, rng.randrange(1, 300000)]))
    at = rng.randrange(size - length + 1)
    return at, length


def one_request(rng, h, model):
    at, length = random_range(rng, len(model))
    fua = nbd.CMD_FLAG_FUA if rng.random() < 0.1 else 0
    what = rng.choice(["write", "write", "write", "zero", "zero", "trim", "cache", "flush"])
    if what == "write":
        data = rng.randbytes(length)
        h.pwrite(data, at, fua)
        model[at:at + length] = data
    elif what == "zero":
        flags = fua | rng.choice([0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO,
                                  nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE])
        error = error_of(h.zero, length, at, flags)
        if error == 0:
            model[at:at + length] = bytes(length)
        else:
            assert error in (errno.EOPNOTSUPP, errno.ENOTSUP), error
            assert flags & nbd.CMD_FLAG_FAST_ZERO and length > 65536, (flags, length)
    elif what == "trim":
        h.trim(length, at, fua)
        model[at:at + length] = h.pread(length, at)
    elif what == "cache":
        h.cache(length, at)
    else:
        h.flush()


def check_extents(h, model):
    """They cover the disk, and what is called zero is zero."""
    at = 0
    for offset, length, flags in extents(h, len(model)):
        assert offset == at and length > 0, (offset, at)
        if flags & nbd.STATE_ZERO:
            assert not any(model[offset:offset + length]), (offset, length)
        at += length
    assert at == len(model)


def against_model(m, disk, what, requests=250):
    """Two processes and one server write by turns; all see the same."""
    rng = random.Random(SEED)
    m.put("e", disk, lease="one")
    hs = [m.connect("e@one", alone) for alone in (False, True, True)]
    size = hs[0].get_size()
    model = bytearray(hs[0].pread(size, 0)) if size else bytearray()
    good = True
    try:
        for i in range(requests if size else 0):
            one_request(rng, rng.choice(hs), model)
            if i % 50 == 49:
                check_extents(rng.choice(hs), model)
                assert hs[i % 3].pread(size, 0) == model, "request %d" % i
        hs[0].flush()
        for h in hs:
            h.shutdown()
        with open(disk, "rb") as f:
            good = f.read() == model
    except (AssertionError, nbd.Error) as e:
        print("# %s" % e)
        good = False
    ok(good, "%s: %d random requests as a plain array has it (SEED=%d)" % (what, requests, SEED))


def models():
    with Map() as m:
        m.start()
        for size in (0, 1, 511, 512, 4097, (3 << 20) + 7):
            against_model(m, m.raw("f%d" % size, size), "a file of %d bytes" % size)
        for sector in ("512", "4096"):
            r = subprocess.run(["losetup", "-f", "--show", "-b", sector, m.raw("l" + sector, 3 << 20)],
                               capture_output=True, text=True)
            if r.returncode:
                print("# no loop device: %s" % r.stderr.strip())
                continue
            against_model(m, r.stdout.strip(), "a block device with sectors of " + sector)
            subprocess.check_call(["losetup", "-d", r.stdout.strip()])
        mount_tmpfs(m, "16M")
        against_model(m, m.raw("tmpfs/f", (3 << 20) + 7), "a file on tmpfs")
        subprocess.check_call(["umount", m.path("tmpfs")])


def mount_tmpfs(m, size):
    os.makedirs(m.path("tmpfs"), exist_ok=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=" + size, "tmpfs", m.path("tmpfs")])


def seek_oracle(path, size):
    """What the filesystem itself says."""
    found, at = [], 0
    with open(path, "rb") as f:
        while at < size:
            try:
                data = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                data = size
            if data > at:
                found.append((at, data - at, HOLE_ZERO))
            if data == size:
                break
            at = os.lseek(f.fileno(), data, os.SEEK_HOLE)
            found.append((data, at - data, 0))
    return found


def block_status():
    rng = random.Random(SEED)
    with Map() as m:
        m.start()
        size = 1 << 43
        disk = m.raw("big", size)
        with open(disk, "r+b") as f:
            for _ in range(50):
                f.seek(rng.randrange(size >> 16) << 16)
                f.write(rng.randbytes(rng.choice([1, 4096, 100000])))
            f.truncate(size)
        m.put("e", disk, mode="ro")
        h = m.connect("e")
        expected = seek_oracle(disk, size)
        near = [o for o, _, _ in expected]
        equal(sum(length for _, length, flags in expected if flags == 0) > 0, True, "there is data")
        # 8 TiB in steps of 4 GiB - 1, the largest that can be asked for.
        good = True
        for offset in near:
            seen = []
            count = min(size - offset, (1 << 32) - 1)
            h.block_status(count, offset, lambda c, o, e, err, seen=seen: seen.extend(e))
            want = next((length, flags) for o, length, flags in expected if o == offset)
            good = good and (min(want[0], count), want[1]) == (min(seen[0], count), seen[1])
            good = good and sum(seen[::2]) <= count
        ok(good, "block status is the filesystem's, clipped to the request (SEED=%d)" % SEED)
        seen = []
        h.block_status(1 << 30, 0, lambda c, o, e, err: seen.extend(e), nbd.CMD_FLAG_REQ_ONE)
        equal(len(seen), 2, "one extent when one is asked for")


def full_disk():
    with Map() as m:
        m.start()
        mount_tmpfs(m, "2M")
        try:
            m.put("e", m.raw("tmpfs/f", 8 << 20))
            h = m.connect("e")
            errors = [error_of(h.pwrite, b"x" * (1 << 20), i << 20) for i in range(4)]
            equal(errors[0], 0, "a small filesystem: the first write fits")
            equal(errors[-1], errno.ENOSPC, "... a later one says ENOSPC")
            equal(error_of(h.zero, 1 << 20, 0), 0, "... zeroes make room")
            equal(error_of(h.pwrite, b"y" * 4096, 7 << 20), 0, "... and the connection goes on")
            h.shutdown()
        finally:
            # The server closes the disk after the client has gone.
            ok(wait_for(lambda: subprocess.call(["umount", m.path("tmpfs")], stderr=subprocess.DEVNULL) == 0, 20),
               "... and closes the disk")


def failed_flush():
    """A loop device on a full filesystem: the write is taken, the flush fails, and stays failed."""
    with Map() as m:
        m.start()
        mount_tmpfs(m, "2M")
        loop = None
        try:
            r = subprocess.run(["losetup", "-f", "--show", m.raw("tmpfs/f", 8 << 20)],
                               capture_output=True, text=True)
            if r.returncode:
                print("# no loop device: %s" % r.stderr.strip())
                return
            loop = r.stdout.strip()
            m.put("e", loop)
            h = m.connect("e")
            for i in range(6):
                h.pwrite(b"x" * (1 << 20), i << 20)
            ok(error_of(h.flush) in (errno.EIO, errno.ENOSPC), "write-back failed: so does the flush")
            ok(error_of(h.flush) in (errno.EIO, errno.ENOSPC), "... and the next one")
            h.shutdown()
        finally:
            if loop:
                subprocess.check_call(["losetup", "-d", loop])
            time.sleep(0.1)
            subprocess.check_call(["umount", "-l", m.path("tmpfs")])


def traced(m, export, log, *inject):
    h = nbd.NBD()
    h.set_export_name(export)
    h.connect_command(["strace", "-f", "-y", "-o", log, "-e",
                       "trace=pwrite64,pwritev2,fdatasync,fsync,fallocate,writev,sendto,sendmsg",
                       *inject, *m.alone()])
    return h


def failed_forced_write():
    """It may be told of lost writes of others, and the kernel tells that only once."""
    with Map() as m:
        m.put("e", m.raw("a", 16 << 20))
        saved = os.dup(2)
        with open(m.log, "w") as f:
            os.dup2(f.fileno(), 2)
        try:
            h = traced(m, "e", m.path("trace"), "-e", "inject=pwritev2:error=EIO:when=2")
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        h.pwrite(b"x" * 512, 0)
        equal(error_of(h.pwrite, b"x" * (16 << 20), 0, nbd.CMD_FLAG_FUA), errno.EIO, "a forced write fails")
        ok("writing at 8388608: " in m.logged(), "... the log says where", m.logged())
        equal(error_of(h.flush), errno.EIO, "... and so does every flush after it")
        equal(error_of(h.pwrite, b"x" * 512, 0), 0, "... but writes go on")
        h.shutdown()


def durability():
    with Map() as m:
        disk = m.raw("a", 1 << 20)
        m.put("e", disk, lease="one")
        writer = traced(m, "e@one", m.path("writer"))
        flusher = traced(m, "e@one", m.path("flusher"))
        writer.pwrite(b"x" * 4096, 0)
        flusher.flush()
        writer.pwrite(b"y" * 4096, 4096, nbd.CMD_FLAG_FUA)
        writer.zero(4096, 8192, nbd.CMD_FLAG_FUA)
        writer.shutdown()
        flusher.shutdown()
        del writer, flusher

        def calls(name):
            with open(m.path(name)) as f:
                return [re.sub(r"^\d+ +", "", line) for line in f if disk in line]

        written, flushed = calls("writer"), calls("flusher")
        ok(any(line.startswith("fdatasync(") for line in flushed),
           "a flush in one process syncs the file that another one wrote", flushed)
        ok(any(line.startswith("pwritev2(") and "RWF_DSYNC" in line for line in written),
           "a forced write is one RWF_DSYNC write", written)
        at = [i for i, line in enumerate(written) if line.startswith("fallocate(")]
        ok(at and any(line.startswith("fdatasync(") for line in written[at[-1]:]),
           "forced zeroes are synced after they are made", written)


def stock_clients():
    """nbdcopy in, and checkwrite says that it is all there."""
    rng = random.Random(SEED)
    with Map() as m:
        with open(m.path("source"), "wb") as f:
            for _ in range(20):
                f.seek(rng.randrange(16 << 20))
                f.write(rng.randbytes(100000))
            f.truncate(17 << 20)
        m.put("e", m.raw("copy", 17 << 20, b"old"))
        m.start()
        uri = "nbd+unix:///e?socket=" + m.socket
        subprocess.check_call(["nbdcopy", "--flush", m.path("source"), uri])
        with open(m.path("source"), "rb") as a, open(m.path("copy"), "rb") as b:
            ok(a.read() == b.read(), "nbdcopy over old data: identical (SEED=%d)" % SEED)
        m.put("e", m.path("copy"), mode="ro")
        argv = ["nbdkit", "-U", "-", "--filter=checkwrite", *m.arguments(), "--run",
                "nbdcopy %s \"nbd+unix:///e?socket=$unixsocket\"" % m.path("source")]
        r = subprocess.run(argv, capture_output=True, text=True)
        equal(r.returncode, 0, "the checkwrite filter agrees")


models()
block_status()
full_disk()
failed_flush()
failed_forced_write()
durability()
stock_clients()
done()
