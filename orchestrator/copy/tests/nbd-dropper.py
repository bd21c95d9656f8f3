#!/usr/bin/python3
"""A proxy between unix sockets that drops connections at random.

    nbd-dropper.py LISTEN UPSTREAM BYTES SEED

Each connection lives for BYTES bytes on average (both ways together), then it is
cut in the middle of whatever it carries.
"""
import random
import socket
import sys
import threading


def pump(source, sink, budget, lock):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            with lock:
                budget[0] -= len(data)
                if budget[0] < 0:
                    sink.sendall(data[: len(data) // 2])
                    break
            sink.sendall(data)
    except OSError:
        pass
    for s in (source, sink):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    listen, upstream, mean, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(listen)
    listener.listen(64)
    while True:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(upstream)
        except OSError:
            client.close()
            continue
        budget = [rng.expovariate(1 / mean) + 20000]
        lock = threading.Lock()
        for pair in ((client, server), (server, client)):
            threading.Thread(target=pump, args=(*pair, budget, lock), daemon=True).start()


main()
