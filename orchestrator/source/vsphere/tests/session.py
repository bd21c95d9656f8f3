# Logins, faults, properties in pages and tasks, as servers with odd manners give them.
import re
import threading

from scripted import (Answer, CONTENT, PASSWORD, Server, client, done, equal, fault, like, make_ca,
                      make_cert, ok, response, tmp)

make_ca("ca")
make_cert("server", "localhost", "ca")


def serve(script):
    return Server("server", script)


def cookies():
    cases = [
        ('vmware_soap_session="52a b"; Path=/', "", "a value with a blank is none"),
        ('vmware_soap_session="52-ab;cd"; Path=/; HttpOnly; Secure; ', 'vmware_soap_session="52-ab;cd"', "quoted"),
        ("vmware_soap_session=52ab-cd; Path=/; HttpOnly; Secure", "vmware_soap_session=52ab-cd", "not quoted"),
        ("vmware_soap_session=52abcd", "vmware_soap_session=52abcd", "alone"),
    ]
    for header, expected, name in cases:
        def script(server, op, body, headers):
            if op == "Login":
                return Answer(response("Login"), headers=[("Set-Cookie", "other=1; Path=/"), ("set-cookie", header)])
        with serve(script) as s:
            out, err, status = client(s, "call", "X:x", "Probe")
            equal((status, s.cookies[-1] if expected else ""), (0 if expected else 1, expected), f"cookie: {name}")
            if expected:
                equal(s.cookies[:2], ["", ""], f"cookie: {name}: not before the login")


def logins():
    def refuse(server, op, body, headers):
        if op == "Login":
            return Answer(fault("InvalidLogin", "Cannot complete login due to an incorrect user name or password."),
                          headers=[("Set-Cookie", 'vmware_soap_session="bad"; Path=/')])

    with serve(refuse) as s:
        out, err, status = client(s, "login")
        equal((status, s.log), (1, ["RetrieveServiceContent", "Login"]), "a wrong password: said once, nothing after it")
        like(err, 'logging in to https://localhost:[0-9]+ as "admin": the user name or the password is wrong', "... in plain words")

    def echo(server, op, body, headers):
        if op == "Login":
            password = re.search("<password>(.*)</password>", body).group(1)
            return Answer(fault("InvalidLogin", "no such password: " + password))

    with serve(echo) as s:
        out, err, status = client(s, "login")
        ok(status == 1 and "wört" not in err, "a server that says the password back: it is kept out", err)

    got = []

    def take(server, op, body, headers):
        if op == "Login":
            got.append(body)

    with serve(take) as s:
        client(s, "login")
        like(got[0], "<userName>admin</userName><password>&lt;pa&amp;ss&gt; &quot;wört&apos;</password>", "a password is escaped")
        out, err, status = client(s, "login", password="a\x01b")
        equal(status, 1, "a password that XML can't carry")
        like(err, "control character", "... is told so")

    def no_cookie(server, op, body, headers):
        if op == "Login":
            return response("Login")

    with serve(no_cookie) as s:
        like(client(s, "login")[1], "no session cookie", "a login without a cookie is an error")


def faults():
    cases = [
        (fault("NoPermission", "Permission was denied."), "NoPermission: Permission was denied.", "typed"),
        (fault("NoPermission", typed=False), "NoPermission: it can't", "by its element"),
        (fault("FileFault", typed=False), "FileFault: it can't", "a type that ends so"),
        (fault("FileFault", soap="SOAP-ENV", xsi="q"), "FileFault: it can't", "other prefixes"),
        (fault("NoPermission", "Zugriff\n   verweigert: ä <b>".replace("<", "&lt;")), "NoPermission: Zugriff verweigert: ä <b>", "localized"),
        (fault("X").replace("<detail>", "<details>").replace("</detail>", "</details>"), "SoapFault: it can't", "without detail"),
        (fault("X").replace("<faultstring>it can't</faultstring>", "").replace("500", ""), "X: \\(no text\\)", "without text"),
    ]
    for body, regex, name in cases:
        with serve(lambda s, op, *a: Answer(body, 500) if op == "Probe" else None) as s:
            out, err, status = client(s, "call", "X:x", "Probe")
            equal(status, 1, f"fault, {name}: exit 1")
            like(err, "vsphere-client: Probe: " + regex, f"fault, {name}")
    with serve(lambda s, op, *a: Answer(fault("HostNotConnected"), 200) if op == "Probe" else None) as s:
        equal(client(s, "call", "X:x", "Probe")[2], 3, "a fault that passes, and with status 200")


