"""An sshd that has a datastore where an ESXi host has it: /vmfs/volumes/NAME. Needs root (for
the chroot) and Debian's openssh-server, whose own server does not have to run."""

import os
import shutil
import socket
import subprocess
import tempfile

SSHD = "/usr/sbin/sshd"


def missing():
    if os.geteuid() != 0:
        return "needs root"
    return None if os.path.exists(SSHD) else "openssh-server is not installed"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def keygen(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


class SshHost:
    def __init__(self):
        # sshd wants a root that nobody else can write to, all the way up.
        self.root = tempfile.mkdtemp(prefix="vmferry-ssh-test.", dir="/run")
        os.chmod(self.root, 0o755)
        self.volumes = os.path.join(self.root, "vmfs/volumes")
        os.makedirs(self.volumes)
        os.makedirs("/run/sshd", exist_ok=True)
        self.keys = os.path.join(self.root, "keys")
        os.mkdir(self.keys, 0o700)
        self.identity = os.path.join(self.keys, "user")
        self.host_key = os.path.join(self.keys, "host")
        keygen(self.identity)
        keygen(self.host_key)
        self.port = free_port()
        self.known_hosts = os.path.join(self.keys, "known_hosts")
        with open(self.host_key + ".pub") as f, open(self.known_hosts, "w") as known:
            known.write("[127.0.0.1]:%d %s" % (self.port, f.read()))
        self.configure()
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", self.config], stderr=subprocess.DEVNULL
        )

    def configure(self):
        self.config = os.path.join(self.keys, "sshd_config")
        lines = [
            "Port %d" % self.port,
            "ListenAddress 127.0.0.1",
            "HostKey " + self.host_key,
            "AuthorizedKeysFile %s.pub" % self.identity,
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "Subsystem sftp internal-sftp",
            "ChrootDirectory " + self.root,
            "ForceCommand internal-sftp",
        ]
        with open(self.config, "w") as f:
            f.write("\n".join(lines) + "\n")

    def put(self, file, source):
        """`file`: as a datastore's file is named, "[ds] app/app.vmdk"."""
        datastore, _, path = file[1:].partition("] ")
        target = os.path.join(self.volumes, datastore, path[: -len(".vmdk")] + "-flat.vmdk")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)

    def options(self):
        return [
            "--transport=ssh",
            "--ssh-host=127.0.0.1",
            "--ssh-port=%d" % self.port,
            "--ssh-user=root",
            "--ssh-identity=" + self.identity,
            "--ssh-known-hosts=" + self.known_hosts,
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)
