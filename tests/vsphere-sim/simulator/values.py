"""The values that vSphere objects are made of, and how they are written as XML. A value
knows its own type, because `xsi:type` has to name it wherever the schema says anyType.
Nothing here knows what the objects mean."""

import datetime
from xml.sax.saxutils import escape

VIM = "urn:vim25"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
XSD = "http://www.w3.org/2001/XMLSchema"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"


class Long(int):
    pass


class Short(int):
    pass


class Enum(str):
    """A word of one of the schema's enumerations."""

    def __new__(cls, type_, text):
        self = super().__new__(cls, text)
        self.type = type_
        return self


class Ref:
    """A reference to a managed object."""

    def __init__(self, type_, id_):
        self.type, self.id = type_, id_

    def __eq__(self, other):
        return isinstance(other, Ref) and (self.type, self.id) == (other.type, other.id)

    def __hash__(self):
        return hash((self.type, self.id))

    def __repr__(self):
        return "%s:%s" % (self.type, self.id)


class New:
    """A member younger than API 4.1: written only for clients that speak a later one."""

    def __init__(self, value):
        self.value = value


class Obj:
    """A data object: its type and members, in the schema's order. A member may be a
    function, called when somebody looks. `derived`: the schema names a base type where it
    stands, so that xsi:type is needed."""

    def __init__(self, type_, derived=False, **members):
        self.type, self.derived, self.members = type_, derived, members

    def get(self, name):
        """KeyError: there is no such member."""
        return unwrap(self.members[name])


class Array:
    """ArrayOf`item` as a property's value, repeated elements as a member."""

    def __init__(self, item, items, item_is_derived=False):
        self.item, self.items, self.item_is_derived = item, list(items), item_is_derived

    def type(self):
        return "ArrayOf" + self.item[0].upper() + self.item[1:]


def refs(items):
    return Array("ManagedObjectReference", items)


def unwrap(value):
    while callable(value) or isinstance(value, New):
        value = value() if callable(value) else value.value
    return value


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Style:
    """How a server chooses its prefixes; clients must not care.

    vcenter   soapenv:, xsi: and xsd: declared once, urn:vim25 the default namespace
    local     the prefix of xsi:type is another, and declared wherever it is used
    prefixed  every element of urn:vim25 has a prefix, SOAP's is another"""

    def __init__(self, name):
        self.soap = {"vcenter": "soapenv", "local": "soapenv", "prefixed": "S"}[name]
        self.xsi = {"vcenter": "xsi", "local": "XMLSchema-instance", "prefixed": "i"}[name]
        self.xsd = {"vcenter": "xsd", "local": "xs", "prefixed": "t"}[name]
        self.vim = "v:" if name == "prefixed" else ""
        self.local = name == "local"

    def envelope(self):
        common = 'xmlns:%s="%s"' % (self.soap, ENVELOPE)
        if self.local:
            return common
        return common + ' xmlns:%s="%s" xmlns:%s="%s"' % (self.xsi, XSI, self.xsd, XSD)

    def namespace(self):
        return 'xmlns%s="%s"' % (":v" if self.vim else "", VIM)

    def type(self, name, is_xsd=False):
        name = (self.xsd + ":" if is_xsd else self.vim) + name
        if not self.local:
            return ' %s:type="%s"' % (self.xsi, name)
        declared = ' xmlns:%s="%s"' % (self.xsi, XSI)
        if is_xsd:
            declared += ' xmlns:%s="%s"' % (self.xsd, XSD)
        return '%s %s:type="%s"' % (declared, self.xsi, name)


class Writer:
    """Collects XML. `newer`: the client speaks an API later than 4.1."""

    def __init__(self, style, newer=True):
        self.style, self.newer, self.out = style, newer, []

    def text(self):
        return "".join(self.out)

    def element(self, name, value, untyped=True):
        """`untyped`: the schema says what is in this element; else it says anyType."""
        while callable(value) or isinstance(value, New):
            if isinstance(value, New) and not self.newer:
                return
            value = value() if callable(value) else value.value
        if value is None:
            return
        if isinstance(value, (list, tuple)) or (isinstance(value, Array) and untyped):
            for item in value.items if isinstance(value, Array) else value:
                self.element(name, item)
            return
        tag = self.style.vim + name
        if isinstance(value, Obj):
            attribute = "" if untyped and not value.derived else self.style.type(value.type)
            self.out.append("<%s%s>" % (tag, attribute))
            for member, item in value.members.items():
                self.member(value, member, item)
            self.out.append("</%s>" % tag)
        elif isinstance(value, Array):
            self.out.append("<%s%s>" % (tag, self.style.type(value.type())))
            for item in value.items:
                self.element(value.item, item, not isinstance(item, Ref))
            self.out.append("</%s>" % tag)
        elif isinstance(value, Ref):
            attribute = "" if untyped else self.style.type("ManagedObjectReference")
            self.out.append(
                '<%s type="%s"%s>%s</%s>' % (tag, value.type, attribute, escape(value.id), tag)
            )
        else:
            text, type_, is_xsd = plain(value)
            attribute = "" if untyped else self.style.type(type_, is_xsd)
            self.out.append("<%s%s>%s</%s>" % (tag, attribute, escape(text), tag))

    def member(self, owner, name, value):
        self.element(name, value, (owner.type, name) not in ANY)


# The members that the schema declares as xsd:anyType.
ANY = {
    ("DynamicProperty", "val"),
    ("PropertyChange", "val"),
    ("TaskInfo", "result"),
    ("OptionValue", "value"),
}


def plain(value):
    """Text, type and whether the type is one of XML Schema's own."""
    if isinstance(value, Enum):
        return str(value), value.type, False
    if isinstance(value, bool):
        return ("true" if value else "false"), "boolean", True
    if isinstance(value, Long):
        return "%d" % value, "long", True
    if isinstance(value, Short):
        return "%d" % value, "short", True
    if isinstance(value, int):
        return "%d" % value, "int", True
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "dateTime", True
    return str(value), "string", True
