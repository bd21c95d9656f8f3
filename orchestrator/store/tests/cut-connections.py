#!/usr/bin/python3
"""Between a client and a MariaDB, over unix sockets, to cut connections where it hurts.

    cut-connections.py LISTEN TARGET CONTROL

The file CONTROL says what to do, and is set back to "pass" once that was done:

    pass       nothing
    before     lose the connection when COMMIT comes: the server never sees it
    after      give the server the COMMIT, and lose its answer
    late       as before, but the server gets the COMMIT a second later, over a connection
               that it takes for alive
    random P   at each piece of data of either direction, with probability P; stays
"""
import os
import random
import socket
import sys
import threading
import time

listen, target, control = sys.argv[1:]
COMMIT = b"\x03COMMIT"
lock = threading.Lock()


def mode():
    with open(control) as file:
        return file.read().split() or ["pass"]


def take(data):
    """What to do about this piece of the client's."""
    with lock:
        now = mode()
        if now[0] == "random" or now[0] == "pass" or not data.endswith(COMMIT):
            return "pass"
        with open(control, "w") as file:
            file.write("pass")
        return now[0]


def lucky():
    now = mode()
    return now[0] != "random" or random.random() >= float(now[1])


def close(*ends):
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()


def commit_late(client, server, data):
    close(client)
    time.sleep(1)
    server.sendall(data)
    server.recv(65536)
    close(server)


def upwards(client, server, cut):
    """From the client to the server."""
    try:
        while data := client.recv(65536):
            action = take(data)
            if action == "late":
                cut.set()
                commit_late(client, server, data)
                return
            if action == "before" or (action == "pass" and not lucky()):
                break
            if action == "after":
                cut.set()  # the other thread passes on no more
            server.sendall(data)
            if action == "after":
                time.sleep(0.3)
                break
    except OSError:
        pass
    close(client, server)


def downwards(client, server, cut):
    try:
        while data := server.recv(65536):
            if cut.is_set():
                return
            if not lucky():
                break
            client.sendall(data)
    except OSError:
        pass
    if not cut.is_set():
        close(client, server)


def main():
    server_socket = socket.socket(socket.AF_UNIX)
    server_socket.bind(listen)
    server_socket.listen(16)
    print("ready", flush=True)
    while os.getppid() != 1:
        client, _ = server_socket.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(target)
        except OSError:
            client.close()
            continue
        cut = threading.Event()
        for work in upwards, downwards:
            threading.Thread(target=work, args=(client, server, cut), daemon=True).start()


main()
