"""Are captured messages valid by VMware's schema? It is no part of this repository: without
it (beside the repository, or where $VSPHERE_SCHEMA says) nothing can be said."""

import os
import re
import subprocess
import tempfile
import xml.parsers.expat

HERE = os.path.dirname(os.path.realpath(__file__))
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"


def schema_file():
    """None: there is no schema."""
    candidates = [os.environ.get("VSPHERE_SCHEMA", "")]
    top = os.path.realpath(os.path.join(HERE, "../../.."))
    while top != "/":
        top = os.path.dirname(top)
        candidates.append(os.path.join(top, "shared/vsphere/wsdl41/vim25.xsd"))
    return next((c for c in candidates if c and os.path.exists(c)), None)


def payload(message):
    """The element inside the SOAP body (of a fault, what is inside its detail), as it is
    written, with the namespaces declared that it is in."""
    parser = xml.parsers.expat.ParserCreate(namespace_separator=" ")
    parser.namespace_prefixes = False
    stack, scopes, found = [], [{}], {}
    pending = {}

    def namespace(prefix, uri):
        pending[prefix or ""] = uri

    def start(name, attributes):
        scopes.append({**scopes[-1], **pending})
        parent = stack[-1] if stack else None
        wanted = parent == ENVELOPE + " Body" and name != ENVELOPE + " Fault"
        if (wanted or parent == "detail") and not found:
            found.update(start=parser.CurrentByteIndex, scope=scopes[-2], depth=len(stack))
            found["own"] = set(pending)
        pending.clear()
        stack.append(name)

    def end(name):
        stack.pop()
        scopes.pop()
        if found and "end" not in found and len(stack) == found["depth"]:
            found["end"] = message.index(b">", parser.CurrentByteIndex) + 1

    parser.StartNamespaceDeclHandler = namespace
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.Parse(message, True)
    text = message[found["start"] : found["end"]]
    declared = "".join(
        ' xmlns%s="%s"' % (":" + p if p else "", u)
        for p, u in found["scope"].items()
        if p not in found["own"]
    )
    return re.sub(rb"^<[^\s/>]+", lambda m: m[0] + declared.encode(), text, count=1)


def errors(messages, drop=()):
    """What the schema has against these messages (bytes), a line for each bad one. Elements
    in `drop` are younger than the schema, and left out."""
    with tempfile.TemporaryDirectory() as directory:
        names = {}
        for n, message in enumerate(messages):
            text = payload(message)
            for name in drop:
                text = re.sub(rb"<%s>[^<]*</%s>" % (name, name), b"", text)
            path = os.path.join(directory, "%d.xml" % n)
            names[path] = text[:100]
            with open(path, "wb") as f:
                f.write(text)
        paths = list(names)
        bad = []
        for at in range(0, len(paths), 200):
            result = subprocess.run(
                ["xmllint", "--noout", "--schema", schema_file()] + paths[at : at + 200],
                capture_output=True,
                text=True,
            )
            bad += [
                "%s: %s"
                % (
                    names[line.split(":")[0]].decode(errors="replace"),
                    line.partition("): ")[2] or line,
                )
                for line in result.stderr.splitlines()
                if " error : " in line
            ]
        return bad
