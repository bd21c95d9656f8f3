"""Scenarios against the simulator, as TAP: functions marked with @scenario each get a running
simulator. A failed assert, or any other exception, is a failed test and the others go on.

    @scenario("what it shows", **options of the simulator)
    def name(sim): …
    main()"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback

TOP = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../../..")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests/vsphere-sim"))
sys.path.insert(0, os.path.join(TOP, "tests/vsphere-sim/tests"))
import schema  # noqa: E402
import simlib  # noqa: E402

PROGRAM = os.path.join(
    os.environ.get("BUILD") or os.path.join(TOP, "build"),
    "orchestrator/source/vsphere/tests/vsphere-vm",
)
scenarios = []
requests = set()  # all that were sent, for VMware's schema


class Failed(Exception):
    def __init__(self, status, text):
        super().__init__("exit %d: %s" % (status, text))
        self.status, self.text = status, text


def run(sim, *arguments):
    """What the client prints; Failed with its message."""
    with tempfile.TemporaryDirectory(dir=sim.directory) as captured:
        done = subprocess.run(
            [PROGRAM, sim.server, sim.fingerprint, sim.user, *[str(a) for a in arguments]],
            capture_output=True,
            text=True,
            timeout=300,
            env=dict(os.environ, VMFERRY_TEST_PASSWORD=sim.password,
                     VMFERRY_VSPHERE_CAPTURE=captured),
        )
        keep(captured)
    if done.returncode:
        raise Failed(done.returncode, done.stdout + done.stderr)
    return done.stdout


def keep(directory):
    for path in glob.glob(os.path.join(directory, "*-request.xml")):
        with open(path, "rb") as f:
            text = f.read()
        # Names and numbers differ from run to run, and mean nothing to the schema.
        requests.add(re.sub(rb">[^<>]*<", lambda m: re.sub(rb"[0-9]+", b"7", m[0]), text))


def check_requests(number):
    name = "every request is valid by VMware's schema"
    if not schema.schema_file():
        print("ok %d - %s # SKIP the schema is not there" % (number, name))
        return True
    bad = schema.errors(requests, drop=(b"consolidate",))
    print("%sok %d - %s" % ("not " if bad or not requests else "", number, name))
    print("".join("# %s\n" % line for line in bad), end="")
    return requests and not bad


def fails(sim, *arguments):
    """The message with which it fails."""
    try:
        printed = run(sim, *arguments)
    except Failed as e:
        return e.text
    raise AssertionError("it did not fail: %s" % printed)


class Frozen:
    """A snapshot as the client made it."""

    def __init__(self, sim, vm, name, quiesce="no"):
        printed = run(sim, "freeze", vm, name, quiesce).splitlines()
        self.said = [line[5:] for line in printed if line.startswith("say: ")]
        self.moref, self.quiesced = [p for p in printed if not p.startswith("say: ")][0].split()
        self.spec = json.loads(printed[-1])
        self.change_ids = {d["key"]: d.get("change_id", "") for d in self.spec["disks"]}


def scenario(name, **options):
    def mark(function):
        scenarios.append((name, options, function))
        return function

    return mark


def main():
    wanted = sys.argv[1:]
    failures = 0
    chosen = [s for s in scenarios if not wanted or s[2].__name__ in wanted]
    print("1..%d" % (len(chosen) + 1))
    for number, (name, options, function) in enumerate(chosen, 1):
        try:
            with simlib.Simulator(**options) as sim:
                function(sim)
            print("ok %d - %s" % (number, name), flush=True)
        except Exception:
            failures += 1
            print("not ok %d - %s" % (number, name), flush=True)
            print("".join("# %s\n" % s for s in traceback.format_exc().splitlines()), end="")
    failures += not check_requests(len(chosen) + 1)
    sys.exit(failures > 0)
