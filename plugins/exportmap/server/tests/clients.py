#!/usr/bin/python3
"""NBD clients for the server's tests, most of them bad ones.

clients.py WHAT ARGUMENT…; each function below whose name is `do_WHAT` says what it does.
Exit status 0: it went as the name says.
"""

import os
import random
import signal
import socket
import ssl
import sys
import time

import nbd

BLOCK = 256 * 1024


def connect(uri):
    handle = nbd.NBD()
    handle.set_uri_allow_local_file(True)
    handle.connect_uri(uri)
    return handle


def tcp(port, timeout=30):
    return socket.create_connection(("127.0.0.1", int(port)), timeout=timeout)


def fill_with_reads(handle, count=24):
    """Ask for much, read no answer."""
    size = handle.get_size()
    for i in range(count):
        handle.aio_pread(nbd.Buffer(BLOCK), (i * BLOCK) % (size - BLOCK))
    # The socket is written to until it would block; the replies stay where they are.
    for _ in range(20):
        if not handle.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:
            break
        handle.aio_notify_write()


def do_die(uri, count):
    """COUNT clients, a process each, ten at a time, killed by SIGKILL with reads in flight."""
    def one():
        handle = connect(uri)
        fill_with_reads(handle)
        os.kill(os.getpid(), signal.SIGKILL)

    running = killed = 0
    for _ in range(int(count)):
        if running == 10:
            killed += os.WTERMSIG(os.wait()[1]) == signal.SIGKILL
            running -= 1
        if os.fork() == 0:
            try:
                one()
            finally:
                os._exit(1)
        running += 1
    for _ in range(running):
        killed += os.WTERMSIG(os.wait()[1]) == signal.SIGKILL
    return killed == int(count)


def do_copy(uri, path, done, rounds=1):
    """Read the export over ONE connection again and again, comparing it with the file PATH,
    until the file DONE exists. Never connects a second time."""
    handle = connect(uri)
    with open(path, "rb") as f:
        expected = f.read()
    if handle.get_size() != len(expected):
        return False
    complete = 0
    print("connected", flush=True)
    while complete < int(rounds) or not os.path.exists(done):
        for offset in range(0, len(expected), BLOCK):
            data = handle.pread(min(BLOCK, len(expected) - offset), offset)
            if data != expected[offset:offset + BLOCK]:
                print(f"differs in the block at {offset}")
                return False
        complete += 1
    handle.shutdown()
    return True


def do_blockstatus(uri, count):
    """Ask for COUNT bytes of block status; what comes of it is the server's affair."""
    handle = nbd.NBD()
    handle.add_meta_context("base:allocation")
    handle.connect_uri(uri)
    try:
        handle.block_status(int(count), 0, lambda *_: 0)
    except nbd.Error as error:
        print(error)
    return True


def do_garbage(port, seed):
    """Random bytes, half a handshake, half an option, and an option of 4 GiB."""
    rng = random.Random(int(seed))
    flags = b"\0\0\0\3"
    option = b"IHAVEOPT"
    openings = [b"", rng.randbytes(3), rng.randbytes(100), rng.randbytes(1 << 20), flags,
                flags + option, flags + option + b"\0\0\0\7\xff\xff\xff\xff",
                flags + option + b"\0\0\0\1" + b"\0\0\0\0",
                flags + option + b"\0\0\0\7\0\0\0\x10" + rng.randbytes(16),
                flags + option + b"\0\0\0\5\0\0\0\0" + rng.randbytes(500)]
    # A good handshake of the default export, then garbage for requests.
    openings.append(flags + option + b"\0\0\0\1\0\0\0\0" + rng.randbytes(2000))
    for data in openings:
        sock = tcp(port)
        try:
            sock.sendall(data)
            if rng.random() < 0.5:
                sock.recv(1000)
        except OSError:
            pass  # it may have been cut off already
        sock.close()
    return True


