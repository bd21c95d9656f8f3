# The map: what is listed, what is refused, and that changes need no signal.
import json
import os
import subprocess
import threading
import time

import nbd

from exportmap import Map, done, equal, error_of, ok

SIZE = 1 << 20


def listed(m):
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_unix(m.socket)
    found = {}
    h.opt_list(lambda name, description: found.update({name: description}) or 0)
    h.opt_abort()
    return found


def listing():
    with Map() as m:
        a = m.raw("a", SIZE)
        m.start()
        equal(listed(m), {}, "an empty map lists nothing")
        m.put("vm-1", a, description="the first")
        m.put("Ünicode ☃", a, mode="ro")
        equal(listed(m), {"vm-1": "the first", "Ünicode ☃": ""}, "exports appear, with descriptions")
        m.put("vm-1", a, description="renamed")
        equal(listed(m)["vm-1"], "renamed", "they change")
        m.remove("vm-1")
        equal(list(listed(m)), ["Ünicode ☃"], "they vanish")
        equal(m.connect("Ünicode ☃").get_size(), SIZE, "any UTF-8 name can be opened")


def bad_files():
    with Map() as m:
        a = m.raw("a", SIZE)
        m.put("good", a)
        good = m.read("good")
        m.write(".hidden", good)
        m.write("half.tmp", good)
        m.write("backup~", good)
        m.write("writable", good, 0o666)
        m.write("group", good, 0o660)
        m.write("n" * 201, good)
        m.write("at@sign", good)
        m.write("new\nline", good)
        m.write("stranger", good)
        os.chown(m.dir + "/stranger", 12345, -1)
        with open(os.fsencode(m.dir) + b"/latin\xe9", "w") as f:
            json.dump(good, f)
        os.mkdir(m.dir + "/directory")
        os.mkfifo(m.dir + "/fifo", 0o600)
        inside = not os.environ.get("VALGRIND")  # which does not know openat2
        if inside:
            os.symlink("good", m.dir + "/inside")
        with open(m.path("elsewhere"), "w") as f:
            json.dump(good, f)
        os.symlink(m.path("elsewhere"), m.dir + "/absolute")
        os.symlink("../elsewhere", m.dir + "/outside")
        os.symlink("missing", m.dir + "/dangling")
        os.symlink("loop", m.dir + "/loop")
        bad = ["writable", "group", "n" * 201, "at@sign", "new?line", "stranger", "directory", "fifo",
               "absolute", "outside", "dangling", "loop", "latin"]

        def member(name, **changed):
            entry = {**good, **changed}
            m.write(name, {k: v for k, v in entry.items() if v is not None})
            bad.append(name)

        member("no-path", path=None)
        member("no-format", format=None)
        member("no-size", size=None)
        member("no-mode", mode=None)
        member("unknown-key", leese="x")
        member("unknown-identity", identity={**good["identity"], "inod": 1})
        member("relative", path="a")
        member("vmdk", format="vmdk")
        member("negative", size=-1)
        member("fraction", size=1.5)
        member("huge", size=1 << 63)
        member("text-size", size="1048576")
        member("mode", mode="wr")
        member("lease", lease="no blanks")
        member("long-lease", lease="x" * 129)
        member("nul", path="/a\0b")
        member("wordy", description="x" * 4097)
        member("identity-text", identity="x")
        for name, text in {"empty": "", "garbage": "\0\1\2", "array": "[]", "half": '{"path": "/a"',
                           "trailing": json.dumps(good) + " x", "deep": "[" * 100,
                           "big": json.dumps(good) + " " * 70000}.items():
            m.write(name, text)
            bad.append(name)

        m.start()
        equal(sorted(listed(m)), ["good", "inside"][:1 + inside], "bad, hidden and temporary files are not listed")
        time.sleep(0.1)
        lines = [line for line in m.logged().splitlines() if "is left out" in line]
        equal(len(lines), len(bad), "each bad file has one line in the log")
        ok(all(any("map file " + name in line for line in lines) for name in bad),
           "... with its name", [n for n in bad if not any("map file " + n in x for x in lines)])
        for _ in range(3):
            listed(m)
        lines = [line for line in m.logged().splitlines() if "is left out" in line]
        equal(len(lines), len(bad), "... and not again")
        m.write("mode", {**good, "mode": "xx"})
        listed(m)
        lines = [line for line in m.logged().splitlines() if "is left out" in line]
        equal(len(lines), len(bad) + 1, "... but when it changes")
        alone = m.connect("good", alone=True)
        alone.shutdown()
        ok(all(m.refused(n) for n in bad + [".hidden", "half.tmp", "backup~", "missing"] if n != "latin"),
           "none of them can be opened")
        why = {"writable": "may be written by others", "outside": "out of the map directory" if inside else "",
               "absolute": "out of the map directory" if inside else "", "stranger": "is owned by user 12345",
               "fifo": "not a regular file", "unknown-key": "leese: no such key",
               "unknown-identity": "inod: no such key", "half": "ends too early",
               "missing": "no such export", "../elsewhere": "hidden", "a/b": "holds a '/'", "": "nbdinfo --list",
               "no-mode": "mode: is missing", "huge": "size: is larger", "relative": "'a' does not start"}
        for name, words in why.items():
            got = m.refused(name) or ""
            ok(words in got, "why '%s' is refused" % name, got)
        log = m.refused("x\nnbdkit: a line of its own\033[2J")
        ok("x?nbdkit: a line of its own?[2J" in log, "a client's name makes no line in the log", log)
        h = m.connect("good")
        equal(h.get_size(), SIZE, "the good one is served all along")
        h.shutdown()
        equal(m.connect("inside" if inside else "good").get_size(), SIZE, "... and by a link in the directory")


