"""Batches of embeddings: whatever is known already, each item gets the vector that a fresh upstream would give it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce.core import effects as do
from payonce.core.tape import COMPLETE
from payonce.dialects.embeddings import EmbeddingsDialect
from payonce.drive.sync import SyncPlayer
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.intake import Admitted
from payonce.ledger.ledger import Ledger
from payonce.model import reason as why
from payonce.model.call import Call
from payonce.model.ports import Head
from payonce.model.scopes import of_key, of_model, of_namespace, of_tag
from payonce.stores.memory import MemoryStore
from tests.support.batches import (
    JSON,
    Arriving,
    Bench,
    answer,
    embeddings,
    items_of,
    vector,
)
from tests.support.on_a_loop import turns
from tests.support.words import HEADERS, SECRET, intake

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "dd", "é\n", '"]', "e" * 40, " a", ""]), min_size=1, max_size=8)
TOKENS = st.lists(st.lists(st.sampled_from([0, 1, 2, 2**40]), min_size=1, max_size=3), min_size=1, max_size=6)
GIVEN = st.one_of(TEXTS, TOKENS, TEXTS.map(lambda texts: texts[0]), TOKENS.map(lambda lists: lists[0]))
HISTORY = st.lists(st.tuples(GIVEN, st.sampled_from(["float", "base64"])), min_size=1, max_size=8)


def key_of(given: Any) -> bytes:
    return orjson.dumps(given)


async def tell(history: list[tuple[Any, str]]) -> None:
    """Each request of `history` is answered as a fresh upstream would, and pays for exactly what was not known."""
    bench = Bench()
    known: dict[tuple[bytes, str], bool] = {}
    for asked, encoding in history:
        calls = len(bench.upstream.calls)
        reply = await bench.ask(asked, encoding_format=encoding)
        given = items_of(asked)
        assert (reply.status, reply.ended) == (200, "whole")
        assert embeddings(reply.body) == [vector(item, encoding) for item in given]
        distinct = list(dict.fromkeys(map(key_of, given)))
        lacking = [text for text in distinct if (text, encoding) not in known]
        sent = bench.upstream.sent[calls:]
        assert [list(map(key_of, items)) for items in sent] == ([lacking] if lacking else [])
        hits = sum((key_of(item), encoding) in known for item in given)
        assert reply.fields["x-payonce-items"] == f"{hits}/{len(given)}"
        assert reply.fields["x-openrouter-cache-status"] == ("MISS" if lacking else "HIT")
        if lacking == distinct == list(map(key_of, given)):
            assert reply.body == answer(orjson.loads(bench.upstream.calls[-1].body), len(bench.upstream.calls))
        known |= {(text, encoding): True for text in distinct}
    await bench.player.close(0)


@given(HISTORY)
@settings(max_examples=150)
@example([(["a", "b", "c"], "float"), (["c", "x", "a", "x"], "float"), ("x", "float"), ("x", "base64")])
def test_any_batches_in_any_order_are_answered_as_by_a_fresh_upstream(history: list[tuple[Any, str]]) -> None:
    asyncio.run(tell(history))


def test_two_swapped_indices_turn_the_property_red(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = EmbeddingsDialect.assemble

    def swapped(self: Any, pieces: Any, places: list[int], *rest: Any) -> Any:
        return whole(self, pieces, (places[1], places[0], *places[2:]) if len(places) > 1 else places, *rest)

    monkeypatch.setattr(EmbeddingsDialect, "assemble", swapped)
    with pytest.raises(AssertionError):
        asyncio.run(tell([(["a", "b"], "float"), (["a", "b"], "float")]))


def test_an_item_kept_under_its_neighbours_key_turns_the_property_red(monkeypatch: pytest.MonkeyPatch) -> None:
    divide = EmbeddingsDialect.divide

    def shifted(self: Any, body: bytes, weights: Any) -> Any:
        division = yield from divide(self, body, weights)
        return division._replace(pieces=division.pieces[1:] + division.pieces[:1])

    monkeypatch.setattr(EmbeddingsDialect, "divide", shifted)
    with pytest.raises(AssertionError):
        asyncio.run(tell([(["a", "b"], "float"), ("a", "float")]))


# ------------------------------------------------------------------------------------------------ usage


def numbers(usage: dict[str, Any]) -> tuple[Decimal, ...]:
    found = usage["prompt_tokens"], usage["total_tokens"], usage["cost"], usage["cost_details"]["upstream"]
    return tuple(map(Decimal, found))


@given(st.lists(st.text(max_size=30), min_size=1, max_size=12, unique=True), st.randoms())
@settings(max_examples=60)
def test_what_the_items_of_a_call_report_adds_up_to_what_was_paid_for_it(texts: list[str], chance: Any) -> None:
    async def story() -> None:
        bench = Bench()
        paid = numbers((await bench.ask(texts)).usage)
        again = await bench.ask(texts)
        assert numbers(again.usage) == paid
        assert again.usage["is_byok"] is False
        alone = [numbers((await bench.ask(text)).usage) for text in texts]
        assert tuple(map(sum, zip(*alone, strict=True))) == paid
        some = chance.sample(texts, chance.randint(1, len(texts)))
        part = [alone[texts.index(text)] for text in some]
        assert numbers((await bench.ask([*some, *some])).usage) == tuple(map(sum, zip(*part, strict=True)))
        mixed = await bench.ask([*some, "new to it", "new too"])
        fresh = numbers(orjson_usage(bench))
        assert numbers(mixed.usage) == tuple(map(sum, zip(*part, fresh, strict=True)))
        await bench.player.close(0)

    asyncio.run(story())


def orjson_usage(bench: Bench) -> dict[str, Any]:
    """The usage of the upstream's last answer."""
    import json

    body = answer(orjson.loads(bench.upstream.calls[-1].body), len(bench.upstream.calls))
    found: dict[str, Any] = json.loads(body, parse_float=Decimal)["usage"]
    return found


