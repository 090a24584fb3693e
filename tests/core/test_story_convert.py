"""The story of an answer that is stored in the other framing: looked for after a miss, served if it loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.tell import Partly, tell
from tests.support.words import FACTS, JSON_HEADERS, NOW, ask, entry, facts

from payonce.core import effects as do
from payonce.core.exchange import exchange
from payonce.core.labels import headers, hit_label, stale_label
from payonce.core.tape import COMPLETE, Tape
from payonce.dialects import ChatDialect
from payonce.model import reason as why
from payonce.model.call import Ask, Sought
from payonce.model.ports import Head
from payonce.model.receipt import Landing, Outcome, Receipt

CHAT = ChatDialect()
RECORDED = Path(__file__).parents[1] / "wire/recordings"
STREAM, WHOLE = (RECORDED / "sim-tools.sse").read_bytes(), (RECORDED / "sim-tools.json").read_bytes()
SSE_HEADERS = ((b"content-type", b"text/event-stream"), (b"x-id", b"1"))
SWR: Any = {"stale_while_revalidate": 50}


def turned(of: Ask) -> Sought:
    return Sought(of.key.turned, of.tenant)


def flown(of: Ask) -> list[tuple[Any, Any]]:
    """The upstream is asked after all."""
    own = do.Flight(of, Tape(), 0)
    own.tape.head = Head(200, JSON_HEADERS)
    own.landing = Landing(FACTS, None, 1.0)
    return [
        (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
        (do.Await, own.tape.head),
        (Partly(do.Relay, tape=own.tape), True),
    ]


@pytest.mark.parametrize("missed", [why.ABSENT, why.PURGED, why.DAMAGED], ids=lambda reason: reason.id)
def test_a_whole_answer_is_made_of_the_stored_stream(missed: why.Reason) -> None:
    of, kept = ask(convert=True), entry(body=STREAM, headers=SSE_HEADERS)
    made = CHAT.convert(STREAM, to_stream=False, wants_usage=False)
    head = Head(200, ((b"content-type", b"application/json"), (b"x-id", b"1")))
    label = hit_label(kept, NOW + 40, converted=True)
    question = Partly(
        do.Relay, head=head, tape=lambda tape: tape.ending is COMPLETE and tape.body() == made, label=label
    )
    script = [(do.Lookup(of), missed), (do.Lookup(turned(of)), kept), (question, True)]
    receipt = tell(exchange(of, CHAT, NOW + 40), script)
    assert (receipt.outcome, receipt.converted) == (Outcome.HIT, True)
    assert receipt.entry is not None
    assert (receipt.entry.body, receipt.entry.headers) == (made, head.headers)
    assert (b"cache-status", b"payonce; hit; ttl=60; detail=converted") in headers(label)


def test_a_stream_is_made_of_the_stored_whole_answer_and_may_report_that_it_was_free() -> None:
    of = ask(convert=True, intent={"stream": True}, hit_usage="zero")
    kept = entry(body=WHOLE, headers=((b"content-type", b"application/json; charset=utf-8"),))

    def free(tape: Tape) -> bool:
        usage = orjson.loads((tape.body() or b"").split(b"data: ")[-2])["usage"]
        return usage["cost"] == usage["completion_tokens"] == 0

    script: Any = [
        (do.Lookup(of), why.ABSENT),
        (do.Lookup(turned(of)), kept),
        (Partly(do.Relay, head=Head(200, ((b"content-type", b"text/event-stream"),)), tape=free), True),
    ]
    assert tell(exchange(of, CHAT, NOW), script).outcome is Outcome.HIT


def test_who_wants_usage_gets_it_from_the_whole_answer_where_the_stored_stream_lacks_it() -> None:
    of = ask(convert=True, intent={"stream": True, "wants_usage": True})
    script: Any = [
        (do.Lookup(of), entry(facts=facts(usage="none"))),
        (do.Lookup(turned(of)), entry(body=WHOLE)),
        (Partly(do.Relay, tape=lambda tape: b'"usage"' in tape.body()), True),
    ]
    assert tell(exchange(of, CHAT, NOW), script).converted


@pytest.mark.parametrize(
    ("found", "changes", "age"),
    [
        (why.ABSENT, {}, 0),
        (why.PURGED, {}, 0),
        (why.STORE_SLOW, {}, 0),
        (entry(body=b"data: {}\n\n"), {}, 0),
        (entry(body=STREAM), {}, 100),
        (entry(body=STREAM), {"max_age": 10}, 11),
    ],
    ids=["absent", "purged", "slow", "refused", "expired", "too old"],
)
def test_where_the_other_framing_does_not_help_it_is_a_miss_as_ever(found: Any, changes: Any, age: int) -> None:
    of = ask(convert=True, **changes)
    script = [(do.Lookup(of), why.ABSENT), (do.Lookup(turned(of)), found), *flown(of)]
    assert tell(exchange(of, CHAT, NOW + age), script) == Receipt(Outcome.MISS, why.ABSENT)


def test_a_hit_in_the_framing_that_was_asked_for_asks_nothing_more() -> None:
    of, kept = ask(convert=True), entry()
    script: Any = [(do.Lookup(of), kept), (Partly(do.Relay, label=hit_label(kept, NOW)), True)]
    assert tell(exchange(of, CHAT, NOW), script) == Receipt(Outcome.HIT, None, kept)


@pytest.mark.parametrize("missed", [why.STORE_SLOW, why.STORE_FAULT], ids=lambda reason: reason.id)
def test_a_store_that_did_not_answer_is_not_asked_again(missed: why.Reason) -> None:
    of = ask(convert=True)
    assert tell(exchange(of, CHAT, NOW), [(do.Lookup(of), missed), *flown(of)]) == Receipt(Outcome.MISS, missed)


def test_a_new_answer_is_never_made_of_an_old_one() -> None:
    of = ask(convert=True, refresh=True)
    assert tell(exchange(of, CHAT, NOW), flown(of)) == Receipt(Outcome.MISS, why.REFRESH)


def test_switched_off_there_is_one_lookup() -> None:
    of = ask(convert=False)
    assert tell(exchange(of, CHAT, NOW), [(do.Lookup(of), why.ABSENT), *flown(of)]) == Receipt(Outcome.MISS, why.ABSENT)


def test_what_is_fresh_in_the_other_framing_is_better_than_what_is_stale_in_this_one() -> None:
    of, stale, now = ask(convert=True, terms=SWR), entry(), NOW + 120
    fresh = entry(body=STREAM, stored_at=NOW + 100)
    script: Any = [(do.Lookup(of), stale), (do.Lookup(turned(of)), fresh), (do.Relay, True)]
    assert tell(exchange(of, CHAT, now), script).converted
    script = [
        (do.Lookup(of), stale),
        (do.Lookup(turned(of)), why.ABSENT),
        (Partly(do.Renew, ask=of), None),
        (Partly(do.Relay, label=stale_label(stale, now, why.EXPIRED, renewing=True)), True),
    ]
    assert tell(exchange(of, CHAT, now), script) == Receipt(Outcome.STALE, why.EXPIRED, stale)


def test_only_if_cached_is_content_with_the_other_framing() -> None:
    of = ask(convert=True, only_if_cached=True)
    script: Any = [(do.Lookup(of), why.ABSENT), (do.Lookup(turned(of)), entry(body=STREAM)), (do.Relay, True)]
    assert tell(exchange(of, CHAT, NOW), script).outcome is Outcome.HIT
    script = [(do.Lookup(of), why.ABSENT), (do.Lookup(turned(of)), why.ABSENT), (do.Refuse, None)]
    assert tell(exchange(of, CHAT, NOW), script).outcome is Outcome.REFUSED
