# TLS and HTTP: whom the client trusts, what it makes of broken answers, what it repeats.
import gzip
import os
import re
import shutil
import socket
import ssl
import subprocess

from scripted import (Answer, CONTENT, PASSWORD, Server, client, done, envelope, equal, fault,
                      fingerprint, like, make_ca, make_cert, ok, response, tmp)

make_ca("ca")
make_ca("other-ca")
make_cert("server", "localhost", "ca")
make_cert("sibling", "localhost", "ca")
make_cert("elsewhere", "elsewhere.example", "ca")
make_cert("selfsigned", "esx.example")
make_cert("expired", "localhost", "ca", expired=True)


def has_ipv6():
    try:
        socket.socket(socket.AF_INET6).close()
        return True
    except OSError:
        return False


def tls():
    with Server("server") as s:
        out, err, status = client(s, "login")
        equal((status, out), (0, "Scripted 1.0 api 7.0.3.0 build 123 vcenter\n"), "a CA that signed it")
        equal(s.log, ["RetrieveServiceContent", "Login", "Logout"], "... in, and out again")
        equal(s.connections, 3, "... and what may not be sent twice has a connection of its own")
        s.log.clear()
        out, err, status = client(s, "login", ca="other-ca")
        equal((status, s.log), (1, []), "another CA is refused, and nothing is sent")
        like(err, "is not trusted.*fingerprint", "... with words that help")
        out, err, status = client(s, "login", ca=None)
        equal((status, s.log), (1, []), "without a CA or a pin, the system's CAs decide")
        out, err, status = client(s, "certificate", ca=None)
        lines = out.splitlines()
        equal(lines[0].replace(":", "").lower(), fingerprint("server"), "certificate: SHA-256")
        equal(len(lines[1]), 59, "certificate: SHA-1")
        like(lines[2], "CN=localhost.*localhost", "certificate: its names")
        equal(s.log, [], "... sends nothing")
        pin = lines[0]
        equal(client(s, "login", pin=pin)[2], 0, "pinned")
        equal(client(s, "login", pin="sha256:" + pin.replace(":", "").lower())[2], 0, "pinned, written otherwise")
        out, err, status = client(s, "login", pin=pin[:-3])
        equal(status, 2, "a fingerprint too short is wrong use")
        s.log.clear()
        out, err, status = client(s, "login", pin=pin[:-1] + ("0" if pin[-1] != "0" else "1"))
        equal((status, s.log), (1, []), "another fingerprint is refused, and nothing is sent")
        like(err, "shows another certificate than the pinned one.*" + re.escape(pin), "... and it says which one is shown")
        equal(client(f"https://{s.address}/sdk", "login")[2], 0, "an address as people paste it")
        for wrong in (f"http://{s.address}", f"admin:pw@{s.address}", "", "a b"):
            equal(client(wrong, "login")[2], 2, f"server \"{wrong}\" is wrong use")
    with Server("elsewhere") as s:
        equal(client(s, "login")[2], 1, "a certificate made out to another host is refused")
        equal(client(s, "login", pin=fingerprint("elsewhere"))[2], 0, "... unless it is pinned")
    with Server("selfsigned") as s:
        equal(client(s, "login", pin=fingerprint("selfsigned"))[2], 0, "a self-signed one, pinned")
        equal(client(s, "login")[2], 1, "... not by a CA")
    with Server("expired") as s:
        like(client(s, "login")[1], "expired.*pin the", "an expired certificate is refused")
        out, err, status = client(s, "login", pin=fingerprint("expired"))
        equal((status, s.log), (1, []), "... pinned or not")
        like(err, "expired.*no longer valid", "... with words that help")
    with Server("server") as s:
        if has_ipv6():
            equal(client(s.address.replace("localhost", "[::ffff:127.0.0.1]"), "login", pin=fingerprint("server"))[2], 0, "an IPv6 address")
    with open(f"{tmp}/chain.pem", "w") as f:
        f.write(open(f"{tmp}/server.pem").read() + open(f"{tmp}/ca.pem").read())
    shutil.copy(f"{tmp}/server.key", f"{tmp}/chain.key")
    with Server("chain") as s:
        equal(client(s, "certificate", ca=None)[0].splitlines()[0].replace(":", "").lower(), fingerprint("server"),
              "of a chain, the server's own certificate is shown")
        equal(client(s, "login", pin=fingerprint("server"))[2], 0, "... and can be pinned")
        equal(client(s, "login", pin=fingerprint("ca"))[2], 1, "... its CA's can't")
    with Server("server", versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)) as s:
        out, err, status = client(s, "login", options=["--timeout", "2"])
        equal((status, s.log), (3, []), "TLS 1.1 is refused")


