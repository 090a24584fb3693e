"""From a request that was followed down the tree to the markers it gets: candidates, choice, slots, lifetimes.

`decide.py` chooses what is worth keeping; here that becomes at most so many markers as the provider takes, longer
lifetimes before shorter ones, with one on what is kept already wherever the look-back would not find it. This room
must never change a body.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from payonce.optimise.accounts import Account, Stake
from payonce.optimise.chances import either
from payonce.optimise.crowds import next_of_others
from payonce.optimise.decide import FREE, Allowed, Choice, Kept, Point, choose, mortal
from payonce.optimise.learned import Model
from payonce.optimise.limits import allowed
from payonce.optimise.memory import Memory
from payonce.optimise.nodes import Node, Sight
from payonce.optimise.prefix import Prefix
from payonce.optimise.traits import Traits, tables

Ttl = Literal["auto", "5m", "1h"]

_MARGIN = 1.0
"""Entries that end within so many seconds are not relied upon."""
_LEAST_STOP = 0.1
"""No beginning is believed to be used for ever: the least chance that nobody else comes within the hour."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A marker: `fresh` if something is written up to it, `node` where that is remembered."""

    at: int
    ttl: str
    fresh: bool
    node: Node
    tokens: float
    chance: float


@dataclass(frozen=True, slots=True)
class Keeping:
    """The markers of one request, in order, and what is expected of them (tokens; cost in plain ones)."""

    marks: tuple[Mark, ...] = ()
    gain: float = 0.0
    read: float = 0.0
    paid: float = 0.0
    total: float = 0.0
    asks_short: float = 0.0
    """Tokens that are read only if a marker of an hour reads an entry of five minutes; 0 where nothing hangs on it."""
    under: bool = False
    """The whole prompt is under the minimum."""
    likely: float = 0.0
    alive: int = -1
    stake: Stake | None = None
    """What is paid more than the plain price, until it has been read."""


