"""Which prefixes of a request to keep, and for how long: the choice of least expected cost.

Prefixes are nested, so a choice is a depth (how far to write) and, within it, how far for an hour. A token that is not
in the cache now costs `write - 1` more if it is written. If it is used again in time, it is read where it would have
been written again: that saves `write - read`. So writing gains `chance * (write - read) - (write - 1)` a token; what
another request is just writing gains nothing. Writing only where that is positive is right one step ahead and, as long
as the chances stay the same, for ever after (docs/design/planner.md). All costs are counted in tokens at the plain
price. This room must never know a body, nor where a marker is put.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from payonce.optimise.traits import Traits


@dataclass(frozen=True, slots=True)
class Point:
    """A prefix that could be kept: it ends at block `at`, holds `tokens`, and is used again within five minutes with
    the chance `short`, after that within the hour with the chance `long`. `grows` is the share of these uses
    that are a next turn of the same conversation, behind which more is written then.

    Of the next use by another conversation, `late` is the chance that it comes after a pause of more than five minutes
    in all use, and none of more than an hour; `lost` that it comes later, or never."""

    at: int
    tokens: float
    short: float
    long: float
    grows: float = 0.0
    late: float = 0.0
    lost: float = 1.0
    seen: bool = True
    """Whether it, or another of its kind, was seen before."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How many tokens of the request can be read now (`alive`), and will be for an hour (`long`); how many another
    request is just writing (`flight`)."""

    alive: float = 0.0
    long: float = 0.0
    flight: float = 0.0


@dataclass(frozen=True, slots=True)
class Allowed:
    """The largest premium that may be paid now, in plain tokens: in all, for what nothing was seen of before, and where
    an hour is part of it."""

    all: float
    unseen: float
    hour: float = inf

    def holds(self, choice: Choice) -> bool:
        """Whether a choice stays within it."""
        most = min(self.all, self.hour) if choice.long else self.all
        return choice.premium <= most and choice.unseen <= self.unseen


@dataclass(frozen=True, slots=True)
class Choice:
    """Write the points before `depth`; those before `long` for an hour. `gain` is the expected saving, `premium` what
    it costs now, both in plain tokens; `unseen` is the part of it for points of which nothing was seen before."""

    depth: int
    long: int
    gain: float
    premium: float
    unseen: float


FREE = Allowed(inf, inf)
"""Everything is allowed."""
NOTHING = Choice(0, 0, 0.0, 0.0, 0.0)
_LEAST_END = 0.04
"""No conversation is believed to go on for ever: the least chance that this use was the last."""


def mortal(short: float, long: float, least: float = _LEAST_END) -> tuple[float, float]:
    """The chances, with the least chance of an end left over."""
    over = (short + long) / (1.0 - least)
    return (short / over, long / over) if over > 1.0 else (short, long)


def choose(points: Sequence[Point], kept: Kept, traits: Traits, reads_short: float, allowed: Allowed) -> Choice:
    """The choice that saves most; nothing where nothing saves. `reads_short` is how far we believe that a marker of an
    hour reads a live entry of five minutes; `allowed` is the largest premium that may be paid now."""
    best = NOTHING
    for depth in range(1, len(points) + 1):
        for long in range(depth + 1 if traits.write_1h is not None else 1):
            choice = _weigh(points, kept, traits, reads_short, depth, long)
            if choice.gain > best.gain and allowed.holds(choice):
                best = choice
    return best


def _weigh(points: Sequence[Point], kept: Kept, traits: Traits, reads_short: float, depth: int, long: int) -> Choice:
    gain = premium = unseen = 0.0
    done = kept.alive
    for number in range(depth):
        point = points[number]
        new = point.tokens - done
        if new <= 0:
            continue
        twice = max(0.0, min(point.tokens, kept.flight) - done)
        done = point.tokens
        hour = number < long
        cost = (traits.write_1h if hour and traits.write_1h is not None else traits.write_5m) - 1.0
        premium += new * cost
        unseen += 0.0 if point.seen else new * cost
        gain += (new - twice) * _worth(point, traits, reads_short, hour=hour) - new * cost
    gain += _raised(points, kept, traits, reads_short, depth, long)
    return Choice(depth, long, gain, premium, unseen)


def _worth(point: Point, traits: Traits, reads_short: float, *, hour: bool) -> float:
    """What a token saves later if it is written now: the chance of a use in time, times what not finding it costs."""
    later = reads_short * point.grows
    missed = later * _missed(point, traits)
    short = point.short * (missed + (1.0 - later) * (traits.write_5m - traits.read))
    if not hour or traits.write_1h is None:
        return short
    long = (point.short + point.long) * (missed + (1.0 - later) * (traits.write_1h - traits.read))
    more = traits.write_1h - traits.write_5m
    return max(long, short + more + point.late * (traits.write_5m - traits.read) - point.lost * more)


def _missed(point: Point, traits: Traits) -> float:
    """What it costs not to find a token of a growing conversation, where an entry of an hour can be put behind it at
    any later turn for next to nothing: the least over writing it for five minutes, for an hour, and never."""
    again = (traits.write_5m - traits.read) / max(1.0 - point.long, _LEAST_END)
    never = (1.0 - traits.read) / max(1.0 - point.short - point.long, _LEAST_END)
    return min(again, never, (traits.write_1h or again) - traits.read)


def _raised(points: Sequence[Point], kept: Kept, traits: Traits, reads_short: float, depth: int, long: int) -> float:
    """What it is worth that an entry of an hour behind live ones of five minutes covers their tokens as well.

    If a marker of an hour reads such entries, that costs nothing more; it could as well be done a turn later, so only
    the next pause counts. If it doesn't and no shorter marker follows, they are written again, which only pays over all
    pauses to come.
    """
    if not long or traits.write_1h is None or points[long - 1].tokens <= kept.alive:
        return 0.0
    free = again = 0.0
    done = kept.long
    tail = points[-1]
    lost, longer = traits.write_5m - traits.read, traits.write_1h - traits.read
    for point in points:
        exposed = min(point.tokens, kept.alive) - done
        if exposed <= 0:
            continue
        done += exposed
        free += exposed * _missed(point, traits) * tail.long
        ever = tail.long / max(_LEAST_END, 1.0 - tail.short - tail.long)
        again += exposed * (lost * ever - longer)
    if depth > long:
        return free
    return reads_short * free + (1.0 - reads_short) * again
