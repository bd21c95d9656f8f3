"""The rows of the table: who copies what where, and the bars between them.

A row is a generator function: it prepares its ground and yields one Row. What it
started is stopped after the row."""

import os
from dataclasses import dataclass, field

from ground import BUILD, GiB, KiB, MiB

VMFERRY = os.path.join(BUILD, "vmferry")
SYNC = os.path.join(BUILD, "bench", "sync-copy")
CBT = os.path.join(BUILD, "nbdkit-cbt-filter.so")


@dataclass
class Contender:
    name: str
    argv: list
    fresh: str = None  # a file that is removed before each round
    rounds: int = 0  # fewer than the others, where one takes long; 0: as the others
    check: tuple = ()  # two files that must be equal afterwards
    counts: object = None  # makes a server that counts, for one round more: (server, argv, file)


@dataclass
class Bar:
    ours: str
    theirs: str
    least: float  # theirs / ours in seconds

    def __str__(self):
        return f"{self.ours} ≥ {self.least} × {self.theirs}"


@dataclass
class Row:
    name: str
    title: str
    moved: int  # bytes that have to move, for MiB/s
    contenders: list
    bars: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    block_status: tuple = ()  # (ours, theirs, most): calls of ours / calls of theirs


def copy(src, dst, *options):
    return [VMFERRY, "copy", "--progress=none", *options, src, dst]


def sync(src, dst, piece, areas=None):
    return [SYNC, *(["-a", areas] if areas else []), str(piece), src, dst]


def convert(src, dst):
    return ["qemu-img", "convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", src, dst]


def convert_tls(ground, src, dst):
    """qemu-img wants TLS ends, here a Server, as options."""
    argv = ["qemu-img", "convert", "-W", "-m", "16", "--object",
            f"tls-creds-x509,id=tls,endpoint=client,dir={ground.certificates()}"]

    def options(server):
        return (f"driver=nbd,server.type=inet,server.host=localhost,server.port={server.port},"
                "tls-creds=tls")

    if isinstance(dst, str):
        return [*argv, "-O", "raw", "--image-opts", options(src), dst]
    return [*argv, "-n", "--target-image-opts", "-f", "raw", src, options(dst)]


def unix_to_unix(ground):
    source, target = ground.random_disk("source"), ground.random_disk("target")
    src, dst = ground.serve(["-r", "file", source]).uri, ground.serve(["file", target]).uri
    exports = ground.serve_exports({"disk": target})
    check = (source, target)
    yield Row(
        "unix-unix", "random data, unix socket → unix socket", ground.size,
        [Contender("nbdcopy", ["nbdcopy", "--flush", src, dst], check=check),
         Contender("nbdcopy --requests=4", ["nbdcopy", "--flush", "--requests=4", src, dst]),
         Contender("vmferry", copy(src, dst), check=check),
         Contender("vmferry --digest", copy(src, dst, "--digest")),
         Contender("vmferry → exportmap", copy(src, exports), check=check),
         Contender("qemu-img convert", convert(src, dst)),
         Contender("sync loop, 2 MiB", sync(src, dst, 2 * MiB)),
         Contender("sync loop, 64 MiB", sync(src, dst, 64 * MiB))],
        [Bar("vmferry", "nbdcopy", 1.25), Bar("vmferry → exportmap", "nbdcopy", 1.35)],
        ["nbdkit file serves both ends; exportmap where it is said"])


def tls_to_file(ground):
    source, target = ground.random_disk("source"), ground.random_disk("target")
    local = ground.path("local")
    server = ground.serve_tls(["-r", "file", source])
    src, dst = server.uri, ground.serve_tls(["file", target]).uri
    check = (source, local)
    yield Row(
        "tls-file", "random data, TLS source → local file", ground.size,
        [Contender("nbdcopy TLS → TLS", ["nbdcopy", "--flush", src, dst]),
         Contender("nbdcopy TLS → file", ["nbdcopy", "--flush", src, local], fresh=local),
         Contender("vmferry TLS → file", copy(src, local), fresh=local, check=check),
         Contender("vmferry --digest", copy(src, local, "--digest"), fresh=local),
         Contender("qemu-img convert", convert_tls(ground, server, local),
                   fresh=local),
         Contender("sync loop, 2 MiB", sync(src, local, 2 * MiB), fresh=local),
         Contender("sync loop, 64 MiB", sync(src, local, 64 * MiB), fresh=local)],
        [Bar("vmferry TLS → file", "nbdcopy TLS → TLS", 1.8),
         Bar("vmferry TLS → file", "nbdcopy TLS → file", 1.15)],
        [f"TLS on every TLS end, X.509 both ways, loopback: {ground.cipher()}"])


