"""What waiting teaches about the next use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from payonce.optimise.chances import EDGES, Cell, Waits, blend, chances, either, rhythm, spread

PRIOR = spread(0.3, 0.1)


def learned(*gaps: float | None, late: float = 4000.0, fade: float = 1.0) -> tuple[float, float, float]:
    """The chances after exposures that ended after these seconds; None never did, and `late` is how long ago it was."""
    cell, waits = Cell(fade), Waits(1000)
    for gap in gaps:
        exposure = waits.begin(0.0, (cell,))
        waits.advance(late if gap is None else gap)
        if gap is not None:
            waits.end(exposure, gap)
        waits = Waits(1000)
    return chances(blend(PRIOR, [(cell, 1.0)]))


def test_the_prior_is_what_it_says() -> None:
    short, half, hour = chances(PRIOR)
    assert abs(short - 0.3) < 1e-9
    assert abs(half + hour - 0.1) < 1e-9


def test_a_quick_use_raises_the_chance_of_another_and_silence_lowers_it() -> None:
    assert learned(20.0)[0] > 0.5
    assert learned(20.0, 25.0, 18.0)[0] > 0.75
    assert learned(None)[0] < 0.2
    assert learned(None, None, None)[0] < 0.1


def test_a_late_use_raises_the_chance_of_a_late_one() -> None:
    assert sum(learned(700.0)[1:]) > 0.3
    assert learned(700.0)[0] < 0.3


def test_a_minute_of_silence_is_evidence_already() -> None:
    seconds = [learned(None, None, None, late=after)[0] for after in (0.5, 20.0, 60.0, 299.0, 301.0)]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > 0.29
    assert seconds[2] < 0.25


def test_five_minutes_are_too_late_for_five_minutes() -> None:
    assert learned(299.9)[0] > learned(300.0)[0]
    assert sum(learned(300.0)[1:]) > sum(learned(299.9)[1:])


def test_old_evidence_fades() -> None:
    then_silent = [20.0] * 10 + [None] * 6
    assert learned(*then_silent, fade=0.7)[0] < learned(*then_silent)[0]


def test_a_conversations_own_past_says_when_it_goes_on_and_not_whether() -> None:
    general, own = (0.5, 0.1, 0.1), (0.1, 0.4, 0.4)
    found = rhythm(general, own)
    assert abs(sum(found) - sum(general)) < 1e-9
    assert found[1] + found[2] > found[0]


def test_what_never_ends_is_forgotten_in_the_end() -> None:
    waits = Waits(10)
    cell = Cell()
    for second in range(1000):
        waits.advance(float(second))
        waits.begin(float(second), (cell,))
    assert sum(map(len, waits._queues)) <= 10


_GAPS = st.lists(st.one_of(st.none(), st.floats(0, 5000)), max_size=20)


@given(gaps=_GAPS, fade=st.floats(0.5, 1.0), late=st.floats(0, 1))
def test_chances_are_chances(gaps: list[float | None], fade: float, late: float) -> None:
    cell, waits, now = Cell(fade), Waits(100), 0.0
    for gap in gaps:
        exposure = waits.begin(now, (cell,))
        now += 10_000.0 if gap is None else gap
        waits.advance(now)
        if gap is not None:
            waits.end(exposure, now)
    found = chances(blend(PRIOR, [(cell, 1.5), (None, 1.0), (cell, 1.5)], late), unread=0.7)
    assert all(0.0 <= one <= 1.0 for one in found)
    assert sum(found) <= 1.0 + 1e-9
    both = either((found[0], found[1] + found[2]), (0.2, 0.3))
    assert 0.0 <= both[0] <= 1.0
    assert sum(both) <= 1.0 + 1e-9


def test_the_intervals_meet_the_lifetimes() -> None:
    assert {300.0, 1800.0, 3600.0} <= set(EDGES)
