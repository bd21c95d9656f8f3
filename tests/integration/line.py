"""A line between vmferry and a server on this host, which a test can cut and mend."""

import selectors
import socket
import threading


class Line:
    """Listens on .port of 127.0.0.1 and passes everything on to `target`."""

    def __init__(self, target):
        self.target = target
        self.pairs, self.lock = {}, threading.Lock()
        self.frozen = threading.Event()
        self.over = False
        self.listener, self.port = None, 0
        self.listen()
        threading.Thread(target=self.run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over = True
        self.cut()

    def listen(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]

    def cut(self):
        """Connections break, new ones are refused."""
        with self.lock:
            if self.listener:
                self.listener.close()
                self.listener = None
            for one in list(self.pairs):
                self.drop(one)

    def freeze(self):
        """Nothing passes any more, and nobody is told."""
        self.frozen.set()

    def restore(self):
        """What was frozen is broken by then, as its ends have given it up."""
        if self.frozen.is_set():
            self.cut()
            self.frozen.clear()
        with self.lock:
            self.listen()

    def drop(self, one):
        other = self.pairs.pop(one, None)
        if other:
            self.pairs.pop(other, None)
            one.close()
            other.close()

    def accept(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.target))
        self.pairs[client], self.pairs[server] = server, client

    def step(self):
        with self.lock:
            known = list(self.pairs) + ([self.listener] if self.listener else [])
        with selectors.SelectSelector() as selector:
            for one in known:
                try:
                    selector.register(one, selectors.EVENT_READ)
                except (ValueError, KeyError):
                    continue  # closed meanwhile
            ready = [key.fileobj for key, _ in selector.select(0.05)] if known else []
        with self.lock:
            for one in ready:
                if one is self.listener:
                    self.accept()
                elif one in self.pairs and not self.frozen.is_set():
                    self.pass_on(one)

    def pass_on(self, one):
        try:
            data = one.recv(1 << 16)
            if data:
                self.pairs[one].sendall(data)
                return
        except OSError:
            pass
        self.drop(one)

    def run(self):
        while not self.over:
            try:
                if self.frozen.is_set():
                    self.frozen.wait(0.05)
                    threading.Event().wait(0.05)
                else:
                    self.step()
            except OSError:
                continue
