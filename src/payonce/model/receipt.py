"""How an exchange and a flight ended: values for the ledger, headers and tests. This room must never count or print."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.reason import Reason


class Outcome(StrEnum):
    """How a request was answered."""

    HIT = "hit"
    MISS = "miss"
    COLLAPSED = "collapsed"
    STALE = "stale"
    BYPASS = "bypass"
    REFUSED = "refused"


class Saved(msgspec.Struct, frozen=True):
    """What the stored part of a batch spared. `calls` is 1 where nothing went upstream, and `took` then how long that
    would have taken; `size` is what was served, in bytes."""

    tokens: Tokens
    calls: int
    took: float
    size: int
    model: str


class Receipt(msgspec.Struct, frozen=True):
    """One exchange: how the client was answered and why not from the cache. `entry` is what was served, if anything;
    `saved` stands in its place for a batch, `converted` says that it was stored in the other framing. `flight` is the
    number of the request whose upstream call answered, or renews the stale answer that was served; 0 where none did."""

    outcome: Outcome
    reason: Reason | None = None
    entry: Entry | None = None
    saved: Saved | None = None
    converted: bool = False
    flight: int = 0

    @property
    def spared(self) -> Entry | None:
        """What was served in place of an upstream call; None where one was made all the same, for whatever reason."""
        served = self.outcome is Outcome.HIT or self.outcome is Outcome.STALE
        return self.entry if served and not self.flight else None


class Hits(NamedTuple):
    """The fast lane gave the answer that stands at `slot` so often in a row; `request` is the number that was said with
    the last of them, 0 where none was."""

    entry: Entry
    slot: bytes
    times: int
    converted: bool
    request: int = 0


class Came(StrEnum):
    """What came of waiting for another process that made the same call."""

    BROUGHT = "brought"
    """Its answer."""
    NOTHING = "nothing"
    """It died, or its answer was not kept, or nobody could tell any more."""
    IN_VAIN = "in_vain"
    """It was still at it when the time was over."""


class Waited(msgspec.Struct, frozen=True):
    """How long a flight waited for another process that made the same call, and what came of it."""

    seconds: float
    came: Came


class Landing(msgspec.Struct, frozen=True):
    """One flight: what the upstream's answer said of itself (`facts`), and why it was not kept (`reason`). `entries`
    is what a batch's answer was divided into, item by item, kept or not. `waited` is there where another process was
    awaited."""

    facts: Facts | None
    reason: Reason | None
    took: float
    entries: tuple[Entry, ...] = ()
    waited: Waited | None = None

    @property
    def brought(self) -> bool:
        """Whether another process has paid for the answer."""
        return self.waited is not None and self.waited.came is Came.BROUGHT
