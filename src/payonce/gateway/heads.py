"""Heads of requests that are known: a client says the same with every request, but for the length of its body.

What the parser and the checks made of a head once holds for the same bytes again; only the digits of its
Content-Length may be others. Bounded in number and bytes. This room must never parse: it compares.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from payonce.gateway.routes import Route
from payonce.intake import Said
from payonce.model.call import Headers

MOST_HEADS = 256
MOST_HEAD_BYTES = 8 << 10
MOST_STRANGE = 8
LOOK_AGAIN = 32
"""After so many strange heads in a row (one with another request id each, say) only every so manieth is looked up."""

_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,6})\r\n")
_DIGITS = 6

HeadName = tuple[bytes, bytes]
"""A head's bytes before and behind the digits of its length."""


class KnownHead:
    """A POST to a cached endpoint that the lane may answer, but for its body. `told` is what the shelf wants to know of
    it (see `name_of`). `said` is found out when the story is told for the first time, and None until then."""

    __slots__ = ("headers", "query", "route", "said", "told", "url")

    def __init__(self, url: bytes, route: Route, headers: Headers, told: bytes) -> None:
        self.url = url
        self.route = route
        self.headers = headers
        self.told = told
        self.query = url.partition(b"?")[2]
        self.said: Said | None = None


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
        if len(name[0]) + len(name[1]) > MOST_HEAD_BYTES:
            return False
        if len(self._known) >= MOST_HEADS:
            del self._known[next(iter(self._known))]
        self._known[name] = head
        return True


class Parts(NamedTuple):
    """A read that begins with a whole head: how long it says the body is, and what came behind it."""

    length: int
    behind: bytes


def named(data: bytes) -> tuple[HeadName, Parts] | None:
    """The name of the head with which `data` begins; None where it does not, or does not say how long its body is."""
    end = data.find(b"\r\n\r\n") + 2
    found = _LENGTH.search(data, 0, end)
    if found is None:
        return None
    start, stop = found.span(1)
    return (data[:start], data[stop : end + 2]), Parts(int(data[start:stop]), data[end + 2 :])


def body_at(name: HeadName, data: bytes) -> int:
    """Where the body begins in `data`, if that is one whole request whose head has this name; else 0. Quicker than
    `named`."""
    before, behind = name
    if not data.startswith(before):
        return 0
    start = len(before)
    stop = data.find(b"\r", start, start + _DIGITS + 1)
    if stop < 0 or not data.startswith(behind, stop):
        return 0
    digits, body = data[start:stop], stop + len(behind)
    return body if digits.isdigit() and int(digits) == len(data) - body else 0


def worth_a_look(strange: int) -> bool:
    """Whether a head is to be looked up after so many in a row that were not known."""
    return strange < MOST_STRANGE or not strange % LOOK_AGAIN
