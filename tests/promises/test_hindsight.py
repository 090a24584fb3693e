"""The hindsight bound is a bound: against every placement of markers on small cases; and it is never far off."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from payonce.testing.providers import MarkedCache, MarkerRules, Rates, Ready
from payonce.testing.providers import hindsight as bounds
from payonce.testing.providers.blocks import MESSAGES, Asked, Block, Mark, digest
from payonce.testing.providers.hindsight import Asking, lower_bound

RATES = Rates.times("3", output="5", read="0.1", write="1.25", write_1h="2")
TOKENS = {"a": 1000, "b": 100, "c": 10, "d": 100}


@dataclass(frozen=True)
class Sent:
    """A request of a small case: its blocks by name, when it starts, and how long until its answer begins."""

    path: tuple[str, ...]
    at: float
    wait: float


def asked(path: tuple[str, ...], marks: dict[int, str]) -> Asked:
    blocks = [
        Block(MESSAGES, "text", "user", digest(name), TOKENS[name], Mark(marks[n]) if n in marks else None)
        for n, name in enumerate(path)
    ]
    return Asked("m", tuple(blocks))


def placements(length: int) -> Iterator[dict[int, str]]:
    """Every way to mark so many blocks that is no 400."""
    for ttls in itertools.product((None, "5m", "1h"), repeat=length):
        seen = [ttl for ttl in ttls if ttl]
        if seen == sorted(seen):  # "1h" sorts before "5m"
            yield {n: ttl for n, ttl in enumerate(ttls) if ttl}


def cheapest(requests: list[Sent], rules: MarkerRules) -> Decimal:
    """What the best of all placements costs, tried out."""
    best = Decimal("inf")
    for marks in itertools.product(*(list(placements(len(r.path))) for r in requests)):
        cache, cost = MarkedCache(rules), Decimal(0)
        for request, at in zip(requests, marks, strict=True):
            split = cache.account(
                asked(request.path, at), scope="", now=request.at, ready=Ready(request.at + request.wait)
            )
            cost += split.cost(RATES)
        best = min(best, cost)
    return best


def least(requests: list[Sent], rules: MarkerRules) -> Decimal:
    return lower_bound([Asking(asked(r.path, {}), "", r.at, r.at + r.wait) for r in requests], rules, RATES)


@st.composite
def small_cases(draw: st.DrawFn) -> list[Sent]:
    """Two or three requests of at most three blocks; most of them share a beginning."""
    requests: list[Sent] = []
    at = 0.0
    for _ in range(draw(st.integers(2, 3))):
        base = draw(st.sampled_from([(), *(r.path for r in requests)]))
        more = draw(st.lists(st.sampled_from("abcd"), max_size=3))
        path = (*base[: draw(st.integers(0, 3))], *more)[:3] or ("a",)
        requests.append(Sent(path, at, draw(st.sampled_from([0.0, 0.5, 10.0]))))
        at += draw(st.sampled_from([0.0, 1.0, 100.0, 299.0, 300.0, 301.0, 1000.0, 3000.0, 3600.0, 3700.0]))
    return requests


RULES = st.builds(
    MarkerRules,
    minimum=st.sampled_from([1, 105, 1000, 1050]),
    one_hour_reads_5m=st.sampled_from(["no", "reads", "extends"]),
    reads_refresh_ancestors=st.booleans(),
)


@settings(max_examples=120, deadline=None)
@given(small_cases(), RULES)
@example([Sent(("a",), 0, 0), Sent(("a", "c"), 100, 0), Sent(("a", "c"), 3000, 0)], MarkerRules(minimum=1))
def test_no_placement_of_markers_costs_less_than_the_bound(requests: list[Sent], rules: MarkerRules) -> None:
    assert least(requests, rules) <= cheapest(requests, rules)


def test_the_bound_is_nearly_always_met() -> None:
    dice, exact, worst = random.Random(11), 0, Decimal(1)
    for _ in range(120):
        requests: list[Sent] = []
        at = 0.0
        for _ in range(dice.choice([2, 3, 3])):
            base = dice.choice([(), *(r.path for r in requests)])
            more = dice.choices("abcd", k=dice.randint(1, 3))
            requests.append(Sent((*base[: dice.randint(0, 3)], *more)[:3], at, dice.choice([0.5, 10.0])))
            at += dice.choice([1.0, 100.0, 299.0, 301.0, 1000.0, 3000.0, 3700.0])
        rules = MarkerRules(minimum=dice.choice([1, 105, 1050]))
        best, bound = cheapest(requests, rules), least(requests, rules)
        exact += best == bound
        worst = max(worst, best / bound)
    assert exact >= 114
    assert worst < Decimal("1.25")


def test_the_check_can_fail() -> None:
    requests = [Sent(("a",), 0, 0), Sent(("a",), 10, 0)]
    rules = MarkerRules(minimum=1)
    assert least(requests, rules) == cheapest(requests, rules) == Decimal("0.00405")
    assert cheapest(requests, replace(rules, lifetimes={"5m": 5.0, "1h": 6.0})) > least(requests, rules)


@settings(max_examples=40, deadline=None)
@given(small_cases(), RULES)
def test_merging_states_only_lowers_the_bound(requests: list[Sent], rules: MarkerRules) -> None:
    exact = least(requests, rules)
    before, bounds._MOST_STATES = bounds._MOST_STATES, 1
    try:
        assert least(requests, rules) <= exact
    finally:
        bounds._MOST_STATES = before


def test_a_conversation_with_short_gaps_has_an_exact_bound() -> None:
    requests = [Sent(("a",), 0, 0), Sent(("a", "b"), 60, 0), Sent(("a", "b", "c"), 120, 0)]
    million = Decimal(1_000_000)
    written, last = 1000 * Decimal("3.75") + 100 * Decimal("3.75"), 10 * Decimal(3)
    read = (1000 + 1000 + 100) * Decimal("0.3")
    assert least(requests, MarkerRules(minimum=1)) == (written + last + read) / million
