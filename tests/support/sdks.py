"""What the official SDKs make of an answer: parsed whole, or accumulated from a stream by their own helpers.

Nothing here reads an answer itself. Where a helper forgets what its own parser has read, or repeats what a stream says
again and again, that is put right here and named: see `chat_of_stream` and `message_of_stream`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import openai
from pydantic import BaseModel

from payonce.dialects.sse import events

USER: Any = [{"role": "user", "content": "q"}]
DONE = b"[DONE]"


def _transport(body: bytes, media: str) -> httpx2.Client:
    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": media}, content=body)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def _openai(body: bytes, media: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url="http://sdk.test", http_client=_transport(body, media), max_retries=0)


def _anthropic(body: bytes, media: str) -> anthropic.Anthropic:
    client = _transport(body, media)
    return anthropic.Anthropic(api_key="k", base_url="http://sdk.test", http_client=client, max_retries=0)


# ------------------------------------------------------------------------------------------------ /chat/completions


def chat_of_whole(body: bytes) -> Any:
    """The completion that the SDK parses."""
    with _openai(body, "application/json") as client:
        return _plain(client.chat.completions.parse(model="m", messages=USER))


def chat_of_stream(body: bytes) -> Any:
    """The completion that the SDK accumulates. Two things are put right: the accumulator forgets a choice's
    `native_finish_reason` after its first chunk, so the last one that its parser has read is taken; and it writes
    "assistantassistant" where a stream repeats the role, so what is repeated is cut from the stream (`_said_once`)."""
    native: dict[int, Any] = {}
    with (
        _openai(_said_once(body), "text/event-stream") as client,
        client.chat.completions.stream(model="m", messages=USER) as stream,
    ):
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        found = stream.get_final_completion()
    for choice in [choice for chunk in chunks for choice in chunk.choices]:
        extra = choice.model_extra or {}
        if "native_finish_reason" in extra:
            native[choice.index] = extra["native_finish_reason"] or native.get(choice.index)
    plain = _plain(found)
    for place, choice in enumerate(plain["choices"]):
        if place in native:
            choice["native_finish_reason"] = native[place]
    return plain


def _said_once(body: bytes) -> bytes:
    """The stream without the roles, and the formats and ids of reasoning details, that it has said already."""
    said: set[Any] = set()
    parts = []
    for data in events(body):
        if data == DONE:
            parts.append(data)
            continue
        chunk = json.loads(data)
        for choice in chunk["choices"]:
            delta, place = choice["delta"], choice["index"]
            _cut(delta, "role", (place,), said)
            for detail in delta.get("reasoning_details") or ():
                if "index" in detail:
                    _cut(detail, "format", (place, detail["index"]), said)
                    _cut(detail, "id", (place, detail["index"]), said)
        parts.append(_dump(chunk, data))
    return b"".join(b"data: " + part + b"\n\n" for part in parts)


def _cut(holder: dict[str, Any], name: str, where: tuple[Any, ...], said: set[Any]) -> None:
    mark = (name, where, holder.get(name))
    if holder.get(name) is not None and mark in said:
        del holder[name]
    said.add(mark)


def _dump(changed: dict[str, Any], data: bytes) -> bytes:
    """With the parser that the SDK has, too: it reads an integer of any length as one."""
    return data if json.loads(data) == changed else json.dumps(changed).encode()


def without_tool_indices(plain: dict[str, Any]) -> dict[str, Any]:
    """Without the index by which every stream, and no whole answer of OpenAI, names a tool call."""
    for choice in plain["choices"]:
        for call in choice["message"]["tool_calls"] or ():
            call.pop("index", None)
    return plain


# ------------------------------------------------------------------------------------------------ /responses


def response_of_whole(body: bytes) -> Any:
    """The response that the SDK parses."""
    with _openai(body, "application/json") as client:
        return _plain(client.responses.parse(model="m", input="q"))


def response_of_stream(body: bytes) -> Any:
    """The response that the SDK accumulates."""
    with _openai(body, "text/event-stream") as client, client.responses.stream(model="m", input="q") as stream:
        return _plain(stream.get_final_response())


def response_events(body: bytes) -> list[Any]:
    """Every event, as the SDK gives it out; raises where one does not fit those before it."""
    with _openai(body, "text/event-stream") as client, client.responses.stream(model="m", input="q") as stream:
        return list(stream)


# ------------------------------------------------------------------------------------------------ /messages


def message_of_whole(body: bytes) -> Any:
    """The message that the SDK parses."""
    with _anthropic(body, "application/json") as client:
        return _plain(client.messages.parse(model="m", max_tokens=9, messages=USER))


def message_of_stream(body: bytes) -> Any:
    """The message that the SDK accumulates. Put right: of the last usage, the accumulator takes only the members it
    knows; the others (OpenRouter's cost) are taken as its parser has read them."""
    last: dict[str, Any] = {}
    with (
        _anthropic(body, "text/event-stream") as client,
        client.messages.stream(model="m", max_tokens=9, messages=USER) as stream,
    ):
        for event in stream:
            if event.type == "message_delta":
                last = event.usage.model_extra or {}
        plain = _plain(stream.get_final_message())
    for name, value in _plain(anthropic.types.Usage.construct(**last)).items():
        if name in last and plain["usage"].get(name) is None:
            plain["usage"][name] = value
    return plain


def _plain(found: Any) -> Any:
    """All that a model object holds, what no SDK knows of included."""
    if isinstance(found, BaseModel):
        members = {**found.__dict__, **(found.model_extra or {})}
        return {name: _plain(value) for name, value in members.items() if not name.startswith("_")}
    if isinstance(found, dict):
        return {name: _plain(value) for name, value in found.items()}
    return [_plain(value) for value in found] if isinstance(found, list) else found


def same(left: Any, right: Any, path: str = "") -> Iterable[str]:
    """Where two plain values differ; 1 is not 1.0, nor is True."""
    if type(left) is not type(right):
        yield f"{path}: {left!r} is not {right!r}"
    elif isinstance(left, dict):
        for name in sorted(left.keys() | right.keys()):
            if name not in left or name not in right:
                yield f"{path}.{name}: only in the {'first' if name in left else 'second'}"
            else:
                yield from same(left[name], right[name], f"{path}.{name}")
    elif isinstance(left, list):
        if len(left) != len(right):
            yield f"{path}: {len(left)} and {len(right)} entries"
        for place, (one, other) in enumerate(zip(left, right, strict=False)):
            yield from same(one, other, f"{path}[{place}]")
    elif left != right:
        yield f"{path}: {left!r} is not {right!r}"