def swap(server):
    """From the second connection on, the server shows another certificate of the same CA and
    name: as one would who sits in between. The list that it returns has an entry for each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{tmp}/sibling.pem", f"{tmp}/sibling.key")
    seen = []

    def choose(sock, name, old):
        seen.append(name)
        if len(seen) > 1:
            sock.context = context

    server.httpd.socket.context.sni_callback = choose
    return seen


def swapped():
    with Server("server") as s:
        seen = swap(s)
        out, err, status = client(s, "login", pin=fingerprint("server"))
        equal((status, s.log, len(seen)), (1, [], 2),
              "pinned: another certificate, shown after the first look, is refused")
        like(err, "is not the one that is pinned", "... as not the pinned one")


def system_cas():
    """Debian's curl trusts /etc/ssl/certs beside any CA that it is given."""
    certs = f"{tmp}/etc-certs"
    os.mkdir(certs)
    hashed = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", f"{tmp}/ca.pem"],
                            capture_output=True, text=True).stdout.strip()
    for name in (hashed + ".0", "ca-certificates.crt"):
        with open(f"{tmp}/ca.pem") as f, open(f"{certs}/{name}", "w") as g:
            g.write(f.read())
    inside = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/ssl/certs && exec "$@"', certs]
    if subprocess.run(inside + ["true"], capture_output=True).returncode:
        return ok(True, "system CAs # SKIP no mount namespaces here")
    with Server("server") as s:
        equal(client(s, "login", ca=None, prefix=inside)[2], 0, "a CA that the system trusts")
        s.log.clear()
        equal((client(s, "login", ca="other-ca", prefix=inside)[2], s.log), (1, []),
              "... is not enough where another CA is named")
        seen = swap(s)
        equal((client(s, "login", pin=fingerprint("server"), prefix=inside)[2], s.log, len(seen)),
              (1, [], 2), "... nor where a certificate is pinned")


def answers():
    """What comes back for RetrieveServiceContent, and what is said of it."""
    deep = "".join("<a>" for _ in range(5000)) + "".join("</a>" for _ in range(5000))
    bomb = ('<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{("&" + chr(97 + i) + ";") * 10}">' for i in range(9)) + "]>")
    secret = f"{tmp}/secret"
    with open(secret, "w") as f:
        f.write("TOPSECRET")
    cases = [
        ("HTML with status 404", Answer("<html><head><style>p {x}</style><title>Not here</title></head>"
                                        "<body>nope</body></html>", 404), 1, "HTTP status 404.*Not here nope"),
        ("HTML with status 200", Answer("<html><body>Welcome &amp; enter</body></html>"), 1,
         "no SOAP message but <html>"),
        ("an empty body, 500", Answer("", 500), 1, "HTTP status 500.*it is empty"),
        ("an empty body, 200", Answer(""), 1, "HTTP status 200.*it is empty"),
        ("plain text", Answer("gone \x1b[31mfishing", 500), 1, 'begins: "gone \\?\\[31mfishing"'),
        ("truncated XML", Answer(CONTENT[:300]), 1, "HTTP status 200.*line [0-9]+"),
        ("a wrong root", Answer("<a/>"), 1, "no SOAP message but <a>"),
        ("no Body", Answer(f'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"/>'), 1, "no Body"),
        ("an empty Body", Answer(envelope("")), 1, "Body is empty"),
        ("another namespace", Answer(CONTENT.replace("schemas.xmlsoap.org/soap", "example.org/x")), 1,
         "no SOAP message"),
        ("another answer", Answer(response("CurrentTime")), 1, "answers something else: <CurrentTimeResponse>"),
        ("an answer with status 500", Answer(CONTENT, 500), 1, "HTTP status 500"),
        ("no collector", Answer(CONTENT.replace("propertyCollector", "propertyC")), 1, "names no propertyCollector"),
        ("a bomb", Answer(CONTENT.replace("?>", "?>" + bomb, 1).replace("Scripted 1.0", "&j;")), 1,
         "document type declaration"),
        ("an external entity", Answer(CONTENT.replace(
            "?>", f'?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>', 1).replace("Scripted 1.0", "&e;")), 1,
         "document type declaration"),
        ("an unknown entity", Answer(CONTENT.replace("Scripted 1.0", "&e;")), 1, "HTTP status 200.*line [0-9]+"),
        ("depth", Answer(CONTENT.replace("<deeper/>", deep)), 1, "depth"),
        ("broken UTF-8", Answer(CONTENT.encode().replace(b"Scripted", b"Scr\xff\xfeted")), 1, "HTTP status 200"),
        ("a redirect", Answer("", 302, [("Location", "https://evil.example/sdk")]), 1,
         'status 302, a redirect to "https://evil.example/sdk"'),
        ("bad gzip", Answer(b"not gzip", 200, [("Content-Encoding", "gzip")]), 1, "localhost"),
    ]
    for name, answer, status, regex in cases:
        with Server("server", lambda s, op, *a: answer) as s:
            out, err, got = client(s, "login", options=["--timeout", "20"])
            equal((got, s.log), (status, ["RetrieveServiceContent"]), f"{name}: exit {status}, not repeated")
            like(err, regex, f"{name}: it says why")
            ok("TOPSECRET" not in err and "evil.example" not in out, f"{name}: nothing leaks", err)