def do_silent(port, count):
    """COUNT connections that never say a word, for ever. Prints a line when they are there."""
    socks = [tcp(port, None) for _ in range(int(count))]
    for sock in socks:
        sock.recv(18)
    print("connected", flush=True)
    while True:
        signal.pause()


def do_stall(uri, count):
    """COUNT connections that ask for much and then stop reading, for ever."""
    handles = [connect(uri) for _ in range(int(count))]
    for handle in handles:
        fill_with_reads(handle)
    print("connected", flush=True)
    while True:
        signal.pause()


def do_many(uri, count):
    """COUNT connections open at once; each reads."""
    handles = [connect(uri) for _ in range(int(count))]
    for handle in handles:
        handle.pread(4096, 0)
    for handle in handles:
        handle.shutdown()
    return True


def do_together(uri, count):
    """COUNT connections that start in the same moment, a process each; each reads."""
    start = time.time() + 1.5
    for _ in range(int(count)):
        if os.fork() == 0:
            status = 1
            try:
                time.sleep(max(0, start - time.time()))
                handle = connect(uri)
                handle.pread(4096, 0)
                handle.shutdown()
                status = 0
            finally:
                os._exit(status)
    return sum(os.wait()[1] != 0 for _ in range(int(count))) == 0


def do_cycle(uri, count):
    """Connect, read, leave: COUNT times."""
    for _ in range(int(count)):
        handle = connect(uri)
        handle.pread(512, 0)
        handle.shutdown()
    return True


def do_cipher(port, directory):
    """Print the TLS cipher that the server chooses from all that OpenSSL offers."""
    context = ssl.create_default_context(cafile=directory + "/ca-cert.pem")
    context.load_cert_chain(directory + "/client-cert.pem", directory + "/client-key.pem")
    sock = tcp(port)
    if sock.recv(18, socket.MSG_WAITALL)[:16] != b"NBDMAGICIHAVEOPT":
        return False
    sock.sendall(b"\0\0\0\3" + b"IHAVEOPT" + b"\0\0\0\5" + b"\0\0\0\0")
    reply = sock.recv(20, socket.MSG_WAITALL)
    if reply[12:16] != b"\0\0\0\1":
        return False
    with context.wrap_socket(sock, server_hostname="localhost") as tls:
        print(tls.cipher()[0])
    return True


def do_flushed(uri, disk):
    """What connection A wrote is in the file DISK, the disk under the filesystem that the
    export is on, when a flush on connection B is answered; and was not before."""
    def on_disk():
        with open(disk, "rb") as f:
            return pattern in f.read()

    pattern = random.randbytes(512)
    a = connect(uri)
    b = connect(uri)
    a.pwrite(pattern * 8, 1 << 20)
    before = on_disk()
    b.flush()
    after = on_disk()
    print(f"on disk before the flush: {before}, after: {after}")
    return after and not before


def do_hold(uri, commands="/dev/stdin"):
    """Keep a connection and obey: `read`, `write`, `flush`, `slow` (a read that is answered
    only later), `wait` (for it), `close`. Prints `ok` or `failed` for each."""
    handle = connect(uri)
    print("ok", flush=True)
    cookie = None
    for line in open(commands):
        try:
            if line == "read\n":
                handle.pread(512, 0)
            elif line == "write\n":
                handle.pwrite(b"vmferry!" * 64, 0)
            elif line == "flush\n":
                handle.flush()
            elif line == "slow\n":
                cookie = handle.aio_pread(nbd.Buffer(512), 0)
                handle.poll(0)
            elif line == "wait\n":
                while not handle.aio_command_completed(cookie):
                    handle.poll(-1)
            elif line == "close\n":
                handle.shutdown()
                print("ok", flush=True)
                return True
            print("ok", flush=True)
        except nbd.Error as error:
            print("failed", error, flush=True)
    return True


if __name__ == "__main__":
    sys.exit(0 if globals()["do_" + sys.argv[1]](*sys.argv[2:]) else 1)
