"""`/chat/completions`: a stored stream as a whole answer, and the other way round.

Stream to whole, the rules are those of the openai SDK's accumulator (`openai.lib.streaming`): texts are joined, entries
with an index are merged, nulls give way. Where it would write twice what a stream says twice (the role, the format of a
reasoning detail), it is written once. Where it loses or doubles something, there is no conversion. This room must never
know why an answer is converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from payonce.dialects.carry import (
    NotProvenError,
    conversion,
    data_lines,
    exact,
    joined,
    listed,
    mapping,
    only,
    plain_events,
    require,
    said_once,
    string,
)
from payonce.dialects.common import DONE

_CONSTANT = ("id", "created", "model", "provider", "service_tier")
_WHOLE = frozenset((*_CONSTANT, "object", "system_fingerprint", "choices", "usage"))
_CHUNK = _WHOLE | {"obfuscation"}
_BESIDE = ("native_finish_reason", "logprobs")
_CHOICE = frozenset(("index", "finish_reason", *_BESIDE))
_TEXTS = ("content", "refusal", "reasoning", "reasoning_content")
_LISTS = ("reasoning_details", "annotations", "tool_calls")
_MESSAGE = frozenset(("role", *_TEXTS, *_LISTS))
_DETAIL = frozenset(("type", "text", "summary", "data", "signature", "format", "id", "index"))
_LOGPROBS = frozenset(("content", "refusal"))
_TOOL = frozenset(("index", "id", "type", "function"))
_FUNCTION = frozenset(("name", "arguments"))


def convert_chat(body: bytes, *, to_stream: bool, wants_usage: bool) -> bytes | None:
    """The same answer in the other framing; None where nothing proves that it is the same."""
    return conversion((lambda whole: _stream(whole, wants_usage)) if to_stream else _whole, body)


# ------------------------------------------------------------------------------------------------ whole to stream


def _stream(body: bytes, wants_usage: bool) -> bytes:
    whole = only(exact(body), _WHOLE)
    require(whole["object"] == "chat.completion" and whole["choices"])
    usage = whole.get("usage")
    require(usage is None or mapping(usage))
    require(usage or not wants_usage)
    beside = {name: whole[name] for name in (*_CONSTANT, "system_fingerprint") if name in whole}
    for name in ("service_tier", "system_fingerprint"):  # null in a whole answer, left out of a chunk
        if beside.get(name, "") is None:
            del beside[name]
    _check_names(beside)
    chunks: list[dict[str, Any]] = []
    for place, choice in enumerate(whole["choices"]):
        require(choice["index"] == place)
        chunks += [{"choices": [part]} for part in _choice_parts(only(choice, _CHOICE | {"message"}))]
    if usage is not None and (wants_usage or "cost" in usage):  # a cost is OpenRouter's, which sends usage to everybody
        chunks.append({"choices": [], "usage": usage})
    first = {"id": beside.pop("id"), "object": "chat.completion.chunk", **beside}
    return b"".join((*data_lines({**first, **chunk} for chunk in chunks), b"data: ", DONE, b"\n\n"))


def _choice_parts(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The chunks of one choice: its role, then each part of its message, then its end."""
    blank = {name: None for name in _BESIDE if name in choice}
    logprobs = choice.get("logprobs")
    if logprobs is not None:
        for tokens in only(logprobs, _LOGPROBS).values():
            listed(tokens)
    for delta in _deltas(only(choice["message"], _MESSAGE)):
        part = {"index": choice["index"], "delta": delta, "finish_reason": None, **blank}
        if logprobs is not None and (delta.get("content") or delta.get("refusal")):
            part["logprobs"], logprobs = logprobs, None
        yield part
    require(string(choice["finish_reason"]))
    joined(None, choice.get("native_finish_reason"))
    beside = {name: choice[name] for name in blank} | ({} if "logprobs" not in choice else {"logprobs": logprobs})
    yield {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"], **beside}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    require(message["role"] == "assistant")
    texts = {name: joined(None, message[name]) for name in _TEXTS if name in message}
    lists = {name: listed(message[name]) for name in _LISTS if name in message}
    _check_details(lists.get("reasoning_details", []))
    require(not any("index" in mapping(entry) for entry in lists.get("annotations", [])))
    tools = [_tool(call, place) for place, call in enumerate(lists.get("tool_calls", []))]
    first = {name: None if message[name] is None else "" for name in texts}
    yield {"role": "assistant", **first, **{name: message[name] for name, entries in lists.items() if not entries}}
    thought = {name: value for name, value in texts.items() if value and name not in ("content", "refusal")}
    details = lists.get("reasoning_details")
    if thought or details:
        yield {**thought, **({"reasoning_details": details} if details else {})}
    for name in ("content", "refusal"):
        if texts.get(name):
            yield {name: texts[name]}
    for tool in tools:
        yield {"tool_calls": [tool]}
    if lists.get("annotations"):
        yield {"annotations": lists["annotations"]}


def _check_details(details: list[Any]) -> None:
    """The accumulator keeps details with the indices 0, 1, 2 …, or with none at all, as they are."""
    places = [only(detail, _DETAIL).get("index") for detail in details]
    for detail in details:
        for name, value in detail.items():
            require(name == "index" or value is None or isinstance(value, str))
    require(places == list(range(len(places))) or not any("index" in detail for detail in details))


def _tool(call: dict[str, Any], place: int) -> dict[str, Any]:
    function = only(only(call, _TOOL)["function"], _FUNCTION)
    require(call["type"] == "function" and string(call["id"]) and call.get("index", place) == place)
    said = {"name": string(function["name"]), "arguments": string(function["arguments"])}
    return {"index": place, "id": call["id"], "type": "function", "function": said}


def _check_names(beside: dict[str, Any]) -> None:
    require(string(beside["id"]) and string(beside["model"]) and isinstance(beside["created"], int))


# ------------------------------------------------------------------------------------------------ stream to whole


class _Choice:
    """What one choice has shown so far."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.finish: str | None = None
        self.beside: dict[str, Any] = {}

    def add(self, choice: dict[str, Any]) -> None:
        self.finish = said_once(self.finish, choice.get("finish_reason"))
        if "native_finish_reason" in choice:
            native = joined(None, choice["native_finish_reason"])
            self.beside["native_finish_reason"] = said_once(self.beside.get("native_finish_reason"), native)
        if "logprobs" in choice:
            self.beside["logprobs"] = _more_logprobs(self.beside.get("logprobs"), choice["logprobs"])
        for name, value in only(choice["delta"], _MESSAGE).items():
            if name == "role":
                require(value in ("assistant", None))
                self.message["role"] = "assistant" if value else self.message.get("role")
            elif name in _TEXTS:
                self.message[name] = joined(self.message.get(name), value)
            else:
                self._add_list(name, value)

    def _add_list(self, name: str, value: list[Any] | None) -> None:
        known = self.message.get(name)
        if known is None:
            known = self.message[name] = None if value is None else []
        entries = listed(value)
        if name == "annotations":
            require(not (known and entries) and not any("index" in mapping(entry) for entry in entries))
            self.message[name] = entries or known
            return
        merge = _merge_tool if name == "tool_calls" else _merge_detail
        for entry in entries:
            place = entry["index"]
            require(type(place) is int and 0 <= place <= len(known or ()))
            assert known is not None
            if place == len(known):
                known.append({})
            merge(known[place], entry)

    def whole(self, place: int) -> dict[str, Any]:
        """The choice of a whole answer."""
        require(string(self.finish) and self.message.get("role"))
        for call in self.message.get("tool_calls") or ():
            require(string(call["function"]["arguments"]) is not None)
        message = {"role": "assistant", "content": None} | self.message
        return {"index": place, "message": message, "finish_reason": self.finish, **self.beside}


def _more_logprobs(known: dict[str, Any] | None, more: object) -> dict[str, Any] | None:
    if more is None:
        return known
    fresh = only(more, _LOGPROBS)
    if known is None:
        return {name: None if value is None else listed(value) for name, value in fresh.items()}
    for name, value in fresh.items():
        if value:
            known[name] = listed(known.get(name)) + listed(value)
    return known


def _merge_detail(known: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in only(more, _DETAIL).items():
        if name in ("text", "summary"):
            known[name] = joined(known.get(name), value)
        elif name == "index":
            known[name] = value
        elif name == "type":  # the accumulator takes the last one, null or not
            require(string(value) and known.get(name, value) == value)
            known[name] = value
        else:
            require(value is None or string(value) is not None)
            if name in ("data", "signature"):  # once: whether pieces would belong together is not known
                require(not (known.get(name) and value))
            known[name] = said_once(known.get(name), value)


def _merge_tool(known: dict[str, Any], more: dict[str, Any]) -> None:
    function = only(only(more, _TOOL)["function"], _FUNCTION)
    if not known:
        require(more["type"] == "function" and string(more["id"]) and string(function["name"]))
        known |= {"index": more["index"], "id": more["id"], "type": "function"}
        known["function"] = {"name": function["name"], "arguments": joined(None, function.get("arguments"))}
        return
    require(more.get("type", "function") == "function" and not more.get("id") and not function.get("name"))
    said = known["function"]
    said["arguments"] = joined(said["arguments"], function.get("arguments"))


def _whole(body: bytes) -> bytes:
    parts = plain_events(body, named=False)
    require(parts and parts.pop() == DONE)
    first: dict[str, Any] = {}
    prints: set[str | None] = set()
    choices: list[_Choice] = []
    usage: dict[str, Any] | None = None
    for number, data in enumerate(parts):
        chunk = only(orjson.loads(data), _CHUNK)
        if _has_numbers(chunk):
            chunk = only(exact(data), _CHUNK)
        require(chunk["object"] == "chat.completion.chunk")
        if not first:
            first = {name: chunk[name] for name in _CONSTANT if name in chunk}
            _check_names(first)
            for name in ("provider", "service_tier"):
                joined(None, first.get(name))
        require(all(first.get(name) == chunk[name] for name in _CONSTANT if name in chunk))
        prints.add(joined(None, chunk.get("system_fingerprint")))
        require(isinstance(chunk["choices"], list))
        require(len({choice["index"] for choice in chunk["choices"]}) == len(chunk["choices"]))
        for choice in chunk["choices"]:
            _add_choice(choices, only(choice, _CHOICE | {"delta"}), beginning=number == 0)
        usage = chunk.get("usage")  # the last chunk's is the one that counts
    require(choices and mapping(usage) and len(prints) == 1)
    whole = {"id": first.pop("id"), "object": "chat.completion", **first}
    whole["choices"] = [choice.whole(place) for place, choice in enumerate(choices)]
    whole["system_fingerprint"] = prints.pop()
    return orjson.dumps({**whole, "usage": usage})


def _has_numbers(chunk: dict[str, Any]) -> bool:
    """Whether a part is carried whole, so that the text of its numbers has to be kept."""
    carried = (choice.get("logprobs") or choice["delta"].get("annotations") for choice in chunk["choices"])
    return bool(chunk.get("usage")) or any(carried)


def _add_choice(choices: list[_Choice], choice: dict[str, Any], *, beginning: bool) -> None:
    place = choice["index"]
    if type(place) is not int or not 0 <= place <= len(choices):
        raise NotProvenError
    if place == len(choices):
        # The accumulator doubles the logprobs of a choice that begins with some after the stream has begun.
        require(beginning or choice.get("logprobs") is None)
        choices.append(_Choice())
    choices[place].add(choice)
