"""Being wrong costs little: what is lost for good ends the paying of premiums, whatever is believed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.optimise import limits
from payonce.optimise.accounts import Account
from tests.optimise.planning import Table, ask, text

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