@pytest.mark.parametrize(("mode", "tokens", "cost"), [("verbatim", 4, 2), ("free", 4, 1), ("zero", 2, 1)])
async def test_stored_items_report_the_usage_that_the_operator_chose(mode: str, tokens: int, cost: int) -> None:
    bench = Bench(intake(ttl=100, hit_usage=mode))
    one = (await bench.ask("a")).usage
    mixed = (await bench.ask(["a", "b"])).usage
    assert (mixed["prompt_tokens"], mixed["cost"]) == (tokens, cost * one["cost"])
    assert mixed["is_byok"] is False


async def test_the_ledger_counts_a_request_once_and_what_was_not_paid() -> None:
    bench = Bench()
    await bench.ask(["a", "b"])
    await bench.ask(["a", "b", "b", "c", "c"])
    await bench.ask(["a", "c"])
    counts = bench.ledger.now.counts
    assert (counts["requests.miss"], counts["requests.hit"], counts["upstream.calls"]) == (2, 1, 2)
    assert counts["paid.input_tokens"] == 6
    assert counts["avoided.input_tokens"] == 2 * (3 + 1 + 2)
    assert counts["avoided.calls"] == 1
    assert counts["avoided.nano_dollars"] == 12 * 13


# ------------------------------------------------------------------------------------------------ what is sent


async def test_a_shortened_call_keeps_all_else_as_it_was_written() -> None:
    bench = Bench()
    await bench.post(b'{"model":"m","input":["a"]}')
    await bench.post(b'{ "user": "u\\u0041",  "input" :["a", "b\\u00e9" , [1]], "model":"m" }')
    assert bench.upstream.calls[-1].body.startswith(b'{ "user"'), "mixed kinds are one whole"
    await bench.post(b'{ "user": "u\\u0041",  "input" :["a", "b\\u00e9" , "c"], "model":"m" }')
    assert bench.upstream.calls[-1].body == b'{"user":"u\\u0041","input":["b\\u00e9","c"],"model":"m"}'


