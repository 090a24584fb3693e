"""`/messages`: a stored stream as a whole answer, and the other way round.

The rules are those of the anthropic SDK's accumulator (`anthropic.lib.streaming`), but for the members of the last
usage that it does not know (OpenRouter's cost): they are kept. This room must never know why an answer is converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from payonce.dialects.carry import (
    conversion,
    exact,
    listed,
    mapping,
    named_events,
    only,
    plain_events,
    require,
    string,
)
from payonce.dialects.common import DONE

_END = ("stop_reason", "stop_sequence", "stop_details", "container")
_MESSAGE = frozenset(("id", "type", "role", "model", "content", *_END, "usage", "provider"))
_COUNTED = frozenset(
    (
        *("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
        *("output_tokens", "output_tokens_details", "server_tool_use"),
    )
)
"""What the last usage says of these outranks what the first one said."""
_USAGE = _COUNTED | frozenset(
    (
        *("cache_creation", "service_tier", "inference_geo", "speed", "iterations"),
        *("cost", "is_byok", "cost_details"),
    )
)
_TOOL = frozenset(("type", "id", "name", "input", "caller"))
_RESULT = frozenset(("type", "tool_use_id", "content", "caller"))
_BLOCKS = {
    "text": frozenset(("type", "text", "citations")),
    "thinking": frozenset(("type", "thinking", "signature")),
    "redacted_thinking": frozenset(("type", "data")),
    "tool_use": _TOOL,
    "server_tool_use": _TOOL,
    "web_search_tool_result": _RESULT,
    "web_fetch_tool_result": _RESULT,
    "code_execution_tool_result": _RESULT,
    "bash_code_execution_tool_result": _RESULT,
    "text_editor_code_execution_tool_result": _RESULT,
    "tool_search_tool_result": _RESULT,
}
_DELTAS = {
    "text_delta": "text",
    "citations_delta": "citation",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
_EVENTS = {
    "message_start": frozenset(("type", "message")),
    "content_block_start": frozenset(("type", "index", "content_block")),
    "content_block_delta": frozenset(("type", "index", "delta")),
    "content_block_stop": frozenset(("type", "index")),
    "message_delta": frozenset(("type", "delta", "usage")),
    "message_stop": frozenset(("type",)),
    "ping": frozenset(("type",)),
}


def convert_messages(body: bytes, *, to_stream: bool) -> bytes | None:
    """The same answer in the other framing; None where nothing proves that it is the same."""
    return conversion(_stream if to_stream else _whole, body)


def _check_message(message: dict[str, Any]) -> dict[str, Any]:
    require(message["type"] == "message" and message["role"] == "assistant")
    require(string(message["id"]) and string(message["model"]))
    require("output_tokens" in only(message["usage"], _USAGE))
    _check_counters(message["usage"])
    return message


def _citation(value: object) -> dict[str, Any]:
    citation = mapping(value)
    require(string(citation["type"]))
    return citation


def _check_counters(usage: dict[str, Any]) -> None:
    """The SDK makes whole numbers of booleans and fractions, but not everywhere."""
    for name, value in usage.items():
        if isinstance(value, dict):
            _check_counters(value)
        elif name != "is_byok" and "cost" not in name:
            require(not isinstance(value, bool | orjson.Fragment))


# ------------------------------------------------------------------------------------------------ whole to stream


def _stream(body: bytes) -> bytes:
    message = _check_message(only(exact(body), _MESSAGE))
    require(string(message["stop_reason"]))
    usage = message["usage"]
    open_end: dict[str, Any] = {name: None for name in _END if name in message}
    start = {**message, "content": [], **open_end, "usage": {**usage, "output_tokens": 0}}
    parts: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for place, block in enumerate(message["content"]):
        parts += _block_events(place, only(block, _BLOCKS[block["type"]]))
    end = {"stop_sequence": None} | {name: message[name] for name in open_end}
    parts += [{"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]
    return named_events(parts)


def _block_events(place: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    blank: dict[str, Any] = {}
    deltas: list[tuple[str, Any]] = []
    if block["type"] == "text":
        blank["text"] = ""
        deltas = [("text_delta", string(block["text"]))]
        if block.get("citations"):
            blank["citations"] = []
            deltas += [("citations_delta", _citation(citation)) for citation in listed(block["citations"])]
    elif block["type"] == "thinking":
        blank = {"thinking": "", "signature": ""}
        deltas = [("thinking_delta", string(block["thinking"])), ("signature_delta", string(block["signature"]))]
    elif "input" in _BLOCKS[block["type"]]:
        blank["input"] = {}
        deltas = [("input_json_delta", orjson.dumps(mapping(block["input"])).decode())]
    yield {"type": "content_block_start", "index": place, "content_block": {**block, **blank}}
    for kind, said in deltas:
        if said:
            delta = {"type": kind, _DELTAS[kind]: said}
            yield {"type": "content_block_delta", "index": place, "delta": delta}
    yield {"type": "content_block_stop", "index": place}


# ------------------------------------------------------------------------------------------------ stream to whole


class _Block:
    """One block while it grows."""

    def __init__(self, block: dict[str, Any]) -> None:
        self.block = block
        self.kind = block["type"]
        self.pieces: dict[str, list[str]] = {}
        self.is_open = True

    def add(self, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        said = only(delta, {"type", _DELTAS[kind]})[_DELTAS[kind]]
        require(self.is_open)
        if kind == "citations_delta":
            require(self.kind == "text")
            self.block["citations"] = [*listed(self.block.get("citations")), _citation(said)]
            return
        name = "input" if kind == "input_json_delta" else _DELTAS[kind]
        require(name in _BLOCKS[self.kind])
        self.pieces.setdefault(name, []).append(string(said))

    def whole(self) -> dict[str, Any]:
        require(not self.is_open)
        for name, pieces in self.pieces.items():
            before = self.block[name]
            said = "".join(pieces)
            if name == "input":
                require(before == {})
                if said:
                    exact(said.encode())
                    self.block[name] = orjson.Fragment(said)
            elif name == "signature":
                require(not before and len(pieces) == 1)  # the accumulator keeps the last one only
                self.block[name] = said
            else:
                self.block[name] = string(before) + said
        return self.block


def _whole(body: bytes) -> bytes:
    parts = plain_events(body, named=True)
    if parts and parts[-1] == DONE:
        parts.pop()
    message: dict[str, Any] = {}
    end: dict[str, Any] = {}
    blocks: list[_Block] = []
    stopped = False
    for data in parts:
        event = exact(data)
        kind = event["type"]
        only(event, _EVENTS[kind])
        if kind == "ping":
            continue
        require(not stopped and bool(message) != (kind == "message_start"))
        if kind == "message_start":
            message = _check_message(only(event["message"], _MESSAGE))
            require(message["content"] == [])
        elif kind == "content_block_start":
            block = event["content_block"]
            require(event["index"] == len(blocks) and not end)
            blocks.append(_Block(only(block, _BLOCKS[block["type"]])))
        elif kind == "content_block_delta":
            blocks[_place(event)].add(event["delta"])
        elif kind == "content_block_stop":
            require(blocks[_place(event)].is_open)
            blocks[_place(event)].is_open = False
        elif kind == "message_delta":
            require(not end)
            end = event
        else:
            stopped = True
    require(stopped and end)
    message["content"] = [block.whole() for block in blocks]
    _close(message, only(end["delta"], _END), only(end["usage"], _USAGE))
    return orjson.dumps(message)


def _place(event: dict[str, Any]) -> int:
    place = event["index"]
    require(type(place) is int and place >= 0)
    return int(place)


def _close(message: dict[str, Any], end: dict[str, Any], last: dict[str, Any]) -> None:
    """The end of a stream, as the message says it."""
    for name in _END:
        if name != "container" or end.get(name) is not None:
            require(message.get(name) is None)
            if name in message or name in end:
                message[name] = end.get(name)
    require(string(message["stop_reason"]) and isinstance(last["output_tokens"], int))
    _check_counters(last)
    usage = message["usage"]
    for name, value in last.items():
        if value is None:
            usage.setdefault(name, None)
            continue
        require(name in _COUNTED or usage.get(name) is None or _text(usage[name]) == _text(value))
        usage[name] = value


def _text(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