def good_answers():
    packed = {"n": 0}

    def script(server, op, body, headers):
        if "gzip" in headers.get("Accept-Encoding", "") and op == "RetrieveServiceContent":
            packed["n"] += 1
            return Answer(gzip.compress(CONTENT.encode()), headers=[("Content-Encoding", "gzip")])

    with Server("server", script) as s:
        equal((client(s, "login")[2], packed["n"]), (0, 1), "gzip is asked for, and read")

    huge = gzip.compress(b" " * (300 << 20), 9)
    with Server("server", lambda s, op, *a: Answer(huge, headers=[("Content-Encoding", "gzip")])) as s:
        out, err, status = client(s, "login")
        equal((status, len(s.log)), (1, 1), "an answer of 300 MiB in 300 kB is refused")
        like(err, "longer than 256 MiB", "... and it says so")
    for style in ({"soap": "soap", "xsi": "x"}, {"soap": "S", "xsi": "ns9"}):
        content = CONTENT.replace("soapenv", style["soap"]).replace("xmlns:xsi", "xmlns:" + style["xsi"])
        with Server("server", lambda s, op, *a: content if op == "RetrieveServiceContent" else None) as s:
            equal(client(s, "login")[2], 0, f"prefixes {style}")

    def old(server, op, body, headers):
        server.actions = getattr(server, "actions", []) + [headers["SOAPAction"]]
        if headers["SOAPAction"] == '"urn:vim25/6.7"':
            return fault("RuntimeFault", 'Unsupported version URI "urn:vim25/6.7"')
        return CONTENT.replace("7.0.3.0", "5.5") if op == "RetrieveServiceContent" else None

    with Server("server", old) as s:
        equal(client(s, "login")[2], 0, "a server that is older than our version of the API")
        equal(s.actions, ['"urn:vim25/6.7"', '"urn:vim25"', '"urn:vim25/5.5"', '"urn:vim25/5.5"'],
              "... is asked in its own")