def expiry():
    def once(server, op, body, headers):
        if op == "Probe" and server.log.count("Probe") == 1:
            return fault("NotAuthenticated")

    with serve(once) as s:
        equal(client(s, "once", "X:x", "Probe")[2], 0, "a session that is lost")
        equal(s.log[2:], ["Probe", "Login", "Probe", "Logout"], "... is renewed once, and the call repeated")
        equal(s.cookies[3:5], ["", 'vmware_soap_session="s2"'], "... without the old cookie, then with the new")

    with serve(lambda s, op, *a: fault("NotAuthenticated") if op == "Probe" else None) as s:
        out, err, status = client(s, "call", "X:x", "Probe")
        equal((s.log.count("Probe"), s.log.count("Login")), (2, 2), "... but not for ever")
        like(err, "NotAuthenticated", "... and the reason is told")

    def changed(server, op, body, headers):
        if op == "Probe":
            return fault("NotAuthenticated")
        if op == "Login" and server.log.count("Login") > 1:
            return fault("InvalidLogin")

    with serve(changed) as s:
        out, err, status = client(s, "call", "X:x", "Probe")
        equal((status, s.log.count("Login")), (1, 2), "a password that was changed meanwhile: tried once")
        like(err, "Probe: the session is lost: logging in to.*wrong", "... and the reason is told")


def objects(numbers, token=None, missing="", props=None):
    inner = "".join(
        f'<objects><obj type="VirtualMachine">vm-{n}</obj>' +
        (props or f"<propSet><name>name</name><val>app{n}</val></propSet>") + missing + "</objects>"
        for n in numbers)
    return ("<returnval>" + (f"<token>{token}</token>" if token is not None else "") + inner + "</returnval>")


def missing(name):
    return (f'<missingSet><path>config</path><fault><fault xsi:type="{name}"/><localizedMessage>x'
            "</localizedMessage></fault></missingSet>")


def view(op):
    if op == "CreateContainerView":
        return response(op, '<returnval type="ContainerView">view-1</returnval>')


def paged(pages, spoil):
    """A listing in pages of two; `spoil` may answer instead."""
    state = {"at": 0}

    def script(server, op, body, headers):
        if op == "RetrievePropertiesEx":
            state["at"] = 0
        if op in ("RetrievePropertiesEx", "ContinueRetrievePropertiesEx"):
            n = state["at"]
            instead = spoil(server, op, n)
            if instead is not None:
                return instead
            state["at"] += 1
            return response(op, objects([2 * n, 2 * n + 1], f"t&amp;{n}" if n + 1 < pages else None))
        return view(op)
    return script


def listing(pages):
    return "".join(f"vm-{n} name app{n}\n" for n in range(2 * pages))


