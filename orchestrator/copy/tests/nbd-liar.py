#!/usr/bin/python3
"""An NBD server on a unix socket that misbehaves in one chosen way.

    nbd-liar.py SOCKET SIZE LIE [ARGUMENT]

It serves SIZE bytes of a pattern (each 8 bytes hold their own offset), kept in
memory, with structured replies and base:allocation. LIE is one of those in LIES
below; "honest" is a server to test the tests with.
"""
import socket
import struct
import sys
import threading

LIES = """honest zero-extent no-extents past-end wrong-offset endless-tiny short-read long-read
read-error einval garbage hang-read hang-write drop-read drop-write drop-flush shrink flush-error
flush-error-once enospc no-status twice-read hole-chunk-lie big-block eperm""".split()

OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO = 2, 3, 5, 6, 7
OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META = 8, 9, 10
REP_ACK, REP_INFO, REP_META, REP_UNSUP = 1, 3, 4, 0x80000001
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_ZERO, CMD_STATUS = 0, 1, 2, 3, 6, 7
FLAGS = 1 | 4 | 8 | 64 | 256  # has flags, flush, fua, write zeroes, multi-conn


class Server:
    def __init__(self, size, lie, argument):
        self.size = size
        self.lie = lie
        self.argument = argument
        self.data = bytearray(b"".join(struct.pack(">Q", i) for i in range(0, size, 8)))
        self.connections = 0
        self.requests = 0
        self.lied = 0

    def serve(self, path):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(16)
        while True:
            conn, _ = listener.accept()
            self.connections += 1
            threading.Thread(target=Connection(self, conn).run, daemon=True).start()


class Connection:
    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.size = server.size
        if server.lie == "shrink" and server.connections > 1:
            self.size -= 65536
        self.structured = False
        self.meta = False

    def recv(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def run(self):
        try:
            self.handshake()
            while self.request():
                pass
        except (ConnectionError, OSError):
            pass
        self.sock.close()

    def option_reply(self, opt, reply, data=b""):
        self.sock.sendall(struct.pack(">QIII", 0x3E889045565A9, opt, reply, len(data)) + data)

    def handshake(self):
        self.sock.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self.recv(4)
        while True:
            _, opt, length = struct.unpack(">QII", self.recv(16))
            data = self.recv(length)
            if opt == OPT_STRUCTURED:
                self.structured = True
                self.option_reply(opt, REP_ACK)
            elif opt == OPT_SET_META:
                if b"base:allocation" in data and self.server.lie != "no-status":
                    self.meta = True
                    self.option_reply(opt, REP_META, struct.pack(">I", 7) + b"base:allocation")
                self.option_reply(opt, REP_ACK)
            elif opt in (OPT_GO, OPT_INFO):
                self.option_reply(opt, REP_INFO, struct.pack(">HQH", 0, self.size, FLAGS))
                if self.server.lie == "big-block":
                    self.option_reply(opt, REP_INFO, struct.pack(">HIII", 3, 65536, 65536, 65536))
                self.option_reply(opt, REP_ACK)
                if opt == OPT_GO:
                    return
            else:
                self.option_reply(opt, REP_UNSUP)

    def chunk(self, handle, kind, data=b"", done=True):
        self.sock.sendall(struct.pack(">IHHQI", 0x668E33EF, int(done), kind, handle, len(data)) + data)

    def error(self, handle, errnum):
        self.chunk(handle, 0x8001, struct.pack(">IH", errnum, 0))

    def ok(self, handle):
        self.chunk(handle, 0)

    def lie(self, name, times=None):
        """Whether to tell this lie now; `times`: only so often in all."""
        server = self.server
        if server.lie != name or (times is not None and server.lied >= times):
            return False
        server.lied += 1
        return True

    def request(self):
        _, _, cmd, handle, offset, length = struct.unpack(">IHHQQI", self.recv(28))
        payload = self.recv(length) if cmd == CMD_WRITE else b""
        self.server.requests += 1
        if cmd == CMD_DISC:
            return False
        if cmd == CMD_READ:
            return self.read(handle, offset, length)
        if cmd == CMD_WRITE:
            return self.write(handle, offset, payload)
        if cmd == CMD_ZERO:
            self.server.data[offset : offset + length] = bytes(length)
            self.ok(handle)
        elif cmd == CMD_FLUSH:
            if self.lie("drop-flush", 1):
                return False
            if self.lie("flush-error") or self.lie("flush-error-once", 1):
                self.error(handle, 5)
            else:
                self.ok(handle)
        elif cmd == CMD_STATUS:
            self.status(handle, offset, length)
        else:
            self.error(handle, 22)
        return True

    def read(self, handle, offset, length):
        server = self.server
        data = bytes(server.data[offset : offset + length])
        times = int(self.server.argument or 1)
        if server.lie == "shrink" and server.connections == 1 and server.requests > 2:
            return False
        if self.lie("garbage"):
            self.sock.sendall(b"\0" * 64)
            return True
        if self.lie("hang-read", times):
            return True
        if self.lie("drop-read", times):
            self.sock.sendall(struct.pack(">IHHQIQ", 0x668E33EF, 1, 1, handle, length + 8, offset)
                              + data[: length // 2])
            return False
        if self.lie("read-error"):
            self.error(handle, 5)
        elif self.lie("einval"):
            self.error(handle, 22)
        elif self.lie("short-read"):
            self.chunk(handle, 1, struct.pack(">Q", offset) + data[: length // 2])
        elif self.lie("twice-read"):  # the first half, and once more instead of the second
            half = struct.pack(">Q", offset) + data[: length // 2]
            self.chunk(handle, 1, half, done=False)
            self.chunk(handle, 1, half)
        elif self.lie("long-read"):
            self.chunk(handle, 1, struct.pack(">Q", offset) + data + b"more")
        elif self.lie("hole-chunk-lie"):
            self.chunk(handle, 2, struct.pack(">QI", offset + length, length))
        else:
            self.chunk(handle, 1, struct.pack(">Q", offset) + data)
        return True

    def write(self, handle, offset, data):
        times = int(self.server.argument or 1)
        if self.lie("drop-write", times):
            return False
        if self.lie("hang-write", times):
            return True
        if self.lie("enospc"):
            self.error(handle, 28)
        elif self.lie("eperm"):
            self.error(handle, 1)
        else:
            self.server.data[offset : offset + len(data)] = data
            self.ok(handle)
        return True

    def status(self, handle, offset, length):
        pairs = [(length, 0)]
        if self.lie("zero-extent"):
            pairs = [(0, 0), (length, 0)]
        elif self.lie("no-extents"):
            pairs = []
        elif self.lie("past-end"):
            pairs = [(length, 0), (1 << 30, 0)]
        elif self.lie("endless-tiny"):
            pairs = [(0, 3)] * 4
        body = b"".join(struct.pack(">II", *pair) for pair in pairs)
        self.chunk(handle, 5, struct.pack(">I", 7) + body)


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[3] not in LIES:
        sys.exit(__doc__ + " ".join(LIES))
    argument = sys.argv[4] if len(sys.argv) > 4 else None
    Server(int(sys.argv[2]), sys.argv[3], argument).serve(sys.argv[1])
