"""How likely a prefix is used again, and how soon: hazards by interval, learned from the times between its uses.

An *exposure* begins when a prefix is used and ends when it is used again. Time since its beginning is cut into
intervals; in each, an exposure either ends or survives it. What survives so far counts as far as it got (the estimate
of Kaplan and Meier), so that a request of a minute ago is already evidence. Levels are stacked: what is known of this
very prefix or conversation pulls the estimate of its kind for this tenant, which pulls that of everybody, which pulls
the prior. Old evidence fades. Pure arithmetic: this room must never know a body, a price or a marker.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Final

EDGES: Final = (1.0, 4.0, 15.0, 45.0, 120.0, 300.0, 900.0, 1800.0, 3600.0)
"""Ends of the intervals, in seconds. Beyond the last, a use is a new beginning."""
SHORT: Final = 6
"""So many intervals lie within five minutes."""
HALF: Final = 8
"""So many lie within half an hour."""
_BINS: Final = len(EDGES)


class Cell:
    """What was seen at one level: uses and exposures by interval. Both fade with each new one."""

    __slots__ = ("ends", "fade", "seen")

    def __init__(self, fade: float = 1.0) -> None:
        self.ends = [0.0] * _BINS
        self.seen = [0.0] * _BINS
        self.fade = fade

    def survived(self, interval: int) -> None:
        self.ends[interval] *= self.fade
        self.seen[interval] = self.seen[interval] * self.fade + 1.0

    def ended(self, interval: int) -> None:
        self.ends[interval] = self.ends[interval] * self.fade + 1.0
        self.seen[interval] = self.seen[interval] * self.fade + 1.0

    def any_ended(self) -> bool:
        """Whether a next use was seen, and not too long ago."""
        return sum(self.ends) > _A_USE


_A_USE: Final = 0.5


class Exposure:
    """One wait for the next use; `cells` are the levels that learn from it."""

    __slots__ = ("cells", "open", "start")

    def __init__(self, start: float, cells: Sequence[Cell]) -> None:
        self.start = start
        self.cells = cells
        self.open = True


class Waits:
    """All exposures that are open, in the order in which they leave their interval. At most `most` of them."""

    __slots__ = ("_most", "_open", "_queues")

    def __init__(self, most: int) -> None:
        self._queues: tuple[deque[Exposure], ...] = tuple(deque() for _ in EDGES)
        self._most = most
        self._open = 0

    def begin(self, now: float, cells: Sequence[Cell]) -> Exposure:
        """A prefix was used: wait for its next use."""
        exposure = Exposure(now, cells)
        if self._open >= self._most:
            self._forget()
        self._queues[0].append(exposure)
        self._open += 1
        return exposure

    def end(self, exposure: Exposure, now: float) -> None:
        """It was used again. `advance` was called with this time before."""
        if exposure.open:
            exposure.open = False
            interval = bisect_right(EDGES, now - exposure.start)
            if interval < _BINS:
                for cell in exposure.cells:
                    cell.ended(interval)

    def drop(self, exposure: Exposure, _now: float) -> None:
        """It is watched no longer: it counts as far as it got."""
        exposure.open = False

    def fail(self, exposure: Exposure, now: float) -> None:
        """It will not be used again: something before it changed. It survives every interval at once."""
        if exposure.open:
            exposure.open = False
            for interval in range(bisect_right(EDGES, now - exposure.start), _BINS):
                for cell in exposure.cells:
                    cell.survived(interval)

    def advance(self, now: float) -> None:
        """Let everything that is open survive the intervals that have passed."""
        for interval, queue in enumerate(self._queues):
            edge = now - EDGES[interval]
            while queue and (queue[0].start <= edge or not queue[0].open):
                exposure = queue.popleft()
                if not exposure.open:
                    self._open -= 1
                    continue
                for cell in exposure.cells:
                    cell.survived(interval)
                if interval + 1 < _BINS:
                    self._queues[interval + 1].append(exposure)
                else:
                    exposure.open = False
                    self._open -= 1

    def _forget(self) -> None:
        """Drop the exposure that has waited longest."""
        for queue in reversed(self._queues):
            if queue:
                queue.popleft().open = False
                self._open -= 1
                return


Hazards = tuple[float, ...]


def spread(short: float, long: float) -> Hazards:
    """Hazards that give the chances `short` (within five minutes) and `long` (after these, within the hour)."""
    parts = (*(share * short for share in _SHORT_SHARES), *(share * long for share in _LONG_SHARES))
    left, hazards = 1.0, []
    for part in parts:
        hazards.append(part / left)
        left -= part
    return tuple(hazards)


_SHORT_SHARES: Final = (0.05, 0.2, 0.3, 0.2, 0.15, 0.1)
_LONG_SHARES: Final = (0.5, 0.3, 0.2)


def blend(prior: Hazards, levels: Sequence[tuple[Cell | None, float]], late: float | None = None) -> Hazards:
    """The hazards after what each level saw, from the most general to the most special; the number is how many
    exposures the level above is worth.

    With `late`, the prior's later intervals are set by what was learned of the first five minutes: what is used again
    often is used again late, too. It is the chance of a use within the hour where there was none in five minutes, for
    a prefix that surely is used again; for one that surely isn't, a tenth of that.
    """
    hazards = list(prior)
    _blend(hazards, levels, 0, SHORT)
    if late is not None:
        left = 1.0
        for hazard in hazards[:SHORT]:
            left *= 1.0 - hazard
        chance = late * (0.1 + 0.9 * (1.0 - left))
        rest = 1.0
        for i, share in enumerate(_LONG_SHARES):
            hazards[SHORT + i] = share * chance / rest
            rest -= share * chance
    _blend(hazards, levels, SHORT, _BINS)
    return tuple(hazards)


def _blend(hazards: list[float], levels: Sequence[tuple[Cell | None, float]], first: int, end: int) -> None:
    for cell, weight in levels:
        if cell is not None:
            ends, seen = cell.ends, cell.seen
            for i in range(first, end):
                hazards[i] = (ends[i] + weight * hazards[i]) / (seen[i] + weight)


Chances = tuple[float, float, float]


def chances(hazards: Hazards, unread: float = 0.0) -> Chances:
    """The chances of a next use within five minutes, after that within half an hour, and after that within the hour.
    `unread` is the share of uses in the first interval that come too early to read anything."""
    left, sums = 1.0, [0.0, 0.0, 0.0]
    for interval, hazard in enumerate(hazards):
        part = left * hazard
        left -= part
        group = 0 if interval < SHORT else 1 if interval < HALF else 2
        sums[group] += part * (1.0 - unread) if interval == 0 else part
    return sums[0], sums[1], sums[2]


def rhythm(general: Chances, own: Chances) -> Chances:
    """The chances of a conversation: that it goes on as its kind does, and when as it does itself. What a conversation
    did so far can't show that it ends."""
    goes_on, own_goes_on = sum(general), sum(own)
    if own_goes_on <= 0:
        return general
    scale = goes_on / own_goes_on
    return own[0] * scale, own[1] * scale, own[2] * scale


def either(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The chances (within five minutes, after that within the hour) that one of two independent things happens."""
    none_short = (1.0 - one[0]) * (1.0 - other[0])
    none = max(0.0, 1.0 - one[0] - one[1]) * max(0.0, 1.0 - other[0] - other[1])
    return 1.0 - none_short, max(0.0, none_short - none)
