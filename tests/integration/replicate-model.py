#!/usr/bin/python3
"""Random histories of a VM: writes, zeroes, lost change tracking, missing and torn
change maps. After each sync the replica is the source, byte for byte, and no older
point has changed.

usage: replicate-model.py DIRECTORY ROUNDS [SEED]"""

import os
import sys

from simulated_vm import VM, Replica

SPOILS = [None, None, None, None, "reset", "no-map", "torn-map", "no-change-id"]


def expected_type(spoil, number, named):
    if number == 1:
        return "initial"
    return "resync" if spoil or not named else "incremental"


def main():
    directory, rounds = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int.from_bytes(os.urandom(4), "big")
    print("seed %d" % seed)
    vm = VM(os.path.join(directory, "vm"), [3 << 20, (1 << 20) + 512, 512], seed)
    replica = Replica(os.path.join(directory, "state"), vm)
    named = {d.key: True for d in vm.disks}

    vm.describe()
    replica.run("source", "add", "nbd", "lab", "--file", vm.file)
    for _ in range(rounds):
        spoil = {}
        for disk in vm.disks:
            if vm.rng.random() < 0.8:
                disk.write_randomly()
            spoil[disk.key] = vm.rng.choice(SPOILS) if disk.at and replica.points else None
        vm.describe(spoil)
        full = bool(replica.points) and vm.rng.random() < 0.1
        result = replica.replicate(*(["--full"] if full else []))
        assert not result["up_to_date"]
        for disk in result["disks"]:
            key = disk["key"]
            want = expected_type(full or spoil[key], result["point"], named[key])
            assert disk["sync_type"] == want, (result["point"], key, spoil, disk)
            named[key] = spoil[key] != "no-change-id"
        replica.check_points(only={result["point"], vm.rng.choice(list(replica.points))})
        if vm.rng.random() < 0.2 and all(named.values()):
            assert replica.replicate()["up_to_date"]
    replica.check_points()
    replica.run("verify", "app01", "--source", "--progress=none")
    for number in replica.points:
        replica.run("verify", "app01", "--point=%d" % number, "--progress=none")
    replica.check_nothing_left()
    print("%d points" % len(replica.points))


main()
