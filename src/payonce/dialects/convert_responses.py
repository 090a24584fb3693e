"""`/responses`: a stored stream as a whole answer, and the other way round.

The last event of a stream holds the whole response: it is given as it stands, once every item that the stream showed
is found in it. The other way, all events that lead up to it are made, for messages, function calls and reasoning. This
room must never know why an answer is converted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson

from payonce.dialects.carry import conversion, exact, listed, mapping, named_events, only, plain_events, require, string
from payonce.dialects.common import DONE
from payonce.dialects.usage import members

_SHOWN = re.compile(
    r"response\.(?:created|queued|in_progress|completed"
    r"|(?:output_item|content_part|reasoning_summary_part)\.(?:added|done)"
    r"|(?:output_text|refusal|reasoning_text|reasoning_summary_text|function_call_arguments|custom_tool_call_input)"
    r"\.(?:delta|done)"
    r"|output_text\.annotation\.added"
    r"|[a-z_]+_call\.(?:in_progress|searching|interpreting|completed))"
)
"""Events that say nothing which the last one does not say."""
_LIFE = frozenset(("response.created", "response.queued", "response.in_progress", "response.completed"))
_FINAL = frozenset(("type", "response", "sequence_number"))
_ITEMS = {
    "message": frozenset(("id", "type", "role", "status", "content", "phase")),
    "function_call": frozenset(("id", "type", "status", "call_id", "name", "arguments")),
    "reasoning": frozenset(("id", "type", "status", "summary", "content", "encrypted_content", "format", "signature")),
}
_PARTS = {
    "output_text": frozenset(("type", "text", "annotations", "logprobs")),
    "refusal": frozenset(("type", "refusal")),
    "reasoning_text": frozenset(("type", "text")),
    "summary_text": frozenset(("type", "text")),
}
_NOT_YET = ("usage", "completed_at")


def convert_responses(body: bytes, *, to_stream: bool) -> bytes | None:
    """The same answer in the other framing; None where nothing proves that it is the same."""
    return conversion(_stream if to_stream else _whole, body)


def _check_response(response: dict[str, Any]) -> None:
    """The SDK's accumulator takes no other end than `completed`."""
    require(response["object"] == "response" and response["status"] == "completed" and string(response["id"]))
    require(response.get("error") is None and response.get("incomplete_details") is None)
    require(response["output"] and mapping(response["usage"]))


# ------------------------------------------------------------------------------------------------ stream to whole


def _whole(body: bytes) -> bytes:
    parts = plain_events(body, named=None)
    if parts and parts[-1] == DONE:
        parts.pop()
    last = parts[-1]
    final = only(orjson.loads(last), _FINAL)
    require(final["type"] == "response.completed")
    response = final["response"]
    _check_response(response)
    shown: dict[int, _Item] = {}
    for number, data in enumerate(parts):
        event = orjson.loads(data)
        kind = event["type"]
        require(_SHOWN.fullmatch(kind) and (number == 0) == (kind == "response.created"))
        require((number == len(parts) - 1) == (kind == "response.completed"))
        if kind in _LIFE:
            said = event["response"]
            require(said["id"] == response["id"] and (kind == final["type"] or said["output"] == []))
        elif kind == "response.output_item.added":
            require(event["output_index"] not in shown)
            shown[event["output_index"]] = _Item(event["item"])
        else:
            shown[event["output_index"]].take(kind, event)
    require(shown.keys() == set(range(len(response["output"]))))
    for place, item in enumerate(response["output"]):
        _check_shown(shown[place].done, item)
    _check_names(response["output"])
    return _member(last.decode(), "response")


class _Item:
    """One output item while it is shown: whatever would make the SDK's accumulator stumble is refused."""

    def __init__(self, item: dict[str, Any]) -> None:
        self.name = _name(item)
        self.kind = self.name[0]
        self.parts: list[str] = []
        self.done: dict[str, Any] = {}
        require(item.get("content") == [] or self.kind != "message")
        require(item.get("arguments") == "" or self.kind != "function_call")

    def take(self, kind: str, event: dict[str, Any]) -> None:
        require(not self.done)
        if kind == "response.output_item.done":
            require(_name(event["item"]) == self.name)
            self.done = event["item"]
        elif kind == "response.content_part.added":
            part = event["part"]
            require(event["content_index"] == len(self.parts) and (part["type"] != "output_text" or part["text"] == ""))
            self.parts.append(string(part["type"]))
        elif kind.startswith("response.output_text."):
            require(self.kind == "message" and self.parts[event["content_index"]] == "output_text")
        elif kind.startswith("response.function_call_arguments."):
            require(self.kind == "function_call")
        if kind.endswith(".delta"):
            string(event["delta"])