def once_for_all_processes():
    """A server of a process for each connection reports a bad file once, too."""
    with Map() as m:
        m.write("bad", "{")
        script = ("import nbd, sys\n"
                  "for _ in range(3):\n"
                  "    h = nbd.NBD(); h.set_opt_mode(True)\n"
                  "    h.connect_command(sys.argv[1:])\n"
                  "    h.opt_list(lambda *_: 0); h.opt_abort()\n")
        argv = ["/usr/bin/python3", "-c", script, *m.alone()]
        for _ in range(2):
            r = subprocess.run(argv, capture_output=True, text=True, check=True)
            equal(r.stderr.count("is left out"), 1, "one line for all processes of a server")


def no_effect_on_others():
    """Exports come and go by the hundred while clients of another one work."""
    with Map() as m:
        a = m.raw("a", SIZE)
        b = m.raw("b", SIZE)
        m.put("steady", a)
        m.put("flickering", b, mode="ro")
        entry = m.read("flickering")
        m.start()
        errors = []
        stop = threading.Event()
        done_writes = [0]

        def work(alone):
            try:
                h = m.connect("steady", alone)
                while not stop.is_set():
                    h.pwrite(b"x" * 4096, 0)
                    h.pread(4096, 4096)
                    done_writes[0] += 1
            except nbd.Error as e:
                errors.append(str(e))

        threads = [threading.Thread(target=work, args=(alone,)) for alone in (False, True)]
        for t in threads:
            t.start()
        opened = refused = 0
        for i in range(300):
            m.write("flickering", {**entry, "description": str(i)})
            m.write("other-%d" % (i % 20), entry)
            if i % 3 == 0:
                os.unlink(m.dir + "/flickering")
            if i % 10 == 0:
                try:
                    m.connect("flickering").shutdown()
                    opened += 1
                except nbd.Error:
                    refused += 1
        stop.set()
        for t in threads:
            t.join()
        equal(errors, [], "300 changes of the map: other exports' clients see nothing (%d requests)"
              % done_writes[0])
        equal((opened, refused), (20, 10), "... and who comes sees what the map says then")


def directory():
    with Map() as m:
        m.put("e", m.raw("a", SIZE))
        os.chmod(m.dir, 0o777)
        r = subprocess.run(m.alone(), stdin=subprocess.DEVNULL,
                           capture_output=True, text=True)
        ok(r.returncode != 0 and "may be written by others" in r.stderr,
           "a directory that others may write is refused", r.stderr)
        os.chmod(m.dir, 0o700)
        r = subprocess.run([*m.alone()[:-1], "map=" + m.path("missing")], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True)
        ok(r.returncode != 0 and "No such file" in r.stderr, "and one that is not there", r.stderr)
        r = subprocess.run(m.alone()[:-1], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        ok("map=DIR is missing" in r.stderr, "and none", r.stderr)


def many():
    """More exports than nbdkit lists."""
    with Map() as m:
        m.put("e0", m.raw("a", SIZE))
        for i in range(1, 10002):
            os.link(m.dir + "/e0", m.dir + "/e%d" % i)
        m.start()
        equal(len(listed(m)), 10000, "of 10002 exports 10000 are listed")
        ok("only 10000 of 10002 exports are listed" in m.logged(), "... and the log says so", m.logged()[-300:])
        equal(m.connect("e10001").get_size(), SIZE, "... but all can be opened")


listing()
many()
bad_files()
once_for_all_processes()
no_effect_on_others()
directory()
done()
