"""The least that any placement of markers could have cost, known only afterwards: a bound, not a plan.

Prompts form a tree of prefixes. Each block of it (a node) is billed at every request that runs through it: plain,
written or read. The bound adds up, node by node, the cheapest series of these that the cache's rules could allow, found
by a dynamic programme over the node's uses. It is a true lower bound, because each real bill, cut down to one node, is
a series that the programme may choose. What the programme asks of a series:

* A read at a node needs an entry at or below the node, readable and alive. Such an entry ends either in the node's own
  run (blocks that exactly the same requests use), or below, in the branch that this request takes: then an earlier
  request took the same branch with the node read or written.
* An entry in the run lives as long as what was paid for it, from its last use. An entry in a branch lives five minutes
  when the node was billed as a short write, else up to an hour: a request that reads the node may write new blocks
  below it for an hour. The same holds inside a run for all blocks but its last one.
* No entry ends where the prefix is shorter than the minimum.

The limits of four markers and of the look-back are left out, and where many branches are open at once, states are
merged to a better one; both only lower the bound. This room must never know the planner.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from payonce.testing.providers.blocks import Asked
from payonce.testing.providers.marked import chain, running_sums
from payonce.testing.providers.rules import LONG, MarkerRules, Rates

_MOST_STATES: Final = 32
_UNIT: Final = 10**15
"""Money inside the programme is whole billionths of a millionth of a dollar."""

Span = tuple[int, int]
"""Uses of the node, by number, that can read an entry: from the first up to before the second."""
NOTHING: Final[Span] = (0, 0)


@dataclass(frozen=True, slots=True)
class Asking:
    """One request of a past workload; `ready` is when its answer began."""

    asked: Asked
    scope: str
    at: float
    ready: float


@dataclass(frozen=True, slots=True)
class Prices:
    """Whole units a token."""

    plain: int
    read: int
    short: int
    long: int | None

    @classmethod
    def of(cls, rates: Rates, *, long: bool) -> Prices:
        """The same prices as integers."""
        whole = [int(rate * _UNIT) for rate in (rates.input, rates.read, rates.write, rates.write_1h)]
        return cls(whole[0], whole[1], whole[2], whole[3] if long else None)


@dataclass(frozen=True, slots=True)
class _Use:
    at: float
    ready: float
    branch: bytes | None
    long_enough: bool


@dataclass(slots=True)
class _Node:
    tokens: int
    total: int
    uses: list[int]
    branches: list[bytes | None]


def lower_bound(requests: Sequence[Asking], rules: MarkerRules, rates: Rates) -> Decimal:
    """The least input cost of these requests, in US dollars. `requests` stand in the order of their times."""
    nodes: dict[bytes, _Node] = {}
    totals = []
    for number, request in enumerate(requests):
        keys, sums = chain(request.asked, request.scope), running_sums(request.asked.blocks)
        totals.append(sums[-1] if sums else 0)
        for place, key in enumerate(keys):
            node = nodes.get(key)
            if node is None:
                node = nodes[key] = _Node(request.asked.blocks[place].tokens, sums[place], [], [])
            node.uses.append(number)
            node.branches.append(keys[place + 1] if place + 1 < len(keys) else None)
    prices = Prices.of(rates, long=LONG in rules.lifetimes)
    spent = sum(_closing(request.asked, rules) for request in requests) * prices.plain
    for run in _runs(nodes):
        uses = [
            _Use(requests[n].at, requests[n].ready, branch, totals[n] >= rules.minimum)
            for n, branch in zip(run.uses, run.branches, strict=True)
        ]
        series = _Series(uses, prices, rules, own=run.total >= rules.minimum, upgrade=run.upgrade)
        spent += run.tokens * series.cheapest()
    return Decimal(spent) / _UNIT


def _closing(asked: Asked, rules: MarkerRules) -> int:
    return rules.closing.get(asked.blocks[-1].kind, 0) if asked.blocks else 0


@dataclass(frozen=True, slots=True)
class _Run:
    tokens: int
    total: int
    uses: list[int]
    branches: list[bytes | None]
    upgrade: bool


def _runs(nodes: dict[bytes, _Node]) -> Iterable[_Run]:
    """Nodes that the same requests use, joined: the last of each run apart, as nothing in the run stands below it."""
    inner = set()
    for node in nodes.values():
        below = node.branches[0]
        if below is not None and len(nodes[below].uses) == len(node.uses):
            inner.add(below)
    for key, first in nodes.items():
        if key in inner:
            continue
        weight, node = 0, first
        while True:
            below = node.branches[0]
            if below is None or below not in inner:
                break
            weight += node.tokens
            node = nodes[below]
        if weight:
            yield _Run(weight, node.total, node.uses, node.branches, upgrade=True)
        yield _Run(node.tokens, node.total, node.uses, node.branches, upgrade=False)


_State = tuple[Span, Span, tuple[tuple[bytes, Span], ...]]
"""What could be read later: an entry in the run that lives short, one that lives long, and those in the branches."""


class _Series:
    """The dynamic programme over the uses of one node."""

    def __init__(self, uses: list[_Use], prices: Prices, rules: MarkerRules, *, own: bool, upgrade: bool) -> None:
        self._uses = uses
        self._times = [use.at for use in uses]
        self._prices = prices
        self._short = min(rules.lifetimes.values()) + rules.linger
        self._long = max(rules.lifetimes.values()) + rules.linger
        self._own = own
        self._upgrade = upgrade or rules.one_hour_reads_5m == "extends"
        self._by_branch: dict[bytes, list[int]] = {}
        for number, use in enumerate(uses):
            if use.branch is not None:
                self._by_branch.setdefault(use.branch, []).append(number)

    def cheapest(self) -> int:
        """The least that one token of this node costs over all its uses."""
        states: dict[_State, int] = {(NOTHING, NOTHING, ()): 0}
        for number, use in enumerate(self._uses):
            found: dict[_State, int] = {}
            for state, cost in states.items():
                for reached, more in self._choices(number, use, state):
                    after = self._useful(reached, number)
                    total = cost + more
                    if total < found.get(after, total + 1):
                        found[after] = total
            states = _fewer(found)
        return min(states.values())

    def _choices(self, number: int, use: _Use, state: _State) -> Iterable[tuple[_State, int]]:
        short, long, branches = state
        prices = self._prices
        fresh_short = self._span(use, self._short)
        fresh_long = self._span(use, self._long)
        own_short, own_long = (fresh_short, fresh_long) if self._own else (NOTHING, NOTHING)
        in_short, in_long = short[0] <= number < short[1], long[0] <= number < long[1]
        here = next((span for branch, span in branches if branch == use.branch), NOTHING)
        if in_short or in_long or here[0] <= number < here[1]:
            kept_short = (short[0], max(short[1], fresh_short[1])) if in_short else short
            kept_long = (long[0], max(long[1], fresh_long[1])) if in_long else long
            if self._upgrade:
                kept_long = _joined(kept_long, own_long)
            yield (kept_short, kept_long, self._below(branches, use, here, fresh_long)), prices.read
        else:
            yield state, prices.plain
        if use.long_enough and not (in_short or in_long):
            yield (_joined(short, own_short), long, self._below(branches, use, here, fresh_short)), prices.short
        if prices.long is not None and use.long_enough and not (self._upgrade and (in_short or in_long)):
            yield (short, _joined(long, own_long), self._below(branches, use, here, fresh_long)), prices.long

    def _below(
        self, branches: tuple[tuple[bytes, Span], ...], use: _Use, here: Span, span: Span
    ) -> tuple[tuple[bytes, Span], ...]:
        """The branches after this request could have kept something in its own."""
        if use.branch is None or not use.long_enough:
            return branches
        others = tuple(one for one in branches if one[0] != use.branch)
        return tuple(sorted((*others, (use.branch, _joined(here, span)))))

    def _span(self, use: _Use, lifetime: float) -> Span:
        return bisect_left(self._times, use.ready), bisect_left(self._times, use.at + lifetime)

    def _useful(self, state: _State, number: int) -> _State:
        """The state without what no later use can read."""
        following = number + 1
        short, long, branches = state
        kept = []
        for branch, span in branches:
            uses = self._by_branch[branch]
            first = bisect_left(uses, max(span[0], following))
            if first < len(uses) and uses[first] < span[1]:
                kept.append((branch, (max(span[0], following), span[1])))
        return _later(short, following), _later(long, following), tuple(kept)


def _later(span: Span, following: int) -> Span:
    start = max(span[0], following)
    return (start, span[1]) if start < span[1] else NOTHING


def _joined(one: Span, other: Span) -> Span:
    if NOTHING in (one, other):
        return other if one == NOTHING else one
    return min(one[0], other[0]), max(one[1], other[1])


def _within(small: Span, large: Span) -> bool:
    return small == NOTHING or (large[0] <= small[0] and small[1] <= large[1])


def _covers(better: _State, worse: _State) -> bool:
    """Whether all that `worse` can read later, `better` can."""
    if not _within(worse[1], better[1]) or not (_within(worse[0], better[0]) or _within(worse[0], better[1])):
        return False
    held = dict(better[2])
    return all(_within(span, held.get(branch, NOTHING)) for branch, span in worse[2])


def _fewer(states: dict[_State, int]) -> dict[_State, int]:
    """The states worth keeping; too many are merged into one that can read what any of them can, at the least cost."""
    if len(states) == 1:
        return states
    ordered = sorted(states.items(), key=lambda item: item[1])
    kept: list[tuple[_State, int]] = []
    for state, cost in ordered:
        if not any(_covers(other, state) for other, _ in kept):
            kept.append((state, cost))
    if len(kept) > _MOST_STATES:
        rest = kept[_MOST_STATES - 1 :]
        merged = rest[0][0]
        for state, _ in rest[1:]:
            held = dict(merged[2])
            for branch, span in state[2]:
                held[branch] = _joined(held.get(branch, NOTHING), span)
            merged = (_joined(merged[0], state[0]), _joined(merged[1], state[1]), tuple(sorted(held.items())))
        kept = [*kept[: _MOST_STATES - 1], (merged, rest[0][1])]
    return dict(kept)