def pages():
    with serve(paged(3, lambda *a: None)) as s:
        out, err, status = client(s, "all", "VirtualMachine", "name")
        equal((status, out), (0, listing(3)), "a listing in pages")
        equal(s.log[2:], ["CreateContainerView", "RetrievePropertiesEx", "ContinueRetrievePropertiesEx",
                          "ContinueRetrievePropertiesEx", "DestroyView", "Logout"], "... and its view is destroyed")

    for name, how in (("the session is lost", lambda op: fault("NotAuthenticated")),
                      ("it shows in what is missing", lambda op: response(op, objects([2, 3], missing=missing("NotAuthenticated"), props=" "))),
                      ("the answer is lost", lambda op: Answer(silent=True))):
        def spoil(server, op, n):
            server.spoilt = getattr(server, "spoilt", set())
            if n > 0 and n not in server.spoilt:
                server.spoilt.add(n)
                return how(op)

        with serve(paged(4, spoil)) as s:
            out, err, status = client(s, "all", "VirtualMachine", "name")
            equal((status, out), (0, listing(4)), f"between pages, {name}: every object once")
            equal(s.log.count("RetrievePropertiesEx"), 4, "... from the start, three times")
            equal(s.log.count("Login"), 1 if "answer" in name else 4, "... logged in as often as needed")

    def stuck(server, op, n):
        return fault("NotAuthenticated") if n == 2 else None

    with serve(paged(4, stuck)) as s:
        out, err, status = client(s, "all", "VirtualMachine", "name")
        equal((status, out.splitlines()[:4]), (3, listing(2).splitlines()), "a page that never comes: an error")
        equal(s.log.count("RetrievePropertiesEx"), 3, "... soon")

    def other(server, op, body, headers):
        if op == "RetrievePropertiesEx" and "vm-77" in body:
            if server.log.count("Login") == 1:
                return fault("NotAuthenticated")
            return response(op, objects([77]))
        return inner(server, op, body, headers)

    def dead(server, op, n):
        if op.startswith("Continue") and server.logins != server.log.count("Login"):
            return fault("InvalidArgument", "no such token")
        server.logins = server.log.count("Login")

    inner = paged(2, dead)
    with serve(other) as s:
        out, err, status = client(s, "all", "VirtualMachine", "name", "--then", "VirtualMachine:vm-77")
        equal((status, sorted(out.splitlines())), (0, sorted((listing(2) + "vm-77 name app77\n").splitlines())),
              "a new login by a call in between: its token is not used again")
    with serve(lambda s, op, *a: response(op) if op == "RetrievePropertiesEx" else view(op)) as s:
        equal(client(s, "all", "VirtualMachine", "name")[::2], ("", 0), "an empty listing")
    twice = objects([1, 1, 2])
    with serve(lambda s, op, *a: response(op, twice) if op == "RetrievePropertiesEx" else view(op)) as s:
        equal(client(s, "all", "VirtualMachine", "name")[0], "vm-1 name app1\nvm-2 name app2\n", "an object named twice is given once")


def properties():
    def one(answer):
        return lambda s, op, *a: answer(s) if op == "RetrievePropertiesEx" else None

    with serve(one(lambda s: response("RetrievePropertiesEx", objects([1], missing=missing("NoPermission"))))) as s:
        equal(client(s, "properties", "VirtualMachine:vm-1", "name config")[::2], ("vm-1 name app1\n", 0),
              "what is forbidden is passed over")
    with serve(one(lambda s: response("RetrievePropertiesEx", objects([1], missing=missing("NotAuthenticated")))
                   if s.log.count("Login") == 1 else response("RetrievePropertiesEx", objects([1])))) as s:
        equal((client(s, "properties", "VirtualMachine:vm-1", "name")[::2], s.log.count("Login")),
              (("vm-1 name app1\n", 0), 2), "a lost session among what is missing: a new one, each property once")
    with serve(one(lambda s: fault("ManagedObjectNotFound", "vm-1 has already been deleted"))) as s:
        out, err, status = client(s, "properties", "VirtualMachine:vm-1", "name")
        equal((status, out), (1, 'fault "ManagedObjectNotFound"\n'), "an object that is gone, by name")
    with serve(one(lambda s: response("RetrievePropertiesEx", "<returnval><objects><propSet/></objects></returnval>"))) as s:
        like(client(s, "properties", "VirtualMachine:vm-1", "name")[1], "without a reference", "an object without a name")


