"""Prefixes that were written to a provider's cache and not yet read: which of them expired without ever being read.

Somebody who knows prefixes (the planner, the doctor) says what was written and read; what is forgotten because there is
too much of it is counted as forgotten, not as unread. This room must never read a request, a price table or a clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

LIVES: Final = {"5m": 300.0, "1h": 3600.0}
"""Seconds that an entry lives at least (Anthropic: from the start of the request that wrote or last read it)."""


class PrefixId(NamedTuple):
    """One cached prefix: whose, of which model, and which (any id that is the same for the same prefix)."""

    tenant: str
    model: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Expired:
    """What expired unread: tokens, and the premium that was paid for writing them in US dollars."""

    writes: int = 0
    tokens: int = 0
    premium: Decimal = Decimal(0)


@dataclass(slots=True)
class _Written:
    tokens: int
    premium: Decimal
    until: float
    life: float


class Unread:
    """The writes that wait to be read. Not thread safe. Holds at most `limit` prefixes, the oldest are forgotten."""

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit
        self.forgotten = 0
        self._waiting: OrderedDict[PrefixId, _Written] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def wrote(self, key: PrefixId, tokens: int, premium: Decimal, now: float, *, ttl: str = "5m") -> Expired:
        """`tokens` were written under `key` at `now` (seconds on any clock, the start of the request). Returns what an
        earlier write under the key lost, which it replaces: it expired, or was written anew without being read."""
        life = LIVES.get(ttl, LIVES["5m"])
        before = self._waiting.pop(key, None)
        self._waiting[key] = _Written(tokens, premium, now + life, life)
        if len(self._waiting) > self.limit:
            self._waiting.popitem(last=False)
            self.forgotten += 1
        return Expired() if before is None else Expired(1, before.tokens, before.premium)

    def read(self, key: PrefixId, now: float) -> bool:
        """The prefix was read at `now`: its write has paid. Whether it was waiting, and still alive."""
        found = self._waiting.get(key)
        if found is None or found.until <= now:
            return False
        del self._waiting[key]
        return True

    def expire(self, now: float) -> Expired:
        """Take out what expired unread by `now`, and what it cost."""
        gone = [key for key, found in self._waiting.items() if found.until <= now]
        lost = [self._waiting.pop(key) for key in gone]
        return Expired(len(lost), sum(one.tokens for one in lost), sum((one.premium for one in lost), Decimal(0)))
