# qcow2 disks: one qemu-nbd for all connections of an export, nothing guessed, nothing left.
import errno
import os
import random
import re
import signal
import subprocess
import threading
import time

import nbd

from exportmap import Map, done, equal, error_of, extents, ok, wait_for

SEED = int(os.environ.get("SEED", time.time_ns() % 1000000))
SIZE = 16 << 20


def qemu_img(*args):
    return subprocess.run(["qemu-img", *args], capture_output=True, text=True, check=True).stdout


def content(m, image):
    raw = m.path("content.raw")
    qemu_img("convert", "-f", "qcow2", "-O", "raw", image, raw)
    with open(raw, "rb") as f:
        return f.read()


def sharing():
    with Map() as m:
        disk = m.qcow2("a", SIZE)
        m.put("e", disk, "qcow2", lease="one")
        m.start()
        hs = [m.connect("e@one", alone) for alone in (False, True, False, True)]
        equal(len(m.qemus()), 1, "four connections, three processes: one qemu-nbd")
        for i, h in enumerate(hs):
            h.pwrite(bytes([i + 1]) * 65536, i << 20)
        hs[3].flush()
        equal([hs[(i + 1) % 4].pread(1, i << 20)[0] for i in range(4)], [1, 2, 3, 4],
              "each sees what the others wrote")
        hs[1].shutdown()
        hs[0].shutdown()
        time.sleep(0.2)
        equal(len(m.qemus()), 1, "it stays while somebody is connected, also without its starter")
        equal(error_of(hs[2].pwrite, b"z" * 512, 9 << 20), 0, "... and works")
        hs[2].shutdown()
        hs[3].shutdown()
        ok(wait_for(lambda: not m.qemus(), 5), "it ends with the last one", m.qemus())
        data = content(m, disk)
        equal([data[i << 20] for i in range(4)] + [data[9 << 20]], [1, 2, 3, 4, ord("z")],
              "what was written is in the image")

        hs = [None] * 12
        def come(i):
            hs[i] = m.connect("e@one", i % 2 == 0)
        threads = [threading.Thread(target=come, args=(i,)) for i in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        equal((sum(h is not None for h in hs), len(m.qemus())), (12, 1), "twelve come at once: one qemu-nbd")
        for h in hs: # an nbdkit whose "parent", a thread, has ended may be ending too
            error_of(h.shutdown)
        bad = 0
        for i in range(20):
            h = m.connect("e@one", i % 2 == 0)
            bad += error_of(h.pwrite, bytes([i]) * 512, 0) != 0
            h.shutdown()
        equal(bad, 0, "come and go in quick turns: each is served")
        ok(wait_for(lambda: not m.qemus(), 5), "nothing is left")


def killed_starter():
    with Map() as m:
        m.put("e", m.qcow2("a", SIZE), "qcow2", lease="one")
        first = subprocess.Popen(["/usr/bin/python3", "-c", """if 1:
            import nbd, sys, time
            h = nbd.NBD(); h.set_export_name("e@one"); h.connect_command(sys.argv[1:])
            h.pwrite(b"x" * 512, 0); print("ready", flush=True); time.sleep(60)
            """, *m.alone()], stdout=subprocess.PIPE)
        first.stdout.readline()
        second = m.connect("e@one", alone=True)
        first.kill()
        first.wait()
        time.sleep(0.3)
        equal(error_of(second.pwrite, b"y" * 512, 512), 0, "kill -9 of the starter: the others go on")
        second.shutdown()
        ok(wait_for(lambda: not m.qemus(), 5), "... and nothing is left after them")


def killed_qemu():
    with Map() as m:
        disk = m.qcow2("a", SIZE)
        m.put("e", disk, "qcow2", lease="one")
        m.start()
        one, two = m.connect("e@one"), m.connect("e@one", alone=True)
        one.pwrite(b"a" * 65536, 0)
        one.flush()
        for pid in m.qemus():
            os.kill(pid, signal.SIGKILL)
        ok(error_of(one.pwrite, b"b" * 512, 0) != 0, "kill -9 of qemu-nbd: writes fail")
        ok(error_of(one.flush) != 0, "... flushes too")
        ok(error_of(two.pread, 512, 0) != 0, "... on every connection")
        again = m.connect("e@one")
        equal(bytes(again.pread(3, 0)), b"aaa", "a new connection works, what was flushed is there")
        ok(error_of(one.flush) != 0, "the old ones stay failed: their writes may be lost")
        ok(error_of(one.pwrite, b"b" * 512, 0) != 0, "... for good")
        again.shutdown()
        # With requests on their way.
        busy = m.connect("e@one", alone=True)
        seen = []

        def hammer():
            while not seen:
                error = error_of(busy.pwrite, b"c" * 65536, 1 << 20)
                if error:
                    seen.append(error)

        t = threading.Thread(target=hammer)
        t.start()
        time.sleep(0.1)
        for pid in m.qemus():
            os.kill(pid, signal.SIGKILL)
        t.join(10)
        ok(seen and not t.is_alive(), "killed under a request: an error, not a hang", seen)
        equal(m.refused("e@one"), None, "... and it can be opened again")
        qemu_img("check", "-f", "qcow2", "-r", "leaks", disk)


def refusals():
    with Map() as m:
        m.start()
        base = m.raw("base", SIZE, b"base")
        qcow2 = m.qcow2("good", SIZE)
        m.put("template", qcow2, "qcow2")
        template = m.read("template")

        def why(path, **changes):
            st = os.stat(path)
            m.write("e", {**template, "path": path, "identity": {
                "inode": st.st_ino, "dev": st.st_dev}, **changes})
            return m.refused("e") or ""

        equal(why(qcow2), "", "a plain image is served")
        ok("is not a qcow2 image" in why(base), "a raw file mapped as qcow2: refused")
        ok("its size is %d bytes, the map says" % SIZE in why(qcow2, size=SIZE * 2), "another size: refused")
        ok("is not the disk that was mapped" in why(qcow2, identity={"inode": 1, "dev": "0:0"}),
           "another inode: refused")
        guess = m.path("guess")
        subprocess.check_call(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, guess])
        equal(why(guess), "", "a backing file with its format is served")
        subprocess.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", base, "-F", "", guess],
                       capture_output=True)
        strip_backing_format(guess)
        ok("names no format for its backing file" in why(guess), "without its format: refused", why(guess))
        top = m.path("top")
        subprocess.check_call(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "guess", top,
                               str(SIZE)])
        ok("names no format" in why(top), "... anywhere in the chain")
        with open(top, "r+b") as f:
            f.write(b"QFI\xfb" + b"\xff" * 100)
        ok("unknown version" in why(top), "a damaged header: refused")
        os.truncate(top, 20)
        ok("cut short" in why(top), "a header that is cut short: refused")
        data = m.path("external")
        subprocess.check_call(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=" + m.path("data"),
                               data, str(SIZE)])
        ok("keeps its data in another file" in why(data), "an external data file: refused")
        net = m.path("net")
        subprocess.check_call(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b",
                               "nbd+unix:///x?socket=/y", net, str(SIZE)])
        ok("is not a plain file" in why(net), "a backing file elsewhere: refused")
        gone = m.path("gone")
        subprocess.check_call(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b",
                               "/nonexistent", gone, str(SIZE)])
        got = why(gone)
        ok("/nonexistent" in got and "No such file" in got, "a missing one: refused in qemu's own words", got)
        os.rename(qcow2, m.path("kept"))
        os.link(base, qcow2)
        ok("is not the disk that was mapped" in (m.refused("template") or ""), "another file: refused")
        ok(wait_for(lambda: not m.qemus(), 5), "nothing is left of all these")


