"""The story, told: each way an exchange or a flight can go is a list of questions and answers."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from tests.support.tell import Act, Partly, show, tell
from tests.support.words import FACTS, JSON_HEADERS, NOW, WHOLE, ask, entry, facts

from payonce.core import effects as do
from payonce.core.exchange import bypass, exchange, flight
from payonce.core.labels import Label, hit_label, stale_label
from payonce.core.tape import COMPLETE, End, Ending, Tape
from payonce.dialects import ChatDialect
from payonce.model import reason as why
from payonce.model.call import Ask
from payonce.model.entry import Entry
from payonce.model.ports import Head
from payonce.model.receipt import Landing, Outcome, Receipt

CHAT = ChatDialect()
OK = Head(200, JSON_HEADERS)
DOWN = Head(503, ((b"content-type", b"application/json"),))
SWR: Any = {"stale_while_revalidate": 50}
SIE: Any = {"stale_if_error": 50}


def flight_of(of: Ask, head: Head | None = None, landing: Landing | None = None) -> do.Flight:
    found = do.Flight(of, Tape(), 0)
    found.tape.head = head
    found.landing = landing
    return found


def replay(kept: Entry, label: Label, body: bytes | None = None) -> tuple[Partly, bool]:
    """The client is given `kept`, whole, under `label`."""
    said = kept.body if body is None else body

    def whole(tape: Tape) -> bool:
        return tape.ending is COMPLETE and tape.body() == said

    return Partly(do.Relay, head=Head(kept.status, kept.headers), tape=whole, label=label), True


def relay(of: do.Flight, label: Label) -> tuple[do.Relay, bool]:
    """The client reads the tape of a flight under `label`."""
    assert of.tape.head is not None
    return do.Relay(of.tape.head, of.tape, label), True


# ------------------------------------------------------------------------------------------------ hits


def test_a_fresh_hit_is_replayed_and_nothing_else_is_asked() -> None:
    of, kept = ask(), entry()
    receipt = tell(exchange(of, CHAT, NOW + 40), [(do.Lookup(of), kept), replay(kept, hit_label(kept, NOW + 40))])
    assert receipt == Receipt(Outcome.HIT, None, kept)


def test_a_hit_is_a_hit_even_when_the_client_leaves() -> None:
    of, kept = ask(), entry()
    question, _ = replay(kept, hit_label(kept, NOW))
    assert tell(exchange(of, CHAT, NOW), [(do.Lookup(of), kept), (question, False)]).outcome is Outcome.HIT


def test_a_hit_may_report_that_it_was_free() -> None:
    of, kept = ask(hit_usage="zero"), entry()
    body = WHOLE.replace(
        b'"prompt_tokens":3,"completion_tokens":2,"cost":0.5', b'"prompt_tokens":0,"completion_tokens":0,"cost":0'
    )
    receipt = tell(exchange(of, CHAT, NOW), [(do.Lookup(of), kept), replay(kept, hit_label(kept, NOW), body)])
    assert receipt == Receipt(Outcome.HIT, None, kept)


def test_only_if_cached_is_served_what_there_is() -> None:
    of, kept = ask(only_if_cached=True), entry()
    assert tell(exchange(of, CHAT, NOW), [(do.Lookup(of), kept), replay(kept, hit_label(kept, NOW))]).entry == kept


# ------------------------------------------------------------------------------------------------ misses


def test_a_miss_boards_its_flight_and_reads_the_tape() -> None:
    of = ask()
    own = flight_of(of, OK, Landing(FACTS, None, 1.0))
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await(own, settle=True), OK),
            relay(own, Label(Outcome.MISS, why.ABSENT, ttl=100, stored=True)),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, why.ABSENT)


def test_whose_flight_has_landed_since_it_looked_looks_again() -> None:
    of, kept = ask(), entry()
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (do.Board(of, NOW), None),
            (do.Lookup(of), kept),
            replay(kept, hit_label(kept, NOW)),
        ],
    )
    assert receipt == Receipt(Outcome.HIT, None, kept)


def test_it_looks_again_only_once() -> None:
    of = ask()
    own = flight_of(of, OK, Landing(FACTS, None, 1.0))
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (do.Board(of, NOW), None),
            (do.Lookup(of), why.PURGED),
            (do.Board(of, inf), do.Boarding(own, leader=True)),
            (do.Await, OK),
            relay(own, Label(Outcome.MISS, why.PURGED, ttl=100, stored=True)),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, why.PURGED)


def test_who_wants_a_new_answer_does_not_look_for_one_that_has_just_landed() -> None:
    of = ask(refresh=True)
    tell(
        exchange(of, CHAT, NOW),
        [(do.Board(of, inf), why.FLIGHTS_FULL), (do.Pass(of.call, Label(Outcome.BYPASS, why.FLIGHTS_FULL)), None)],
    )


@pytest.mark.parametrize(
    ("unkept", "said"),
    [
        (None, Label(Outcome.MISS, why.ABSENT, ttl=100, stored=True)),
        *[
            (against, Label(Outcome.MISS, why.ABSENT, unkept=against))
            for against in (why.STORE_DOWN, why.STORE_READ_ONLY, why.STORE_FULL)
        ],
    ],
    ids=["takes it", "down", "read-only", "full"],
)
def test_a_stream_is_relayed_from_its_head_on_and_says_what_can_be_hoped(
    unkept: why.Reason | None, said: Label
) -> None:
    of = ask(intent={"stream": True})
    head = Head(200, ((b"content-type", b"text/event-stream"),))
    own = flight_of(of, head)
    tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await(own, settle=False), head),
            (do.Declined(of, 0), unkept),
            relay(own, said),
        ],
    )


@pytest.mark.parametrize(
    ("length", "size", "unkept"),
    [
        (b"100", 100, None),
        (b"100", 100, why.ENTRY_TOO_LARGE),
        (b"101", None, why.TOO_LARGE),
        (b"9" * 400, 0, None),
        (b"-1", 0, None),
        (b"\xb2", 0, None),
    ],
)
def test_an_answer_that_is_slow_to_end_is_measured_by_the_length_it_declares(
    length: bytes, size: int | None, unkept: why.Reason | None
) -> None:
    of = ask()
    own = do.Flight(of, Tape(cap=100), 0)
    own.tape.head = head = Head(200, (*JSON_HEADERS, (b"content-length", length)))
    label = Label(Outcome.MISS, why.ABSENT, unkept=unkept, ttl=0 if unkept else 100, stored=unkept is None)
    tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, head),
            *([] if size is None else [(do.Declined(of, size), unkept)]),
            relay(own, label),
        ],
    )


def test_an_answer_that_is_past_what_may_be_kept_is_not_said_to_be_stored() -> None:
    of = ask()
    own = do.Flight(of, Tape(cap=4), 0)
    own.tape.begin(OK)
    own.tape.feed(b"more than four")
    tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, OK),
            relay(own, Label(Outcome.MISS, why.ABSENT, unkept=why.TOO_LARGE)),
        ],
    )


@pytest.mark.parametrize(
    "missed", [why.ABSENT, why.PURGED, why.DAMAGED, why.STORE_SLOW, why.STORE_FAULT], ids=lambda reason: reason.id
)
def test_whatever_the_lookup_says_against_it_a_miss_is_answered_by_the_upstream(missed: why.Reason) -> None:
    of = ask()
    own = flight_of(of, OK, Landing(FACTS, None, 1.0))
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), missed),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, OK),
            (Partly(do.Relay, label=Label(Outcome.MISS, missed, ttl=100, stored=True)), True),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, missed)


@pytest.mark.parametrize("unkept", [why.TRUNCATED, why.ERROR_INSIDE, why.QUEUE_FULL], ids=lambda reason: reason.id)
def test_a_miss_that_was_not_kept_says_why_when_that_is_known_in_time(unkept: why.Reason) -> None:
    of = ask()
    own = flight_of(of, OK, Landing(None, unkept, 1.0))
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await(own, settle=True), OK),
            relay(own, Label(Outcome.MISS, why.ABSENT, unkept=unkept)),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, why.ABSENT)


@pytest.mark.parametrize("status", [400, 402, 404, 429, 500, 503])
def test_an_error_of_the_upstream_is_relayed_and_not_said_to_be_stored(status: int) -> None:
    of = ask()
    own = flight_of(of, Head(status, ()))
    tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, own.tape.head),
            relay(own, Label(Outcome.MISS, why.ABSENT, unkept=why.STATUS)),
        ],
    )


def test_an_upstream_that_can_not_be_reached_is_refused_with_its_reason() -> None:
    of = ask()
    own = flight_of(of)
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, why.UPSTREAM_REFUSED),
            (do.Refuse(why.UPSTREAM_REFUSED, Label(Outcome.MISS, why.ABSENT, unkept=why.UPSTREAM_REFUSED)), None),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, why.ABSENT)


def test_a_follower_reads_the_tape_of_the_flight_that_is_in_the_air() -> None:
    of = ask()
    others = flight_of(of, OK)
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(others, leader=False)),
            (do.Await(others, settle=True), OK),
            (do.Declined(of, 0), None),
            relay(others, Label(Outcome.COLLAPSED, why.ABSENT, ttl=100, stored=True)),
        ],
    )
    assert receipt == Receipt(Outcome.COLLAPSED, why.ABSENT)


def test_a_follower_of_a_flight_that_fails_is_refused_as_its_leader_is() -> None:
    of = ask()
    others = flight_of(of)
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), do.Boarding(others, leader=False)),
            (do.Await, why.UPSTREAM_SLOW),
            (Partly(do.Refuse, reason=why.UPSTREAM_SLOW), None),
        ],
    )
    assert receipt == Receipt(Outcome.COLLAPSED, why.ABSENT)


def test_without_room_for_a_flight_the_call_passes_through() -> None:
    of = ask()
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), why.ABSENT),
            (Partly(do.Board, ask=of), why.FLIGHTS_FULL),
            (do.Pass(of.call, Label(Outcome.BYPASS, why.FLIGHTS_FULL)), None),
        ],
    )
    assert receipt == Receipt(Outcome.BYPASS, why.FLIGHTS_FULL)


@pytest.mark.parametrize("failed", [None, why.UPSTREAM_CUT])
def test_a_call_that_the_cache_takes_no_part_in_is_passed_on(failed: why.Reason | None) -> None:
    call = ask().call
    script = [(do.Pass(call, Label(Outcome.BYPASS, why.NO_STORE)), failed)]
    assert tell(bypass(call, why.NO_STORE), script) == Receipt(Outcome.BYPASS, why.NO_STORE)


# ------------------------------------------------------------------------------------------------ past its time


@pytest.mark.parametrize(
    ("changes", "age", "missed"),
    [
        ({}, 100, why.EXPIRED),
        ({"max_age": 10}, 50, why.TOO_OLD),
        ({"max_age": 10, "terms": SWR}, 120, why.TOO_OLD),
        ({"only_fresh": True, "terms": SWR}, 120, why.TOO_OLD),
        ({"terms": SWR}, 150, why.EXPIRED),
        ({"terms": SIE}, 120, why.EXPIRED),
    ],
)
def test_what_is_too_old_is_fetched_anew(changes: dict[str, Any], age: int, missed: why.Reason) -> None:
    of = ask(**changes)
    own = flight_of(of, OK, Landing(FACTS, None, 1.0))
    receipt = tell(
        exchange(of, CHAT, NOW + age),
        [
            (do.Lookup(of), entry()),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, OK),
            relay(own, Label(Outcome.MISS, missed, ttl=100, stored=True)),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, missed)


def test_a_stored_stream_that_lacks_the_usage_chunk_is_not_given_to_who_asked_for_it() -> None:
    of = ask(intent={"stream": True, "wants_usage": True})
    own = flight_of(of, Head(200, ((b"content-type", b"text/event-stream"),)))
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Lookup(of), entry(facts=facts(usage="none"))),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, own.tape.head),
            (do.Declined(of, 0), None),
            (Partly(do.Relay, tape=own.tape), True),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, why.FRAMING)


def test_while_it_is_renewed_the_stale_answer_is_served() -> None:
    of, kept, now = ask(terms=SWR), entry(), NOW + 149
    receipt = tell(
        exchange(of, CHAT, now),
        [
            (do.Lookup(of), kept),
            (Partly(do.Renew, ask=of), None),
            replay(kept, stale_label(kept, now, why.EXPIRED, renewing=True)),
        ],
    )
    assert receipt == Receipt(Outcome.STALE, why.EXPIRED, kept)


def test_only_if_cached_is_content_with_a_stale_answer_within_its_window() -> None:
    of, kept, now = ask(terms=SWR, only_if_cached=True), entry(), NOW + 149
    script: Any = [
        (do.Lookup(of), kept),
        (Partly(do.Renew, ask=of), None),
        replay(kept, stale_label(kept, now, why.EXPIRED, renewing=True)),
    ]
    assert tell(exchange(of, CHAT, now), script).outcome is Outcome.STALE


@pytest.mark.parametrize(
    ("head", "failure"),
    [
        (DOWN, why.STATUS),
        (Head(500, ()), why.STATUS),
        (why.UPSTREAM_REFUSED, why.UPSTREAM_REFUSED),
        (why.UPSTREAM_SLOW, why.UPSTREAM_SLOW),
    ],
)
@pytest.mark.parametrize("leader", [True, False])
def test_in_place_of_an_error_the_stale_answer_is_served_within_its_window(
    head: Head | why.Reason, failure: why.Reason, leader: bool
) -> None:
    of, kept, now = ask(terms=SIE), entry(), NOW + 149
    own = flight_of(of, head if isinstance(head, Head) else None)
    receipt = tell(
        exchange(of, CHAT, now),
        [
            (do.Lookup(of), kept),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=leader)),
            (do.Await(own, settle=True), head),
            replay(kept, stale_label(kept, now, failure, renewing=False)),
        ],
    )
    assert receipt == Receipt(Outcome.STALE, failure, kept)


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_an_error_that_is_the_clients_own_is_not_replaced(status: int) -> None:
    of, own_head = ask(terms=SIE), Head(status, ())
    own = flight_of(of, own_head)
    receipt = tell(
        exchange(of, CHAT, NOW + 120),
        [
            (do.Lookup(of), entry()),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, own_head),
            relay(own, Label(Outcome.MISS, why.EXPIRED, unkept=why.STATUS)),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, why.EXPIRED)


@pytest.mark.parametrize(
    ("changes", "age"),
    [({}, 120), ({"terms": SIE}, 150), ({"terms": SIE, "max_age": 10}, 50), ({"terms": SIE, "max_age": 10}, 120)],
)
def test_past_its_window_the_error_is_the_answer(changes: dict[str, Any], age: int) -> None:
    of = ask(**changes)
    own = flight_of(of, DOWN)
    missed = why.TOO_OLD if "max_age" in changes else why.EXPIRED
    receipt = tell(
        exchange(of, CHAT, NOW + age),
        [
            (do.Lookup(of), entry()),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, DOWN),
            relay(own, Label(Outcome.MISS, missed, unkept=why.STATUS)),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, missed)


@pytest.mark.parametrize("found", [why.ABSENT, why.DAMAGED, entry()], ids=["absent", "damaged", "expired"])
def test_only_if_cached_refuses_where_nothing_may_be_served(found: Any) -> None:
    of = ask(only_if_cached=True)
    receipt = tell(
        exchange(of, CHAT, NOW + 100),
        [
            (do.Lookup(of), found),
            (do.Refuse(why.ONLY_IF_CACHED, Label(Outcome.REFUSED, why.ONLY_IF_CACHED)), None),
        ],
    )
    assert receipt == Receipt(Outcome.REFUSED, why.ONLY_IF_CACHED)


# ------------------------------------------------------------------------------------------------ refreshing


def test_no_cache_does_not_look() -> None:
    of = ask(refresh=True)
    own = flight_of(of, OK, Landing(FACTS, None, 1.0))
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, OK),
            relay(own, Label(Outcome.MISS, why.REFRESH, ttl=100, stored=True)),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, why.REFRESH)


def test_clear_forgets_first_and_then_asks_anew() -> None:
    of = ask(refresh=True, clear=True)
    own = flight_of(of, OK, Landing(FACTS, None, 1.0))
    receipt = tell(
        exchange(of, CHAT, NOW),
        [
            (do.Drop((of.key,)), None),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await, OK),
            (Partly(do.Relay, tape=own.tape), True),
        ],
    )
    assert receipt == Receipt(Outcome.MISS, why.REFRESH)


def test_no_cache_and_only_if_cached_together_can_only_be_refused() -> None:
    of = ask(refresh=True, only_if_cached=True)
    assert tell(exchange(of, CHAT, NOW), [(do.Refuse, None)]) == Receipt(Outcome.REFUSED, why.ONLY_IF_CACHED)


def test_a_refresh_never_falls_back_on_what_was_stored() -> None:
    of = ask(refresh=True, terms=SIE)
    own = flight_of(of, DOWN)
    script: Any = [(do.Board, do.Boarding(own, leader=True)), (do.Await, DOWN), (Partly(do.Relay, tape=own.tape), True)]
    assert tell(exchange(of, CHAT, NOW), script) == Receipt(Outcome.MISS, why.REFRESH)


# ------------------------------------------------------------------------------------------------ flights


def arrive(*chunks: bytes, head: Head | None = OK, ending: Ending = COMPLETE) -> Act:
    """The upstream answers: the tape is written as a player would."""

    def write(asked: do.Fetch) -> Ending:
        if head is not None:
            asked.tape.begin(head)
        for chunk in chunks:
            asked.tape.feed(chunk)
        asked.tape.end(ending)
        return ending

    return Act(write)


EPOCHS = (1, 2, 3, 4, 5)


def opening(of: Ask, tape: Tape, answer: Act, took: float = 2.5) -> list[Any]:
    """How every flight begins: the epochs are read before anything is sent."""
    return [(do.Epochs(of.scopes), EPOCHS), (do.Now(), NOW), (do.Fetch(of.call, tape), answer), (do.Now(), NOW + took)]


def test_a_whole_answer_is_kept_with_the_epochs_it_took_off_under() -> None:
    of, tape = ask(), Tape()
    kept = entry(stored_at=NOW + 2.5, epochs=EPOCHS, took=2.5)
    script = [*opening(of, tape, arrive(WHOLE[:9], WHOLE[9:])), (do.Put(of, kept), None)]
    assert tell(flight(of, tape, CHAT, 0.0), script) == Landing(FACTS, None, 2.5)


def test_jitter_shortens_what_is_stored() -> None:
    of, tape = ask(), Tape()
    kept = entry(stored_at=NOW + 2.5, epochs=EPOCHS, took=2.5, ttl=90)
    tell(flight(of, tape, CHAT, 0.1), [*opening(of, tape, arrive(WHOLE)), (do.Put(of, kept), None)])


def test_an_answer_that_the_store_drops_was_good_and_is_not_kept() -> None:
    of, tape = ask(), Tape()
    script = [*opening(of, tape, arrive(WHOLE)), (do.Put, why.QUEUE_FULL)]
    assert tell(flight(of, tape, CHAT, 0.0), script) == Landing(FACTS, why.QUEUE_FULL, 2.5)


def test_a_clock_that_steps_back_gives_no_negative_time() -> None:
    of, tape = ask(), Tape()
    landing = tell(flight(of, tape, CHAT, 0.0), [*opening(of, tape, arrive(WHOLE), took=-9.0), (do.Put, None)])
    assert landing.took == 0.0


SSE = Head(200, ((b"content-type", b"text/event-stream"),))
CUT, SLOW = Ending(End.CUT, why.UPSTREAM_CUT), Ending(End.FAILED, why.UPSTREAM_SLOW)
NOT_KEPT = [
    ("cut", arrive(WHOLE, ending=CUT), why.CUT),
    ("cut before its body", arrive(ending=CUT), why.CUT),
    ("failed", arrive(head=None, ending=SLOW), why.UPSTREAM_SLOW),
    ("refused", arrive(head=None, ending=Ending(End.FAILED, why.UPSTREAM_REFUSED)), why.UPSTREAM_REFUSED),
    ("an error", arrive(WHOLE, head=DOWN), why.STATUS),
    ("a page", arrive(WHOLE, head=Head(200, ((b"content-type", b"text/html"),))), why.CONTENT_TYPE),
    ("a stream that nobody asked for", arrive(WHOLE, head=SSE), why.CONTENT_TYPE),
    ("compressed", arrive(WHOLE, head=Head(200, (*JSON_HEADERS, (b"content-encoding", b"gzip")))), why.ENCODED_ANSWER),
    ("empty", arrive(), why.EMPTY),
    ("judged away", arrive(b'{"error":{"code":502}}'), why.ERROR_INSIDE),
    ("unreadable", arrive(WHOLE[:-1]), why.UNREADABLE),
]


@pytest.mark.parametrize(("answer", "reason"), [row[1:] for row in NOT_KEPT], ids=[row[0] for row in NOT_KEPT])
def test_an_answer_that_is_not_whole_is_not_kept_and_says_why(answer: Act, reason: why.Reason) -> None:
    of, tape = ask(), Tape()
    assert tell(flight(of, tape, CHAT, 0.0), opening(of, tape, answer)) == Landing(None, reason, 2.5)


def test_an_answer_that_outgrew_its_tape_is_not_kept() -> None:
    of, tape = ask(), Tape(cap=len(WHOLE) - 1)
    assert tell(flight(of, tape, CHAT, 0.0), opening(of, tape, arrive(WHOLE))) == Landing(None, why.TOO_LARGE, 2.5)


# ------------------------------------------------------------------------------------------------ the teller itself


def test_a_story_that_goes_another_way_is_told_up_to_where_it_parts() -> None:
    of = ask()
    other = ask(terms={"ttl": 7})
    goes: Any = [
        (
            [(do.Lookup(of), why.ABSENT), (do.Refuse, None)],
            "expected Refuse, but\n  Board(ask=<ask>, since=1800000000.0) was asked",
        ),
        ([(do.Lookup(other), why.ABSENT)], "expected Lookup(ask=<ask>), but\n  .ask.terms.ttl: expected 7, was 100"),
        (
            [(do.Lookup(of), why.ABSENT)],
            "expected the end, but\n  the story went on and asked Board(ask=<ask>, since=1800000000.0)",
        ),
    ]
    for script, parting in goes:
        with pytest.raises(AssertionError) as raised:
            tell(exchange(of, CHAT, NOW), script)
        assert str(raised.value).endswith(parting)
    with pytest.raises(AssertionError) as raised:
        tell(bypass(of.call, why.NO_STORE), [(Partly(do.Pass, call=of.call), None), (do.Now(), 1.0)])
    lines = str(raised.value).splitlines()
    assert lines[0] == "told so far:"
    assert lines[1].startswith("  1. Pass(call=Call(upstream='', method='POST'")
    assert lines[2:] == [
        "then expected Now(), but",
        f"  the story ended and returned {show(Receipt(Outcome.BYPASS, why.NO_STORE))}",
    ]
