# Writers are fenced off: raw and qcow2, in one server process and in one each.
import errno
import os
import signal
import subprocess
import threading
import time

import nbd

from exportmap import Map, done, equal, error_of, ok, wait_for

FENCED = (errno.ESHUTDOWN, errno.EPERM)
SIZE = 8 << 20


def held(m, path):
    """Whether any process but us has this file open."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir("/proc/%s/fd" % pid):
                if os.readlink("/proc/%s/fd/%s" % (pid, fd)) == path and int(pid) != os.getpid():
                    return True
        except OSError:
            continue
    return False


def each_change(fmt, alone):
    what = "%s, %s" % (fmt, "a process each" if alone else "one process")
    with Map() as m:
        disk = m.raw("a", SIZE) if fmt == "raw" else m.qcow2("a", SIZE)
        other = m.raw("b", SIZE) if fmt == "raw" else m.qcow2("b", SIZE)
        if not alone:
            m.start()

        def writer(export="e@one"):
            h = m.connect(export, alone)
            h.pwrite(b"w" * 4096, 0)
            return h

        changes = {
            "withdrawn": lambda: m.remove("e"),
            "another lease": lambda: m.put("e", disk, fmt, lease="two"),
            "no lease": lambda: m.put("e", disk, fmt),
            "mode ro": lambda: m.put("e", disk, fmt, mode="ro", lease="one"),
            "another disk": lambda: m.put("e", other, fmt, lease="one"),
            "damaged": lambda: m.write("e", "{"),
            "another size": lambda: m.change("e", size=SIZE // 2),
        }
        for name, change in changes.items():
            m.put("e", disk, fmt, lease="one")
            active, idle = writer(), writer("e")
            change()
            start = time.monotonic()
            error = error_of(active.pwrite, b"x" * 512, 0)
            ok(error in FENCED, "%s: %s: the next write fails" % (what, name), error)
            equal(error == errno.EPERM, name == "mode ro", "... with the right error")
            ok(error_of(active.zero, 512, 0) in FENCED, "... and zeroing")
            ok(error_of(active.trim, 512, 0) in FENCED, "... and trimming")
            ok(error_of(active.flush) in FENCED, "... and flushing")
            ok(error_of(active.pread, 512, 0) in FENCED, "... and reading")
            gone = wait_for(lambda: not held(m, disk), 3)
            took = time.monotonic() - start
            ok(gone and took < 1, "... and an idle writer lets go within a second", took)
            for h in (active, idle):
                h.shutdown()

        m.put("e", disk, fmt, lease="one")
        h = writer()
        m.put("e", disk, fmt, lease="one", description="another one")
        m.put("e", disk, fmt, lease="one", description="and another one")
        equal(error_of(h.pwrite, b"y" * 4096, 4096), 0, what + ": a new description disturbs nobody")
        m.write("e", m.read("e"))
        time.sleep(0.3)
        equal(error_of(h.flush), 0, what + ": nor does the same content in a new file")
        m.put("e", disk, fmt, lease="two")
        second = m.connect("e@two", alone)
        second.pwrite(b"2" * 4096, 0)
        ok(error_of(h.pwrite, b"1" * 4096, 0) in FENCED, what + ": the first lease is out")
        equal(bytes(second.pread(4096, 0)), b"2" * 4096, what + ": the second one is in")
        ok("lease one is not in force" in (m.refused("e@one", alone) or ""),
           what + ": the first lease stays out")


def readers(alone):
    with Map() as m:
        if not alone:
            m.start()
        disk = m.raw("a", SIZE, b"r")
        m.put("e", disk, mode="ro")
        h = m.connect("e", alone)
        ok(h.is_read_only(), "mode ro: reading only")
        m.remove("e")
        time.sleep(0.3)
        equal(bytes(h.pread(4, 0)), b"rrrr", "a reader of a withdrawn export goes on")
        ok(m.refused("e", alone), "a new one is refused")


def same_lease_together(fmt):
    with Map() as m:
        disk = m.raw("a", SIZE) if fmt == "raw" else m.qcow2("a", SIZE)
        m.put("e", disk, fmt, lease="one")
        hs = [m.connect("e@one", alone=True) for _ in range(4)]
        for i, h in enumerate(hs):
            h.pwrite(bytes([i]) * 65536, i * 65536)
        hs[0].flush()
        equal([bytes(hs[3 - i].pread(1, i * 65536)) for i in range(4)],
              [bytes([i]) for i in range(4)], fmt + ": four processes write under one lease")


def two_names(fmt):
    with Map() as m:
        disk = m.raw("a", SIZE) if fmt == "raw" else m.qcow2("a", SIZE)
        m.put("e", disk, fmt, lease="one")
        m.put("f", disk, fmt, lease="two")
        m.start()
        h = m.connect("e@one")
        h.pwrite(b"1" * 4096, 0)
        ok(m.refused("f@two"), fmt + ": one disk under two names: a second writer is refused")
        h.pwrite(b"2" * 4096, 4096)
        h.flush()
        h.shutdown()
        other = m.connect("f@two")
        ok(other.pwrite(b"3" * 4096, 8192) is None, "... and let in when the first has left")
        other.shutdown()


def two_formats():
    """Who writes to an image as if it were raw would spoil it for who writes to the disk in it."""
    with Map() as m:
        disk = m.qcow2("a", SIZE)
        m.put("e", disk, "qcow2", lease="one")
        h = m.connect("e@one", alone=True)
        h.pwrite(b"1" * 4096, 0)
        m.put("f", disk, "raw", lease="one")
        why = m.refused("f@one", alone=True)
        ok("written as another export" in (why or ""), "a qcow2 image that is written is not written as raw", why)
        h.shutdown()
        m.put("f", disk, "raw", lease="one")
        raw = m.connect("f@one", alone=True)
        why = m.refused("e@one", alone=True)
        ok("written as another export" in (why or ""), "... and the other way round", why)
        raw.shutdown()
        equal(m.refused("e@one", alone=True), None, "... and let in when that has left")


def stopped_process(fmt):
    """A process of the old lease that can't let go keeps the new lease out, until it dies."""
    with Map() as m:
        disk = m.raw("a", SIZE) if fmt == "raw" else m.qcow2("a", SIZE)
        m.put("e", disk, fmt, lease="one")
        old = m.connect("e@one", alone=True)
        old.pwrite(b"1" * 512, 0)
        pids = [int(p) for p in subprocess.run(["fuser", m.dir + "/.exportmap/e.lock"],
                                               capture_output=True, text=True).stdout.split()]
        ok(pids, fmt + ": fuser finds who holds the lease")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        m.put("e", disk, fmt, lease="two")
        why = m.refused("e@two", alone=True)
        ok("still held by a writer under another lease" in (why or ""),
           fmt + ": a stopped writer keeps the next lease out", why)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        equal(m.refused("e@two", alone=True), None, fmt + ": its death lets it in")
        m.clients.remove(old)


