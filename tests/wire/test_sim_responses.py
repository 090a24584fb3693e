"""The simulated provider speaks `/responses`: by the real SDK, strictly, and by the order of its events."""

from __future__ import annotations

import itertools
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter, ValidationError
from sim_client import Raw, raw

from payonce.dialects.responses import ResponsesDialect
from payonce.model import reason as why
from payonce.model.call import Intent
from payonce.model.reason import Reason
from payonce.testing.sim import SimulatedProvider
from payonce.testing.sim_faults import FAULTS

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": None,
}
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


class City(BaseModel):
    name: str
    people: int


def ask(text: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "sim/small", "input": text, **more}


def post(sim: SimulatedProvider, body: Any, **more: Any) -> Raw:
    return raw(sim, body, path="/api/v1/responses", **more)


def verdict(answer: Raw, *, stream: bool) -> object:
    """What our dialect makes of it: Facts, or why it is not kept."""
    return ResponsesDialect().judge(Intent("m", stream, True, True, False, b""), (), answer.body)


# ------------------------------------------------------------------------------------------------ the real SDK


def test_the_sdk_reads_an_answer_and_a_stream(client: openai.OpenAI) -> None:
    whole = client.responses.create(**ask())
    with client.responses.stream(**ask()) as stream:
        streamed = stream.get_final_response()
    for number, response in enumerate((whole, streamed), 1):
        assert response.output_text.startswith(f"Answer #{number} (") and response.status == "completed"
        assert response.usage is not None and response.usage.output_tokens == 24


def test_a_tool_is_called_and_its_result_answered_in_text(client: openai.OpenAI) -> None:
    with client.responses.stream(**ask(tools=[TOOL])) as stream:
        called = stream.get_final_response().output[0]
    assert called.type == "function_call" and called.name == "weather"
    talk: Any = [{"role": "user", "content": "hello"}, called.model_dump(exclude={"parsed_arguments"})]
    talk.append({"type": "function_call_output", "call_id": called.call_id, "output": "rain"})
    assert client.responses.create(**ask(talk, tools=[TOOL])).output_text


def test_tool_choices_are_obeyed(sim: SimulatedProvider) -> None:
    wants: list[tuple[Any, list[str]]] = [
        ("none", []),
        ("required", ["weather", "clock"]),
        ({"type": "function", "name": "clock"}, ["clock"]),
    ]
    for choice, names in wants:
        tools = [TOOL, TOOL | {"name": "clock"}]
        items = post(sim, ask("both in parallel", tools=tools, tool_choice=choice)).json()["output"]
        assert [item["name"] for item in items if item["type"] == "function_call"] == names


def test_the_sdk_parses_structured_output(client: openai.OpenAI) -> None:
    found = client.responses.parse(**ask(), text_format=City)
    assert isinstance(found.output_parsed, City) and found.output_parsed.people == 1


def test_an_image_is_read_and_counted(sim: SimulatedProvider) -> None:
    words = {"type": "input_text", "text": "what is this?"}
    image = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0="}
    asked = ([{"role": "user", "content": content}] for content in ([words], [image, words]))
    few, many = (post(sim, ask(given)).json()["usage"]["input_tokens"] for given in asked)
    assert many == few + 258
    broken = [{"role": "user", "content": [image | {"image_url": "data:image/png,%%"}]}]
    assert post(sim, ask(broken)).status == 400


# ------------------------------------------------------------------------------------------------ shapes


@pytest.mark.parametrize(
    "more", [{}, {"tools": [TOOL]}, {"reasoning": {"effort": "low"}}], ids=["text", "tool", "reason"]
)
def test_every_shape_is_strictly_valid_and_judged_complete(sim: SimulatedProvider, more: dict[str, Any]) -> None:
    whole = post(sim, ask(**more))
    Response.model_validate_json(whole.body)
    assert not isinstance(verdict(whole, stream=False), Reason)
    stream = post(sim, ask(stream=True, **more))
    events = stream.events()
    for event in events:
        EVENT.validate_python(event)
    assert not isinstance(verdict(stream, stream=True), Reason)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [kind.removeprefix("response.") for kind, _ in itertools.groupby(event["type"] for event in events)]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    assert kinds[-2:] == ["output_item.done", "completed"]
    assert events[-1]["response"]["output"] == [e["item"] for e in events if e["type"].endswith("output_item.done")]


def test_the_strict_reading_sees_a_missing_member(sim: SimulatedProvider) -> None:
    body = post(sim, ask(stream=True)).events()[1]
    for name in body:
        with pytest.raises(ValidationError):
            EVENT.validate_python({member: value for member, value in body.items() if member != name})


def test_the_stream_is_framed_as_recorded(sim: SimulatedProvider) -> None:
    stream = post(sim, ask(stream=True))
    assert stream.body.startswith(b":\n\n:\n\ndata: {") and stream.body.endswith(b"\n\ndata: [DONE]\n\n")
    assert b"\nevent:" not in stream.body
    assert stream.events()[0]["response"]["id"] == stream.headers["x-generation-id"]
    assert stream.events()[-1]["response"]["usage"]["cost"] > 0


def test_a_limit_leaves_the_answer_incomplete(sim: SimulatedProvider) -> None:
    body = post(sim, ask(max_output_tokens=5)).json()
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert post(sim, ask(max_output_tokens=5, stream=True)).events()[-1]["type"] == "response.incomplete"


# ------------------------------------------------------------------------------------------------ refusals, faults


@pytest.mark.parametrize("body", [{"model": "sim/small"}, ask(store=True), ask(previous_response_id="r"), ask([3])])
def test_refusals_have_the_error_shape(sim: SimulatedProvider, body: Any) -> None:
    answer = post(sim, body)
    assert answer.status == 400 and answer.json()["error"]["code"] == 400 and sim.bill.calls == 0


BAD = {
    "200-error": why.ERROR_INSIDE, "choice-error": why.ERROR_INSIDE, "empty": why.EMPTY, "refusal": why.REFUSAL,
    "content-filter": why.CONTENT_FILTER, "bad-tool-json": why.BAD_TOOL_JSON, "no-end": why.NO_TERMINAL,
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
@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_breaks_the_provider(sim: SimulatedProvider, name: str, stream: bool) -> None:
    argument = {"slow-first-byte": "=0", "huge": "=20000"}.get(name, "")
    answer = post(sim, ask(stream=stream), fault=name + argument, **({"quiet": 0.1} if name == "stall" else {}))
    if name == "huge":
        assert answer.whole and len(answer.body) > 20_000
        assert not isinstance(verdict(answer, stream=stream), Reason)
    assert post(sim, ask()).status == 200
