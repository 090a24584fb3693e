"""Who may call: the Host allow-list and the Origin check that keep web pages away from a gateway on this machine.

Against DNS rebinding and cross-site calls (threats T21, T22): a browser always says where a page comes from, and a
program never has to. This room must never look at a body.
"""

from __future__ import annotations

import re

from payonce.config import Settings
from payonce.model import reason as why
from payonce.model.call import Headers
from payonce.model.reason import Reason

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?")
_SHOWN = frozenset((b"host", b"origin"))
MOST_PASSED = 1000
"""So many ways to come here are remembered as good."""
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def host_name(value: bytes) -> str | None:
    """The name in a Host field, without port, in lower case; None where the field is malformed."""
    match = _HOST.fullmatch(value)
    return None if match is None else match[1].decode().lower()


class Guard:
    """The checks that these settings ask for."""

    def __init__(self, settings: Settings) -> None:
        own = f"[{settings.host}]" if ":" in settings.host else settings.host
        names = {name.lower() for name in settings.allowed_hosts}
        self._passed: set[Headers] = set()
        self._any_host = "*" in names
        self._hosts = frozenset({*names, *_LOOPBACK, own.lower()})
        self._origins = frozenset(origin.lower() for origin in settings.allowed_origins)

    def against(self, headers: Headers) -> Reason | None:
        """Why a request with these headers is refused; None if it may pass."""
        shown = tuple([field for field in headers if field[0] in _SHOWN])
        if shown in self._passed:
            return None
        against = self._against(shown)
        if against is None and len(self._passed) < MOST_PASSED:
            self._passed.add(shown)
        return against

    def _against(self, headers: Headers) -> Reason | None:
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or (host := host_name(hosts[0])) is None:
            return why.BAD_REQUEST
        if not self._any_host and host not in self._hosts and hosts[0].decode().lower() not in self._hosts:
            return why.BAD_HOST
        for name, value in headers:
            if name == b"origin" and not self._may(value, hosts[0]):
                return why.BAD_ORIGIN
        return None

    def _may(self, origin: bytes, host: bytes) -> bool:
        text = origin.decode("latin-1").lower()
        if text in self._origins or "*" in self._origins:
            return True
        scheme, _, rest = text.partition("://")
        return scheme in ("http", "https") and rest == host.decode("latin-1").lower()