def in_flight():
    """Writers that never pause: what was let in before the change is done before the next lease."""
    with Map() as m:
        m.start()
        disk = m.raw("a", SIZE)
        m.put("e", disk, lease="lease-0")
        stop = threading.Event()
        written = [0]
        lock = threading.Lock()

        def hammer(lease, alone):
            h = nbd.NBD()
            try:
                h = m.connect("e@lease-%d" % lease, alone)
                while not stop.is_set():
                    h.pwrite(bytes([lease]) * 4096, 0)
                    with lock:
                        written[0] += 1
            except nbd.Error:
                pass

        threads = []
        mixed = 0
        for lease in range(40):
            m.put("e", disk, lease="lease-%d" % lease)
            h = m.connect("e@lease-%d" % lease)
            h.pwrite(bytes([lease]) * 4096, 0)
            for _ in range(20):
                mixed += bytes(h.pread(4096, 0)) != bytes([lease]) * 4096
            h.shutdown()
            for alone in (False, True):
                threads.append(threading.Thread(target=hammer, args=(lease, alone)))
                threads[-1].start()
            target = written[0] + 20
            wait_for(lambda: written[0] > target, 5)
        stop.set()
        for t in threads:
            t.join()
        equal(mixed, 0, "40 leases in turn: nothing of an old one after a new one (%d writes)"
              % written[0])


def withdraw_waits():
    """When `export remove` is done, nobody writes any more; if somebody may, it says so."""
    with Map() as m:
        m.start()
        for fmt in ("raw", "qcow2"):
            disk = m.raw("a", SIZE) if fmt == "raw" else m.qcow2("q", SIZE)
            m.put("e", disk, fmt, lease="one")
            for alone in (False, True):
                m.connect("e@one", alone).pwrite(b"w" * 4096, 0)
            m.remove("e")
            ok(not held(m, disk), fmt + ": removed: no writer holds the disk")
        m.put("e", m.path("a"), lease="one")
        m.connect("e@one")
        m.server.send_signal(signal.SIGSTOP)
        r = subprocess.run([os.environ["BUILD"] + "/vmferry", "export", "remove", "--map=" + m.dir, "e"],
                           capture_output=True, text=True)
        m.server.send_signal(signal.SIGCONT)
        ok(r.returncode == 1 and "still held by a writer" in r.stderr, "a stopped writer: it says so",
           r.stderr)
        r = subprocess.run([os.environ["BUILD"] + "/vmferry", "export", "put", "e", "x"],
                           capture_output=True, text=True)
        equal(r.returncode, 2, "wrong use of `export`: exit status 2")


def require_lease():
    with Map("require-lease=true") as m:
        m.start()
        disk = m.raw("a", SIZE)
        m.put("e", disk, lease="one")
        m.put("f", disk)
        ok(m.connect("e").is_read_only(), "require-lease: a bare name reads")
        ok(not m.connect("e@one").is_read_only(), "... and the lease writes")
        ok(m.connect("f").is_read_only(), "... and without a lease nobody writes")
        ok("the export has none" in m.refused("f@one"), "a lease that the map does not know is refused")
        ok("not a lease" in m.refused("e@o/ne"), "and one that can't be one")
        ok("not a lease" in m.refused("e@"), "and an empty one")


for fmt_ in ("raw", "qcow2"):
    each_change(fmt_, alone=False)
    each_change(fmt_, alone=True)
    same_lease_together(fmt_)
    stopped_process(fmt_)
    two_names(fmt_)
two_formats()
readers(alone=False)
readers(alone=True)
require_lease()
withdraw_waits()
in_flight()
done()
