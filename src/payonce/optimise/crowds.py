"""How requests come to one place of the tree, and where they go on from it.

A document that was asked about once in forty questions comes again when the next forty have come; how soon that is, and
whether questions go to what was asked about before at all, shows at the place where the documents part, long before it
shows at the document. Pure arithmetic: this room must never know a body, a price or a marker.
"""

from __future__ import annotations

from math import exp
from typing import Final

from payonce.optimise.chances import EDGES, Hazards

_STILL: Final = 0.97
"""What is left of a request's evidence when the next one comes."""
_NEW: Final = (2.0, 0.9)
"""Before anything was seen: so many requests went somewhere, and this share of them to where nobody went again."""
_STAY: Final = 2.0
"""So many requests did not stay where the one before them was."""
_PACE: Final = (0.5, 30.0)
"""So many requests came within so many seconds."""


class Crowd:
    """The requests that came to a place, and the ways they took from it."""

    __slots__ = ("_again", "_by_chance", "_came", "_last", "_once", "_seconds", "_steps", "_uses", "_way")

    def __init__(self) -> None:
        self._last: float | None = None
        self._seconds = self._steps = self._came = self._once = 0.0
        self._again = self._by_chance = 0.0
        self._way: object = None
        self._uses = 0

    def arrive(self, now: float, way: object, uses: int) -> None:
        """A request goes on to `way`, which `uses` others took before it."""
        if self._last is not None:
            self._seconds = self._seconds * _STILL + min(now - self._last, EDGES[-1])
            self._steps = self._steps * _STILL + 1.0
            self._by_chance = self._by_chance * _STILL + self._chance(self._uses)
            self._again = self._again * _STILL + (1.0 if way is self._way else 0.0)
        self._last, self._way, self._uses = now, way, uses + 1
        self._came += 1.0
        self._once += 1.0 if uses == 0 else -1.0 if uses == 1 else 0.0

    def _chance(self, uses: int) -> float:
        """How likely the next request takes a way that so many took, if it stays nowhere: their share of those that go
        where others went. How many go where nobody went is how many ways were taken once (Good and Turing)."""
        known = 1.0 - (max(self._once, 0.0) + _NEW[0] * _NEW[1]) / (self._came + _NEW[0])
        return known * uses / max(self._came, uses)

    def hazards(self, uses: int) -> Hazards:
        """When a way is taken again that so many requests took, the last of them just now."""
        stay = max(0.0, (self._again - self._by_chance) / (self._steps + _STAY))
        chance = self._chance(uses)
        soon = stay + (1.0 - stay) * chance  # that the next request stays here says nothing of those after it
        rate = (self._steps + _PACE[0]) / (self._seconds + _PACE[1])
        shape = 1.0 + uses  # how well the rate is known: so many uses speak for it
        left, hazards = 1.0, []
        for edge in EDGES:
            later = (1.0 + rate * chance * edge / shape) ** -shape
            after = soon * exp(-rate * edge) + (1.0 - soon) * later
            hazards.append(1.0 - after / left if left > 0.0 else 1.0)
            left = after
        return tuple(hazards)

    def known(self, against: float) -> float:
        """How far its hazards are to be believed, where `against` requests' worth speaks for others."""
        return self._steps / (self._steps + against)


def next_of_others(own: tuple[float, float], others: tuple[float, float]) -> tuple[float, float]:
    """Of a beginning's next use by another conversation: the chances that it comes after a pause of more than five
    minutes in all use, but none of more than an hour; and that it comes later or never. `own` are the chances (within
    five minutes, after that within the hour) that the conversation at hand goes on, `others` that another one comes,
    both from the last use of any kind: a turn of the own conversation only begins another pause."""
    soon = own[0] + others[0]
    if soon <= 0.0 or others[0] + others[1] <= 0.0:
        return 0.0, 1.0
    rest = (1.0 - own[0]) * (1.0 - others[0])
    own_late, other_late = own[1] / max(1.0 - own[0], 1e-9), others[1] / max(1.0 - others[0], 1e-9)
    late = rest * (1.0 - (1.0 - own_late) * (1.0 - other_late))
    own_soon = (1.0 - rest) * own[0] / soon
    own_later = late * own_late / max(own_late + other_late, 1e-9)
    in_time = (1.0 - rest) * others[0] / soon / (1.0 - own_soon)
    lost = (rest - late) / (1.0 - own_soon - own_later)
    return max(0.0, 1.0 - in_time - lost), lost
