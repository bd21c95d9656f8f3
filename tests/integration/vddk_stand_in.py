"""nbdkit with a plugin named vddk: see vddk/vddk.c. Its directory goes in front of PATH."""

import hashlib
import os
import shlex
import ssl
import subprocess
import sys

from vsphere_lab import HERE, simlib


class StandIn:
    def __init__(self, lab):
        self.directory = os.path.join(lab.directory, "vddk")
        self.log = os.path.join(self.directory, "log")
        os.mkdir(self.directory)
        plugin = os.path.join(self.directory, "nbdkit-vddk-plugin.so")
        source = os.path.join(HERE, "vddk", "vddk.c")
        flags = ["-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        cc = shlex.split(os.environ.get("CC", "gcc"))
        subprocess.run([*cc, *flags, "-o", plugin, source], check=True)
        # Where nbdkit looks for plugins can't be told it: names are exchanged for paths.
        self.script(
            "nbdkit",
            'words=()\nfor word; do [ "$word" = vddk ] && word=%s; words+=("$word"); done\n'
            'printf "%%s\\n" "${words[*]}" >>%s\n'
            'PATH=${PATH#%s:} exec nbdkit "${words[@]}"\n'
            % (shlex.quote(plugin), shlex.quote(self.log + ".argv"), self.directory),
        )
        finder = [sys.executable, os.path.abspath(__file__), lab.sim.control_url, lab.sim.token]
        self.script("find-disk", "exec %s \"$@\"\n" % shlex.join(finder))
        self.environment = {
            "PATH": self.directory + ":" + os.environ["PATH"],
            "VDDK_LOG": self.log,
            "VDDK_PASSWORD": lab.sim.password,
            "VDDK_FIND": os.path.join(self.directory, "find-disk"),
        }

    def script(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as f:
            f.write("#!/bin/bash\n" + text)
        os.chmod(path, 0o755)

    def parameters(self):
        """Of the last start."""
        found = {}
        with open(self.log) as f:
            for line in f:
                key, _, value = line.rstrip("\n").partition("=")
                found[key] = value
        return found

    def command_lines(self):
        with open(self.log + ".argv") as f:
            return f.read()


def thumbprint(pem_file):
    with open(pem_file) as f:
        digest = hashlib.sha1(ssl.PEM_cert_to_DER_cert(f.read())).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 40, 2))


def find(url, token, vm, snapshot, file):
    """The file that holds what the snapshot has of this disk: prints its path."""
    state = simlib.control(url, None, token)
    for one in state["vms"]:
        if one["moref"] != vm:
            continue
        for moment in one["snapshots"]:
            if moment["moref"] == snapshot:
                for disk in one["disks"]:
                    if same_disk(disk["file"], file):
                        print(moment["disks"][str(disk["key"])]["path"])
                        return


def same_disk(now, file):
    """"[ds] a/a-000002.vmdk" lies on "[ds] a/a-000001.vmdk" and "[ds] a/a.vmdk"."""
    def base(name):
        name = name[: -len(".vmdk")]
        return name[:-7] if name[-7:-6] == "-" and name[-6:].isdigit() else name

    return base(now) == base(file)


if __name__ == "__main__":
    find(*sys.argv[1:])
