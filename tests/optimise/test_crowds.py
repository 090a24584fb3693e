"""What the requests through a place say about each of the ways from it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from payonce.optimise.chances import EDGES, SHORT
from payonce.optimise.crowds import Crowd, next_of_others


def passed(ways: list[int], every: float) -> tuple[Crowd, dict[int, int]]:
    """A crowd of which one comes every so many seconds and takes the next way, and how many took each."""
    crowd, uses = Crowd(), dict[int, int]()
    for number, way in enumerate(ways):
        crowd.arrive(number * every, way, uses.get(way, 0))
        uses[way] = uses.get(way, 0) + 1
    return crowd, uses


def within(crowd: Crowd, uses: int, seconds: float) -> float:
    """The chance that a way taken so often is taken again in time."""
    left = 1.0
    for hazard in crowd.hazards(uses)[: EDGES.index(seconds) + 1]:
        left *= 1.0 - hazard
    return 1.0 - left


def test_where_nobody_went_where_others_went_nobody_is_expected_to() -> None:
    crowd, _ = passed(list(range(60)), 10.0)
    assert within(crowd, 1, 3600.0) < 0.15


def test_a_few_ways_taken_by_turns_are_taken_again_as_often_as_requests_come() -> None:
    dice = random.Random("ways")
    ways = [dice.randrange(8) for _ in range(80)]
    quick, uses = passed(ways, 10.0)
    slow, _ = passed(ways, 300.0)
    assert within(quick, uses[0], 300.0) > 0.85
    assert within(slow, uses[0], 300.0) < 0.25
    assert within(slow, uses[0], 3600.0) > 0.6


def test_what_is_taken_more_often_comes_sooner() -> None:
    crowd, _ = passed([0, 1, 0, 2, 0, 3, 0, 1, 0, 2], 60.0)
    assert within(crowd, 5, 300.0) > within(crowd, 2, 300.0) > within(crowd, 1, 300.0)


def test_where_one_is_asked_for_a_while_a_new_one_will_be_too() -> None:
    bursts, _ = passed([way for way in range(8) for _ in range(8)], 30.0)
    bursts.arrive(64 * 30.0, 8, 0)
    dice = random.Random("turns")
    turns, _ = passed([dice.randrange(8) for _ in range(64)], 30.0)
    turns.arrive(64 * 30.0, 8, 0)
    assert within(bursts, 1, 300.0) > 0.65 > within(turns, 1, 300.0)


def test_a_crowd_is_believed_as_far_as_it_was_seen() -> None:
    assert passed([0], 1.0)[0].known(3.0) == 0.0
    assert passed([0] * 40, 1.0)[0].known(3.0) > passed([0] * 4, 1.0)[0].known(3.0) > 0.4


@given(ways=st.lists(st.integers(0, 5), min_size=1, max_size=40), every=st.floats(0, 9000), uses=st.integers(1, 50))
def test_hazards_are_chances(ways: list[int], every: float, uses: int) -> None:
    hazards = passed(ways, every)[0].hazards(uses)
    assert len(hazards) == len(EDGES) > SHORT
    assert all(0.0 <= hazard <= 1.0 for hazard in hazards)


_PAIR = st.tuples(st.floats(0, 0.48), st.floats(0, 0.48))


@given(own=_PAIR, others=_PAIR)
def test_the_next_of_others_comes_in_time_late_or_never(own: tuple[float, float], others: tuple[float, float]) -> None:
    late, lost = next_of_others(own, others)
    assert -1e-9 <= late <= 1 + 1e-9
    assert -1e-9 <= lost <= 1 + 1e-9
    assert late + lost <= 1 + 1e-9


def test_without_an_own_conversation_the_others_are_all_there_is() -> None:
    late, lost = next_of_others((0.0, 0.0), (0.5, 0.3))
    assert abs(late - 0.3) < 1e-9
    assert abs(lost - 0.2) < 1e-9


def test_a_conversation_that_goes_on_bridges_some_of_the_pauses_between_others() -> None:
    alone, _ = next_of_others((0.0, 0.0), (0.3, 0.5))
    bridged, lost = next_of_others((0.9, 0.02), (0.3, 0.5))
    assert bridged < alone
    assert lost < 0.2


def test_one_that_was_sent_twice_by_chance_says_little_of_the_others() -> None:
    crowd, _ = passed([*range(40), 39, *range(40, 60)], 5.0)
    assert within(crowd, 1, 3600.0) < 0.3