def strip_backing_format(path):
    """Overwrite the header extension's type with one that nobody knows."""
    with open(path, "r+b") as f:
        data = f.read(4096)
        at = data.find(b"\xe2\x79\x2a\xca")
        if at >= 0:
            f.seek(at)
            f.write(b"\x12\x34\x56\x78")


def readers_and_writers():
    with Map() as m:
        disk = m.qcow2("a", SIZE)
        m.put("e", disk, "qcow2", lease="one")
        m.parameters.append("require-lease=true")
        m.start()
        writer = m.connect("e@one")
        got = m.refused("e") or ""
        ok("lock" in got, "a reader while there is a writer: refused in qemu's own words", got)
        writer.shutdown()
        reader, other = m.connect("e"), m.connect("e", alone=True)
        ok(reader.is_read_only() and len(m.qemus()) == 1, "readers share one qemu-nbd too")
        got = m.refused("e@one") or ""
        ok("lock" in got, "a writer while there are readers: refused", got)
        reader.shutdown()
        other.shutdown()
        wait_for(lambda: not m.qemus(), 5)
        equal(m.refused("e@one"), None, "... and let in when they are gone")
        # A point's image under the same name: the old reader keeps its own.
        old = m.connect("e")
        second = m.qcow2("b", SIZE)
        subprocess.check_call(["qemu-io", "-f", "qcow2", "-c", "write -P 66 0 64k", second],
                              stdout=subprocess.DEVNULL)
        m.put("e", second, "qcow2", mode="ro")
        new = m.connect("e")
        equal((old.pread(1, 0)[0], new.pread(1, 0)[0]), (0, 66), "readers of two images at once: each its own")


