"""The simulated provider's `/responses`: OpenAI's typed events and whole answers, as OpenRouter serves them.

As recorded: a stream has no `event:` lines, its keep-alives are bare colons, its ids are generations', and `[DONE]`
follows the last event. Sources: OpenRouter's OpenAPI specification (OpenResponsesResult, StreamEvents) and a recorded
stream. This room must never know a socket, a clock, or why an answer says what it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from payonce.testing import sim_ask as asks
from payonce.testing import sim_wire as wire
from payonce.testing.sim_answer import Answer, ToolCall
from payonce.testing.sim_ask import Ask, AskError, Function, Offer, Turn

_MARK: Final = "@@padding@@"
_FREE: Final = {"type": "object", "properties": {"answer": {"type": "string"}, "call": {"type": "integer"}}}
_ECHOED: Final[dict[str, Any]] = {
    "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "max_output_tokens": None, "temperature": 1,
    "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "top_logprobs": 0, "max_tool_calls": None,
    "instructions": None, "metadata": {}, "prompt_cache_key": None, "safety_identifier": None, "service_tier": None,
    "truncation": "disabled", "user": None,
}  # fmt: skip
"""What an answer repeats of its request, with what stands there where the request is silent."""


_STARTED: Final[dict[str, dict[str, Any]]] = {
    "reasoning": {"summary": []},
    "message": {"content": []},
    "function_call": {"arguments": ""},
}
"""What of an item is still empty when a stream opens it."""


class ResponsesTongue:
    """How `/responses` is read and written."""

    comment = b":\n\n"
    native = False

    def read(self, asked: dict[str, Any]) -> Ask:
        """What a request asks; AskError where OpenRouter answers 400 or 404."""
        model = asks.model(asked)
        given = asked.get("input")
        if not given or not isinstance(given, str | list):
            raise AskError(400, "Input required")
        if asked.get("previous_response_id") is not None or asked.get("store") is True:
            raise AskError(400, "This API keeps no state: previous_response_id and store are not supported")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        for block in asks.blocks(items):
            if block.get("type") == "input_image":
                asks.check_image(block.get("image_url"))
        wanted = (asked.get("text") or {}).get("format") or {}
        schema = {"json_schema": wanted.get("schema") or {}, "json_object": _FREE}.get(str(wanted.get("type")))
        return Ask(
            endpoint="responses",
            body=asked,
            model=model,
            stream=asked.get("stream") is True,
            max_tokens=asks.limit(asked, "max_output_tokens"),
            tools=asks.wanted(_offer(asked), _turn(items)),
            schema=schema,
            reasons=model.reasons or bool(asked.get("reasoning")),
        )

    def error(self, status: int, message: str, id: str) -> bytes:  # noqa: A002, ARG002
        """OpenRouter's error shape."""
        return wire.error_body(status, message)

    def result(self, answer: Answer, ask: Ask, fault: str) -> list[bytes]:
        """The body of an answer that is not streamed. One piece, or many where padding makes it large."""
        body = orjson.dumps(_response(answer, ask, fault))
        return wire.padded(body, answer.padding, _MARK)

    def events(self, answer: Answer, ask: Ask, fault: str, argument: str) -> Iterator[tuple[int, bytes]]:
        """The events of a streamed answer, each with the number of tokens that it took the model to say."""
        for number, (cost, event) in enumerate(_events(answer, ask, fault, argument)):
            yield cost, b"data: %b\n\n" % orjson.dumps(event | {"sequence_number": number})
        if fault not in {"no-done", "no-end"}:
            yield 0, wire.DONE


# ---------------------------------------------------------------------------------------------- the answer


def _response(answer: Answer, ask: Ask, fault: str, *, began: bool = False) -> dict[str, Any]:
    """The response object; `began`: as the first events of a stream show it."""
    failed = fault in {"200-error", "choice-error"} and not began
    because = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish or "")
    status = "failed" if failed else "incomplete" if because else "completed"
    echoed = {name: ask.body.get(name, default) for name, default in _ECHOED.items()}
    said = {
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "model": answer.model.canonical,
        "status": "in_progress" if began else status,
        "completed_at": None if began or failed else answer.created,
        "output": [] if began else [item for _, item in _items(answer)],
        "error": {"code": "server_error", "message": "Provider returned error"} if failed else None,
        "incomplete_details": {"reason": because} if because and not began and not failed else None,
        **echoed,
        "store": False,
        "background": False,
        "previous_response_id": None,
        "reasoning": ask.body.get("reasoning"),
        "text": ask.body.get("text") or {"format": {"type": "text"}},
    }
    return said if began else said | {"usage": _usage(answer)}


def _usage(answer: Answer) -> dict[str, Any]:
    """OpenAI's convention: `input_tokens` includes what was read from or written to the cache."""
    charge, given = answer.charge, answer.charge.input
    return {
        "input_tokens": charge.prompt_tokens,
        "input_tokens_details": {"cached_tokens": given.cache_read, "cache_write_tokens": given.written},
        "output_tokens": charge.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": charge.reasoning_tokens},
        "total_tokens": charge.prompt_tokens + charge.completion_tokens,
        **wire.costs(charge, "input", "output"),
    }