async def test_a_batch_of_which_nothing_is_known_goes_and_comes_byte_for_byte() -> None:
    bench = Bench()
    sent = b'{"model":"m",\n "input":["a","b"], "user":"x"}'
    reply = await bench.post(sent)
    assert bench.upstream.calls[0].body == sent
    assert reply.body == answer({"model": "m", "input": ["a", "b"]}, 1)
    assert reply.said == "payonce; fwd=miss; stored"


async def test_members_beside_the_embedding_are_kept() -> None:
    bench = Bench()

    def more(asked: dict[str, Any], body: bytes) -> tuple[int, bytes]:
        body = body.replace(b'"object": "embedding"', b'"object": "embedding", "x": {"y": 1e2}')
        return 200, body.replace(b'"object":"list"', b'"object":"list","provider":"P\\u00e9"')

    bench.upstream.bend = [more]
    await bench.ask(["a", "b"])
    page = orjson.loads((await bench.ask(["b", "a"])).body)
    assert (page["provider"], page["object"], page["data"][1]["x"]) == ("Pé", "list", {"y": 100.0})
    assert b'"x":{"y": 1e2}' in (await bench.ask("a")).body


async def test_multimodal_items_are_kept_one_by_one_and_what_is_no_list_of_items_as_a_whole() -> None:
    bench = Bench()
    one = {"content": [{"type": "text", "text": "a"}]}
    two = {"content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}
    await bench.ask([one, two])
    assert (await bench.ask([two])).said.startswith("payonce; hit")
    mixed = await bench.ask([{"content": [], "more": 1}, one])
    assert mixed.fields["x-payonce-items"] == "1/2"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    first = await bench.ask(parts)
    assert "x-payonce-items" not in first.fields
    assert (await bench.ask(parts)).body == first.body
    assert (await bench.ask(parts[:1])).said == "payonce; fwd=miss; stored"


async def test_identical_batches_under_way_at_the_same_time_are_one_call() -> None:
    bench = Bench()
    bench.upstream.gate = asyncio.Event()
    asking = [asyncio.ensure_future(bench.ask(["a", "b"])) for _ in range(3)]
    twice = [asyncio.ensure_future(bench.ask(["c", "c"])) for _ in range(2)]
    await turns()
    bench.upstream.gate.set()
    replies = await asyncio.gather(*asking)
    assert bench.upstream.sent == [["a", "b"], ["c"]]
    assert len({reply.body for reply in replies}) == 1
    assert sorted(reply.said for reply in replies) == ["payonce; fwd=miss; collapsed"] * 2 + [
        "payonce; fwd=miss; stored"
    ]
    assert [embeddings(reply.body) for reply in await asyncio.gather(*twice)] == [[vector("c")] * 2] * 2


# ------------------------------------------------------------------------------------------------ directives


async def test_directives_hold_for_each_item() -> None:
    bench = Bench()
    await bench.ask(["a", "b"])
    missing = await bench.ask(["a", "z"], (b"cache-control", b"only-if-cached"))
    assert (missing.status, missing.ended) == (504, "only-if-cached")
    assert (await bench.ask(["b", "a"], (b"cache-control", b"only-if-cached"))).said.startswith("payonce; hit")
    assert len(bench.upstream.calls) == 1
    assert (await bench.ask(["a", "b"], (b"cache-control", b"no-cache"))).said == "payonce; fwd=request; stored"
    assert (await bench.ask(["a", "b"], (b"x-openrouter-cache-clear", b"true"))).said == "payonce; fwd=request; stored"
    assert (await bench.ask("a", (b"x-payonce-namespace", b"n"))).said == "payonce; fwd=miss; stored"
    assert (await bench.ask("a", (b"x-payonce-sample", b"1"))).said == "payonce; fwd=miss; stored"
    assert len(bench.upstream.calls) == 5
    bench.clock.advance(30)
    await bench.ask("c", (b"x-openrouter-cache-ttl", b"20"))
    mixed = await bench.ask(["a", "c"], (b"cache-control", b"max-age=10"))
    assert mixed.fields["x-payonce-items"] == "1/2"
    assert bench.upstream.sent[-1] == ["a"]
    bench.clock.advance(25)
    assert (await bench.ask(["a", "c"])).fields["x-payonce-items"] == "1/2"
    assert bench.upstream.sent[-1] == ["c"]


async def test_a_hit_is_as_old_as_its_oldest_item_and_lives_as_long_as_its_shortest_lived() -> None:
    bench = Bench()
    await bench.ask("a")
    bench.clock.advance(30)
    await bench.ask("b", (b"x-openrouter-cache-ttl", b"40"))
    bench.clock.advance(10)
    hit = await bench.ask(["b", "a"])
    assert (hit.fields["age"], hit.said) == ("40", "payonce; hit; ttl=30")
    assert "x-openrouter-cache-source-id" not in hit.fields


@pytest.mark.parametrize("scope", ["all", of_model("m"), of_namespace("n"), of_tag("t")])
async def test_a_purge_of_its_scope_ends_every_item(scope: str) -> None:
    bench = Bench()
    said = ((b"x-payonce-namespace", b"n"), (b"x-payonce-tags", b"t"))
    await bench.ask(["a", "b"], *said)
    bench.tiers.keeper.raise_epoch(of_model("other"))
    bench.tiers.refresh()
    assert (await bench.ask(["a", "b"], *said)).said.startswith("payonce; hit")
    bench.tiers.keeper.raise_epoch(scope)
    bench.tiers.refresh()
    assert (await bench.ask(["a", "b"], *said)).fields["x-payonce-items"] == "0/2"


async def test_a_purge_by_key_ends_one_item_also_one_that_is_under_way() -> None:
    bench = Bench()
    await bench.ask(["a", "b"])
    (row, _) = bench.tiers.keeper.rows()
    bench.tiers.keeper.raise_epoch(of_key(row.slot[:-1]))
    bench.tiers.refresh()
    assert (await bench.ask(["a", "b"])).fields["x-payonce-items"] == "1/2"
    bench.upstream.gate = asyncio.Event()
    asking = asyncio.ensure_future(bench.ask(["c"]))
    bench.upstream.called.clear()
    await bench.upstream.called.wait()
    bench.tiers.keeper.raise_epoch(of_model("m"))
    bench.tiers.refresh()
    bench.upstream.gate.set()
    await asking
    assert (await bench.ask(["c"])).fields["x-payonce-items"] == "0/1"


async def test_stale_items_are_served_and_renewed_behind() -> None:
    bench = Bench()
    await bench.ask(["a", "b"])
    bench.clock.advance(60)
    await bench.ask("c")
    bench.clock.advance(60)
    swr = (b"cache-control", b"stale-while-revalidate=60")
    stale = await bench.ask(["a", "c", "b"], swr)
    assert "detail=stale-while-revalidate" in stale.said
    assert (stale.fields["x-openrouter-cache-status"], stale.fields["x-payonce-items"]) == ("HIT", "3/3")
    await bench.settle()
    assert bench.upstream.sent == [["a", "b"], ["c"], ["a", "b"]]
    assert (await bench.ask(["a", "b"])).fields["age"] == "0"
    bench.clock.advance(110)
    missing = await bench.ask(["a", "b", "z"], swr)
    assert bench.upstream.sent[-1] == ["a", "b", "z"], "what is fetched anyway brings the stale ones along"
    assert missing.fields["x-payonce-items"] == "0/3"


# ------------------------------------------------------------------------------------------------ partial failure

Bend = Callable[[dict[str, Any], bytes], Any]
SHAPE = b'{"error":{"code":429,"message":"slow down"}}'


def swapped(asked: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    page = orjson.loads(body)
    page["data"].reverse()
    return 200, orjson.dumps(page)


async def test_an_answer_in_another_order_is_read_by_its_indices() -> None:
    bench = Bench()
    bench.upstream.bend = [swapped, None]
    await bench.ask(["a", "b", "c"])
    assert [float(x[1:6]) for x in embeddings((await bench.ask(["a", "b", "c"])).body)] == [
        float(vector(item)[1:6]) for item in "abc"
    ]


@pytest.mark.parametrize("status", [400, 402, 429, 503])
async def test_an_error_for_the_missing_items_is_passed_on_as_it_is(status: int) -> None:
    bench = Bench()
    await bench.ask(["a", "b"])
    late = Arriving(Head(status, (*JSON, (b"retry-after", b"7"))), SHAPE)
    bench.upstream.bend = [lambda *_: late]
    reply = await bench.ask(["a", "z", "b"])
    assert (reply.status, reply.body, reply.fields["retry-after"]) == (status, SHAPE, "7")
    assert (reply.said, reply.fields["x-payonce-items"]) == ("payonce; fwd=miss; detail=status", "0/3")
    assert len(bench.upstream.calls) == 2
    assert (await bench.ask(["a", "b"])).said.startswith("payonce; hit")
    assert bench.ledger.now.counts["unkept.status"] == 1


async def test_an_error_inside_a_200_is_passed_on_as_it_is() -> None:
    bench = Bench()
    await bench.ask("a")
    bench.upstream.bend = [lambda *_: (200, SHAPE)]
    reply = await bench.ask(["a", "z"])
    assert (reply.status, reply.body, reply.said) == (200, SHAPE, "payonce; fwd=miss; detail=error-inside")
    assert len(bench.upstream.calls) == 2


def without_last(asked: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    page = orjson.loads(body)
    page["data"].pop()
    return 200, orjson.dumps(page)


def same_index(asked: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    return 200, body.replace(b'"index": 1', b'"index": 0')


def edited(old: bytes, new: bytes) -> Bend:
    def edit(asked: dict[str, Any], body: bytes) -> tuple[int, bytes]:
        assert old in body
        return 200, body.replace(old, new, 1)

    return edit


MALFORMED: dict[str, Bend] = {
    "one item fewer": without_last,
    "an index twice": same_index,
    "an index too high": edited(b'"index": 1', b'"index": 2'),
    "an index below 0": edited(b'"index": 1', b'"index": -1'),
    "no index": edited(b'"index": 1,', b""),
    "not a number": edited(b", -0.", b', null, "'),
    "NaN": edited(b", -0.", b", NaN, -0."),
    "infinity": edited(b", -0.", b", 1e999, -0."),
    "another dimension": edited(b", -0.", b", 0.5, -0."),
    "an empty vector": edited(b'"embedding": [', b'"embedding": [], "was": ['),
    "a vector of text": edited(b", -0.", b', "x", -0.'),
    "a vector in base64 among lists": edited(b'"embedding": [', b'"embedding": "AAAAAAAAAAAAAAAA", "was": ['),
    "a list of lists": edited(b'"embedding": [', b'"embedding": [['),
    "cut off": lambda _asked, body: (200, body[:-9]),
    "something behind it": lambda _asked, body: (200, body + b"{}"),
    "a member twice": edited(b'"object":"list"', b'"object":"list","object":"list"'),
    "an absurd number": edited(b'"is_byok"', b'"absurd":1e99999,"is_byok"'),
    "no JSON": lambda *_: (200, b"<html>"),
    "nothing": lambda *_: (200, b""),
    "a list": lambda *_: (200, b"[]"),
    "no data": lambda *_: (200, b'{"object":"list"}'),
    "empty data": lambda *_: (200, b'{"object":"list","data":[]}'),
}


@pytest.mark.parametrize("bend", MALFORMED.values(), ids=MALFORMED.keys())
async def test_an_unusable_answer_to_a_part_makes_the_whole_batch_be_sent_once(bend: Bend) -> None:
    bench = Bench()
    await bench.ask("a")
    bench.upstream.bend = [bend, None]
    sent = orjson.dumps({"model": "m", "input": ["y", "a", "z", "z"]})
    reply = await bench.post(sent)
    assert embeddings(reply.body) == [vector(item) for item in "yazz"]
    assert reply.body == answer(orjson.loads(sent), 3)
    assert [call.body for call in bench.upstream.calls[2:]] == [sent]
    assert bench.ledger.now.counts["reasons.unusable-part"] == 1
    assert (await bench.ask(["z", "y"])).said.startswith("payonce; hit")


@pytest.mark.parametrize("bend", MALFORMED.values(), ids=MALFORMED.keys())
async def test_an_unusable_answer_to_a_whole_batch_is_passed_on_as_it_came_and_not_kept(bend: Bend) -> None:
    bench = Bench()
    bench.upstream.bend = [bend]
    asked = {"model": "m", "input": ["y", "z"]}
    reply = await bench.ask(asked["input"])
    assert (reply.status, reply.body) == bend(asked, answer(asked, 1))
    assert "stored" not in reply.said
    assert list(bench.tiers.keeper.rows()) == []


async def test_a_second_unusable_answer_is_passed_on_as_it_came() -> None:
    bench = Bench()
    await bench.ask("a")
    bench.upstream.bend = [without_last, without_last]
    reply = await bench.ask(["a", "y"])
    asked = {"model": "m", "input": ["a", "y"]}
    assert (reply.status, reply.body) == without_last(asked, answer(asked, 3))
    assert len(bench.upstream.calls) == 3


@pytest.mark.parametrize(
    ("bend", "status", "error"),
    [
        (lambda *_: why.UPSTREAM_REFUSED, 502, "upstream-refused"),
        (lambda *_: why.UPSTREAM_SLOW, 504, "upstream-slow"),
        (lambda _asked, body: Arriving(Head(200, JSON), body, why.UPSTREAM_CUT), 502, "upstream-cut"),
    ],
)
async def test_a_call_for_the_missing_items_that_fails_is_an_error_of_the_gateway(
    bend: Bend, status: int, error: str
) -> None:
    bench = Bench()
    await bench.ask("a")
    bench.upstream.bend = [bend]
    reply = await bench.ask(["a", "z"])
    assert (reply.status, reply.ended, len(bench.upstream.calls)) == (status, error, 2)
    assert (await bench.ask("a")).said.startswith("payonce; hit")


@pytest.mark.parametrize("bend", [lambda *_: why.UPSTREAM_REFUSED, lambda *_: (503, SHAPE)])
@pytest.mark.parametrize("held", [True, False])
async def test_stale_items_stand_in_when_the_upstream_fails(bend: Bend, held: bool) -> None:
    bench = Bench()
    await bench.ask(["a", "b"])
    bench.clock.advance(110)
    if held:
        await bench.ask("a")
    sie = (b"cache-control", b"stale-if-error=60")
    bench.upstream.bend = [bend, bend]
    assert (await bench.ask(["a", "b"])).status >= 500
    stale = await bench.ask(["a", "b"], sie)
    assert (stale.status, embeddings(stale.body)) == (200, [vector("a"), vector("b")])
    assert stale.said.startswith("payonce; fwd=stale")


# ------------------------------------------------------------------------------------------------ bounds


@pytest.mark.parametrize("change", [{"model": "m-2"}, {"size": 4}])
async def test_vectors_of_two_models_never_stand_in_one_answer(change: dict[str, Any]) -> None:
    bench = Bench()
    await bench.ask(["a", "b"])
    for name, value in change.items():
        setattr(bench.upstream, name, value)
    size = bench.upstream.size
    mixed = await bench.ask(["a", "c"])
    assert embeddings(mixed.body) == [vector("a", size=size), vector("c", size=size)]
    assert bench.upstream.sent[1:] == [["c"], ["a", "c"]]
    assert bench.ledger.now.counts["reasons.model-changed"] == 1
    known = await bench.ask(["a", "b"])
    assert embeddings(known.body) == [vector("a", size=size), vector("b", size=size)]
    assert (await bench.ask(["b", "a", "c"])).said.startswith("payonce; hit")


async def test_an_answer_past_the_bound_is_passed_on_whole_and_not_kept() -> None:
    bench = Bench(max_batch=600)
    await bench.ask("a")
    large = [str(number) for number in range(20)]
    first = await bench.ask(large)
    assert first.body == answer({"model": "m", "input": large}, 2)
    assert len(list(bench.tiers.keeper.rows())) == 1
    part = await bench.ask(["a", *large])
    assert part.body == answer({"model": "m", "input": ["a", *large]}, len(bench.upstream.calls))
    assert bench.upstream.sent[2:] == [large, ["a", *large]]


@pytest.mark.parametrize("more", [b'"about":"%b"', b'"usage":{"a":"%b"},"was"'])
async def test_what_is_large_beside_the_items_is_not_stored_with_each_of_them(more: bytes) -> None:
    bench = Bench()
    bench.upstream.bend = [
        edited(b'"usage"', more.replace(b"%b", b"x" * 20_000) + (b"" if b"was" in more else b',"usage"'))
    ]
    assert (await bench.ask(["a", "b"])).said == "payonce; fwd=miss; detail=too-large"


async def test_two_api_keys_share_nothing() -> None:
    bench = Bench()
    await bench.ask("a")
    other = ((b"authorization", b"Bearer other"), (b"content-type", b"application/json"))
    assert (await bench.post(orjson.dumps({"model": "m", "input": "a"}), headers=other)).fields[
        "x-payonce-items"
    ] == "0/1"


async def test_a_client_that_left_loses_nothing_for_others() -> None:
    bench = Bench()
    bench.upstream.gate = asyncio.Event()
    await_part = asyncio.ensure_future(bench.ask(["c", "c"]))
    await asyncio.sleep(0)
    await_part.cancel()
    await asyncio.sleep(0)
    bench.upstream.gate.set()
    await bench.settle()
    assert (await bench.ask("c")).said.startswith("payonce; hit")


# ------------------------------------------------------------------------------------------ the player with threads


class Threaded:
    """The same upstream, for threads."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.bodies: list[bytes] = []

    def open(self, call: Call) -> Any:
        self.calls.append(call.body)
        body = self.bodies.pop(0) if self.bodies else answer(orjson.loads(call.body), len(self.calls))
        return SimpleNamespace(head=Head(200, JSON), chunks=lambda: iter([body[:9], body[9:]]), close=lambda: None)


@given(HISTORY)
@settings(max_examples=25)
def test_the_player_with_threads_tells_the_same(history: list[tuple[Any, str]]) -> None:
    async def both() -> None:
        bench, upstream = Bench(), Threaded()
        tiers = Tiers(MemoryStore(8 << 20, bench.clock), None, SECRET)
        player = SyncPlayer(
            tiers=tiers, tower=Tower(8, 1 << 20), upstreams={"": upstream}, listener=Ledger("w", 0),
            clock=bench.clock, ttl_jitter=0.0,
        )  # fmt: skip
        for number, (asked, encoding) in enumerate(history):
            if number == 2:
                upstream.bodies = [b"[]"]
                bench.upstream.bend = [lambda *_: (200, b"[]")]
            body = orjson.dumps({"model": "m", "input": asked, "encoding_format": encoding})
            reply = await bench.post(body)
            taken = bench.door.admit("", "embeddings", b"", HEADERS, body)
            assert isinstance(taken, Admitted)
            turn = player.open(taken.ask, taken.dialect)
            assert isinstance(turn.effect, do.Relay)
            ended = turn.effect.tape.ending is COMPLETE
            found = turn.effect.tape.body() if ended else b"".join(player.chunks(turn))
            receipt = turn.end(True)
            assert receipt is not None
            assert (found, replace(receipt, flight=0)) == (reply.body, replace(bench.receipts[-1], flight=0))
            assert player.drain(5.0)
            await bench.settle()
        assert upstream.calls == [call.body for call in bench.upstream.calls]
        await bench.player.close(0)

    asyncio.run(both())