def info(state, progress=None, error="", result=""):
    return (f"<key>t</key><state>{state}</state>{error}{result}" +
            (f"<progress>{progress}</progress>" if progress is not None else ""))


def failure(name, text):
    return f'<error><fault xsi:type="{name}"/><localizedMessage>{text}</localizedMessage></error>'


RESULT = '<result type="VirtualMachineSnapshot" xsi:type="ManagedObjectReference">snapshot-76</result>'


def task(infos, updates=True, spoil=lambda server, op: None):
    """Each look at the task, or update, gives the next of `infos`; the last one stays."""
    left = list(infos)

    def script(server, op, body, headers):
        instead = spoil(server, op)
        if instead is not None:
            return instead
        if op == "Start_Task":
            return response(op, '<returnval type="Task">task-1</returnval>')
        if op == "CreateFilter":
            if not updates:
                return fault("NotSupported")
            return response(op, '<returnval type="PropertyFilter">f1</returnval>')
        now = left[0]
        if op == "WaitForUpdatesEx":
            left[:] = left[1:] or left
            if now is None:
                return response(op)
            return response(op, "<returnval><version>2</version><filterSet><filter type='PropertyFilter'>f1</filter>"
                            '<objectSet><kind>modify</kind><obj type="Task">task-1</obj><changeSet><name>info</name>'
                            f"<op>assign</op><val xsi:type='TaskInfo'>{now}</val></changeSet></objectSet>"
                            "</filterSet></returnval>")
        if op == "RetrievePropertiesEx":
            left[:] = left[1:] or left
            return response(op, '<returnval><objects><obj type="Task">task-1</obj><propSet><name>info</name>'
                            f"<val xsi:type='TaskInfo'>{now}</val></propSet></objects></returnval>")
    return script


STEPS = [info("queued"), info("running", 30), info("running", 60), info("success", None, "", RESULT)]
START = ("task", "VirtualMachine:vm-1", "Start_Task", "Start_Task on VM app01")
SEEN = "".join(f"Start_Task on VM app01: {n}%\n" for n in (0, 30, 60, 100)) + "result VirtualMachineSnapshot:snapshot-76\n"


