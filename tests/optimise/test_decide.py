"""The break-evens of the money, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.optimise.decide import Allowed, Choice, Kept, Point, choose
from payonce.optimise.traits import Catalogue, Traits

SONNET = Catalogue().traits("anthropic/claude-sonnet-4.5")
ALL = Allowed(math.inf, math.inf)
NOTHING = Kept()


def chosen(
    short: float, long: float = 0.0, *, kept: Kept = NOTHING, traits: Traits = SONNET, reads: float = 0.0
) -> Choice:
    return choose([Point(3, 4000.0, short, long)], kept, traits, reads, ALL)


@pytest.mark.parametrize("read", [0.1, 0.05, 0.025])
def test_five_minutes_pay_from_a_quarter_over_what_a_miss_costs(read: float) -> None:
    traits = replace(SONNET, read=read)
    even = 0.25 / (1.25 - read)
    assert chosen(even + 0.01, traits=traits).depth == 1
    assert chosen(even - 0.01, traits=traits).depth == 0


@pytest.mark.parametrize("read", [0.1, 0.05, 0.025])
def test_an_hour_pays_where_late_uses_outweigh_the_end_by_the_facts_share(read: float) -> None:
    traits = replace(SONNET, read=read)
    even = 0.75 / (1.25 - read)  # late uses for each end, prompt-caching facts: .652, .625, .612
    end = 0.2
    for late, long in ((even * end + 0.01, 1), (even * end - 0.01, 0)):
        assert chosen(1.0 - end - late, late, traits=traits).long == long


def test_one_lifetime_is_all_there_is_where_only_one_is_sold() -> None:
    assert chosen(0.1, 0.8, traits=replace(SONNET, write_1h=None)).long == 0


def test_what_is_there_already_is_not_written_again() -> None:
    assert chosen(0.9, kept=Kept(alive=4000.0)) == Choice(0, 0, 0.0, 0.0, 0.0)


def test_what_another_request_is_writing_is_not_written_twice() -> None:
    assert chosen(0.9, kept=Kept(flight=4000.0)).depth == 0
    points = [Point(1, 4000.0, 0.95, 0.0), Point(2, 4100.0, 0.9, 0.0)]
    assert choose(points, Kept(flight=4000.0), SONNET, 0.0, ALL).depth == 0
    assert choose(points, Kept(alive=4000.0), SONNET, 0.0, ALL).depth == 2


def test_the_shared_part_is_kept_without_the_part_that_is_asked_once() -> None:
    points = [Point(1, 4000.0, 0.9, 0.0), Point(2, 6000.0, 0.05, 0.0)]
    assert choose(points, Kept(), SONNET, 0.5, ALL).depth == 1


def test_no_more_is_risked_than_allowed() -> None:
    points = [Point(1, 4000.0, 0.2, 0.7)]
    assert choose(points, Kept(), SONNET, 0.0, ALL).premium == 4000.0
    assert choose(points, Kept(), SONNET, 0.0, Allowed(3999.0, 0.0)).premium <= 1000.0
    assert choose(points, Kept(), SONNET, 0.0, Allowed(10.0, 0.0)).depth == 0


def test_an_hour_has_its_own_smaller_allowance() -> None:
    points = [Point(1, 4000.0, 0.5, 0.45)]
    assert choose(points, Kept(), SONNET, 0.0, ALL).long == 1
    tight = choose(points, Kept(), SONNET, 0.0, Allowed(math.inf, math.inf, hour=3999.0))
    assert (tight.depth, tight.long) == (1, 0)


def test_what_nothing_was_seen_of_has_its_own_smaller_allowance() -> None:
    seen = Point(1, 4000.0, 0.9, 0.0)
    points = [seen, replace(seen, at=2, tokens=6000.0, seen=False)]
    assert choose(points, Kept(), SONNET, 0.0, Allowed(2000.0, 500.0)).depth == 2
    assert choose(points, Kept(), SONNET, 0.0, Allowed(2000.0, 499.0)).depth == 1
    assert choose(points[1:], Kept(), SONNET, 0.0, Allowed(2000.0, 499.0)).depth == 0


@pytest.mark.parametrize("read", [0.1, 0.05, 0.025])
def test_a_beginning_is_kept_for_an_hour_where_others_come_late_though_its_own_conversation_goes_on(
    read: float,
) -> None:
    traits = replace(SONNET, read=read)
    lost = 0.2
    even = 0.75 / (1.25 - read) * lost
    for late, long in ((even + 0.01, 1), (even - 0.01, 0)):
        own = Point(3, 4000.0, 0.95, 0.01, grows=0.8, late=late, lost=lost)
        assert choose([own], NOTHING, traits, 0.65, ALL).long == long


def test_a_growing_conversation_waits_with_the_hour_until_it_costs_little() -> None:
    first = [Point(9, 4000.0, 0.75, 0.15, 1.0)]
    assert choose(first, Kept(), SONNET, 1.0, ALL).long == 0
    second = [Point(11, 4100.0, 0.75, 0.15, 1.0)]
    assert choose(second, Kept(alive=4000.0), SONNET, 1.0, ALL).long == 1


def test_where_an_hours_marker_reads_no_short_entry_it_is_not_put_behind_one_lightly() -> None:
    point = [Point(11, 4100.0, 0.8, 0.1, 1.0)]
    assert choose(point, Kept(alive=4000.0), SONNET, 0.0, ALL).long == 0
    behind = [*point, Point(12, 4150.0, 0.8, 0.1, 1.0)]
    hedged = choose(behind, Kept(alive=4000.0), SONNET, 0.0, ALL)
    assert (hedged.depth, hedged.long) == (2, 1)  # the shorter marker at the end reads it in any case


_CHANCE = st.floats(0, 0.5)
_POINTS = st.lists(st.tuples(st.floats(1, 9000), _CHANCE, _CHANCE, st.floats(0, 1)), max_size=5)


@given(points=_POINTS, alive=st.floats(0, 9000), flight=st.floats(0, 9000), reads=st.floats(0, 1))
def test_a_choice_never_loses_by_its_own_reckoning(
    points: list[tuple[float, float, float, float]], alive: float, flight: float, reads: float
) -> None:
    ordered = sorted(points)
    given_points = [
        Point(place, *values, late=values[2], lost=0.5, seen=place % 2 == 0) for place, values in enumerate(ordered)
    ]
    found = choose(given_points, Kept(alive, alive / 2, flight), SONNET, reads, Allowed(5000.0, 800.0))
    assert found.gain >= 0
    assert 0 <= found.long <= found.depth <= len(points)
    assert found.premium <= 5000.0
    assert found.unseen <= min(800.0, found.premium)
