"""How an exchange and a flight ended: values for the ledger, headers and tests. This room must never count or print."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from payonce.model.entry import Entry, Facts
from payonce.model.reason import Reason


class Outcome(StrEnum):
    """How a request was answered."""

    HIT = "hit"
    MISS = "miss"
    COLLAPSED = "collapsed"
    STALE = "stale"
    BYPASS = "bypass"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One exchange: how the client was answered and why not from the cache. `entry` is what was served, if anything;
    `converted` says that it was stored in the other framing."""

    outcome: Outcome
    reason: Reason | None = None
    entry: Entry | None = None
    converted: bool = False


@dataclass(frozen=True, slots=True)
class Landing:
    """One flight: what the upstream's answer said of itself (`facts`), and why it was not kept (`reason`)."""

    facts: Facts | None
    reason: Reason | None
    took: float