def full_disk():
    with Map() as m:
        os.mkdir(m.path("small"))
        subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=3M", "tmpfs", m.path("small")])
        try:
            m.put("e", m.qcow2("small/a", SIZE), "qcow2")
            h = m.connect("e", alone=True)
            errors = [error_of(h.pwrite, b"x" * (1 << 20), i << 20) for i in range(6)]
            equal((errors[0], errors[-1]), (0, errno.ENOSPC), "a full filesystem: ENOSPC comes through")
            equal(error_of(h.pread, 512, 0), 0, "... and the connection goes on")
            h.shutdown()
            wait_for(lambda: not m.qemus(), 5)
        finally:
            subprocess.check_call(["umount", "-l", m.path("small")])


def model():
    rng = random.Random(SEED)
    with Map() as m:
        base = m.path("base")
        with open(base, "wb") as f:
            for _ in range(10):
                f.seek(rng.randrange(SIZE))
                f.write(rng.randbytes(100000))
            f.truncate(SIZE)
        overlay = m.path("overlay")
        qemu_img("create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base", overlay)
        with open(base, "rb") as f:
            before = f.read()
        array = bytearray(before)
        m.put("e", overlay, "qcow2", lease="one")
        m.start()
        hs = [m.connect("e@one", alone) for alone in (False, True)]
        ok(hs[0].can_fast_zero() and hs[0].can_fua() and hs[0].can_multi_conn(), "fast zero, FUA, multi-conn")
        wrong = None
        for i in range(400):
            h = rng.choice(hs)
            length = rng.choice([1, 512, 65536, rng.randrange(1, 300000)])
            at = rng.randrange(SIZE - length)
            what = rng.randrange(6)
            fua = nbd.CMD_FLAG_FUA if rng.random() < 0.05 else 0
            if what < 3:
                data = rng.randbytes(length)
                h.pwrite(data, at, fua)
                array[at:at + length] = data
            elif what == 3:
                h.zero(length, at, fua | rng.choice([0, nbd.CMD_FLAG_NO_HOLE]))
                array[at:at + length] = bytes(length)
            elif what == 4:
                h.trim(length, at, fua)
                array[at:at + length] = h.pread(length, at)
            else:
                h.flush()
            if i % 40 == 39:
                for offset, count, flags in extents(h, SIZE):
                    if flags & nbd.STATE_ZERO and any(array[offset:offset + count]):
                        wrong = "extent at %d" % offset
                if rng.choice(hs).pread(SIZE, 0) != array:
                    wrong = "data after request %d" % i
        hs[0].flush()
        equal(wrong, None, "400 random requests on an overlay, by two processes (SEED=%d)" % SEED)
        # Many at once on one connection.
        h0 = hs[0]
        pending = []
        buffers = []
        for n in range(64):
            at = rng.randrange(SIZE - 70000)
            buffers.append((at, nbd.Buffer(70000)))
            pending.append(h0.aio_pread(buffers[-1][1], at))
        while h0.aio_in_flight():
            h0.poll(-1)
        for cookie in pending:
            h0.aio_command_completed(cookie)
        equal([at for at, b in buffers if b.to_bytearray() != array[at:at + 70000]], [],
              "64 reads in flight on one connection")
        for h in hs:
            h.shutdown()
        wait_for(lambda: not m.qemus(), 5)
        equal(content(m, overlay) == array, True, "the image holds it all")
        with open(base, "rb") as f:
            equal(f.read() == before, True, "the backing file is untouched")
        info = qemu_img("check", "-f", "qcow2", overlay)
        ok("No errors were found" in info, "the image is sound", info)