class Keeper:
    """One decision: everything it needs, worked out once."""

    def __init__(
        self,
        memory: Memory,
        prefix: Prefix,
        sight: Sight,
        traits: Traits,
        model: Model,
        account: Account,
        now: float,
        ttl: Ttl,
    ) -> None:
        self.memory = memory
        self.prefix = prefix
        self.sight = sight
        self.traits = replace(traits, write_1h=None) if ttl == "5m" else traits
        self.model = model
        self.account = account
        self.now = now
        self.ttl = ttl
        self.scale = model.per_character()
        self.minimum = model.minimum(traits.minimum, sight.talk.host)
        self.least = model.tried_from(traits.minimum, sight.talk.host)
        self.alive = self.long = self.flight = -1
        for at, node in sight.nodes.items():
            if node.until() <= now + _MARGIN or not prefix.able[at] or self.tokens(at) < self.least:
                continue
            if node.ready > now:
                self.flight = max(self.flight, at)
                continue
            self.alive = max(self.alive, at)
            if node.until_long > now + _MARGIN:
                self.long = max(self.long, at)

    def tokens(self, at: int) -> float:
        """The estimated length of the prefix that ends at a block."""
        return self.prefix.sizes[at] * self.scale if at >= 0 else 0.0

    def keep(self) -> Keeping:
        """The markers."""
        total = self.tokens(len(self.prefix) - 1)
        points = list(self._points())
        if not points:
            return Keeping(paid=total, total=total, under=total < self.least, likely=self.sight.tail[0])
        choice = self._choose(points, total)
        if self.ttl == "1h" and choice.depth and self.traits.write_1h is not None:
            choice = replace(choice, long=choice.depth)
        chosen = self._slots(points, choice)
        if not chosen:
            return Keeping(paid=total, total=total, likely=max(point.short for point in points))
        return self._settle(points, choice, chosen, total)

    # ------------------------------------------------------------------------------------------------- choices

    def _choose(self, points: list[Point], total: float) -> Choice:
        """The best that is allowed; what is wanted and not allowed is rehearsed."""
        sight = self.sight
        backed = sight.backed or any(one.backed for one in sight.beginnings)
        seen = sight.continued or self.alive >= 0 or any(one.node.uses > 1 for one in sight.beginnings)
        limits = allowed(self.account, self.model.account, total, self.now, seen=seen, backed=backed)
        kept = Kept(self.tokens(self.alive), self.tokens(self.long), self.tokens(self.flight))
        choice = wanted = self._best(points, kept, FREE)
        if not limits.holds(wanted):
            choice = self._best(points, kept, limits)
        self._rehearse(points, kept, choice, wanted)
        return choice

    def _best(self, points: list[Point], kept: Kept, limits: Allowed) -> Choice:
        return choose(points, kept, self.traits, self.model.reads_short, limits)

    def _rehearse(self, points: list[Point], kept: Kept, choice: Choice, wanted: Choice) -> None:
        """Go on beside what is done as if all that was wanted so far had been allowed, and note what that earns."""
        alive = long = -1
        hour = tables()["seconds"]["1h"]
        for at, node in self.sight.nodes.items():
            if node.rehearsed > self.now + _MARGIN:
                node.rehearse(self.now)
                alive = max(alive, at)
                long = max(long, at) if node.rehearsed_for >= hour else long
        if alive > self.alive or long > self.long:
            there = Kept(max(self.tokens(alive), kept.alive), max(self.tokens(long), kept.long), kept.flight)
            wanted = self._best(points, there, FREE)
        elif choice is wanted:
            return
        read = max(0.0, self.tokens(alive) - kept.alive) * (1.0 - self.traits.read)
        self.account.rehearse(read + choice.premium - wanted.premium)
        for number, point in enumerate(points[: wanted.depth]):
            if point.tokens >= self.minimum:
                node = self.memory.node(self.prefix, point.at, self.sight.nodes)
                node.rehearse(self.now, hour if number < wanted.long else tables()["seconds"]["5m"])

    # ---------------------------------------------------------------------------------------------- candidates

    def _points(self) -> Iterator[Point]:
        prefix, tail = self.prefix, self.sight.tail
        last = next((at for at in range(len(prefix) - 1, -1, -1) if prefix.able[at]), -1)
        if last < 0 or self.tokens(last) < self.least:
            return
        goes_on = mortal(tail[0], tail[1] + tail[2])
        expected = self.sight.continued or self.sight.backed
        near = next((at for at in range(last - 1, self.alive, -1) if prefix.able[at]), -1)
        near_seen = False
        for one in self.sight.beginnings:
            if one.at >= last or self.tokens(one.at) < self.least:
                continue
            near_seen = near_seen or one.at == near
            others = mortal(one.chances[0], one.chances[1] + one.chances[2], _LEAST_STOP)
            share = sum(goes_on) / max(sum(goes_on) + sum(others), 1e-9)
            yield Point(
                one.at,
                self.tokens(one.at),
                *mortal(*either(goes_on, others)),
                share,
                *next_of_others(goes_on, others),
                expected or one.backed or one.node.uses > 1,
            )
        if near >= 0 and not near_seen and self._is_after(near) and self.tokens(near) >= self.least:
            yield Point(near, self.tokens(near), *goes_on, grows=1.0, seen=expected)
        yield Point(last, self.tokens(last), *goes_on, grows=1.0, seen=expected)

    def _is_after(self, at: int) -> bool:
        return all(one.at < at for one in self.sight.beginnings) and self.alive >= 0

    # --------------------------------------------------------------------------------------------------- slots

    def _slots(self, points: list[Point], choice: Choice) -> list[int]:
        """The blocks to mark, at most as many as there are slots: what is chosen, what must be found again, then what
        others share."""
        wanted: list[int] = []
        if choice.depth:
            wanted.append(points[choice.depth - 1].at)
        if 0 < choice.long < choice.depth:
            wanted.append(points[choice.long - 1].at)
        deepest = max(wanted, default=-1)
        if self.alive >= 0 and self._out_of_sight(self.alive, wanted):
            wanted.append(self.alive)
        if self.long >= 0 and self.long != self.alive:
            wanted.append(self.long)
        shared = [one for one in self.sight.beginnings if one.at < max(deepest, self.alive)]
        shared = [one for one in shared if self.tokens(one.at) >= self.least]
        shared.sort(key=lambda one: (-one.node.uses * self.tokens(one.at), -one.at))
        wanted.extend(one.at for one in shared[:2])
        if self.alive >= 0:
            wanted.append(self.alive)
        if deepest >= 0 and self.alive < self.prefix.system and self.prefix.turns:
            wanted.extend(self._guessed(deepest))
        wanted.extend(one.at for one in shared[2:])
        return sorted(list(dict.fromkeys(wanted))[: self.traits.slots])

    def _out_of_sight(self, at: int, wanted: list[int]) -> bool:
        """Whether no marker behind a block would find the entry there by looking back."""
        spots = self.prefix.spots
        return not any(0 <= spots[other] - spots[at] < self.traits.lookback - 4 for other in wanted if other >= at)

    def _guessed(self, deepest: int) -> Iterator[int]:
        """Where an earlier request of this conversation ended, by its looks: another worker may have written it."""
        for turn in reversed(self.prefix.turns):
            at = next((at for at in range(turn - 1, -1, -1) if self.prefix.able[at]), -1)
            if 0 <= at < deepest and self.tokens(at) >= self.least:
                yield at
                return

    # ------------------------------------------------------------------------------------------------ lifetimes

    def _settle(self, points: list[Point], choice: Choice, chosen: list[int], total: float) -> Keeping:
        nodes = self.sight.nodes
        until = points[choice.long - 1].at if choice.long else -1
        long = max(until, max((at for at in chosen if self._lives_long(at)), default=-1))
        chances = {point.at: point for point in points}
        marks = []
        for at in chosen:
            ttl = "1h" if at <= long else "5m"
            node = self.memory.node(self.prefix, at, nodes)
            point = chances.get(at)
            chance = 0.0 if point is None else point.short + (point.long if ttl == "1h" else 0.0)
            marks.append(Mark(at, ttl, at > self.alive, node, self.tokens(at), chance))
        stake = self._stake(choice, marks)
        read = self.tokens(self.alive)
        hour = max((mark.tokens for mark in marks if mark.fresh and mark.ttl == "1h"), default=read)
        end = max((mark.tokens for mark in marks if mark.fresh), default=hour)
        paid = read * self.traits.read + (total - end) + (end - hour) * self.traits.write_5m
        paid += (hour - read) * (self.traits.write_1h or self.traits.write_5m)
        short_behind = any(mark.ttl == "5m" and mark.at >= self.alive for mark in marks)
        asks = read if self.alive > self.long and not short_behind and any(mark.fresh for mark in marks) else 0.0
        likely = chances[points[-1].at].short
        gain = choice.gain + read * (1.0 - self.traits.read)
        return Keeping(tuple(marks), gain, read, paid, total, asks, likely=likely, alive=self.alive, stake=stake)

    def _stake(self, choice: Choice, marks: list[Mark]) -> Stake | None:
        """What is read has earned something; what is written waits to."""
        if self.alive >= 0 and (read := self.sight.nodes[self.alive].stake) is not None:
            read.settle()
        if choice.premium <= 0.0:
            return None
        seconds = tables()["seconds"]["1h" if choice.long else "5m"]
        stake = self.account.stake(choice.premium, self.now + seconds)
        for mark in marks:
            if mark.fresh:
                mark.node.stake = stake
        return stake

    def _lives_long(self, at: int) -> bool:
        node = self.sight.nodes.get(at)
        return node is not None and node.until_long > self.now + _MARGIN


def nothing(total: float) -> Keeping:
    """No marker."""
    return Keeping(paid=total, total=total)
