"""Which upstream and endpoint a raw path means; exact, on the bytes as they came.

`/api/v1/…` and `/v1/…` are the unnamed upstream's, `/NAME/v1/…` a named one's. A path that could mean another one to
somebody else (dot segments, doubled slashes, encoded ones) means nothing here. This room must never decode a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from payonce.dialects import CACHED_ENDPOINTS

_PLAIN = re.compile(rb"[A-Za-z0-9._~!$&'()*+,=:@/%-]*")
_TRICKS = re.compile(rb"//|(?:^|/)\.{1,2}(?:/|$)|%2f|%5c|%2e|%00|%25", re.IGNORECASE)
MOST_FOUND = 256
"""For so many paths it is remembered where they lead."""


@dataclass(frozen=True, slots=True)
class Route:
    """`endpoint` is what stands behind `/v1/`; `cached` says that the cache may take part in a POST to it."""

    upstream: str
    endpoint: str
    cached: bool


class Routes:
    """The routes of these upstreams, by name."""

    def __init__(self, names: Iterable[str]) -> None:
        self._prefixes: dict[bytes, str] = {}
        self._found: dict[bytes, Route] = {}
        for name in names:
            if name:
                self._prefixes[b"/" + name.encode() + b"/v1/"] = name
            else:
                self._prefixes[b"/api/v1/"] = self._prefixes[b"/v1/"] = ""

    def find(self, raw_path: bytes) -> Route | None:
        """Where `raw_path` leads, or None."""
        found = self._found.get(raw_path)
        if found is None:
            found = self._look(raw_path)
            if found is not None and len(self._found) < MOST_FOUND:
                self._found[raw_path] = found
        return found

    def _look(self, raw_path: bytes) -> Route | None:
        for prefix, name in self._prefixes.items():
            if raw_path.startswith(prefix):
                rest = raw_path[len(prefix) :]
                if not rest or not _PLAIN.fullmatch(rest) or _TRICKS.search(raw_path):
                    return None
                endpoint = rest.decode("ascii")
                return Route(name, endpoint, endpoint in CACHED_ENDPOINTS)
        return None