def durability():
    """Success of a flush is said after fdatasync on the image."""
    with Map() as m:
        disk = m.qcow2("a", SIZE)
        m.put("e", disk, "qcow2", lease="one")
        h = nbd.NBD()
        h.set_export_name("e@one")
        h.connect_command(["strace", "-f", "-y", "-o", m.path("trace"), "-e",
                           "trace=pwrite64,pwritev,fdatasync", *m.alone()])
        other = m.connect("e@one", alone=True)
        h.pwrite(b"x" * 65536, 0)

        def calls():
            with open(m.path("trace")) as f:
                return [re.sub(r"^\d+ +", "", line).split("(")[0] for line in f
                        if disk in line or "resumed" in line]

        before = calls().count("fdatasync")
        other.flush()
        equal(calls().count("fdatasync") > before, True,
              "a flush by another process reaches the disk before it succeeds")
        before = calls().count("fdatasync")
        other.pwrite(b"y" * 512, 1 << 20, nbd.CMD_FLAG_FUA)
        equal(calls().count("fdatasync") > before, True, "a forced write too")
        h.shutdown()
        other.shutdown()
        wait_for(lambda: not m.qemus(), 5)


def hung():
    """A qemu-nbd that hangs, as on a dead disk, hurts its own export only."""
    with Map() as m:
        m.put("stuck", m.qcow2("q", SIZE), fmt="qcow2", lease="one")
        m.put("other", m.raw("a", SIZE), lease="one")
        m.start()
        stuck, other = m.connect("stuck@one"), m.connect("other@one")
        pid = m.qemus()[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            reads = [nbd.Buffer(512) for _ in range(3)]  # more than there are connections to it
            for buffer in reads:
                stuck.aio_pread(buffer, 0)
            time.sleep(0.2)
            m.change("stuck", lease="two")
            ok(wait_for(lambda: stuck.poll(0) and False or stuck.aio_in_flight() == 0, 3),
               "requests that hang end when the lease changes", stuck.aio_in_flight())
            opening = threading.Thread(target=m.connect, args=("other@one",), daemon=True)
            opening.start()
            opening.join(3)
            ok(not opening.is_alive(), "... other exports can be opened")
            m.change("other", lease="two")
            equal(m.refused("other@two", alone=True), None, "... and fenced")
            ok("still held" in (m.refused("stuck@two", alone=True) or ""), "... the one that hangs is not given away")
        finally:
            os.kill(pid, signal.SIGCONT)
        equal(m.refused("stuck@two", alone=True), None, "... before it has let go")
        del other


sharing()
killed_starter()
killed_qemu()
refusals()
readers_and_writers()
full_disk()
model()
durability()
hung()
done()
