#!/usr/bin/python3
"""The ways that disks are read, beside https: VMware's library, of which a stand-in has its
name, and ssh to the host, which is an sshd of our own."""

import os
import random

import ssh_host
from vddk_stand_in import StandIn, thumbprint
from vsphere_lab import Lab, MiB, ended, sync_types

import tap

rng = random.Random(20261122)


def library():
    with Lab() as lab:
        vm = lab.sim.add_vm("old", [24 * MiB, 8 * MiB + 512])
        for key in vm.keys():
            vm.write_randomly(key, rng)
        lab.sim.control("cbt", vm=vm.path, on=True)
        lab.sim.control("snapshot", vm=vm.path, name="before an upgrade")
        vm.write_randomly(2000, rng)
        vddk = StandIn(lab)
        lab.environment = vddk.environment
        lab.add_source(
            "--vddk-libdir=" + lab.directory,
            "--vddk-transports=nbdssl:nbd",
            "--vddk-compression=fastlz",
        )
        flight = lab.vmferry("preflight", "old", "--transport=https")
        tap.is_(flight.status, 1, "a VM with a snapshot is not read over https")
        result = lab.replicate("old")
        ended(result, 0, "but by the library, which auto finds")
        tap.ok("transport vddk" in result.err, "and says", result.err)
        tap.ok(lab.all_same(vm), "the replica is right")
        got, disk = vddk.parameters(), vm.disk(2001)
        snapshot = vm.last_snapshot()
        wanted = {
            "libdir": os.path.realpath(lab.directory),
            "server": lab.sim.host,
            "port": str(lab.sim.port),
            "user": lab.sim.user,
            "password": "right",
            "thumbprint": thumbprint(lab.sim.ca_file),
            "vm": "moref=" + vm.moref,
            "snapshot": snapshot["moref"],
            "transports": "nbdssl:nbd",
            "compression": "fastlz",
            "file": got["file"],
        }
        tap.is_(got, wanted, "the library is told what it needs")
        tap.ok(got["file"].startswith("[datastore1] old/"), "and the file as the snapshot has it")
        tap.ok(lab.sim.password not in vddk.command_lines(), "no password in a command line")

        for key in vm.keys():
            vm.write_randomly(key, rng)
        vm.write(2001, disk["capacity"] - 100, b"e" * 100)
        result = lab.replicate("old", "--transport=vddk")
        tap.is_(sync_types(result), {2000: "incremental", 2001: "incremental"}, "then what changed")
        tap.ok(lab.all_same(vm), "the replica is right")
        result = lab.replicate("old", "--full")
        tap.is_([d["bytes"] for d in result.json()["disks"]], [0, 0], "a full comparison agrees")
        tap.is_(lab.standing(vm), ["before an upgrade"], "only ours is removed")
        tap.is_(lab.secrets_left(), [], "nothing secret stays in the state directory")

        words = ["source", "add", "vsphere", "vc", "--server", lab.sim.server]
        words += ["--user", lab.sim.user, "--ca-file", lab.sim.ca_file]
        lab.environment["VMFERRY_PASSWORD"] = lab.sim.password
        ended(lab.vmferry(*words), 0, "the same source by a CA file, its password not in one")
        ended(lab.replicate("old", "--transport=vddk"), 0, "a thumbprint is verified by it")
        tap.is_(lab.secrets_left(), [], "the password's file is gone")
        lab.environment = dict(vddk.environment, VDDK_PASSWORD="another")
        lab.environment["VMFERRY_PASSWORD"] = lab.sim.password
        result = lab.replicate("old", "--transport=vddk")
        tap.is_(result.status, 1, "the library can't log in: the job fails")
        tap.ok("Cannot connect to host" in result.err, "with its words", result.err)


def ssh():
    why = ssh_host.missing()
    if why:
        tap.skip("the ssh transport", why)
        return
    with ssh_host.SshHost() as host, Lab() as lab:
        vm = lab.sim.add_vm("app01", [16 * MiB, 4 * MiB + 512])

        def settle():
            """The guest writes, then rests: the files are what the snapshot will hold."""
            for key in vm.keys():
                vm.write_randomly(key, rng)
                host.put(vm.disk(key)["file"], vm.disk(key)["path"])

        settle()
        lab.add_source(*host.options())
        ended(lab.replicate("app01", "--enable-cbt"), 0, "over ssh: the first copy")
        tap.ok(lab.all_same(vm), "holds what the snapshot held")
        settle()
        result = lab.replicate("app01")
        tap.is_(sync_types(result), {2000: "incremental", 2001: "incremental"}, "then what changed")
        tap.ok(lab.all_same(vm), "the replica is right")
        tap.is_(lab.sim.requests("GET /folder"), 0, "nothing was read over https")
        with open(host.known_hosts, "w") as f:
            f.write("")
        result = lab.replicate("app01")
        ended(result, 1, "a host whose key is not known is not asked")
        tap.is_(lab.standing(vm), [], "no snapshot stays")


if __name__ == "__main__":
    tap.run(lambda: [library(), ssh()])
