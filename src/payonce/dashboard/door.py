"""Who may come in, and whether a call that changes something is the visitor's own wish.

Without a token: programs and pages on this machine, while the gateway listens on this machine only, is called by a
name of this machine, and nothing says that somebody passed the call on. Everybody else shows a token. This room must
never read what is kept.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from dataclasses import dataclass
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final

from payonce.config import Settings
from payonce.config_urls import is_loopback
from payonce.core.keying import derive
from payonce.dashboard.asking import Request
from payonce.dashboard.html import ROOT
from payonce.dashboard.sessions import GUEST, LIFETIME, Attempts, Session, Sessions
from payonce.dashboard.tokens import Role, Tokens, read_tokens
from payonce.errors import SettingsError
from payonce.model.ports import Clock

log = logging.getLogger("payonce.dashboard")

CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-payonce-csrf"
_PASSED_ON: Final = frozenset(
    (
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
        *("x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip"),
    )
)
_HERE: Final = frozenset(("localhost", "127.0.0.1", "[::1]"))


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at the door. `role` is None for who has to show a token first; `session` is what forms are tied to;
    `cookie` is a Set-Cookie field to answer with, if any. `signed_in` says that it was a token that let them in."""

    role: Role | None
    session: Session | None = None
    cookie: str = ""
    signed_in: bool = False

    @property
    def admin(self) -> bool:
        """Whether they may change something."""
        return self.role is Role.ADMIN


class Door:
    """`secret` is the installation's, `path` where the tokens' digests are kept."""

    def __init__(self, settings: Settings, secret: bytes, path: Path, clock: Clock) -> None:
        self._free_host = asks_nobody(settings)
        self._path = path
        self._name = "payonce_" + derive(secret, "name").hex()[:8]
        self._sessions = Sessions(derive(secret, "dashboard"), clock, self._digest_of)
        self._attempts = Attempts(clock)
        self._lock = threading.Lock()
        self._complained = False

    def greet(self, request: Request) -> Visitor:
        """Who asks, by what the request shows."""
        free = self._is_free(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (token := token.strip()):
            return Visitor(self._try(request.peer, token), signed_in=True)
        session = self._sessions.check(self._cookie(request))
        if session is not None and session.name != GUEST:
            return Visitor(Role(session.name), session, signed_in=True)
        fresh = session or self._sessions.issue(GUEST)
        cookie = "" if session is not None else self._set(request, fresh)
        return Visitor(Role.ADMIN if free else None, fresh, cookie)

    def wait(self, request: Request) -> int:
        """For how many seconds this address may show no token."""
        with self._lock:
            return self._attempts.wait(request.peer)

    def enter(self, request: Request, token: str) -> str | None:
        """The Set-Cookie field of a new session for who shows this token; None where it is none."""
        role = self._try(request.peer, token)
        return None if role is None else self._set(request, self._sessions.issue(role.value))

    def leave(self, request: Request) -> str:
        """The Set-Cookie field that ends a session in this browser."""
        return self._set(request, Session(GUEST, "", ""), 0)

    def own_wish(self, request: Request, visitor: Visitor) -> bool:
        """Whether a POST comes from a page of ours that this visitor has opened, or from a program with a token."""
        if visitor.session is None:
            return visitor.role is not None  # a token in a header: no browser adds one by itself
        if not same_origin(request):
            return False
        shown = request.form.get(CSRF_FIELD) or request.headers.get(CSRF_HEADER, "")
        return compare_digest(shown.encode("utf-8", "replace"), visitor.session.csrf.encode())

    def has_tokens(self) -> bool:
        """Whether any were made."""
        return self._tokens() is not None

    def _is_free(self, request: Request) -> bool:
        host = request.headers.get("host", "").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        passed_on = not _PASSED_ON.isdisjoint(request.headers)
        return self._free_host and name in _HERE and _from_here(request.peer) and not passed_on

    def _try(self, address: str, token: str) -> Role | None:
        tokens = self._tokens()
        with self._lock:
            if self._attempts.wait(address):
                return None
            role = None if tokens is None else tokens.role_of(token)
            if role is None:
                self._attempts.failed(address)
            return role

    def _tokens(self) -> Tokens | None:
        try:
            return read_tokens(self._path)
        except (OSError, SettingsError) as error:
            if not self._complained:
                self._complained = True
                log.warning("nobody can sign in to the dashboard: %s", error)
            return None

    def _digest_of(self, name: str) -> str:
        if name == GUEST:
            return ""
        tokens = self._tokens()
        return "none" if tokens is None else tokens.digests[Role(name)]

    def _cookie(self, request: Request) -> str:
        try:
            found = SimpleCookie(request.headers.get("cookie", "")[:8192]).get(self._name)
        except CookieError:
            return ""
        return "" if found is None else found.value

    def _set(self, request: Request, session: Session, age: int = LIFETIME) -> str:
        secure = "; Secure" if request.headers.get("origin", "").startswith("https://") else ""
        return f"{self._name}={session.cookie}; Path={ROOT}; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"


def asks_nobody(settings: Settings) -> bool:
    """Whether visitors from this machine need no token: nobody else is meant to reach the gateway at all."""
    return settings.dashboard == "auto" and is_loopback(settings.host) and not settings.allowed_hosts


def same_origin(request: Request) -> bool:
    """Whether a browser says that the call comes from a page of this very origin; False where it says nothing."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is None and origin is None:
        return False
    scheme, _, host = (origin or "").lower().partition("://")
    here = scheme in ("http", "https") and host == request.headers.get("host", "").lower()
    return site in (None, "same-origin") and (origin is None or here)


def strange(request: Request) -> bool:
    """Whether a page of another origin asks for something else than to be led here."""
    site = request.headers.get("sec-fetch-site", "none")
    return site not in ("none", "same-origin") and request.headers.get("sec-fetch-mode") != "navigate"


def _from_here(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