def repeats():
    """Which calls are sent again, after what."""
    def broken(times, how, op="Probe"):
        def script(server, got, *a):
            if got == op and server.log.count(op) <= times:
                return how
        return script

    unavailable = Answer("<html>busy</html>", 503)
    cases = [
        ("a connection that dies", Answer(silent=True)),
        ("an answer that is cut off", Answer(response("Probe") * 10, cut=50)),
        ("status 503", unavailable),
        ("status 429", Answer("", 429)),
    ]
    for name, how in cases:
        with Server("server", broken(2, how)) as s:
            out, err, status = client(s, "call", "X:x", "Probe")
            equal((status, s.log.count("Probe")), (0, 3), f"{name}: a safe call is sent again")
        with Server("server", broken(1, how)) as s:
            out, err, status = client(s, "once", "X:x", "Probe")
            equal((status, s.log.count("Probe")), (3, 1), f"{name}: another is not")
            if how is not unavailable and how.status == 200:
                like(err, "nobody knows whether it was done", f"{name}: and it says what that means")
    # curl by itself sends a request again when a kept connection dies: not this one.
    with Server("server", broken(1, Answer(silent=True))) as s:
        out, err, status = client(s, "call", "X:x", "Other", "+", "once", "X:x", "Probe")
        equal((status, s.log.count("Probe")), (3, 1), "a call on a kept connection is not sent twice either")
    with Server("server", broken(99, unavailable)) as s:
        out, err, status = client(s, "call", "X:x", "Probe")
        equal((status, s.log.count("Probe"), s.log[-1]), (3, 5, "Logout"), "repeats have an end")
        like(err, "HTTP status 503.*busy", "... and the reason is told")
    with Server("server", broken(99, Answer(fault("Whatever")))) as s:
        out, err, status = client(s, "call", "X:x", "Probe")
        equal((status, s.log.count("Probe")), (1, 1), "a fault is an answer, not repeated")
    with Server("server") as s:
        port = s.address
    out, err, status = client(port, "login")
    equal(status, 3, "nobody listens: a later try may help")
    like(err, port, "... and it says where")


def limits():
    import threading
    import time
    release = threading.Event()

    def slow(server, op, *a):
        if op == "Probe":
            release.wait(30)

    with Server("server", slow) as s:
        began = time.monotonic()
        out, err, status = client(s, "once", "X:x", "Probe", options=["--timeout", "2"])
        ok(status == 3 and time.monotonic() - began < 10, "a silent server: the time limit", (status, err))
        began = time.monotonic()
        out, err, status = client(s, "call", "X:x", "Probe", options=["--cancel-after", "700"])
        ok(status == 3 and time.monotonic() - began < 10, "a cancel ends a call that waits", (status, err))
        like(err, "stopped on request", "... and it says so")
        equal(s.log[-1], "Logout", "... and logs out all the same")
        release.set()


def captures():
    directory = f"{tmp}/captures"

    def echo(server, op, body, headers):
        if op == "Login" and server.log.count("Login") == 1:
            return Answer("<html>you sent: " + body + "</html>", 400)

    with Server("server") as s:
        env = {"VMFERRY_VSPHERE_CAPTURE": directory}
        client(s, "call", "X:x", "Probe", "<text>hello</text>", env=env)
        names = sorted(os.listdir(directory))
        equal(names, ["%06d-%s-%s.xml" % (i + 1, op, kind) for i, op in enumerate(
            ["RetrieveServiceContent", "Login", "Probe", "Logout"]) for kind in ("request", "response")],
            "every request and response is captured")
        client(s, "login", env=env)
        equal(len(os.listdir(directory)), 14, "a second run's go beside them")
    with Server("server", echo) as s:
        out, err, status = client(s, "login", env=env)
        equal((status, s.log.count("Login")), (1, 1), "a login that gets HTML back is not repeated")
        ok("wört" not in err and "pa&amp;ss" not in err, "... and the words of it are not quoted", err)
    everything = "".join(open(f"{directory}/{name}").read() for name in os.listdir(directory))
    ok("<password>***</password>" in everything and "wört" not in everything and "<key>k" not in everything,
       "captures hold no password and no session key")
    ok("hello" in everything and "fullName" in everything, "... but all else")
    ok(all(os.stat(f"{directory}/{name}").st_mode & 0o777 == 0o600 for name in os.listdir(directory)),
       "captures are their owner's alone")
    out, err, status = client("localhost:1", "login", env={"VMFERRY_VSPHERE_CAPTURE": "/proc/none"})
    equal(status, 1, "a capture directory that can't be is an error")


tls()
swapped()
system_cas()
answers()
good_answers()
repeats()
limits()
captures()
done()
