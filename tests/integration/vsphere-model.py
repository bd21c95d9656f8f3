#!/usr/bin/python3
"""Random histories: a guest writes, disks grow, tracking is reset, the server fails in all
its ways, vmferry is killed. Whenever a run says that it is done, the replica is what its
snapshot held; at the end of each history a run is done, all older points are as they were,
and nothing stays at the source.

    vsphere-model.py HISTORIES [SEED]        a failure names the seed of its history"""

import random
import sys
import time

from vsphere_lab import GRAIN, Lab, MiB, kill

import tap

OPS = (
    "QueryChangedDiskAreas",
    "CreateSnapshot_Task",
    "RemoveSnapshot_Task",
    "RetrievePropertiesEx",
    "WaitForUpdatesEx",
    "Login",
    "folder",
    "*",
)
QUERY_FAULTS = ("FileFault", "NotFound", "MethodNotFound", "ManagedObjectNotFound")


class History:
    def __init__(self, lab, seed):
        self.lab, self.seed, self.rng = lab, seed, random.Random(seed)
        self.log = []
        sizes = []
        for _ in range(self.rng.randint(1, 3)):
            sizes.append(self.rng.randint(1, 12) * MiB + self.rng.choice((0, 0, 512, 5 * 512)))
        self.vm = lab.sim.add_vm("h%d" % seed, sizes)
        self.name = self.vm.path.rpartition("/")[2]

    def note(self, *what):
        self.log.append(" ".join(str(w) for w in what))

    def guest(self):
        for key in self.vm.keys():
            if self.rng.random() < 0.7:
                self.vm.write_randomly(key, self.rng, self.rng.randint(1, 6), 200000)
            if self.rng.random() < 0.2:
                capacity = self.vm.disk(key)["capacity"]
                offset = self.rng.randrange(capacity // GRAIN) * GRAIN
                self.vm.zero(key, offset, self.rng.randint(1, MiB))

    def source(self):
        """Something happens to the VM."""
        key = self.rng.choice(self.vm.keys())
        what = self.rng.choice(("nothing", "nothing", "reset", "reset-all", "cut", "grow", "off"))
        self.note("source:", what, key)
        control = self.lab.sim.control
        if what == "reset":
            control("reset-cbt", vm=self.vm.path, key=key)
        elif what == "reset-all":
            control("reset-cbt", vm=self.vm.path)
        elif what == "cut":
            control("power-cut", vm=self.vm.path)
            control("vm", vm=self.vm.path, power="poweredOn")
        elif what == "grow" and not self.vm.snapshots():
            size = self.vm.disk(key)["capacity"] + self.rng.randint(1, 4000) * 512
            control("grow", vm=self.vm.path, key=key, size=size)
        elif what == "off":
            control("cbt", vm=self.vm.path, on=False)

    def fault(self):
        op = self.rng.choice(OPS)
        rule = dict(after=self.rng.randint(0, 4), times=self.rng.randint(1, 2))
        how = self.rng.choice(("expire", "drop", "http", "truncate", "drop-answer", "fault"))
        if op == "folder" and how in ("fault", "drop-answer"):
            how = "drop"
        if how == "http":
            rule.update(status=self.rng.choice((500, 503)), body="<html>busy</html>")
        if how == "fault":
            if op.endswith("_Task"):
                rule.update(fault="GenericVmConfigFault", where="task")
            elif op == "QueryChangedDiskAreas":
                rule.update(fault=self.rng.choice(QUERY_FAULTS))
            else:
                rule.update(fault="RuntimeFault")
        self.note("fault:", op, how, rule)
        self.lab.sim.fault(op, how, **rule)

    def options(self):
        options = []
        if self.rng.random() < 0.6:
            options.append("--enable-cbt")
        if self.rng.random() < 0.1:
            options.append("--full")
        return options

    def killed(self):
        after = self.rng.random() * 1.5
        self.note("kill after %.2f s" % after)
        process = self.lab.start("replicate", self.name, *self.options(), "--rate=8M")
        time.sleep(after)
        kill(process)
        if self.rng.random() < 0.3:
            self.note("recover:", self.lab.vmferry("recover").status)

    def run(self):
        result = self.lab.replicate(self.name, *self.options())
        self.note("run:", result.status, result.err.strip().replace("\n", " | ")[:1000])
        if result.status != 0:
            return True
        same = self.lab.same_as_snapshot(self.vm)
        self.note("same:", same)
        return all(same.values())

    def step(self):
        self.guest()
        if self.rng.random() < 0.4:
            self.source()
        if self.rng.random() < 0.4:
            self.fault()
        if self.rng.random() < 0.3:
            self.killed()
            self.guest()
        right = self.run()
        self.lab.sim.clear_faults()
        return right

    def end(self):
        self.guest()
        result = self.lab.replicate(self.name)
        self.note("last run:", result.status, result.text)
        if result.status != 0 or not self.lab.all_same(self.vm):
            return False
        self.note("recover:", self.lab.vmferry("recover").text)
        if self.lab.standing(self.vm) or self.lab.secrets_left():
            self.note("left:", self.lab.standing(self.vm), self.lab.secrets_left())
            return False
        points = self.lab.query(
            "SELECT number FROM restore_points JOIN vms ON vms.id = vm_id "
            "WHERE name = ? AND complete = 1",
            self.name,
        )
        for (number,) in points:
            verified = self.lab.vmferry("verify", self.name, "--point=%d" % number)
            if verified.status != 0:
                self.note("point", number, verified.text)
                return False
        return True

    def play(self):
        for _ in range(self.rng.randint(2, 6)):
            if not self.step():
                return False
        return self.end()


def main():
    histories = int(sys.argv[1])
    first = int(sys.argv[2]) if sys.argv[2:] else random.randrange(1 << 30)
    with Lab() as lab:
        lab.add_source()
        for seed in range(first, first + histories):
            history = History(lab, seed)
            right = history.play()
            tap.ok(right, "history of seed %d" % seed, *([] if right else history.log))
            lab.sim.control("remove-vm", vm=history.vm.path)


if __name__ == "__main__":
    tap.run(main)
