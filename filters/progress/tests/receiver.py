#!/usr/bin/python3
"""An HTTP receiver for tests: receiver.py good|moved|hang PORTFILE OUTPUT

good appends each JSON body to OUTPUT as a line, "bad request" for anything else;
moved does the same and says that it is elsewhere now; hang accepts connections and never answers."""
import http.server
import json
import os
import socket
import sys
import time

mode, portfile, output = sys.argv[1:]


def tell_port(port):
    with open(portfile + ".tmp", "w") as f:
        f.write(str(port))
    os.rename(portfile + ".tmp", portfile)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(output, "a") as f:
            try:
                assert self.headers["Content-Type"] == "application/json"
                f.write(json.dumps(json.loads(body)) + "\n")
            except (AssertionError, ValueError):
                f.write("bad request\n")
        self.send_response(200 if mode == "good" else 302)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):
        pass  # a client that goes away is no news


if mode != "hang":
    server = Server(("127.0.0.1", 0), Handler)
    tell_port(server.server_port)
    server.serve_forever()
else:
    listener = socket.create_server(("127.0.0.1", 0))
    tell_port(listener.getsockname()[1])
    kept = []
    while True:
        kept.append(listener.accept())
        time.sleep(0)