def _items(answer: Answer) -> Iterator[tuple[ToolCall | None, dict[str, Any]]]:
    """The output items as they stand in the end, a call beside those that are one."""
    tail = answer.id[-20:]
    status = "incomplete" if answer.finish in {"length", "content_filter"} else "completed"
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": "".join(answer.reasoning)}]
        yield None, {"id": f"rs_{tail}", "type": "reasoning", "status": "completed", "summary": summary}
    if answer.content or answer.refusal or answer.padding:
        text = "".join(answer.content) + _MARK * bool(answer.padding)
        part = _refusal(answer.refusal) if answer.refusal else _text(text)
        yield None, {"id": f"msg_{tail}", "type": "message", "status": status, "role": "assistant", "content": [part]}
    for index, call in enumerate(answer.tools):
        said = {"arguments": "".join(call.arguments), "call_id": call.id, "name": call.name}
        yield call, {"id": f"fc_{tail}_{index}", "type": "function_call", "status": "completed", **said}


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _refusal(text: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": text}


# ---------------------------------------------------------------------------------------------- a stream


def _events(answer: Answer, ask: Ask, fault: str, argument: str) -> Iterator[tuple[int, dict[str, Any]]]:
    failed = fault in {"200-error", "choice-error"}
    if not (failed and argument == "only"):
        for kind in ("response.created", "response.in_progress"):
            yield 0, {"type": kind, "response": _response(answer, ask, fault, began=True)}
        for index, (call, item) in enumerate(_items(answer)):
            open_item = item | {"status": "in_progress"} | _STARTED[item["type"]]
            yield 0, {"type": "response.output_item.added", "output_index": index, "item": open_item}
            at = {"output_index": index, "item_id": item["id"]}
            if call is not None:
                yield from _call_events(call, at)
            elif item["type"] == "reasoning":
                yield from _reasoning_events(answer, at)
            else:
                yield from _part_events(answer, item["content"][0], at)
            yield 0, {"type": "response.output_item.done", "output_index": index, "item": _full(item, answer)}
    if fault == "no-end":
        return
    last = _response(answer, ask, fault)
    last["output"] = [_full(item, answer) for item in last["output"]]
    yield 0, {"type": f"response.{last['status']}", "response": last}


def _full(item: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """The item with its padding, as a stream says it."""
    if not answer.padding or item["type"] != "message":
        return item
    return item | {"content": [_text("".join(answer.content) + "x" * answer.padding)]}


def _call_events(call: ToolCall, at: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    kind = "response.function_call_arguments"
    for piece in call.arguments:
        yield 1, {"type": f"{kind}.delta", **at, "delta": piece}
    yield 0, {"type": f"{kind}.done", **at, "name": call.name, "arguments": "".join(call.arguments)}


def _reasoning_events(answer: Answer, at: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    kind, here = "response.reasoning_summary", {**at, "summary_index": 0}
    whole = "".join(answer.reasoning)
    yield 0, {"type": f"{kind}_part.added", **here, "part": {"type": "summary_text", "text": ""}}
    for word in answer.reasoning:
        yield 1, {"type": f"{kind}_text.delta", **here, "delta": word}
    yield 0, {"type": f"{kind}_text.done", **here, "text": whole}
    yield 0, {"type": f"{kind}_part.done", **here, "part": {"type": "summary_text", "text": whole}}


def _part_events(answer: Answer, part: dict[str, Any], at: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    here = {**at, "content_index": 0}
    if answer.refusal:
        yield 0, {"type": "response.content_part.added", **here, "part": _refusal("")}
        yield 8, {"type": "response.refusal.delta", **here, "delta": answer.refusal}
        yield 0, {"type": "response.refusal.done", **here, "refusal": answer.refusal}
        yield 0, {"type": "response.content_part.done", **here, "part": part}
        return
    kind = "response.output_text"
    yield 0, {"type": "response.content_part.added", **here, "part": _text("")}
    for word in answer.content:
        yield 1, {"type": f"{kind}.delta", **here, "delta": word, "logprobs": []}
    for block in wire.filler(answer.padding):
        yield 0, {"type": f"{kind}.delta", **here, "delta": block.decode(), "logprobs": []}
    text = "".join(answer.content) + "x" * answer.padding
    yield 0, {"type": f"{kind}.done", **here, "text": text, "logprobs": []}
    yield 0, {"type": "response.content_part.done", **here, "part": _text(text)}


# ---------------------------------------------------------------------------------------------- the request


def _offer(asked: dict[str, Any]) -> Offer:
    found = [tool for tool in asked.get("tools") or () if tool.get("type") == "function"]
    functions = tuple(Function(str(tool.get("name")), tool.get("parameters")) for tool in found)
    choice = asked.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        choice = (str(choice.get("name")),)
    return Offer(functions, choice, asked.get("parallel_tool_calls") is not False)


def _turn(items: list[Any]) -> Turn:
    """A round is a run of calls; the results that follow it are of that round."""
    said, rounds, before = "", 0, ""
    for item in items:
        kind = item.get("type") or "message"
        if kind == "message" and item.get("role") == "user":
            said, rounds = "\n".join(asks.texts(item.get("content"))), 0
        elif kind == "function_call" and before != kind:
            rounds += 1
        before = kind
    return Turn(said, rounds)
