"""The simulated provider speaks Anthropic's wire, as OpenRouter and as Anthropic itself: by the real SDK, strictly."""

from __future__ import annotations

import base64
import itertools
import json
import urllib.request
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import BaseModel, TypeAdapter, ValidationError
from sim_client import Raw, raw

from payonce.dialects.messages import MessagesDialect
from payonce.model import reason as why
from payonce.model.call import Intent
from payonce.model.reason import Reason
from payonce.testing.sim import SimulatedProvider, tenant_of
from payonce.testing.sim_faults import FAULTS

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
PNG = base64.b64encode(b"\x89PNG\r\n").decode()
TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}}}
NATIVE = pytest.mark.parametrize("native", [False, True], ids=["openrouter", "anthropic"])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


class City(BaseModel):
    name: str
    people: int


def ask(text: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "sim/small", "max_tokens": 999, "messages": [{"role": "user", "content": text}], **more}


def post(sim: SimulatedProvider, body: Any, native: bool = False, **more: Any) -> Raw:
    if native:
        return raw(
            sim, body, path="/anthropic/v1/messages", auth="", more=("x-api-key: k", "anthropic-version: 1"), **more
        )
    return raw(sim, body, path="/api/v1/messages", **more)


def client(sim: SimulatedProvider, native: bool = False) -> anthropic.Anthropic:
    root = sim.base_url.removesuffix("/api/v1")
    if native:
        return anthropic.Anthropic(base_url=f"{root}/anthropic", api_key="k", max_retries=0)
    return anthropic.Anthropic(base_url=f"{root}/api", auth_token="sk-or-a", api_key=None, max_retries=0)


def verdict(answer: Raw, *, stream: bool) -> object:
    """What our dialect makes of it: Facts, or why it is not kept."""
    intent = Intent("m", stream, True, True, False, b"")
    return MessagesDialect().judge(intent, (), answer.body)


# ------------------------------------------------------------------------------------------------ the real SDK


@NATIVE
def test_the_sdk_reads_an_answer_and_a_stream(sim: SimulatedProvider, native: bool) -> None:
    with client(sim, native) as sdk:
        whole = sdk.messages.create(**ask())
        with sdk.messages.stream(**ask()) as stream:
            streamed = stream.get_final_message()
    for number, message in enumerate((whole, streamed), 1):
        assert message.content[0].type == "text" and message.content[0].text.startswith(f"Answer #{number} (")
        assert message.stop_reason == "end_turn" and message.usage.output_tokens == 24
    assert sim.bill.tenants.keys() == {tenant_of("k" if native else "sk-or-a")}


@NATIVE
def test_a_tool_is_called_and_its_result_answered_in_text(sim: SimulatedProvider, native: bool) -> None:
    with client(sim, native) as sdk:
        talk = ask()["messages"]
        with sdk.messages.stream(**ask(tools=[TOOL])) as stream:
            called = stream.get_final_message()
        assert called.stop_reason == "tool_use" and called.content[0].type == "tool_use"
        assert isinstance(called.content[0].input, dict) and called.content[0].input.keys() == {"place"}
        talk.append({"role": "assistant", "content": [block.model_dump() for block in called.content]})
        result = {"type": "tool_result", "tool_use_id": called.content[0].id, "content": "rain"}
        talk.append({"role": "user", "content": [result]})
        told = sdk.messages.create(model="sim/small", max_tokens=99, messages=talk, tools=[TOOL])
    assert told.stop_reason == "end_turn" and told.content[0].type == "text"


def test_tool_choices_are_obeyed(sim: SimulatedProvider) -> None:
    other = TOOL | {"name": "clock"}
    wants: list[tuple[Any, list[str]]] = [
        ({"type": "none"}, []),
        ({"type": "tool", "name": "clock"}, ["clock"]),
        ({"type": "any"}, ["weather", "clock"]),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["weather"]),
    ]
    for choice, names in wants:
        message = post(sim, ask("both in parallel", tools=[TOOL, other], tool_choice=choice)).json()
        assert [block["name"] for block in message["content"] if block["type"] == "tool_use"] == names


def test_the_sdk_parses_structured_output(sim: SimulatedProvider) -> None:
    with client(sim, native=True) as sdk:
        found = sdk.messages.parse(**ask(), output_format=City)
    assert isinstance(found.parsed_output, City) and found.parsed_output.people == 1


def test_thinking_is_shown_if_asked_for(sim: SimulatedProvider) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    with client(sim) as sdk, sdk.messages.stream(**ask(thinking=thinking)) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].type == "thinking" and message.content[0].signature


def test_an_image_is_read_and_counted(sim: SimulatedProvider) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    words = {"type": "text", "text": "what is this?"}
    few, many = (post(sim, ask(given)).json()["usage"]["input_tokens"] for given in ([words], [image, words]))
    assert many == few + 258
    broken = image | {"source": image["source"] | {"data": "%%%"}}  # type: ignore[operator]
    answer = post(sim, ask([broken]))
    assert answer.status == 400 and "base64" in answer.json()["error"]["message"]


# ------------------------------------------------------------------------------------------------ shapes


