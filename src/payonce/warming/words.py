"""The words of warming: a request, how sending it once ended, how it ended at last, and the sum of all.

This room must never do anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from payonce.model.call import Headers

TRIES = 6
"""How often a request is sent at most, where the upstream says "later"."""
LONGEST_WAIT = 600.0
"""Seconds; an upstream that asks for more patience is not asked again."""
LATER = frozenset((429, 503, 529))
"""The upstream did nothing and charged nothing. Whatever else failed may have been paid for, and is not repeated."""
_NANO = Decimal(10**9)


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `number` is its line, or its place in a list from 1."""

    number: int
    endpoint: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that is no request."""

    number: int
    because: str


class Warmth(StrEnum):
    """How one request ended."""

    HIT = "hit"
    """It was in the cache already."""
    KEPT = "kept"
    """It was asked, or somebody else just did, and its answer was kept."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending a request once. `cost` is in billionths of a US dollar, None where it is not known; `status`
    is the upstream's, 0 where there was none; `later` is for how many seconds it asked to wait, None where it did not
    say. `paid` tells that this very request made a call."""

    warmth: Warmth
    because: str = ""
    status: int = 0
    cost: int | None = None
    later: float | None = None
    paid: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """A request that will not be sent again."""

    number: int
    sent: Sent
    tries: int


@dataclass(slots=True)
class Summary:
    """How it went. `cost` adds up, in billionths of a US dollar, what is known; `unpriced` counts the calls whose price
    is not; `failed` has the number of each request that is not warm, and why; `complete` is False where it was stopped
    before the end; `because` says why the store did not keep answers, after which nothing more was sent; empty where it
    kept all."""

    counts: Counter[Warmth] = field(default_factory=Counter)
    failed: list[tuple[int, str]] = field(default_factory=list)
    cost: int = 0
    unpriced: int = 0
    complete: bool = True
    because: str = ""

    @property
    def warm(self) -> bool:
        """Whether every request is in the cache now."""
        return self.complete and not (self.failed or self.because)

    @property
    def hits(self) -> int:
        """How many were in the cache already."""
        return self.counts[Warmth.HIT]

    @property
    def kept(self) -> int:
        """How many are in the cache since now."""
        return self.counts[Warmth.KEPT]

    @property
    def spent(self) -> Decimal:
        """The money spent, in US dollars, as far as the answers say it."""
        return Decimal(self.cost) / _NANO


OnDone = Callable[[Done, Summary], None]
"""Is told of each request that is done, and of the sum so far."""


Trouble = Callable[[], str]
"""Says why nothing more may be sent; empty as long as it may."""


def untroubled() -> str:
    """Nothing is wrong."""
    return ""


def silent(_done: Done, _summary: Summary) -> None:
    """Tells nobody."""
