#!/usr/bin/python3
"""Jobs from outside: list, show, watch, pause, resume, cancel, rate from other processes; two
`replicate` of one VM; workers that are stopped, killed, or on another host, and whose job
somebody else takes. The tables say within a second what is true.

usage: jobs.py DIRECTORY [SECTION…]"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import database  # noqa: E402
from simulated_vm import VM, Replica

MIB = 1 << 20
LEASE = "3"


class Lab:
    """A VM of two disks, and a state directory. Every vmferry has a short lease."""

    def __init__(self, name, sizes=(24 * MIB, 4 * MIB)):
        os.environ["VMFERRY_LEASE_SECONDS"] = LEASE
        home = os.path.join(sys.argv[1], name)
        database.fresh(name)
        self.vm = VM(os.path.join(home, "vm"), list(sizes), 4711)
        self.replica = Replica(os.path.join(home, "state"), self.vm)
        for disk in self.vm.disks:
            disk.write(0, self.vm.rng.randbytes(disk.size * 3 // 4))
        self.vm.describe()
        self.run("source", "add", "nbd", "lab", "--file", self.vm.file)

    def run(self, *words, check=True, prefix=()):
        done = subprocess.run(
            [*prefix, *self.replica.command(*words)], capture_output=True, text=True, timeout=120
        )
        if check and done.returncode != 0:
            raise AssertionError("%s: exit %d\n%s%s" % (words, done.returncode, done.stdout, done.stderr))
        return done

    def start(self, *words, prefix=()):
        return subprocess.Popen(
            [*prefix, *self.replica.command(*words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def replicate(self, *more, prefix=()):
        return self.start("replicate", "app01", "--json", "--progress=none", *more, prefix=prefix)

    def query(self, sql, *values):
        return database.query(self.replica.state, sql, *values)

    def job(self, number):
        return json.loads(self.run("job", "show", str(number), "--json").stdout)

    def wait_copied(self, number, size=2 * MIB):
        """Until the tables say that so much was copied; and a journal has some of it."""

        def copied():
            rows = self.query("SELECT bytes_done FROM replication_jobs WHERE id = ?", number)
            return rows and rows[0][0] >= size

        wait_for(copied)

    def wait_journal(self):
        """Until something of the first disk can be gone on with."""

        def has_records():
            folder = os.path.join(self.replica.state, "replicas", self.vm.uuid, "disk-2000")
            return any(
                n.endswith(".journal") and os.path.getsize(os.path.join(folder, n)) > 64
                for n in (os.listdir(folder) if os.path.isdir(folder) else [])
            )

        wait_for(has_records)

    def finished(self, number):
        """The newest point is the source's."""
        self.replica.points[number] = self.vm.expected()
        self.replica.check_points()
        self.run("verify", "app01", "--progress=none")

    def change(self):
        for disk in self.vm.disks:
            disk.write(disk.size // 8, self.vm.rng.randbytes(disk.size // 2))
        self.vm.describe()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("it never happened")


def stop(process, state):
    """SIGSTOP; but not in the midst of a transaction of SQLite, whose lock would keep all others
    waiting: no lease helps there, and no other host is concerned."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        if os.environ.get("VMFERRY_DATABASE"):
            return
        db = sqlite3.connect(os.path.join(state, "vmferry.db"), timeout=0.5, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
            return
        except sqlite3.OperationalError:
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.05)
        finally:
            db.close()


def end(process, status):
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, (process.returncode, status, out, err)
    return out, err


def blocks(lab):
    """What the replica's files occupy: it grows while somebody writes."""
    folder = os.path.join(lab.replica.state, "replicas")
    return sum(
        os.lstat(os.path.join(where, name)).st_blocks for where, _, names in os.walk(folder) for name in names
    )


def database_away():
    """Longer than the lease: nobody writes then. Back within the patience, the job goes on by itself;
    else, or by a signal, the worker ends with 3, and the job can be gone on with."""
    away = os.environ.get("MARIADB")
    if not away:
        return
    lab = Lab("database_away")

    worker = lab.replicate("--rate=2M", "--patience=60")
    lab.wait_copied(1)
    lab.wait_journal()
    database.server("kill", away)
    time.sleep(int(LEASE) + 3)
    before = blocks(lab)
    time.sleep(3)
    assert blocks(lab) == before, ("it was written to without a lease", before, blocks(lab))
    assert worker.poll() is None
    database.server("again", away)
    lab.run("job", "rate", "1", "0")
    out, err = end(worker, 0)
    assert "the database does not answer: job 1 waits for it" in err and "going on with job 1" in err, err
    assert json.loads(out)["disks"][0]["bytes_resumed"] > 0, out
    lab.finished(1)
    assert lab.job(1)["status"] == "completed" and lab.job(1)["fence"] == 2

    for by_signal in (False, True):
        number = 3 if by_signal else 2
        lab.change()
        worker = lab.replicate("--rate=2M", "--patience=%d" % (600 if by_signal else 2))
        lab.wait_copied(number)
        database.server("kill", away)
        if by_signal:
            time.sleep(int(LEASE) + 3)
            worker.send_signal(signal.SIGTERM)
        _, err = end(worker, 3)
        assert "job %d is paused: the database did not answer" % number in err, err
        database.server("again", away)
        time.sleep(int(LEASE))
        assert not lab.job(number)["worker"]["alive"]
        lab.run("job", "rate", str(number), "0")
        lab.run("job", "resume", str(number), "--progress=none")
        lab.finished(number)

    assert not os.listdir(os.path.join(lab.replica.state, "run")), "something was left"


def steering():
    """pause, resume, rate, cancel, watch and list, all from other processes."""
    lab = Lab("steering")
    worker = lab.replicate("--rate=2M")
    lab.wait_copied(1)

    second = lab.run("replicate", "app01", check=False)
    assert second.returncode == 1, second
    for word in ("app01", "process %d" % worker.pid, socket.gethostname(), "vmferry job watch 1"):
        assert word in second.stderr, (word, second.stderr)

    listed = json.loads(lab.run("job", "list", "--json").stdout)
    assert [j["job"] for j in listed] == [1], listed
    row = listed[0]
    assert row["status"] == "running" and row["vm"] == "app01", row
    assert row["worker"]["pid"] == worker.pid and row["worker"]["alive"], row
    assert row["replication_type"] == "manual" and row["sync_type"] == "initial", row
    assert len(row["disks"]) == 2, row
    assert row["bytes_done"] == sum(d["bytes_done"] for d in row["disks"]), row
    assert 0 < row["percent"] < 100 and row["throughput"] > 0, row

    # The tables are not more than a second behind.
    before = lab.job(1)["bytes_done"]
    time.sleep(1.5)
    assert lab.job(1)["bytes_done"] > before
    # A rate is the running job's within a second or so.
    lab.run("job", "rate", "1", "200k")
    time.sleep(2)
    slow = lab.job(1)
    time.sleep(2)
    late = lab.job(1)
    assert late["bytes_done"] - slow["bytes_done"] < 2 * MIB, (slow, late)
    watcher = lab.start("job", "watch", "1", "--progress=json")
    lab.wait_journal()
    paused = lab.run("job", "pause", "1", "--json")
    assert json.loads(paused.stdout)["status"] == "paused", paused.stdout
    end(worker, 3)
    out, err = end(watcher, 3)
    assert '"label":"app01 disk-2000"' in err and '"state":"paused"' in err, err
    row = lab.job(1)
    assert row["paused_by"] == "operator" and row["worker"] is None, row
    assert row["current_operation"].startswith("Paused"), row
    lab.run("job", "pause", "1")

    lab.run("job", "rate", "1", "20M")
    resumed = lab.run("job", "resume", "1", "--json", "--progress=none")
    result = json.loads(resumed.stdout)
    assert result["job"] == 1 and result["point"] == 1, result
    assert sum(d["bytes_resumed"] for d in result["disks"]) > 0, result
    row = lab.job(1)
    assert row["status"] == row["current_operation"].lower() == "completed", row
    assert row["percent"] == 100 and row["bytes_done"] == row["bytes_total"], row
    assert all(d["percent"] == 100 and d["current_operation"] == "Completed" for d in row["disks"])
    steps = {(s["step"], s["disk_id"]): s["state"] for s in row["steps"]}
    for disk in ("disk-2000", "disk-2001"):
        for step in ("copy", "flush", "verify"):
            assert steps[step, disk] == "done", steps
    for step in ("prepare", "preflight", "plan", "commit", "cleanup"):
        assert steps[step, None] == "done", steps
    lab.finished(1)
    lab.run("job", "watch", "1")
    over = lab.run("job", "resume", "1", check=False)
    assert over.returncode == 1 and "at its end" in over.stderr, over
    assert lab.run("job", "cancel", "1", check=False).returncode == 1

    lab.change()
    worker = lab.replicate("--rate=2M")
    lab.wait_copied(2)
    lab.run("job", "cancel", "2")
    out, err = end(worker, 1)
    assert "cancelled" in err, err
    assert lab.job(2)["status"] == "cancelled"
    assert lab.run("job", "watch", "2", check=False).returncode == 1
    result = json.loads(lab.run("replicate", "app01", "--json", "--progress=none").stdout)
    assert result["job"] == 3 and result["point"] == 2, result
    assert sum(d["bytes_resumed"] for d in result["disks"]) > 0, "what was copied stays"
    lab.finished(2)
    lab.run("job", "show", "3")
    lab.run("job", "list", "--all")
    lab.replica.check_nothing_left()


def dropping():
    """A first copy that is given up, as the VM has another disk now."""
    lab = Lab("dropping")
    worker = lab.replicate("--rate=2M")
    lab.wait_copied(1)
    os.kill(worker.pid, signal.SIGTERM)
    end(worker, 3)
    parts = [dict(p) for p in lab.vm.parts]
    extra = os.path.join(lab.vm.dir, "extra")
    with open(extra, "wb") as f:
        f.truncate(MIB)
    parts.append(dict(key=2002, unit=2, capacity=MIB, backing_uuid="new", file=extra, change_id="n/1"))
    lab.vm.write_description(parts)
    refused = lab.run("replicate", "app01", check=False)
    assert refused.returncode == 1 and "job cancel 1 --drop" in refused.stderr, refused.stderr
    lab.run("job", "cancel", "1", "--drop")
    assert lab.query("SELECT count(*) FROM restore_points") == [(0,)]
    folder = os.path.join(lab.replica.state, "replicas", lab.vm.uuid)
    left = [n for _, _, names in os.walk(folder) for n in names]
    assert left == [], left
    lab.run("export", "check")
    lab.run("replicate", "app01", "--progress=none")
    lab.run("verify", "app01", "--source", "--progress=none")
    assert len(lab.query("SELECT id FROM vm_disks")) == 3
    lab.change()
    lab.vm.write_description(lab.vm.parts + parts[-1:])
    worker = lab.replicate("--rate=2M")
    lab.wait_copied(4, MIB)
    lab.run("job", "cancel", "4", "--drop")
    worker.communicate()
    lab.run("export", "check")
    for export in json.loads(lab.run("export", "list", "--json").stdout):
        assert export["path"].endswith("base.raw"), export


def killed():
    """A worker of this host that was killed is replaced at once, and its job goes on."""
    lab = Lab("killed")
    worker = lab.replicate("--rate=4M")
    lab.wait_copied(1)
    lab.wait_journal()
    worker.kill()
    began = time.monotonic()
    # Its parent, this process, has not even asked how it ended.
    result = json.loads(lab.run("job", "resume", "1", "--json", "--progress=none").stdout)
    assert time.monotonic() - began < 20
    worker.communicate()
    assert sum(d["bytes_resumed"] for d in result["disks"]) > 0, result
    assert lab.query("SELECT fence FROM replication_jobs") == [(3,)]  # swept, then taken
    lab.finished(1)
    lab.replica.check_nothing_left()


def stopped(name, prefix):
    """A worker that is stopped in the midst of its copy loses its job, and changes nothing when
    it wakes up. `prefix`: how the one that takes over is started."""
    lab = Lab(name)
    worker = lab.replicate("--rate=2M")
    lab.wait_copied(1)
    lab.wait_journal()
    stop(worker, lab.replica.state)
    early = lab.run("job", "resume", "1", check=False, prefix=prefix)
    assert early.returncode == 1 and "process %d" % worker.pid in early.stderr, early
    wait_for(lambda: json.loads(lab.run("job", "show", "1", "--json").stdout)["worker"]["alive"] is False)
    second = lab.start("job", "resume", "1", "--json", "--progress=none", prefix=prefix)
    wait_for(lambda: lab.query("SELECT fence FROM replication_jobs") == [(2,)])
    time.sleep(0.5)
    os.kill(worker.pid, signal.SIGCONT)  # while the other one copies
    out, err = end(worker, 1)
    assert "this worker lost job 1 to process" in err, err
    lab.run("job", "rate", "1", "0")
    out, err = end(second, 0)
    assert "No such file" not in err, err  # the exports went with the images
    result = json.loads(out)
    assert sum(d["bytes_resumed"] for d in result["disks"]) > 0, result
    assert lab.query("SELECT status, fence FROM replication_jobs") == [("completed", 2)]
    assert lab.query("SELECT count(*) FROM replication_jobs") == [(1,)]
    lab.finished(1)
    lab.run("verify", "app01", "--source", "--progress=none")
    lab.change()
    result = json.loads(lab.run("replicate", "app01", "--json", "--progress=none").stdout)
    assert result["point"] == 2, result
    lab.finished(2)
    files = [n for f, _, names in os.walk(os.path.join(lab.replica.state, "replicas")) for n in names]
    assert not [n for n in files if n.endswith((".journal", ".changes", ".resend"))], files


def taken_over():
    stopped("stopped", ())


def other_host():
    stopped("other-host", ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"))


def late_wake_up():
    """…and when the other one has finished long ago."""
    lab = Lab("late")
    worker = lab.replicate("--rate=2M")
    lab.wait_copied(1)
    stop(worker, lab.replica.state)
    time.sleep(int(LEASE) + 0.5)
    lab.run("job", "rate", "1", "0")
    lab.run("job", "resume", "1", "--progress=none")
    lab.replica.points[1] = lab.vm.expected()
    lab.change()
    lab.run("replicate", "app01", "--progress=none")
    rows = lab.query("SELECT * FROM replication_jobs"), lab.query("SELECT * FROM restore_points")
    os.kill(worker.pid, signal.SIGCONT)
    out, err = end(worker, 1)
    assert "this worker lost job 1" in err, err
    assert rows == (lab.query("SELECT * FROM replication_jobs"), lab.query("SELECT * FROM restore_points"))
    lab.finished(2)
    lab.run("verify", "app01", "--source", "--progress=none")
    lab.run("verify", "app01", "--point=1", "--progress=none")


def recovering():
    """`recover` goes on with what a killed worker left, or pauses it; and sweeps."""
    lab = Lab("recovering")
    worker = lab.replicate("--rate=4M")
    lab.wait_copied(1)
    lab.wait_journal()
    alive = lab.run("recover")
    assert "being worked on by job 1" in alive.stdout, alive.stdout
    worker.kill()
    worker.communicate()
    paused = lab.run("recover", "--pause")
    assert "1 paused" in paused.stdout, paused.stdout
    assert "0 paused" in lab.run("recover", "--pause").stdout
    row = lab.job(1)
    assert row["status"] == "paused" and row["paused_by"] == "worker", row
    assert "died" in row["error"], row
    folder = os.path.join(lab.replica.state, "replicas", lab.vm.uuid, "disk-2000")
    for name in ("point-0009.leaves", "point-0009.f4.journal", "point-0003.f4.qcow2", "point-0009.changes",
                 "point-10009.leaves"):
        open(os.path.join(folder, name), "w").close()
    for name in ("notes.txt", "point-0009.qcow2.mine"):
        open(os.path.join(folder, name), "w").close()
    stray = os.path.join(lab.replica.state, "run", "x-disk-2000.%d.changes" % worker.pid)
    open(stray, "w").close()
    lab.run("job", "rate", "1", "0")
    done = json.loads(lab.run("recover", "app01", "--json").stdout)
    assert (done["jobs_completed"], done["jobs_running"], done["snapshots_standing"]) == (1, 0, 0), done
    assert not os.path.exists(stray)
    left = sorted(os.listdir(folder))
    assert left == ["base.raw", "notes.txt", "point-0001.leaves", "point-0009.qcow2.mine"], left
    os.remove(os.path.join(folder, "notes.txt"))
    os.remove(os.path.join(folder, "point-0009.qcow2.mine"))
    steps = {s["step"] for s in lab.job(1)["steps"]}
    assert "copy" in steps, steps
    lab.finished(1)
    lab.replica.check_nothing_left()
    assert "0 jobs completed" in lab.run("recover").stdout

    # Every command that runs a job pauses the dead ones of others, too.
    lab.change()
    worker = lab.replicate("--rate=2M")
    lab.wait_copied(2)
    worker.kill()
    worker.communicate()
    other = VM(os.path.join(sys.argv[1], "recovering", "other"), [MIB], 99)
    other.file = os.path.join(other.dir, "vm.json")
    other.describe()
    with open(other.file) as f:
        described = json.load(f)
    described["name"] = "app02"
    with open(other.file, "w") as f:
        json.dump(described, f)
    lab.run("source", "add", "nbd", "other", "--file", other.file)
    lab.run("replicate", "app02", "--progress=none")
    row = lab.job(2)
    assert row["status"] == "paused" and row["paused_by"] == "worker", row
    # It is cancelled without a worker, and what was copied stays.
    lab.run("job", "cancel", "2")
    assert lab.job(2)["status"] == "cancelled"
    active = lab.query("SELECT count(*) FROM vm_export_mappings WHERE status = 'active'")
    assert active == [(0,)], active
    result = json.loads(lab.run("replicate", "app01", "--json", "--progress=none").stdout)
    assert result["point"] == 2, result
    lab.finished(2)


def cancelled_stopped():
    """A stopped worker's job is cancelled; a new job goes on with what it copied, and the old
    worker changes nothing when it wakes up in the midst of that."""
    lab = Lab("cancelled-stopped")
    worker = lab.replicate("--rate=2M")
    lab.wait_copied(1)
    lab.wait_journal()
    stop(worker, lab.replica.state)
    lab.run("job", "cancel", "1")  # waits for the lease to run out
    lab.run("export", "check")
    second = lab.replicate("--rate=4M")
    lab.wait_copied(2, 1)
    os.kill(worker.pid, signal.SIGCONT)
    out, err = end(worker, 1)
    assert "this worker lost job 1" in err, err
    lab.run("job", "rate", "2", "0")
    out, err = end(second, 0)
    assert sum(d["bytes_resumed"] for d in json.loads(out)["disks"]) > 0, out
    lab.finished(1)
    lab.run("verify", "app01", "--source", "--progress=none")


SECTIONS = (steering, dropping, killed, taken_over, other_host, late_wake_up, recovering, cancelled_stopped, database_away)


def main():
    for section in SECTIONS:
        if not sys.argv[2:] or section.__name__ in sys.argv[2:]:
            began = time.monotonic()
            section()
            print("%s: %.1f s" % (section.__name__, time.monotonic() - began), flush=True)


if __name__ == "__main__":
    main()
