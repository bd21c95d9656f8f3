# Is it the disk that was mapped? Shuffled paths must never be written.
import os
import subprocess

from exportmap import Map, done, equal, ok

SIZE = 1 << 20


def content(path):
    with open(path, "rb") as f:
        return f.read()


def files():
    for alone in (False, True):
        with Map() as m:
            if not alone:
                m.start()
            a, b = m.raw("a", SIZE, b"a"), m.raw("b", SIZE, b"b")
            m.put("e", a, lease="one")
            os.rename(a, m.path("c"))
            os.rename(b, a)
            os.rename(m.path("c"), b)
            why = m.refused("e@one", alone) or ""
            ok("is not the disk that was mapped: its inode is" in why, "two files swapped: refused", why)
            equal(content(a), b"b" * SIZE, "... and untouched")
            os.rename(b, a)
            equal(m.refused("e@one", alone), None, "back in its place: served")
            os.unlink(a)
            m.raw("a", SIZE, b"n")
            ok("is not the disk that was mapped" in (m.refused("e@one", alone) or ""),
               "deleted and made again, maybe with the same inode number: refused")
            m.put("e", a, lease="one")
            for size in (SIZE + 1, SIZE - 1):
                os.truncate(a, size)
                why = m.refused("e@one", alone) or ""
                ok("its size is %d bytes, the map says %d" % (size, SIZE) in why,
                   "another size: refused", why)
            os.unlink(a)
            ok("No such file" in (m.refused("e@one", alone) or ""), "gone: refused")
            os.mkdir(a)
            ok(m.refused("e@one", alone), "a directory: refused")
            os.rmdir(a)
            os.mkfifo(a)
            ok(m.refused("e@one", alone), "a FIFO: refused, without waiting")


def keys():
    with Map() as m:
        m.start()
        a = m.raw("a", SIZE)
        m.put("e", a)
        good = m.read("e")["identity"]
        st = os.stat(a)
        equal(good["dev"], "%d:%d" % (os.major(st.st_dev), os.minor(st.st_dev)), "dev is the file's")
        equal(good["inode"], st.st_ino, "inode is the file's")

        def why(identity, mode="rw"):
            m.change("e", identity=identity, mode=mode)
            return m.refused("e") or ""

        equal(why({**good, "dev": st.st_dev}), "", "dev may be a number")
        ok("dev is" in why({**good, "dev": "7:77"}), "each key must match: dev")
        ok("birth is" in why({**good, "birth": "1.000000000"}), "... birth")
        ok("serial is not to be had" in why({**good, "serial": "x"}), "... a key the file can't have")
        ok("needs the file's inode" in why({}), "no identity: not for writing")
        ok("needs the file's inode" in why({"dev": good["dev"]}), "... nor with dev alone")
        ok("needs the file's inode" in why({"inode": good["inode"]}), "... nor with inode alone")
        equal(why({}, "ro"), "", "... but for reading")
        ok("inode is" in why({"inode": 1}, "ro"), "a wrong one: not for reading either")
        equal(why({k: good[k] for k in ("inode", "birth")}), "", "inode and birth are enough")


def losetup(*args):
    return subprocess.run(["losetup", *args], capture_output=True, text=True)


def loops():
    """Two loop devices exchange their files: the same names, the same sizes."""
    with Map() as m:
        m.start()
        files_ = [m.raw(n, SIZE, n.encode()) for n in ("a", "b")]
        loops_ = []
        try:
            for f in files_:
                r = losetup("-f", "--show", f)
                if r.returncode:
                    print("ok - loop devices # SKIP %s" % r.stderr.strip())
                    return
                loops_.append(r.stdout.strip())
            m.put("e", loops_[0], lease="one")
            identity = m.read("e")["identity"]
            equal(identity["backing_file"], files_[0], "a loop device is known by its file")
            h = m.connect("e@one")
            h.pwrite(b"1" * 512, 0)
            h.flush()
            h.shutdown()
            equal(content(files_[0])[:513], b"1" * 512 + b"a", "it is written")
            for loop in loops_:
                losetup("-d", loop)
            for loop, f in zip(loops_, reversed(files_)):
                r = losetup(loop, f)
                ok(r.returncode == 0, "swapped " + loop, r.stderr)
            for alone in (False, True):
                why = m.refused("e@one", alone) or ""
                ok("is not the disk that was mapped: its backing_file is %s" % files_[1] in why,
                   "loop devices swapped: refused", why)
            equal(content(files_[1]), b"b" * SIZE, "... and untouched")
            os.rename(files_[1], m.path("old-b"))
            os.rename(files_[0], m.path("old-a"))
            os.rename(m.path("old-b"), files_[0])
            why = m.refused("e@one") or ""
            ok("is not the disk that was mapped" in why, "renamed so that the path fits: refused", why)
            losetup("-d", loops_[0])
            losetup("-o", "512", loops_[0], m.path("old-a"))
            m.put("o", loops_[0])
            identity = m.read("o")["identity"]
            equal(identity["backing_offset"], 512, "an offset is part of the identity")
            del identity["backing_offset"]
            m.change("o", identity=identity)
            ok("backing_offset is 512" in (m.refused("o") or ""), "... and 0 if it is not given")
            m.change("o", identity={"size": SIZE - 512})
            ok("serial, wwid or backing_file" in (m.refused("o") or ""),
               "a block device without a stable key: not for writing")
            m.change("o", mode="ro")
            equal(m.refused("o"), None, "... but for reading")
            in_use(m, loops_[1])
        finally:
            for loop in loops_:
                losetup("-d", loop)


def in_use(m, loop):
    """A mounted device is not written, whatever the map says."""
    subprocess.run(["mke2fs", "-q", "-F", loop], check=True)
    m.put("mounted", loop)
    equal(m.refused("mounted"), None, "a device that nobody uses is served")
    where = m.path("mnt")
    os.mkdir(where)
    if subprocess.run(["mount", loop, where], capture_output=True).returncode != 0:
        print("# mount does not work here")
        return
    try:
        why = m.refused("mounted") or ""
        ok("is mounted or otherwise in use" in why, "a mounted device: refused for writing", why)
    finally:
        subprocess.run(["umount", where], check=True)


files()
keys()
loops()
done()
