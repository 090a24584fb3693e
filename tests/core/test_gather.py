"""The story of a batch, told: what is asked, in which order, and where it ends."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from msgspec.structs import replace
from tests.support.batches import JSON, answer, embeddings, vector
from tests.support.tell import Act, Partly, tell
from tests.support.words import HEADERS, NOW, PLAIN, intake

from payonce.core import effects as do
from payonce.core.gather import PUTS_BETWEEN_PAUSES, batch_flight, told
from payonce.core.labels import Label, headers
from payonce.core.tape import COMPLETE, Tape
from payonce.dialects.embeddings import EmbeddingsDialect
from payonce.intake import Admitted
from payonce.model import reason as why
from payonce.model.call import Ask, Batch
from payonce.model.entry import Entry
from payonce.model.ports import Head
from payonce.model.receipt import Landing, Outcome

EMBED = EmbeddingsDialect()
OK = Head(200, JSON)


def ask(*given: str, **members: Any) -> Ask:
    body = orjson.dumps({"model": "m", "input": list(given), **members})
    taken = PLAIN.admit("", "embeddings", b"", HEADERS, body)
    assert isinstance(taken, Admitted)
    return taken.ask


def batch(of: Ask) -> Batch:
    assert of.batch is not None
    return of.batch


def fly(of: Ask, body: bytes | None = None, head: Head = OK) -> tuple[Landing, Tape, list[Entry]]:
    """The landing of a flight for `of`, its tape, and what it put."""
    tape, put = Tape(cap=1 << 20), []
    said = answer(orjson.loads(of.call.body)) if body is None else body

    def fetch(asked: do.Fetch) -> Any:
        tape.begin(head)
        tape.feed(said)
        tape.end(COMPLETE)
        return COMPLETE

    story = batch_flight(of, tape, EMBED, 0.0)
    reply: Any = None
    while True:
        try:
            asked = story.send(reply)
        except StopIteration as end:
            return end.value, tape, put
        match asked:
            case do.Epochs():
                reply = (0,) * len(asked.scopes)
            case do.Now():
                reply = NOW
            case do.Fetch():
                reply = fetch(asked)
            case do.Put():
                put.append(asked.entry)
                reply = None
            case do.Pause():
                reply = None
            case _:
                raise AssertionError(asked)


def flight_of(of: Ask, *, landed: bool = True) -> do.Flight:
    landing, tape, _ = fly(of)
    found = do.Flight(of, tape, 0)
    if landed:
        found.land(landing)
    return found


def kept(*given: str) -> tuple[Entry, ...]:
    landing, _, put = fly(ask(*given))
    assert list(landing.entries) == put
    return landing.entries


def test_a_batch_that_is_all_stored_asks_the_store_once_and_nothing_else() -> None:
    of = ask("b", "a", "b")
    a, b = kept("a", "b")

    def whole(tape: Tape) -> bool:
        return tape.ending is COMPLETE and embeddings(tape.body() or b"") == [vector("b"), vector("a"), vector("b")]

    receipt = tell(
        told(of, EMBED, NOW + 10),
        [
            (do.LookupMany(batch(of).items), (b, a)),
            (
                Partly(
                    do.Relay,
                    tape=whole,
                    label=Label(Outcome.HIT, age=10, ttl=a.ttl - 10, source_id="gen-1", items=(3, 3)),
                ),
                True,
            ),
        ],
    )
    assert (receipt.outcome, receipt.entry) == (Outcome.HIT, None)
    assert receipt.saved is not None
    assert (receipt.saved.calls, receipt.saved.tokens.input) == (1, 6)


@pytest.mark.parametrize("first", [(), ("a",)], ids=["all of it missing", "a part missing"])
def test_whose_flight_has_landed_since_it_looked_looks_again(first: tuple[str, ...]) -> None:
    of = ask("a", "b")
    a, b = kept("a", "b")
    receipt = tell(
        told(of, EMBED, NOW),
        [
            (do.LookupMany(batch(of).items), tuple(a if "a" in first and n == 0 else why.ABSENT for n in range(2))),
            (Partly(do.Board, since=NOW), None),
            (do.LookupMany(batch(of).items), (a, b)),
            (Partly(do.Relay), True),
        ],
    )
    assert receipt.outcome is Outcome.HIT


def test_only_what_is_missing_is_boarded_and_awaited_to_its_landing() -> None:
    of = ask("a", "z", "z")
    (a,) = kept("a")
    part = flight_of(ask("z"))

    def narrowed(short: Ask) -> bool:
        return short.call.body == b'{"model":"m","input":["z"]}' and short.key == ask("z").key

    receipt = tell(
        told(of, EMBED, NOW),
        [
            (do.LookupMany(batch(of).items), (a, why.ABSENT)),
            (Partly(do.Board, ask=narrowed), do.Boarding(part, leader=True)),
            (do.Land(part), part.landing),
            (
                Partly(
                    do.Relay,
                    tape=lambda tape: embeddings(tape.body()) == [vector("a"), vector("z"), vector("z")],
                    label=Label(Outcome.MISS, why.ABSENT, ttl=of.terms.ttl, stored=True, items=(1, 3)),
                ),
                True,
            ),
        ],
    )
    assert (receipt.outcome, receipt.reason) == (Outcome.MISS, why.ABSENT)
    assert receipt.saved is not None
    assert (receipt.saved.calls, receipt.saved.tokens.input) == (0, 4)


def test_a_batch_of_which_nothing_is_known_reads_its_own_tape_as_it_came() -> None:
    of = ask("a", "b")
    own = flight_of(of)
    tell(
        told(of, EMBED, NOW),
        [
            (do.LookupMany(batch(of).items), (why.ABSENT, why.PURGED)),
            (Partly(do.Board, ask=of), do.Boarding(own, leader=True)),
            (do.Await(own, settle=True), OK),
            (
                do.Relay(OK, own.tape, Label(Outcome.MISS, why.ABSENT, ttl=of.terms.ttl, stored=True, items=(0, 2))),
                True,
            ),
        ],
    )


def test_no_seat_for_what_is_missing_makes_the_whole_call_pass_through() -> None:
    of = ask("a", "z")
    tell(
        told(of, EMBED, NOW),
        [
            (do.LookupMany, (*kept("a"), why.ABSENT)),
            (do.Board, why.FLIGHTS_FULL),
            (do.Pass(of.call, Label(Outcome.BYPASS, why.FLIGHTS_FULL)), None),
        ],
    )


def test_a_request_to_refresh_does_not_look_and_one_to_clear_drops_each_item() -> None:
    of = replace(ask("a", "b", "a"), clear=True, refresh=True)
    part = flight_of(ask("a", "b"))
    receipt = tell(
        told(of, EMBED, NOW),
        [
            (do.Drop(tuple(item.key for item in batch(of).items)), None),
            (Partly(do.Board, ask=lambda short: short.call.body == b'{"model":"m","input":["a","b"]}'),
             do.Boarding(part, leader=False)),
            (do.Land(part), part.landing),
            (Partly(do.Relay, label=Label(Outcome.COLLAPSED, why.REFRESH, ttl=of.terms.ttl, stored=True, items=(0, 3))),
             True),
        ],
    )  # fmt: skip
    assert receipt.outcome is Outcome.COLLAPSED


def test_items_are_put_with_the_epochs_that_were_read_before_the_call() -> None:
    of = ask("a", "b")
    items = batch(of).items
    tape = Tape()

    def fetch(asked: do.Fetch) -> Any:
        tape.begin(OK)
        tape.feed(answer(orjson.loads(of.call.body)))
        tape.end(COMPLETE)
        return COMPLETE

    scopes = (*items[0].scopes, *items[1].scopes)
    landing = tell(
        batch_flight(of, tape, EMBED, 0.0),
        [
            (do.Epochs(scopes), tuple(range(len(scopes)))),
            (do.Now(), NOW),
            (Partly(do.Fetch, call=of.call), Act(fetch)),
            (do.Now(), NOW + 2),
            (Partly(do.Put, ask=items[0], entry=lambda e: e.epochs == (0, 1, 2, 3, 4) and e.took == 2), None),
            (Partly(do.Put, ask=items[1], entry=lambda e: e.epochs == (5, 6, 7, 8, 9)), why.QUEUE_FULL),
        ],
    )
    assert landing.reason is why.QUEUE_FULL, "one that was dropped is said, and the answer is whole all the same"
    assert len(landing.entries) == 2


def test_who_has_made_a_batch_is_asked_once_and_holds_for_all_its_items() -> None:
    body = orjson.dumps({"model": "m", "input": ["a", "b", "c"]})
    taken = intake(changed_models="retire").admit("", "embeddings", b"", HEADERS, body)
    assert isinstance(taken, Admitted)
    of, tape = taken.ask, Tape()
    tape.begin(OK)
    tape.feed(answer({"model": "m-2026", "input": ["a", "b", "c"]}))
    tape.end(COMPLETE)
    story, reply, put, asked_for = batch_flight(of, tape, EMBED, 0.0), None, [], []
    try:
        while True:
            asked: Any = story.send(reply)
            if isinstance(asked, do.Witness):
                asked_for.append(asked)
            if isinstance(asked, do.Put):
                put.append(asked.entry)
            known: dict[type, Any] = {do.Epochs: (5,) * 18, do.Now: NOW, do.Fetch: COMPLETE, do.Witness: 77}
            reply = known.get(type(asked))
    except StopIteration:
        pass
    [effect] = asked_for
    assert (effect.scope, effect.name, effect.born) == (of.watched, "m", 5)
    assert effect.said == put[0].facts.model
    for entry in put:
        assert dict(zip(entry.scopes, entry.epochs, strict=True)) == dict.fromkeys(entry.scopes, 5) | {of.watched: 77}
    assert len(put) == 3


def test_many_puts_let_others_have_their_turn() -> None:
    given = [str(number) for number in range(2 * PUTS_BETWEEN_PAUSES)]
    of, tape = ask(*given), Tape()
    tape.begin(OK)
    tape.feed(answer({"model": "m", "input": given}))
    tape.end(COMPLETE)
    kinds: list[type] = []
    story, reply = batch_flight(of, tape, EMBED, 0.0), None
    try:
        while True:
            asked: Any = story.send(reply)
            kinds.append(type(asked))
            reply = {do.Epochs: (0,) * 10_000, do.Now: NOW, do.Fetch: COMPLETE}.get(type(asked))  # type: ignore[assignment]
    except StopIteration:
        pass
    assert (kinds.count(do.Put), kinds.count(do.Pause)) == (2 * PUTS_BETWEEN_PAUSES, 2)


def test_entries_that_were_kept_say_the_same_as_an_answer_to_a_batch_of_one() -> None:
    (_, entry) = kept("a", "b")
    page = orjson.loads(entry.body)
    assert [item["index"] for item in page["data"]] == [0]
    assert embeddings(entry.body) == [vector("b")]
    assert (page["object"], page["usage"]["prompt_tokens"]) == ("list", entry.facts.tokens.input)
    assert entry.scopes[-1] == "key:" + ask("b").batch.items[0].key.digest.hex()  # type: ignore[union-attr]
    assert msgspec.structs.asdict(entry)["endpoint"] == "embeddings"


def test_what_is_said_of_a_batch_in_headers() -> None:
    def said(label: Label) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in headers(label)}

    part = said(Label(Outcome.MISS, why.ABSENT, ttl=9, stored=True, items=(90, 100)))
    assert part["cache-status"] == "payonce; fwd=partial; stored"
    assert (part["x-payonce-items"], part["x-openrouter-cache-status"]) == ("90/100", "MISS")
    none = said(Label(Outcome.MISS, why.EXPIRED, unkept=why.STATUS, items=(0, 3)))
    assert (none["cache-status"], none["x-payonce-items"]) == ("payonce; fwd=stale; detail=status", "0/3")
    assert said(Label(Outcome.HIT, ttl=3, items=(2, 2)))["x-payonce-items"] == "2/2"
    assert "x-payonce-items" not in said(Label(Outcome.HIT, ttl=3))
