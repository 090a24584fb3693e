"""Sessions without a memory: a cookie says who it is for, until when, and proves that this installation wrote it.

Every worker of a gateway can check it; new tokens end all sessions, as the digest of the token goes into the proof. The
token against forged calls (CSRF) is a second proof over the same cookie. This room must never know a request.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final

from blake3 import blake3

from payonce.dashboard.tokens import Role
from payonce.model.ports import Clock

LIFETIME: Final = 12 * 3600
GUEST: Final = "guest"
"""Whose session is for the login page alone."""
MOST_COOKIE: Final = 300


@dataclass(frozen=True, slots=True)
class Session:
    """Whose cookie it is: a role's, or a guest's. `cookie` is its value as the browser has it, `csrf` what a form of
    this session has to carry."""

    name: str
    cookie: str
    csrf: str


class Sessions:
    """Issues and checks. `key` is 32 bytes, `digest_of` the digest in force for a role's token ("" where none is)."""

    def __init__(
        self,
        key: bytes,
        clock: Clock,
        digest_of: Callable[[str], str],
        random: Callable[[int], str] = secrets.token_urlsafe,
    ) -> None:
        self._key = key
        self._clock = clock
        self._digest_of = digest_of
        self._random = random

    def issue(self, name: str) -> Session:
        """A new session for `LIFETIME` seconds."""
        told = f"{name}.{int(self._clock()) + LIFETIME}.{self._random(18)}"
        return self._session(name, f"{told}.{self._proof('session', told, self._digest_of(name))}")

    def check(self, cookie: str) -> Session | None:
        """The session that `cookie` proves, if it has not ended."""
        told, _, proof = cookie.rpartition(".")
        name, _, rest = told.partition(".")
        ends, _, _ = rest.partition(".")
        if len(cookie) > MOST_COOKIE or not cookie.isascii():
            return None
        if name not in (GUEST, *Role) or not ends.isdigit():
            return None
        if not compare_digest(proof, self._proof("session", told, self._digest_of(name))):
            return None
        return self._session(name, cookie) if self._clock() < int(ends) <= self._clock() + LIFETIME else None

    def _session(self, name: str, cookie: str) -> Session:
        return Session(name, cookie, self._proof("csrf", cookie, ""))

    def _proof(self, purpose: str, told: str, digest: str) -> str:
        return blake3(f"{purpose}\0{told}\0{digest}".encode(), key=self._key).hexdigest()


class Attempts:
    """How often somebody may show a wrong token: so many times a minute from one address, and of so many addresses."""

    def __init__(self, clock: Clock, most: int = 10, seconds: float = 60.0, addresses: int = 1000) -> None:
        self._clock = clock
        self._most = most
        self._seconds = seconds
        self._addresses = addresses
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """For how many seconds this address has to wait before it may try; 0 if it may now."""
        recent = self._recent(address)
        return 0 if len(recent) < self._most else max(1, round(recent[0] + self._seconds - self._clock()))

    def failed(self, address: str) -> None:
        """It has shown a wrong one."""
        self._failed[address] = [*self._recent(address), self._clock()]
        self._failed.move_to_end(address)
        while len(self._failed) > self._addresses:
            self._failed.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - self._seconds
        return [at for at in self._failed.get(address, ()) if at > since]
