# A server whose every answer a test decides: what no honest server does. The simulator
# (tests/vsphere-sim) is the honest one. Also TAP, certificates, and running vsphere-client.
import http.server
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading

CLIENT = os.environ["BUILD"] + "/orchestrator/source/vsphere/tests/vsphere-client"
PASSWORD = "<pa&ss> \"wört'"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"

tmp = tempfile.mkdtemp(prefix="vmferry-test.", dir=os.environ.get("TMPDIR", "/tmp"))
count = failures = 0


def ok(good, name, got=None):
    global count, failures
    count += 1
    print("%sok %d - %s" % ("" if good else "not ", count, name), flush=True)
    if not good:
        failures += 1
        print("# got: %r" % (got,), flush=True)
    return good


def equal(got, expected, name):
    return ok(got == expected, name, (got, "expected", expected))


def like(got, regex, name):
    return ok(re.search(regex, got) is not None, name, (got, "not like", regex))


def done():
    shutil.rmtree(tmp)
    print("1..%d" % count)
    sys.exit(failures > 0)


def certtool(*arguments):
    subprocess.run(["certtool"] + list(arguments), check=True, capture_output=True)


def make_ca(name):
    with open(f"{tmp}/{name}.cfg", "w") as f:
        f.write(f'cn = "{name}"\nca\ncert_signing_key\nexpiration_days = 30\n')
    certtool("--generate-privkey", "--ecc", "--outfile", f"{tmp}/{name}.key")
    certtool("--generate-self-signed", "--load-privkey", f"{tmp}/{name}.key",
             "--template", f"{tmp}/{name}.cfg", "--outfile", f"{tmp}/{name}.pem")


def make_cert(name, host, ca=None, expired=False):
    """A server's certificate, signed by `ca` or by itself."""
    with open(f"{tmp}/{name}.cfg", "w") as f:
        f.write(f'cn = "{host}"\ndns_name = "{host}"\ntls_www_server\nsigning_key\n')
        f.write('activation_date = "2019-01-01 00:00:00"\nexpiration_date = "2020-01-01 00:00:00"\n'
                if expired else "expiration_days = 30\n")
    certtool("--generate-privkey", "--ecc", "--outfile", f"{tmp}/{name}.key")
    if ca:
        certtool("--generate-certificate", "--load-privkey", f"{tmp}/{name}.key",
                 "--load-ca-certificate", f"{tmp}/{ca}.pem",
                 "--load-ca-privkey", f"{tmp}/{ca}.key",
                 "--template", f"{tmp}/{name}.cfg", "--outfile", f"{tmp}/{name}.pem")
    else:
        certtool("--generate-self-signed", "--load-privkey", f"{tmp}/{name}.key",
                 "--template", f"{tmp}/{name}.cfg", "--outfile", f"{tmp}/{name}.pem")


def fingerprint(name):
    out = subprocess.run(["certtool", "--fingerprint", "--hash=sha256", "--infile",
                          f"{tmp}/{name}.pem"], check=True, capture_output=True, text=True)
    return out.stdout.strip()


def envelope(inner, soap="soapenv", xsi="xsi"):
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<{soap}:Envelope xmlns:{soap}="{SOAP}" '
            f'xmlns:{xsi}="{XSI}"><{soap}:Body>{inner}</{soap}:Body></{soap}:Envelope>')


def response(op, inner="", **style):
    return envelope(f'<{op}Response xmlns="urn:vim25">{inner}</{op}Response>', **style)


def fault(name, text="it can't", typed=True, soap="soapenv", xsi="xsi", inner=""):
    kind = f' {xsi}:type="{name}"' if typed else ""
    return envelope(f'<{soap}:Fault><faultcode>ServerFaultCode</faultcode><faultstring>{text}'
                    f'</faultstring><detail><{name}Fault xmlns="urn:vim25"{kind}>{inner}'
                    f'</{name}Fault></detail></{soap}:Fault>', soap=soap, xsi=xsi)


CONTENT = response("RetrieveServiceContent", """<returnval>
<rootFolder type="Folder">group-d1</rootFolder>
<propertyCollector type="PropertyCollector">propertyCollector</propertyCollector>
<viewManager type="ViewManager">ViewManager</viewManager>
<about><name>Test</name><fullName>Scripted 1.0</fullName><version>7.0.3</version>
<build>123</build><apiType>VirtualCenter</apiType><apiVersion>7.0.3.0</apiVersion></about>
<sessionManager type="SessionManager">SessionManager</sessionManager>
<somethingNew><deeper/></somethingNew></returnval>""")


class Answer:
    """body: text or bytes. close: the connection ends after it; cut: before it is whole."""

    def __init__(self, body="", status=None, headers=(), cut=None, close=False, silent=False):
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status or (500 if b"faultstring" in self.body else 200)
        self.headers = list(headers)
        self.cut, self.close, self.silent = cut, close, silent


class Server:
    """`script(server, op, body, headers)` returns an Answer, its text, or None for the
    ordinary answer to logins and their like."""

    def __init__(self, cert, script=None, versions=(ssl.TLSVersion.TLSv1_2, None)):
        self.script, self.log, self.connections = script, [], 0
        self.cookies = []  # what each request brought
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                outer.connections += 1
                self.request.do_handshake()
                super().setup()

            def do_POST(self):
                outer.post(self)

            def log_message(self, *args):
                pass

        class Threaded(http.server.ThreadingHTTPServer):
            def handle_error(self, *args):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = versions[0]
        if versions[1]:
            context.maximum_version = versions[1]
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_cert_chain(f"{tmp}/{cert}.pem", f"{tmp}/{cert}.key")
        self.httpd = Threaded(("127.0.0.1", 0), Handler)
        self.httpd.socket = context.wrap_socket(self.httpd.socket, server_side=True,
                                                do_handshake_on_connect=False)
        self.port = self.httpd.server_port
        self.address = f"localhost:{self.port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.httpd.shutdown()
        self.httpd.server_close()

    def ordinary(self, op):
        if op == "RetrieveServiceContent":
            return Answer(CONTENT)
        if op == "Login":
            n = self.log.count("Login")
            return Answer(response("Login", "<returnval><key>k</key></returnval>"),
                          headers=[("Set-Cookie", f'vmware_soap_session="s{n}"; Path=/; HttpOnly; Secure')])
        return Answer(response(op))

    def post(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        op = re.search(r'Body><(\w+)', body).group(1)
        self.log.append(op)
        self.cookies.append(handler.headers.get("Cookie", ""))
        answer = self.script(self, op, body, handler.headers) if self.script else None
        if answer is None:
            answer = self.ordinary(op)
        if not isinstance(answer, Answer):
            answer = Answer(answer)
        if answer.silent:
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for name, value in answer.headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body[:answer.cut])
        if answer.cut is not None or answer.close:
            handler.close_connection = True


def client(server, *command, ca="ca", pin=None, options=(), password=PASSWORD, env=None, prefix=()):
    """Run vsphere-client; what it printed, what it said on stderr, its exit status."""
    trust = ["--fingerprint", pin] if pin else ["--ca", f"{tmp}/{ca}.pem"] if ca else []
    address = server if isinstance(server, str) else server.address
    run = subprocess.run([*prefix, CLIENT, *trust, *options, address, *command],
                         capture_output=True, text=True, timeout=120,
                         env={**os.environ, "VMFERRY_TEST_PASSWORD": password, **(env or {})})
    if password and password in run.stdout + run.stderr:
        ok(False, "a password is printed", run)
    return run.stdout, run.stderr, run.returncode