@NATIVE
@pytest.mark.parametrize("more", [{}, {"tools": [TOOL]}, {"thinking": {"type": "adaptive"}}], ids=str)
def test_every_shape_is_strictly_valid_and_judged_complete(
    sim: SimulatedProvider, native: bool, more: dict[str, Any]
) -> None:
    whole = post(sim, ask(**more), native)
    Message.model_validate_json(whole.body, strict=True)
    assert not isinstance(verdict(whole, stream=False), Reason)
    stream = post(sim, ask(stream=True, **more), native)
    events = stream.events()
    for event in events:
        EVENT.validate_python(event) if event["type"] != "ping" else None
    assert not isinstance(verdict(stream, stream=True), Reason)
    order = [kind for kind, _ in itertools.groupby(event["type"] for event in events)]
    assert order[:4] == ["message_start", "content_block_start", "ping", "content_block_delta"]
    assert order[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    names = [line[7:].decode() for line in stream.body.split(b"\n") if line.startswith(b"event: ")]
    assert names == [event["type"] for event in events]


def test_the_strict_reading_sees_a_missing_member(sim: SimulatedProvider) -> None:
    body = post(sim, ask(stream=True)).events()[1]
    for name in body:
        with pytest.raises(ValidationError):
            EVENT.validate_python({member: value for member, value in body.items() if member != name})


def test_openrouter_adds_what_anthropic_does_not_send(sim: SimulatedProvider) -> None:
    ours, theirs = (post(sim, ask(stream=True), native) for native in (False, True))
    assert ours.body.startswith(b": OPENROUTER PROCESSING\n\n") and ours.body.endswith(b"\n\ndata: [DONE]\n\n")
    assert b"[DONE]" not in theirs.body and not theirs.body.startswith(b":")
    first, last = ours.events()[0]["message"], ours.events()[-2]
    assert first["id"] == ours.headers["x-generation-id"] and first["provider"] == "Simulated West"
    assert first["model"] == "sim/small-20260301" and last["usage"]["cost"] > 0 and "cost" not in first["usage"]
    assert "provider" not in theirs.events()[0]["message"] and "cost" not in theirs.events()[-2]["usage"]
    assert theirs.events()[0]["message"]["id"] == theirs.headers["request-id"]
    assert "x-generation-id" not in theirs.headers


def test_a_limit_cuts_the_answer(sim: SimulatedProvider) -> None:
    assert post(sim, ask(max_tokens=5)).json()["stop_reason"] == "max_tokens"


# ------------------------------------------------------------------------------------------------ refusals, faults


@pytest.mark.parametrize(
    ("body", "head", "status", "kind"),
    [
        (ask(), ("anthropic-version: 1",), 401, "authentication_error"),
        (ask(), ("x-api-key: k",), 400, "invalid_request_error"),
        ({**ask(), "max_tokens": None}, ("x-api-key: k", "anthropic-version: 1"), 400, "invalid_request_error"),
        ({**ask(), "messages": [1]}, ("x-api-key: k", "anthropic-version: 1"), 400, "invalid_request_error"),
        (ask(model="missing"), ("x-api-key: k", "anthropic-version: 1"), 404, "not_found_error"),
    ],
)
def test_refusals_have_anthropics_shape(
    sim: SimulatedProvider, body: Any, head: tuple[str, ...], status: int, kind: str
) -> None:
    answer = raw(sim, body, path="/anthropic/v1/messages", auth="", more=head)
    assert answer.status == status and answer.json()["type"] == "error" and answer.json()["error"]["type"] == kind
    assert sim.bill.calls == 0


def test_the_sdk_raises_its_own_errors(sim: SimulatedProvider) -> None:
    with client(sim) as sdk:
        with pytest.raises(anthropic.RateLimitError) as limited:
            sdk.messages.create(**ask(), extra_headers={"X-Sim-Fault": "429=7"})
        assert limited.value.response.headers["retry-after"] == "7"
        with (
            pytest.raises(anthropic.APIStatusError),
            sdk.messages.stream(**ask(), extra_headers={"X-Sim-Fault": "200-error"}) as stream,
        ):
            stream.get_final_message()


BAD = {
    "200-error": why.ERROR_INSIDE, "choice-error": why.ERROR_INSIDE, "empty": why.NO_FINISH, "refusal": why.REFUSAL,
    "content-filter": why.REFUSAL, "bad-tool-json": why.BAD_TOOL_JSON, "no-end": why.NO_TERMINAL,
    "comments-only": why.EMPTY,
}  # fmt: skip


@STREAM
@pytest.mark.parametrize("fault", BAD)
def test_our_dialect_sees_through_every_bad_answer(sim: SimulatedProvider, fault: str, stream: bool) -> None:
    answer = post(sim, ask(stream=stream), fault=fault)
    if fault == "no-end" and not stream:
        assert not isinstance(verdict(answer, stream=False), Reason), "it is a stream's fault"
    else:
        assert verdict(answer, stream=stream) == BAD[fault]


@STREAM
@NATIVE
@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_breaks_the_provider(sim: SimulatedProvider, name: str, native: bool, stream: bool) -> None:
    argument = {"slow-first-byte": "=0", "huge": "=20000"}.get(name, "")
    answer = post(sim, ask(stream=stream), native, fault=name + argument, **({"quiet": 0.1} if name == "stall" else {}))
    if name == "huge":
        assert answer.whole and len(answer.body) > 20_000
        assert not isinstance(verdict(answer, stream=stream), Reason)
    assert post(sim, ask(), native).status == 200


def test_the_generation_is_remembered(sim: SimulatedProvider) -> None:
    id_ = post(sim, ask()).json()["id"]
    url = f"{sim.base_url}/generation?id={id_}"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": "Bearer k"})) as answer:
        assert json.load(answer)["data"]["id"] == id_
