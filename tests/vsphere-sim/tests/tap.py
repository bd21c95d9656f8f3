"""TAP for tests in Python."""

import sys
import traceback

count = failures = 0


def ok(condition, name, *what):
    global count, failures
    count += 1
    print("%sok %d - %s" % ("" if condition else "not ", count, name), flush=True)
    if not condition:
        failures += 1
        for one in what:
            diag(one)
    return bool(condition)


def is_(got, expected, name):
    return ok(got == expected, name, "got:      %r" % (got,), "expected: %r" % (expected,))


def raises(function, wanted, name):
    """`wanted`: the exception's class, or its name. Gives the exception."""
    try:
        got = function()
    except Exception as e:
        names = [c.__name__.rpartition(".")[2] for c in type(e).__mro__] + [type(e)]
        ok(wanted in names, name, "raised %r" % e)
        return e
    ok(False, name, "raised nothing, gave %r" % (got,))
    return None


def skip(name, why):
    global count
    count += 1
    print("ok %d - %s # SKIP %s" % (count, name, why), flush=True)


def skip_all(why):
    print("1..0 # SKIP %s" % why)
    sys.exit(0)


def diag(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def run(main):
    try:
        main()
    except Exception:
        ok(False, "an exception ended the test", traceback.format_exc())
    print("1..%d" % count)
    sys.exit(failures > 0)