def unix_to_tls(ground):
    source, target = ground.random_disk("source"), ground.random_disk("target")
    src = ground.serve(["-r", "file", source]).uri
    plain = ground.serve_tls(["file", target])
    exports = ground.serve_exports({"disk": target}, tls=True)
    check = (source, target)
    yield Row(
        "unix-tls", "random data, unix socket → TLS", ground.size,
        [Contender("nbdcopy → nbdkit file", ["nbdcopy", "--flush", src, plain.uri], check=check),
         Contender("vmferry → exportmap", copy(src, exports), check=check),
         Contender("vmferry → nbdkit file", copy(src, plain.uri)),
         Contender("nbdcopy → exportmap", ["nbdcopy", "--flush", src, exports]),
         Contender("qemu-img → nbdkit file", convert_tls(ground, src, plain)),
         Contender("sync loop, 2 MiB", sync(src, plain.uri, 2 * MiB)),
         Contender("sync loop, 64 MiB", sync(src, plain.uri, 64 * MiB))],
        [Bar("vmferry → exportmap", "nbdcopy → nbdkit file", 1.1)],
        [f"TLS on the target's end, X.509 both ways, loopback: {ground.cipher()}"])


def file_to_file(ground):
    source, local = ground.random_disk("source"), ground.path("local")
    check = (source, local)
    yield Row(
        "file-file", "random data, local file → new local file", ground.size,
        [Contender("cp", ["cp", source, local], fresh=local, check=check),
         Contender("vmferry", copy(source, local), fresh=local, check=check),
         Contender("vmferry --digest", copy(source, local, "--digest"), fresh=local),
         Contender("nbdcopy", ["nbdcopy", source, local], fresh=local),
         Contender("qemu-img convert", ["qemu-img", "convert", "-W", "-m", "16", "-f", "raw", "-O",
                                        "raw", source, local], fresh=local),
         Contender("sync loop, 2 MiB", sync(source, local, 2 * MiB), fresh=local),
         Contender("sync loop, 64 MiB", sync(source, local, 64 * MiB), fresh=local)],
        [Bar("vmferry", "cp", 0.95)])


def sparse(ground):
    size = 64 * GiB if ground.size > GiB else 16 * GiB
    source = ground.sparse_disk("sparse", size, 0.01, MiB)
    target = ground.path("target")
    with open(target, "wb") as disk:
        disk.truncate(size)
    src, dst = ground.serve(["-r", "file", source]).uri, ground.serve(["file", target]).uri
    null = "null:"

    def counting(argv):
        log = ground.path("stats")
        server = ground.serve(["-r", "--filter=stats", "file", source, f"statsfile={log}"])
        return server, [server.uri if word == src else word for word in argv], log

    yield Row(
        "sparse", f"{size // GiB} GiB, 1% of it data in islands of 1 MiB", size // 100,
        [Contender("nbdcopy, scan", ["nbdcopy", src, null], counts=counting),
         Contender("vmferry, scan", copy(src, null), counts=counting),
         Contender("nbdcopy", ["nbdcopy", "--flush", "--destination-is-zero", src, dst]),
         Contender("vmferry", copy(src, dst, "--target-zero"), check=(source, target)),
         Contender("qemu-img convert", convert(src, dst)[:3] + ["--target-is-zero"] +
                   convert(src, dst)[3:]),
         Contender("sync loop, 2 MiB, scan", sync(src, null, 2 * MiB), rounds=1),
         Contender("sync loop, 64 MiB, scan", sync(src, null, 64 * MiB), rounds=1)],
        [Bar("vmferry, scan", "nbdcopy, scan", 1.0), Bar("vmferry", "nbdcopy", 1.0)],
        ["a scan copies to null:; the others into a sparse file that is known to be zero",
         "the synchronous loops read all of it, once"],
        block_status=("vmferry, scan", "nbdcopy, scan", 1 / 8))


