"""Hits that the story told, added up as they come: what many of them have in common is entered once, not each time.

A hit is answered in some tens of microseconds, so what is written down of it has to fit into one of them. This room
must never do I/O, and never keeps an ask or an entry alive.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, NamedTuple

from payonce.ledger.avoiding import Avoided
from payonce.model.call import Ask
from payonce.model.entry import Entry, Facts
from payonce.model.key import Key
from payonce.model.ports import Clock
from payonce.model.receipt import Hits

BUCKETS: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
"""Upper bounds of the latency histogram, in seconds."""
OWED: Final = 16_384
"""So many hits of one scene that did not say their cost are valued later; the others stay of unknown price."""
SHOWN: Final = 100
"""So many hits are told of by themselves each time; all of them are in the sums."""

Scene = tuple[str, str, str, str]
"""Tenant, namespace, endpoint, model."""


class Hit(NamedTuple):
    """One of them: `at` in Unix seconds, `took` in seconds, `size` in bytes; `request` is its number."""

    at: float
    took: float
    request: int
    scene: Scene
    key: Key
    converted: bool
    facts: Facts
    size: int


class HitSums:
    """What the hits of one scene add up to: `cost` in billionths of a dollar, `took` and `spared` (what upstreams would
    have taken) in seconds, `size` in bytes. What has said no cost, and how often, is `owed` a value; for `unpriced`
    there was no room among these."""

    __slots__ = (
        *("converted", "cost", "input", "output", "owed", "requests"),
        *("scene", "size", "spared", "took", "unpriced"),
    )

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.requests = self.converted = self.size = 0
        self.input = self.output = self.cost = self.unpriced = 0
        self.took = self.spared = 0.0
        self.owed: list[tuple[Facts, int]] = []

    def add(self, entry: Entry, took: float, times: int = 1, *, converted: bool = False) -> None:
        """`entry` was served so many times, `took` seconds in all after it was asked for."""
        spent = entry.facts.tokens
        self.requests += times
        self.took += took
        self.spared += entry.took * times
        self.size += len(entry.body) * times
        self.input += (spent.input or 0) * times
        self.output += (spent.output or 0) * times
        if spent.cost is not None:
            self.cost += spent.cost * times
        elif len(self.owed) < OWED:
            self.owed.append((entry.facts, times))
        else:
            self.unpriced += times
        if converted:
            self.converted += times

    @property
    def avoided(self) -> Avoided:
        """The upstream calls that these hits spared, but for the value that is owed."""
        return Avoided(self.requests, self.input, self.output, self.cost, round(self.spared * 1e9), self.unpriced)


class Told(NamedTuple):
    """Everything since the last time; `histogram` has a count for each bucket, and one for what is above them."""

    sums: tuple[HitSums, ...]
    histogram: list[int]
    shown: list[Hit]


class HitBook:
    """See the room's first paragraph. Not safe for threads. It grows with the number of scenes, so whoever owns it
    takes from it often."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sums: dict[Scene, HitSums] = {}
        self._histogram = [0] * (len(BUCKETS) + 1)
        self._shown: list[Hit] = []

    def __len__(self) -> int:
        return len(self._sums)

    def add(self, ask: Ask, entry: Entry, took: float, *, converted: bool) -> None:
        """`entry` was served for `ask`, `took` seconds after it came."""
        scene = (ask.tenant, ask.namespace, ask.call.endpoint, ask.intent.model)
        sums = self._sums.get(scene)
        if sums is None:
            sums = self._sums[scene] = HitSums(scene)
        sums.add(entry, took, converted=converted)
        self._histogram[bisect_left(BUCKETS, took)] += 1
        if len(self._shown) < SHOWN:
            size = len(entry.body)
            self._shown.append(Hit(self._clock(), took, ask.call.number, scene, ask.key, converted, entry.facts, size))

    def take(self) -> Told:
        """Everything since the last time."""
        told = Told(tuple(self._sums.values()), self._histogram, self._shown)
        self._sums, self._histogram, self._shown = {}, [0] * (len(BUCKETS) + 1), []
        return told


def summed(hits: Iterable[Hits], seconds: float) -> tuple[HitSums, ...]:
    """What hits of the fast lane add up to, by scene; each took so many seconds."""
    found: dict[Scene, HitSums] = {}
    for each in hits:
        entry = each.entry
        scene = (entry.tenant, entry.namespace, entry.endpoint, entry.model)
        sums = found.get(scene)
        if sums is None:
            sums = found[scene] = HitSums(scene)
        sums.add(entry, seconds * each.times, each.times, converted=each.converted)
    return tuple(found.values())
