"""Logins and their cookies."""

import base64
import re
import secrets
import threading
import time

from .soap import Fault
from .values import Obj, now

COOKIE = "vmware_soap_session"


class Session:
    def __init__(self, user):
        self.secret = secrets.token_hex(20)
        self.key = secrets.token_hex(16)
        self.user = user  # None: a cookie without a login
        self.login, self.last, self.used = now(), now(), time.monotonic()
        self.calls = 0
        self.views, self.filters, self.tokens = {}, {}, {}
        self.version = 0  # of what this session's property collector told last
        self.waiting = threading.RLock()
        self.cancel_wait = self.gone = False

    def value(self):
        return Obj(
            "UserSession",
            key=self.key,
            userName=self.user,
            fullName=self.user,
            loginTime=self.login,
            lastActiveTime=self.last,
            locale="en",
            messageLocale="en",
        )


class Sessions:
    def __init__(self, settings):
        self.settings, self.lock = settings, threading.Lock()
        self.by_secret = {}
        self.logins = self.failed = self.logouts = self.expired = 0

    def find(self, cookie_header):
        """The session of a request, or None."""
        for value in re.findall(COOKIE + r'=("[^"]*"|[^;\s]*)', cookie_header or ""):
            if self.settings["exact_cookie"] and value.startswith('"') != (
                self.settings["cookie"] == "quoted"
            ):
                continue
            with self.lock:
                session = self.by_secret.get(value.strip('"'))
            if session and self.alive(session):
                return session
        return None

    def alive(self, session):
        idle = time.monotonic() - session.used
        limit = self.settings["session_calls"]
        if idle > self.settings["session_timeout"] or (limit and session.calls >= limit):
            self.expire(session)
            return False
        return True

    def touch(self, session):
        session.calls += 1
        session.last, session.used = now(), time.monotonic()

    def expire(self, session):
        session.gone = True
        with self.lock:
            if self.by_secret.pop(session.secret, None) and session.user:
                self.expired += 1

    def expire_all(self):
        for session in list(self.by_secret.values()):
            self.expire(session)

    def check(self, user, password):
        return user == self.settings["user"] and password == self.settings["password"]

    def login(self, session, user, password):
        """The session to use from now on; InvalidLogin. A cookie is given in any case."""
        ok = self.check(user, password) and not (session and session.user)
        if not session:
            session = Session(None)
            with self.lock:
                self.by_secret[session.secret] = session
        if not ok:
            self.failed += 1
            fault = Fault("InvalidLogin")
            fault.session = session
            raise fault
        session.user, session.login, session.calls = user, now(), 0
        self.logins += 1
        return session

    def logout(self, session):
        session.gone = True
        with self.lock:
            self.by_secret.pop(session.secret, None)
        self.logouts += 1

    def header(self, session):
        quote = '"' if self.settings["cookie"] == "quoted" else ""
        return "%s=%s%s%s; Path=/; HttpOnly; Secure; " % (COOKIE, quote, session.secret, quote)

    def basic(self, header):
        """Whether an Authorization header holds the right name and password."""
        kind, _, text = (header or "").partition(" ")
        try:
            user, _, password = base64.b64decode(text).decode().partition(":")
        except ValueError:
            return False
        return kind.lower() == "basic" and self.check(user, password)

    def open(self):
        return [s for s in list(self.by_secret.values()) if s.user]
