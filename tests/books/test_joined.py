"""What those avoided who joined a call: their receipts add up to the sums, whoever made the call."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.books.posting import PATIENCE
from payonce.model import reason as why
from payonce.model.entry import Entry, Tokens
from payonce.model.receipt import Came, Landing, Outcome, Receipt, Saved, Waited
from payonce.testing.clock import FakeClock
from tests.books.test_books import NOON, Desk, ask_for, bill_of, billed, entry_of

FLIGHTS = st.lists(
    st.tuples(
        st.integers(0, 3),  # followers
        st.sampled_from(["own", "brought", "judged"]),
        st.integers(0, 10**6),  # cost
        st.booleans(),  # whether the call has landed before they were answered
        st.booleans(),  # whether the clerk comes in between
    ),
    max_size=5,
)


def fly(desk: Desk, number: int, how: tuple[int, str, int, bool, bool]) -> None:
    followers, kind, cost, before, between = how
    leader = ask_for(number)

    def land() -> None:
        facts = None if kind == "judged" else entry_of(cost).facts
        waited = Waited(0.1, Came.BROUGHT) if kind == "brought" else None
        reason = why.UNREADABLE if kind == "judged" else None
        desk.journal.landed(Landing(facts, reason, 1.5, waited=waited), followers, leader)

    if before:
        land()
    outcome = Outcome.COLLAPSED if kind == "brought" else Outcome.MISS
    desk.journal.exchanged(Receipt(outcome, why.ABSENT, flight=number), 0.2, leader)
    for other in range(followers):
        joined = Receipt(Outcome.COLLAPSED, why.ABSENT, flight=number)
        desk.journal.exchanged(joined, 0.2, ask_for(number + other + 1))
    if between:
        desk.clerk.flush()
    if not before:
        land()
    if kind != "brought":
        desk.journal.billed(billed(number, desk.clock(), bill=bill_of()))


@given(FLIGHTS)
@settings(max_examples=40, deadline=None)
def test_receipts_add_up_to_the_sums(flights: list[tuple[int, str, int, bool, bool]]) -> None:
    desk = Desk(None, FakeClock(NOON))
    try:
        for place, how in enumerate(flights):
            fly(desk, 100 * (place + 1), how)
        desk.clerk.flush()
        total, receipts = desk.reader.total(0, NOON + 60), desk.reader.recent(limit=100)
        spared = [each for each in receipts if each.avoided_nano is not None]
        assert len(receipts) == total.requests == sum(1 + how[0] for how in flights)
        assert len(spared) == total.avoided_calls
        assert sum(each.avoided_nano or 0 for each in spared) == total.avoided_nano
        assert sum(each.avoided_input or 0 for each in spared) == total.avoided_input
    finally:
        desk.close()


def test_who_joins_a_part_of_a_batch_avoids_that_and_what_was_stored(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "b.db", FakeClock(NOON))
    part: Entry = entry_of(700)
    desk.journal.landed(Landing(part.facts, None, 1.5), 1, ask_for(1))
    desk.journal.billed(billed(1, NOON))
    saved = Saved(Tokens(30, None, 200), 0, 0.0, 9, "m")
    desk.journal.exchanged(Receipt(Outcome.COLLAPSED, why.ABSENT, saved=saved, flight=1), 0.2, ask_for(2))
    desk.clerk.flush()
    (receipt,) = desk.reader.recent()
    assert receipt.avoided_nano == 900 == desk.reader.total(0, NOON + 60).avoided_nano
    desk.close()


def test_a_receipt_waits_for_the_landing_no_longer_than_that(tmp_path: Path) -> None:
    clock = FakeClock(NOON)
    desk = Desk(tmp_path / "b.db", clock)
    desk.journal.exchanged(Receipt(Outcome.COLLAPSED, why.ABSENT, flight=1), 0.2, ask_for(2))
    desk.clerk.flush()
    assert desk.reader.recent() == []
    clock.advance(PATIENCE)
    desk.clerk.flush()
    (receipt,) = desk.reader.recent()
    assert receipt.avoided_nano is None
    desk.close()
