"""One stored answer for streams and whole requests alike, through the gateway and with a real SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from payonce.dialects.sse import events
from payonce.testing.sim import SimulatedProvider, running_sim
from tests.support.gateway import RawUpstream, Reply, RunningGateway, answers, ask, raw_upstream, running_gateway
from tests.support.gateway import whole as whole_answer

CONVERTED = "detail=converted"
USAGE: Any = {"include_usage": True}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sim: SimulatedProvider) -> Iterator[RunningGateway]:
    with running_gateway(sim.base_url, convert=True) as running:
        yield running


def paid(sim: SimulatedProvider, gateway: RunningGateway, *bodies: dict[str, Any], **fields: str) -> list[Reply]:
    """The answers, of which exactly one may have cost anything."""
    before = len(sim.calls)
    replies = [gateway.post(body, **fields) for body in bodies]
    assert len(sim.calls) == before + 1
    assert [reply.status for reply in replies] == [200] * len(bodies)
    return replies


@pytest.mark.parametrize("first", [True, False], ids=["stream first", "whole first"])
@pytest.mark.parametrize("more", [{}, {"tools": TOOLS, "tool_choice": "required"}, {"model": "sim/thinker"}], ids=str)
def test_one_call_answers_both_framings(
    sim: SimulatedProvider, gateway: RunningGateway, first: bool, more: dict[str, Any]
) -> None:
    question = ask(f"both, {first} {more}", **more)
    asked = [{**question, "stream": first}, {**question, "stream": not first}, {**question, "stream": not first}]
    paid_for, converted, again = paid(sim, gateway, *asked)
    assert (paid_for.hit, converted.hit, again.hit) == (False, True, True)
    assert CONVERTED in converted["cache-status"]
    assert converted.body == again.body
    kinds = ["application/json", "text/event-stream"]
    assert paid_for["content-type"].startswith(kinds[first])
    assert converted["content-type"] == kinds[not first]
    assert converted["x-openrouter-cache-source-id"] == _id(paid_for)
    assert _id(converted) == _id(paid_for)
    direct = gateway.post({**question, "stream": first})
    assert (direct.body, CONVERTED in direct["cache-status"]) == (paid_for.body, False)


def _id(reply: Reply) -> str:
    stream = reply["content-type"].startswith("text/event-stream")
    return str(json.loads(next(events(reply.body)) if stream else reply.body)["id"])


def test_an_sdk_reads_the_same_from_either(sim: SimulatedProvider, gateway: RunningGateway) -> None:
    before = len(sim.calls)
    question: Any = {"model": "sim/thinker", "messages": [{"role": "user", "content": "sdk"}], "temperature": 0}
    with openai.OpenAI(base_url=gateway.base_url, api_key="sk-or-convert", max_retries=0) as client:
        whole = client.chat.completions.create(**question)
        with client.chat.completions.stream(**question) as stream:
            final = stream.get_final_completion()
    assert len(sim.calls) == before + 1
    for one, other in ((whole.usage, final.usage), (whole.id, final.id)):
        assert one == other
    for name in ("content", "reasoning", "reasoning_details"):
        assert getattr(whole.choices[0].message, name) == getattr(final.choices[0].message, name)


def test_the_lane_repeats_what_was_converted_until_anything_about_it_changes(
    sim: SimulatedProvider, gateway: RunningGateway
) -> None:
    question = ask("on the lane")
    _, converted, *lane = paid(sim, gateway, {**question, "stream": True}, *[question] * 4)
    before = gateway.fast_hits()
    again = gateway.post(question)
    assert gateway.fast_hits() == before + 1
    for reply in (*lane, again):
        assert (reply.body, reply.settled()) == (converted.body, converted.settled())
    refreshed = gateway.post({**question, "stream": True}, Cache_Control="no-cache")
    renewed = gateway.post(question)
    assert (_id(renewed), renewed.hit) == (_id(refreshed), True)
    assert _id(renewed) != _id(converted)


def test_clearing_one_framing_clears_both(sim: SimulatedProvider, gateway: RunningGateway) -> None:
    question = ask("cleared")
    _, converted = paid(sim, gateway, {**question, "stream": True}, question)
    cleared = gateway.post(question, X_OpenRouter_Cache_Clear="true")
    assert not cleared.hit
    assert _id(gateway.post({**question, "stream": True})) == _id(cleared) != _id(converted)


def test_a_hit_that_reports_no_usage_reports_none_when_converted(sim: SimulatedProvider) -> None:
    with running_gateway(sim.base_url, convert=True, hit_usage="zero") as gateway:
        for name, first in (("free stream", True), ("free whole", False)):
            _, *free = paid(sim, gateway, ask(name, stream=first), *[ask(name, stream=not first)] * 3)
            for reply in free:
                stream = reply["content-type"] == "text/event-stream"
                usage = json.loads(list(events(reply.body))[-2] if stream else reply.body)["usage"]
                assert usage["cost"] == usage["prompt_tokens"] == usage["completion_tokens"] == 0


def test_switched_off_each_framing_is_paid_for(sim: SimulatedProvider) -> None:
    with running_gateway(sim.base_url, convert=False) as gateway:
        before = len(sim.calls)
        replies = [gateway.post(ask("off", stream=stream)) for stream in (True, False, True, False)]
        assert len(sim.calls) == before + 2
        assert [reply.hit for reply in replies] == [False, False, True, True]


def test_only_if_cached_is_content_with_the_other_framing(sim: SimulatedProvider, gateway: RunningGateway) -> None:
    gateway.post(ask("only", stream=True))
    assert gateway.post(ask("only"), Cache_Control="only-if-cached").hit
    assert gateway.post(ask("never asked"), Cache_Control="only-if-cached").status == 504


# ------------------------------------------------------------------------------------------------ an upstream by hand

MESSAGE = {"role": "assistant", "content": "fine"}
OPENAI: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m-1",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def served(upstream: RawUpstream) -> int:
    return len(upstream.requests)


def test_the_usage_chunk_is_for_who_asked_for_it() -> None:
    with (
        raw_upstream(answers(json.dumps(OPENAI).encode())) as upstream,
        running_gateway(upstream.base_url, convert=True) as gateway,
    ):
        assert not gateway.post(ask()).hit
        silent, asked = (gateway.post(ask(stream=True, **more)) for more in ({}, {"stream_options": USAGE}))
        assert served(upstream) == 1
        assert silent.hit
        assert asked.hit
        assert b'"usage"' not in silent.body
        assert json.loads(list(events(asked.body))[-2])["usage"] == OPENAI["usage"]


def test_what_can_not_be_converted_is_a_miss_and_then_stored_in_both_framings() -> None:
    whole = json.dumps({**OPENAI, "mystery": 1}).encode()
    with raw_upstream(answers(whole)) as upstream, running_gateway(upstream.base_url, convert=True) as gateway:
        assert not gateway.post(ask()).hit
        parts = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],"mystery":1}\n\ndata: [DONE]\n\n'
        upstream.behave = lambda conn, _: conn.sendall(whole_answer(parts, kind="text/event-stream"))
        streamed = gateway.post(ask(stream=True))
        assert (streamed.hit, streamed["cache-status"]) == (False, "payonce; fwd=miss; stored")
        assert gateway.until(lambda: len(gateway.gateway.world.tower) == 0)
        for framing, body in ((False, whole), (True, parts)):
            found = gateway.post(ask(stream=framing))
            assert (found.hit, found.body) == (True, body)
            assert CONVERTED not in found["cache-status"]
        assert served(upstream) == 2


def test_a_miss_looks_at_no_disk_for_the_other_framing(tmp_path: Any) -> None:
    store = f"sqlite:{tmp_path / 'cache.db'}"
    with (
        raw_upstream(answers(json.dumps(OPENAI).encode())) as upstream,
        running_gateway(upstream.base_url, store=store, convert=True) as gateway,
    ):
        tiers = gateway.gateway.world.tiers
        assert tiers.behind is not None
        reads: list[bytes] = []
        read = tiers.behind.get

        def counted(slot: bytes) -> bytes | None:
            reads.append(slot)
            return read(slot)

        tiers.behind.get = counted  # type: ignore[method-assign]
        assert gateway.until(lambda: tiers._absent(bytes(33)))  # the sieve has been filled
        for number in range(20):
            assert not gateway.post(ask(f"new {number}")).hit
        assert reads == []