def _name(item: dict[str, Any]) -> tuple[str, str, str]:
    """What an item is recognised by."""
    called = string(item["call_id"]) if item["type"] == "function_call" else ""
    return string(item["type"]), called, string(item["id"])


def _check_names(items: list[dict[str, Any]]) -> None:
    """No two items may be taken for one another: of a function call, only the `call_id` counts."""
    names = [(kind, called or own) for kind, called, own in map(_name, items)]
    require(len(set(names)) == len(names))


def _check_shown(shown: dict[str, Any], item: dict[str, Any]) -> None:
    """An item that was shown must stand in the whole as it was; there, OpenRouter adds members to some."""
    require(shown and all(name in item and item[name] == value for name, value in shown.items()))


def _member(text: str, wanted: str) -> bytes:
    found = [text[start:end] for name, _, start, end in members(text, 0) if name == wanted]
    require(len(found) == 1)
    return found[0].encode()


# ------------------------------------------------------------------------------------------------ whole to stream


def _stream(body: bytes) -> bytes:
    response = exact(body)
    _check_response(response)
    output = response["output"]
    begun = {**response, "status": "in_progress", "output": [], **{name: None for name in _NOT_YET if name in response}}
    parts = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    for place, item in enumerate(output):
        parts += _item_events(place, only(item, _ITEMS[item["type"]]))
    _check_names(output)
    parts.append({"type": "response.completed", "response": response})
    return named_events({**part, "sequence_number": number} for part, number in zip(parts, count(), strict=False))


def _item_events(place: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    where = {"item_id": string(item["id"]), "output_index": place}
    require(item.get("status", "completed") in ("completed", None))
    blank: dict[str, Any] = {"status": "in_progress"} if item.get("status") else {}
    inner: list[dict[str, Any]] = []
    if item["type"] == "function_call":
        require(string(item["call_id"]) and string(item["name"]))
        said = string(item["arguments"])
        blank["arguments"] = ""
        inner = [
            {"type": "response.function_call_arguments.delta", **where, "delta": said},
            {"type": "response.function_call_arguments.done", **where, "name": item["name"], "arguments": said},
        ]
    elif item["type"] == "message":
        require(item["role"] == "assistant")
        blank["content"] = []
        for number, part in enumerate(item["content"]):
            inner += _part_events({**where, "content_index": number}, part, ("output_text", "refusal"))
    else:
        blank["summary"] = []
        for number, part in enumerate(item["summary"]):
            inner += _summary_events({**where, "summary_index": number}, part)
        if item.get("content") is not None:
            blank["content"] = []
        for number, part in enumerate(listed(item.get("content"))):
            inner += _part_events({**where, "content_index": number}, part, ("reasoning_text",))
    yield {"type": "response.output_item.added", "output_index": place, "item": {**item, **blank}}
    yield from inner
    yield {"type": "response.output_item.done", "output_index": place, "item": item}


def _part_events(where: dict[str, Any], part: dict[str, Any], kinds: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    kind = part["type"]
    require(kind in kinds)
    only(part, _PARTS[kind])
    name = "refusal" if kind == "refusal" else "text"
    said = string(part[name])
    lists = {name: listed(part[name]) for name in ("annotations", "logprobs") if name in part}
    logprobs = {"logprobs": lists.get("logprobs", [])} if kind == "output_text" else {}
    yield {
        "type": "response.content_part.added",
        **where,
        "part": {**part, name: "", **{name: [] for name in lists}},
    }
    yield {"type": f"response.{kind}.delta", **where, "delta": said, **logprobs}
    for number, annotation in enumerate(lists.get("annotations", [])):
        yield {
            "type": "response.output_text.annotation.added",
            **where,
            "annotation_index": number,
            "annotation": mapping(annotation),
        }
    yield {"type": f"response.{kind}.done", **where, name: said, **logprobs}
    yield {"type": "response.content_part.done", **where, "part": part}


def _summary_events(where: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    require(part["type"] == "summary_text")
    said = string(only(part, _PARTS["summary_text"])["text"])
    yield {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}}
    yield {"type": "response.reasoning_summary_text.delta", **where, "delta": said}
    yield {"type": "response.reasoning_summary_text.done", **where, "text": said}
    yield {"type": "response.reasoning_summary_part.done", **where, "part": part}
