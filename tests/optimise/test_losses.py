"""Being wrong costs little: what is lost for good ends the paying of premiums, until a rehearsal has earned it back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.optimise import limits
from payonce.optimise.accounts import Account
from payonce.optimise.nodes import Node
from payonce.testing.providers import MarkedCache, Provider
from tests.optimise.planning import RATES, RULES, Table, ask, text, tool

Traffic = Iterator[tuple[float, dict[str, Any]]]


def question(dice: random.Random, document: str) -> dict[str, Any]:
    return ask(text(40, dice.random()), system=document)


def by_chance(dice: random.Random) -> Traffic:
    """Some documents are asked about twice or three times within minutes, and then never again."""
    at = 0.0
    for _ in range(45):
        document = text(dice.randint(1500, 4000), dice.random())
        for _ in range(dice.choice((1, 1, 2, 3))):
            yield at, question(dice, document)
            at += dice.expovariate(1 / 90)


def retired(dice: random.Random) -> Traffic:
    """Two dozen documents are asked about twice each, by turns; from then on others, once each."""
    documents = [text(dice.randint(1500, 4000), dice.random()) for _ in range(24)]
    later = [text(dice.randint(1500, 4000), dice.random()) for _ in range(72)]
    for number, document in enumerate([*documents, *documents, *later]):
        yield number * 40.0, question(dice, document)


def cost(traffic: Traffic) -> float:
    """As a multiple of no caching."""
    table = Table()
    for now, body in traffic:
        table.say(body, now)
    return table.spent / table.plain


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("traffic", [by_chance, retired])
def test_documents_that_come_twice_and_then_never_cost_little(
    traffic: Callable[[random.Random], Traffic], seed: int
) -> None:
    assert cost(traffic(random.Random(seed))) <= 1.05


def test_without_the_limits_the_same_traffic_would_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LOST", "_UNPROVED", "_WEAK", "_STRONG", "_BACKED", "_BACKED_HOUR"):
        monkeypatch.setattr(limits, name, (1.0, 100.0))
    assert max(cost(traffic(random.Random(seed))) for traffic in (by_chance, retired) for seed in range(4)) > 1.05


def talks(dice: random.Random) -> Traffic:
    """Talks hours apart, of a user who takes half an hour for each answer. The first has but two turns: both premiums
    are lost."""
    at = 0.0
    for number in range(8):
        said = [text(100, dice.random()) for _ in range(3 if number == 0 else 23)]
        for turn in range(1, len(said) + 1, 2):
            yield at, ask(*said[:turn], system=text(3000), tools=[tool("look")])
            at += dice.uniform(900, 2000)
        at += 15_000


@pytest.mark.parametrize("seed", range(4))
def test_a_bad_beginning_is_forgotten_when_others_would_have_earned(seed: int) -> None:
    assert cost(talks(random.Random(seed))) <= 0.45


def test_without_rehearsals_a_bad_beginning_would_be_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "rehearse", lambda _self, _earned: None)
    assert max(cost(talks(random.Random(seed))) for seed in range(4)) > 0.8


def test_where_nothing_is_ever_read_no_rehearsal_makes_up_for_it() -> None:
    table, requests = Table(), 0
    for now, body in [*talks(random.Random("cold")), *((t + 2e5, b) for t, b in talks(random.Random("colder")))]:
        table.provider = Provider(MarkedCache(RULES), RATES)  # a host that knows nothing, each time
        table.say(body, now)
        requests += 1
    assert table.spent > table.plain  # it did try
    assert table.spent - table.plain <= 5.5 * table.plain / requests  # lost for good, and at stake when that was seen


def test_what_was_rehearsed_is_kept_as_long_as_it_is_used() -> None:
    node = Node()
    node.rehearse(0.0, 300.0)
    assert node.rehearsed == 300.0
    node.rehearse(200.0)
    assert node.rehearsed == 500.0
    node.rehearse(400.0, 3600.0)
    node.rehearse(450.0, 300.0)
    assert node.rehearsed == 4050.0
    node.rehearse(9000.0, 300.0)
    assert node.rehearsed == 9300.0


@pytest.mark.parametrize(("rehearsed", "proved", "stopped"), [
    (0.0, True, True), (400.0, True, True), (900.0, True, False), (-900.0, True, True),
    (900.0, False, True), (2500.0, False, False), (5000.0, False, False),
])  # fmt: skip
def test_who_lost_too_much_is_stopped_until_a_rehearsal_has_earned_it(
    rehearsed: float, proved: bool, stopped: bool
) -> None:
    account = Account(plain=100_000.0, paid=101_750.0, requests=100, proved=proved, rehearsed=rehearsed)
    assert limits.is_stopped(account, 1000.0, now=0.0) is stopped


def test_of_what_was_never_read_a_rehearsal_speaks_for_two_requests_at_most() -> None:
    account = Account(plain=100_000.0, paid=102_600.0, requests=100, rehearsed=1e6)
    assert limits.is_stopped(account, 1000.0, now=0.0)
    account.proved = True
    assert not limits.is_stopped(account, 1000.0, now=0.0)


def test_a_premium_for_what_was_too_short_to_be_kept_is_not_at_stake() -> None:
    table = Table()
    plan, _ = table.say(ask("hello", system=text(950)), 0.0)
    trace = plan.trace
    assert trace is not None
    assert trace.keeping.marks  # it was tried
    assert trace.account.at_stake(3.0) == 0.0
    assert trace.account.paid == trace.account.plain


@settings(max_examples=40)
@given(
    asked=st.lists(st.tuples(st.integers(0, 9), st.sampled_from((2.0, 60.0, 280.0, 900.0, 4000.0))), max_size=60),
)
def test_whatever_comes_no_more_is_lost_than_the_allowance(asked: list[tuple[int, float]]) -> None:
    longest = 2.3  # so many times as long as the average one is the longest prompt at most
    table, dice, now = Table(), random.Random("asked"), 0.0
    documents = [text(1500 + 200 * number, number) for number in range(10)]
    for count, (number, pause) in enumerate(asked, 1):
        now += pause
        table.say(question(dice, documents[number]), now)
        share, grant = limits._BACKED
        assert table.spent - table.plain <= share * table.plain + (grant + 1.0) * table.plain / count * longest


def test_a_stake_is_lost_when_its_time_is_over_and_settled_when_it_is_read() -> None:
    account = Account()
    read, unread = account.stake(100.0, until=300.0), account.stake(40.0, until=300.0)
    assert account.at_stake(299.0) == 140.0
    read.settle()
    assert account.at_stake(299.0) == unread.premium
    assert account.at_stake(300.0) == 0.0


def test_of_many_open_stakes_the_oldest_counts_as_lost() -> None:
    account = Account()
    for _ in range(200):
        account.stake(1.0, until=10.0)
    assert account.at_stake(0.0) == 64.0