def delta_row(ground, name, title, lengths, bars):
    source, target = ground.random_disk("source"), ground.path("target")
    areas = ground.areas("areas", ground.size, 0.05, lengths)
    moved = sum(int(line.split()[1]) for line in open(areas))
    with open(target, "wb") as disk:
        disk.truncate(ground.size)
    # Before the delta, the target holds the source but for the changed areas.
    with open(source, "rb") as old, open(target, "r+b") as new:
        for at in range(0, ground.size, MiB):
            os.pwrite(new.fileno(), os.pread(old.fileno(), MiB, at), at)
        for offset, length in (map(int, line.split()) for line in open(areas)):
            os.pwrite(new.fileno(), b"\1" * length, offset)
    cbt = ground.serve(["-r", f"--filter={CBT}", "file", source, f"cbt-map={areas}",
                        "cbt-unchanged=zero"]).uri
    plain, dst = ground.serve(["-r", "file", source]).uri, ground.serve(["file", target]).uri
    far = ground.serve(["-r", "--filter=delay", "file", source, "rdelay=1ms"]).uri
    check = (source, target)
    delta = ["nbdcopy", "--flush", "--destination-is-zero", "--sparse=0"]
    tuned = [("64 KiB", ["--request-size=65536"]),
             ("64 KiB, 4 requests", ["--request-size=65536", "--requests=4"]),
             ("64 KiB, 16 requests", ["--request-size=65536", "--requests=16"]),
             ("128 KiB, 8 requests", ["--request-size=131072", "--requests=8"])]
    best = "nbdcopy, its best"
    yield Row(
        name, title, moved,
        [Contender("nbdcopy", [*delta, cbt, dst], check=check),
         *(Contender(f"nbdcopy {text}", [*delta, *options, cbt, dst]) for text, options in tuned),
         Contender("vmferry", copy(plain, dst, f"--changes={areas}"), check=check),
         Contender("sync loop, 2 MiB", sync(plain, dst, 2 * MiB, areas)),
         Contender("sync loop, 64 MiB", sync(plain, dst, 64 * MiB, areas)),
         Contender("vmferry, 1 ms away", copy(far, dst, f"--changes={areas}")),
         Contender("sync loop, 2 MiB, 1 ms away", sync(far, dst, 2 * MiB, areas))],
        [Bar("vmferry", "nbdcopy", bars[0]), Bar("vmferry", best, bars[1]),
         Bar("vmferry", "sync loop, 2 MiB", bars[2]),
         Bar("vmferry, 1 ms away", "sync loop, 2 MiB, 1 ms away", bars[2])],
        [f"{moved // MiB} MiB of {ground.size // MiB} MiB changed; unix sockets, nbdkit file at "
         "both ends, the cbt filter for nbdcopy", "qemu-img can't apply a delta"])


def delta_64k(ground):
    yield from delta_row(ground, "delta-64k", "5% changed in scattered areas of 64 KiB",
                         [64 * KiB], (2.0, 1.05, 2.0))


def delta_mixed(ground):
    yield from delta_row(ground, "delta-mixed", "5% changed in areas of 64 KiB to 1 MiB",
                         [64 * KiB << i for i in range(5)], (1.0, 1.0, 1.0))


def link(ground):
    size = ground.size // 4
    source = ground.random_disk("source", size)
    contenders = []
    for delay in (0, 5, 20):
        src = ground.serve(["-r", "--filter=delay", "file", source, f"rdelay={delay}ms"]).uri
        contenders += [Contender(f"nbdcopy, {delay} ms", ["nbdcopy", src, "null:"]),
                       Contender(f"vmferry, {delay} ms", copy(src, "null:"))]
    yield Row("link", "random data over a link with a delay → null:", size, contenders,
              [Bar(f"vmferry, {d} ms", f"nbdcopy, {d} ms", 1.0) for d in (0, 5, 20)],
              ["nbdkit's delay filter holds each read back; in-flight bytes have to grow with it"])


ROWS = {"unix-unix": unix_to_unix, "tls-file": tls_to_file, "unix-tls": unix_to_tls,
        "file-file": file_to_file, "sparse": sparse, "delta-64k": delta_64k,
        "delta-mixed": delta_mixed, "link": link}
