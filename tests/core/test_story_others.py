"""The story of a flight where another process makes the same call: for whom it waits, how long, what it then does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tell import Act, Partly, tell
from tests.support.words import FACTS, JSON_HEADERS, NOW, WHOLE, ask, entry

from payonce.core import effects as do
from payonce.core.effects import Claimed
from payonce.core.exchange import exchange, flight, pauses
from payonce.core.labels import Label
from payonce.core.tape import COMPLETE, Tape
from payonce.dialects import ChatDialect
from payonce.model import reason as why
from payonce.model.ports import Head
from payonce.model.receipt import Came, Landing, Outcome, Receipt, Waited

CHAT = ChatDialect()
TAKEN, FREE, DUMB = Claimed(False), Claimed(True), Claimed(True, sure=False)


def paid(of: Any, tape: Tape, waited: Waited | None) -> tuple[list[Any], Landing]:
    """It makes the call itself."""

    def arrive(asked: do.Fetch) -> Any:
        tape.begin(Head(200, JSON_HEADERS))
        tape.feed(WHOLE)
        tape.end(COMPLETE)
        return COMPLETE

    script = [
        (do.Epochs(of.scopes), (0,) * len(of.scopes)),
        (do.Now(), NOW),
        (do.Fetch(of.call, tape), Act(arrive)),
        (do.Now(), NOW + 1),
        (Partly(do.Put, ask=of), None),
    ]
    return script, Landing(FACTS, None, 1.0, waited=waited)


def looks(of: Any, *answers: tuple[float, Claimed]) -> list[Any]:
    """The first claim, then rests that each end at a time, with the claim's answer."""
    (at, first), *others = answers
    script: list[Any] = [(do.Claim(of), first), (do.Now(), at)]
    for at, claimed in others:
        script += [(do.Rest, None), (do.Now(), at), (do.Claim(of), claimed)]
    return script


def test_where_nobody_else_calls_it_calls() -> None:
    of, tape = ask(), Tape()
    script, landing = paid(of, tape, None)
    assert tell(flight(of, tape, CHAT, 0.0, 30.0), [(do.Claim(of), FREE), *script]) == landing


def test_without_patience_nobody_is_asked() -> None:
    of, tape = ask(), Tape()
    script, landing = paid(of, tape, None)
    assert tell(flight(of, tape, CHAT, 0.0), script) == landing


@pytest.mark.parametrize("first", [TAKEN, FREE], ids=["while another calls", "as it has landed since the lookup"])
def test_what_another_has_stored_is_copied(first: Claimed) -> None:
    of, tape, kept = ask(), Tape(), entry()
    copied = (do.Copy(tape, Head(200, kept.headers), kept.body), None)
    waits = [(NOW, TAKEN), (NOW + 1, Claimed(first.free, kept))] if first is TAKEN else [(NOW, Claimed(True, kept))]
    landing = tell(flight(of, tape, CHAT, 0.0, 30.0), [*looks(of, *waits), copied])
    assert landing.brought
    assert landing == Landing(FACTS, None, kept.took, waited=Waited(waits[-1][0] - NOW, Came.BROUGHT))


def test_a_stale_answer_is_waited_past() -> None:
    of, tape, old, new = ask(), Tape(), entry(stored_at=NOW - 500), entry(stored_at=NOW + 1)
    waits = [(NOW, Claimed(False, old)), (NOW + 1, Claimed(False, old)), (NOW + 2, Claimed(False, new))]
    landing = tell(flight(of, tape, CHAT, 0.0, 30.0), [*looks(of, *waits), (Partly(do.Copy, body=new.body), None)])
    assert landing.waited == Waited(2.0, Came.BROUGHT)


def test_where_the_other_is_gone_without_an_answer_it_calls() -> None:
    of, tape = ask(), Tape()
    script, landing = paid(of, tape, Waited(0.5, Came.NOTHING))
    waits = looks(of, (NOW, TAKEN), (NOW + 0.5, FREE))
    assert tell(flight(of, tape, CHAT, 0.0, 30.0), [*waits, *script]) == landing


def test_it_does_not_wait_for_longer_than_it_may() -> None:
    of, tape = ask(), Tape()
    rests = list(pauses(1.0))
    times = [NOW + sum(rests[:count]) for count in range(len(rests) + 1)]
    script, landing = paid(of, tape, Waited(times[-1] - NOW, Came.IN_VAIN))
    waits = looks(of, *[(at, TAKEN) for at in times])
    assert tell(flight(of, tape, CHAT, 0.0, 1.0), [*waits, *script]) == landing


def test_a_store_that_stays_dumb_three_times_in_a_row_ends_the_waiting() -> None:
    of, tape = ask(), Tape()
    script, landing = paid(of, tape, Waited(6.0, Came.NOTHING))
    answers = [TAKEN, DUMB, DUMB, TAKEN, DUMB, DUMB, DUMB]
    waits = looks(of, *[(NOW + number, claimed) for number, claimed in enumerate(answers)])
    assert tell(flight(of, tape, CHAT, 0.0, 30.0), [*waits, *script]) == landing


def test_at_first_a_dumb_store_lets_it_go_at_once() -> None:
    of, tape = ask(), Tape()
    script, landing = paid(of, tape, None)
    assert tell(flight(of, tape, CHAT, 0.0, 30.0), [(do.Claim(of), DUMB), *script]) == landing


def test_who_wants_a_new_answer_waits_for_nobody_but_lets_others_follow() -> None:
    of, tape = ask(refresh=True), Tape()
    script, landing = paid(of, tape, None)
    assert tell(flight(of, tape, CHAT, 0.0, 30.0), [(do.Claim(of), Claimed(False, entry())), *script]) == landing


@given(patience=st.floats(0.001, 3600))
def test_rests_grow_and_add_up_to_the_patience(patience: float) -> None:
    rests = list(pauses(patience))
    assert abs(sum(rests) - patience) < 1e-6
    assert all(0 < rest <= 0.4 for rest in rests)
    assert rests[:-1] == sorted(rests[:-1])
    assert len(rests) <= 12 + patience / 0.4


def test_what_was_brought_is_labelled_as_collapsed_for_its_leader_too() -> None:
    of, kept = ask(), entry()
    head = Head(200, kept.headers)
    own = do.Flight(of, Tape.finished(head, kept.body), 0)
    own.landing = Landing(FACTS, None, 1.5, waited=Waited(1.0, Came.BROUGHT))
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (do.Board(of, NOW), do.Boarding(own, leader=True)),
            (do.Await, head),
            (Partly(do.Relay, label=Label(Outcome.COLLAPSED, why.ABSENT, ttl=100, stored=True)), True),
        ],
    )
    assert receipt == Receipt(Outcome.COLLAPSED, why.ABSENT)