def tasks():
    with serve(task(STEPS)) as s:
        equal(client(s, *START)[::2], (SEEN, 0), "a task, by updates")
        equal(s.log[3:], ["CreateFilter"] + ["WaitForUpdatesEx"] * 4 + ["DestroyPropertyFilter", "Logout"], "... and its filter is destroyed")
    with serve(task([None, None] + STEPS)) as s:
        equal(client(s, *START)[::2], (SEEN, 0), "an update without news is no end")
    with serve(task(STEPS, updates=False)) as s:
        equal(client(s, *START)[::2], (SEEN, 0), "a task, by looking, where filters are refused")

    def no_updates(server, op):
        return fault("MethodNotFound") if op == "WaitForUpdatesEx" else None

    with serve(task(STEPS, spoil=no_updates)) as s:
        equal((client(s, *START)[::2], s.log.count("DestroyPropertyFilter")), ((SEEN, 0), 1), "... where updates are refused")

    def garbled(server, op):
        return response(op, "<returnval><filterSet/></returnval>") if op == "WaitForUpdatesEx" else None

    with serve(task(STEPS, spoil=garbled)) as s:
        equal(client(s, *START)[::2], (SEEN, 0), "... where they make no sense")

    def in_parts(server, op):
        if op == "WaitForUpdatesEx":
            return response(op, "<returnval><version>2</version><filterSet><objectSet><obj type='Task'>task-1</obj>"
                            "<changeSet><name>info.progress</name><op>assign</op></changeSet></objectSet></filterSet></returnval>")

    with serve(task(STEPS, spoil=in_parts)) as s:
        equal(client(s, *START)[::2], (SEEN, 0), "an update of a part: the whole is looked at")

    def lost(server, op):
        if op == "WaitForUpdatesEx" and server.log.count(op) == 2:
            return fault("NotAuthenticated")

    with serve(task(STEPS, spoil=lost)) as s:
        equal((client(s, *START)[::2], s.log.count("Login"), s.log.count("CreateFilter"), s.log.count("Start_Task")),
              ((SEEN, 0), 2, 2, 1), "a session lost while waiting: a new filter, the same task")

    def always_lost(server, op):
        return fault("NotAuthenticated") if op == "WaitForUpdatesEx" else None

    with serve(task(STEPS, spoil=always_lost)) as s:
        out, err, status = client(s, *START)
        equal((status, s.log.count("Login")), (3, 2), "... but not for ever")

    broken = [info("running"), info("error", None, failure("ApplicationQuiesceFault", "Fehler: Gerät nicht ruhig"))]
    with serve(task(broken)) as s:
        out, err, status = client(s, *START)
        equal(status, 1, "a task that fails")
        like(err, "vsphere-client: Start_Task on VM app01: ApplicationQuiesceFault: Fehler: Gerät nicht ruhig", "... which, where, why")
        like(out, 'fault "ApplicationQuiesceFault"', "... and its fault by name")
    with serve(task([info("error")])) as s:
        like(client(s, *START)[1], "gives no reason", "a task that fails without a reason")
    with serve(task([info("baffled"), info("success")])) as s:
        equal(client(s, *START)[2], 0, "a state that is new to us is not an end")
    def hidden(server, op):
        if op == "RetrievePropertiesEx":
            return response(op, f'<returnval><objects><obj type="Task">task-1</obj>{missing("NoPermission")}</objects></returnval>')

    with serve(task(STEPS, updates=False, spoil=hidden)) as s:
        like(client(s, *START)[1], "Start_Task on VM app01: waiting for the task: the server shows nothing of it", "a task that may not be seen")
    with serve(task([info("running", 5)])) as s:
        out, err, status = client(s, *START, options=["--limit", "1"])
        equal(status, 3, "a task that does not end: the time limit")
        like(err, "Start_Task on VM app01: waiting for the task: still running", "... and it says so")
        equal(s.log.count("DestroyPropertyFilter"), 1, "... and the filter is destroyed")

    release = threading.Event()

    def hang(server, op):
        if op == "WaitForUpdatesEx":
            release.wait(25)
            return response(op)

    with serve(task(STEPS, spoil=hang)) as s:
        out, err, status = client(s, *START, options=["--cancel-after", "600"])
        release.set()
        equal(status, 3, "a cancel while a task is awaited")
        like(err, "Start_Task on VM app01: waiting for the task: .*stopped on request", "... and it says so")
        equal(s.log[-2:], ["DestroyPropertyFilter", "Logout"], "... and still cleans up")


def busy():
    for name, rest in (("the call", lambda n: fault("TaskInProgress", "Another task is already in progress.")),
                       ("the task", None)):
        def spoil(server, op):
            if op == "Start_Task" and rest and server.log.count(op) <= 2:
                return rest(0)

        again = [info("error", None, failure("TaskInProgress", "Another task is already in progress."))]
        with serve(task(([] if rest else again) + STEPS, spoil=spoil)) as s:
            equal((client(s, *START)[0][-len(SEEN):], s.log.count("Start_Task")), (SEEN, 3 if rest else 2),
                  f"another task is in progress, says {name}: waited out")
    with serve(task(STEPS, spoil=lambda s, op: fault("TaskInProgress", "Another task.") if op == "Start_Task" else None)) as s:
        out, err, status = client(s, *START, options=["--busy", "1"])
        equal(status, 3, "... but not for ever")
        like(err, "gave up after waiting 1 s: Start_Task on VM app01: .*TaskInProgress: Another task", "... and it says so")


cookies()
logins()
faults()
expiry()
pages()
properties()
tasks()
busy()
done()
