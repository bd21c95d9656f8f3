"""Faults on demand. A rule says which calls it meets and what happens to them:

    op     the operation's name, with * and ? (default: all); "folder" is a datastore file
           (http, drop, delay, expire, truncate)
    vm     only on this VM (name or id)
    after  so many calls pass first (default 0)
    times  so many calls are met (default 1; -1: all)
    how    what happens; where it happens follows from it:

  the call itself    fault (fault, members, message) · http (status, body, type, headers) ·
                     drop · expire (the session) · delay (seconds, then goes on) ·
                     answer (xml: what is in the response, not asking anybody)
  its answer         truncate (keep: bytes) · doctype · entity · replace (find, with) ·
                     drop-answer (the work is done, nobody is told)
  the task of it     fault with "where": "task" · stuck · queued · slow (seconds)"""

import fnmatch
import threading

CALL = ("fault", "http", "drop", "expire", "answer", "delay")
ANSWER = ("truncate", "doctype", "entity", "replace", "drop-answer")
TASK = ("stuck", "queued", "slow")
KNOWN = {
    "op",
    "vm",
    "after",
    "times",
    "how",
    "fault",
    "members",
    "message",
    "status",
    "body",
    "type",
    "headers",
    "seconds",
    "keep",
    "find",
    "with",
    "where",
    "do",
    "xml",
}


class Rules:
    def __init__(self):
        self.lock = threading.Lock()
        self.rules = []
        self.met = 0

    def add(self, rule):
        how = rule.get("how")
        if how not in CALL + ANSWER + TASK:
            raise ValueError('there is no fault "%s"' % how)
        unknown = set(rule) - KNOWN
        if unknown:
            raise ValueError('a rule has no "%s"' % sorted(unknown)[0])
        if how == "fault" and "fault" not in rule:
            raise ValueError("which fault?")
        rule = dict({"op": "*", "after": 0, "times": 1}, **rule)
        if how == "fault" and rule.get("where") == "task":
            rule["place"] = "task"
        else:
            rule["place"] = "call" if how in CALL else "answer" if how in ANSWER else "task"
        with self.lock:
            self.rules.append(rule)

    def clear(self):
        with self.lock:
            self.rules = []

    def take(self, place, op, vm=None):
        """The first rule that meets this call, or None."""
        with self.lock:
            for rule in self.rules:
                if rule["place"] != place or not fnmatch.fnmatchcase(op, rule["op"]):
                    continue
                if rule.get("vm") and (vm is None or rule["vm"] not in (vm.name, vm.id)):
                    continue
                if rule["after"] > 0:
                    rule["after"] -= 1
                    continue
                if rule["times"] == 0:
                    continue
                rule["times"] -= 1 if rule["times"] > 0 else 0
                self.met += 1
                return rule
        return None


BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaaaaaaaaaaaa">'
    + "".join('<!ENTITY %s "%s">' % (n, ("&%s;" % p) * 20) for p, n in zip("abcdefgh", "bcdefghi"))
    + "]>"
)
EXTERNAL = '<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


def spoil(rule, body):
    """What an answer becomes."""
    how = rule["how"]
    if how == "truncate":
        return body[: rule.get("keep", len(body) // 2)]
    if how == "replace":
        return body.replace(rule["find"].encode(), rule["with"].encode())
    if how in ("doctype", "entity"):
        # The entity stands where a reader has to look: in the text of the first element
        # that has any.
        declaration, entity = (BOMB, b"&i;") if how == "doctype" else (EXTERNAL, b"&x;")
        head, _, rest = body.partition(b"?>")
        at = rest.rfind(b"</", 0, rest.rfind(b"Response>") if b"Response>" in rest else None)
        return head + b"?>" + declaration.encode() + rest[:at] + entity + rest[at:]
    return body
