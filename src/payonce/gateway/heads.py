"""Heads of requests that are known: a client says the same with every request, but for the length of its body and ids.

What the parser and the checks made of a head once holds for the same bytes again; only the digits of its
Content-Length may be others, and the ids by which requests are traced. Bounded in number and bytes. This room must
never parse: it compares.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from payonce.core.fields import IDS
from payonce.gateway.routes import Route
from payonce.intake import Said
from payonce.model.call import Headers

MOST_HEADS = 256
MOST_HEAD_BYTES = 8 << 10
MOST_STRANGE = 8
LOOK_AGAIN = 32
"""After so many strange heads in a row (one with another title each, say) only every so manieth is looked up."""

MOST_ID_BYTES = 200
MOST_HOLES = 8

_HOLE = re.compile(
    rb"\r\n(?:(?P<length>content-length): (?=[0-9]{1,6}\r)|(?:%b): )([!-~]{1,%d}+)(?=\r\n)"
    % (b"|".join(sorted(IDS, reverse=True)), MOST_ID_BYTES),
    re.IGNORECASE,
)
_PLAIN = bytes(range(0x21, 0x7F))
_DIGITS = 6


class HeadName(NamedTuple):
    """A head's bytes but for its holes, the digits of its length and ids: what stands before each of the ids that come
    before the length, before the length, before each of the ids that come after it, and behind all of them."""

    before: tuple[bytes, ...]
    length: bytes
    after: tuple[bytes, ...]
    behind: bytes


class KnownHead:
    """A POST to a cached endpoint that the lane may answer, but for its body. `told` is what the shelf wants to know of
    it (see `name_of`). `said` is found out when the story is told for the first time, and None until then. Where
    `varies` is set, the ids in `headers` are those of one request: for the shelf only, a story wants its own."""

    __slots__ = ("headers", "query", "route", "said", "told", "url", "varies")

    def __init__(self, url: bytes, route: Route, headers: Headers, told: bytes) -> None:
        self.url = url
        self.route = route
        self.headers = headers
        self.told = told
        self.query = url.partition(b"?")[2]
        self.said: Said | None = None
        self.varies = False


class Heads:
    """The heads that this worker knows, for all its connections; who came first goes first."""

    def __init__(self) -> None:
        self._known: dict[HeadName, KnownHead] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, name: HeadName) -> KnownHead | None:
        """What is known of the head with this name."""
        return self._known.get(name)

    def keep(self, name: HeadName, head: KnownHead) -> bool:
        """Remember `head`, which the parser has found in a read of this name; False where it is too long for that."""
        parts = name.length, name.behind, *name.before, *name.after
        if sum(map(len, parts)) > MOST_HEAD_BYTES:
            return False
        head.varies = len(parts) > 2
        if len(self._known) >= MOST_HEADS:
            del self._known[next(iter(self._known))]
        self._known[name] = head
        return True


class Found(NamedTuple):
    """A read that begins with a whole head: its name, how long it says the body is, and where that begins."""

    name: HeadName
    length: int
    body: int


def named(data: bytes) -> Found | None:
    """What `data` begins with; None where that is no whole head, or does not say how long its body is."""
    end = data.find(b"\r\n\r\n") + 2
    parts: list[bytes] = []
    start, length_at, length = 0, -1, 0
    for hole in _HOLE.finditer(data, 0, end):
        if hole["length"] is not None:
            if length_at >= 0:
                return None
            length_at, length = len(parts), int(hole[2])
        parts.append(data[start : hole.start(2)])
        start = hole.end()
    if length_at < 0 or len(parts) > MOST_HOLES:
        return None
    before, after = tuple(parts[:length_at]), tuple(parts[length_at + 1 :])
    return Found(HeadName(before, parts[length_at], after, data[start : end + 2]), length, end + 2)


def body_at(name: HeadName, data: bytes) -> int:
    """Where the body begins in `data`, if that is one whole request whose head has this name; else 0. Quicker than
    `named`."""
    before, part, after, behind = name
    start = _past(before, data, 0) if before else 0
    if start < 0 or not data.startswith(part, start):
        return 0
    start += len(part)
    stop = data.find(b"\r", start, start + _DIGITS + 1)
    if stop < 0:
        return 0
    digits = data[start:stop]
    if after:
        stop = _past(after, data, stop)
    if stop < 0 or not data.startswith(behind, stop):
        return 0
    body = stop + len(behind)
    return body if digits.isdigit() and int(digits) == len(data) - body else 0


def _past(parts: tuple[bytes, ...], data: bytes, start: int) -> int:
    """Where `parts` end in `data`, each of them with an id behind it; -1 where something else stands there."""
    for part in parts:
        if not data.startswith(part, start):
            return -1
        start += len(part)
        stop = data.find(b"\r", start, start + MOST_ID_BYTES + 1)
        if stop <= start or data[start:stop].translate(None, _PLAIN):
            return -1
        start = stop
    return start


def worth_a_look(strange: int) -> bool:
    """Whether a head is to be looked up after so many in a row that were not known."""
    return strange < MOST_STRANGE or not strange % LOOK_AGAIN
