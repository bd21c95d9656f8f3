#!/usr/bin/python3
"""A worker that is stopped in the midst of its copy, and another one that takes its job, finishes
it, and is not disturbed when the first wakes up: of replicas in pools of every kind that can be
had here (first copies and incrementals), and of a VM of a simulated vSphere.

usage: takeover.py DIRECTORY [pools|vsphere …]"""

import json
import os
import random
import signal
import subprocess
import sys
import time

from jobs import LEASE, MIB, Lab, end, stop, wait_for


def loop_device(directory, size):
    path = os.path.join(directory, "device-%d" % len(os.listdir(directory)))
    with open(path, "wb") as f:
        f.truncate(size)
    done = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def stopped_and_taken(lab, number, *options):
    """Point `number`: the first worker is stopped, and wakes up while the second one copies."""
    worker = lab.replicate("--rate=2M", *options)
    lab.wait_copied(number)
    lab.wait_journal()
    stop(worker, lab.replica.state)
    wait_for(lambda: not lab.job(number)["worker"]["alive"])
    second = lab.start("job", "resume", str(number), "--json", "--progress=none")
    wait_for(lambda: lab.job(number)["fence"] == 2)
    time.sleep(0.5)
    os.kill(worker.pid, signal.SIGCONT)
    _, err = end(worker, 1)
    assert "this worker lost job %d to process" % number in err, err
    lab.run("job", "rate", str(number), "0")
    out, _ = end(second, 0)
    result = json.loads(out)
    assert sum(d["bytes_resumed"] for d in result["disks"]) > 0, result
    assert lab.job(number)["status"] == "completed" and lab.job(number)["fence"] == 2
    lab.finished(number)
    lab.run("verify", "app01", "--source", "--progress=none")
    checked = json.loads(lab.run("export", "check", "--json").stdout)
    assert checked["findings"] == [], checked
    names = [n for _, _, files in os.walk(os.path.join(lab.replica.state, "replicas")) for n in files]
    assert not [n for n in names if n.endswith((".journal", ".changes", ".resend"))], names
    lab.replica.check_nothing_running()


def in_pool(name, pool, base):
    """`pool`: the words that add it; () for the state directory."""
    lab = Lab(name)
    if pool:
        lab.run("pool", "add", *pool)
    where = ["--pool=%s" % pool[1]] if pool else []
    stopped_and_taken(lab, 1, "--base=" + base, *where)
    lab.change()
    stopped_and_taken(lab, 2)
    lab.run("point", "delete", "app01", "1")
    del lab.replica.points[1]
    lab.replica.check_points()


def pools():
    home = sys.argv[1]
    os.makedirs(os.path.join(home, "files"))
    os.makedirs(os.path.join(home, "devices"))
    in_pool("state-qcow2", (), "qcow2")
    in_pool("dir-qcow2", ("dir", "qcow2", os.path.join(home, "files")), "qcow2")
    devices = [loop_device(os.path.join(home, "devices"), size) for size in (24 * MIB, 4 * MIB)]
    try:
        if all(devices):
            in_pool("block", ("block", "disks", *("--device=" + d for d in devices)), "raw")
        else:
            print("no loop devices here")
    finally:
        for device in devices:
            if device:
                subprocess.run(["losetup", "-d", device])


def vsphere():
    from vsphere_lab import Lab as Center

    rng = random.Random(20261121)
    os.environ["VMFERRY_LEASE_SECONDS"] = LEASE
    with Center() as lab:
        vm = lab.sim.add_vm("app01", [24 * MIB, 4 * MIB])
        lab.add_source()

        def job(number):
            return lab.vmferry("job", "show", str(number), "--json").json()

        for number in (1, 2):
            for key in vm.keys():
                vm.write(key, 0, rng.randbytes(3 * MIB + (8 * MIB if key == 2000 else 0)))
            first = lab.listen("replicate", "app01", "--enable-cbt", "--rate=2M", "--progress=none")
            wait_for(
                lambda: lab.query("SELECT 1 FROM replication_jobs WHERE id = ? AND bytes_done > ?", number, 4 * MIB)
            )
            stop(first.process, lab.state)
            wait_for(lambda: not job(number)["worker"]["alive"])
            second = lab.listen("job", "resume", str(number), "--progress=none")
            wait_for(lambda: job(number)["fence"] == 2)
            time.sleep(1)
            os.kill(first.process.pid, signal.SIGCONT)
            assert first.end() == 1, first.text
            assert "this worker lost job %d to process" % number in first.text, first.text
            lab.vmferry("job", "rate", str(number), "0")
            assert second.end() == 0, second.text
            assert lab.all_same(vm), "the replica is not the snapshot"
            assert lab.standing(vm) == [], lab.standing(vm)
            assert job(number)["snapshots"] == [] and job(number)["status"] == "completed"
            verified = lab.vmferry("verify", "app01", "--progress=none")
            assert verified.status == 0, verified.text
        assert lab.secrets_left() == [], lab.secrets_left()


for section in (pools, vsphere):
    if not sys.argv[2:] or section.__name__ in sys.argv[2:]:
        began = time.monotonic()
        section()
        print("%s: %.1f s" % (section.__name__, time.monotonic() - began), flush=True)
