"""The simulated provider's `/chat/completions`: what a request asks, and how an answer is written, JSON and SSE.

The order of members and the shape of the last chunks follow recorded traffic. This room must never know a socket, a
clock, or why an answer says what it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from payonce.testing import sim_ask as asks
from payonce.testing import sim_wire as wire
from payonce.testing.sim_answer import Answer
from payonce.testing.sim_ask import Ask, AskError, Function, Offer, Turn

_MARK: Final = "@@padding@@"
_FREE: Final = {"type": "object", "properties": {"answer": {"type": "string"}, "call": {"type": "integer"}}}


class ChatTongue:
    """How `/chat/completions` is read and written."""

    comment = wire.COMMENT
    native = False

    def read(self, asked: dict[str, Any]) -> Ask:
        """What a chat request asks; AskError where OpenRouter answers 400 or 404."""
        model = asks.model(asked)
        messages = asked.get("messages")
        if not isinstance(messages, list) or not messages:
            raise AskError(400, 'Input required: specify "prompt" or "messages"')
        for block in asks.blocks(messages):
            if block.get("type") == "image_url":
                asks.check_image((block.get("image_url") or {}).get("url"))
        return Ask(
            endpoint="chat/completions",
            body=asked,
            model=model,
            stream=asked.get("stream") is True,
            max_tokens=asks.limit(asked, "max_completion_tokens", "max_tokens"),
            tools=asks.wanted(_offer(asked), _turn(messages)),
            schema=_schema(asked.get("response_format")),
            reasons=model.reasons or bool(asked.get("reasoning") or asked.get("reasoning_effort")),
        )

    def error(self, status: int, message: str, id: str) -> bytes:  # noqa: A002, ARG002
        """OpenRouter's error shape."""
        return wire.error_body(status, message)

    def result(self, answer: Answer, ask: Ask, fault: str) -> list[bytes]:  # noqa: ARG002 - tongues share it
        """The body of an answer that is not streamed. One piece, or many where padding makes it large."""
        if fault == "200-error":
            return [orjson.dumps({"error": wire.inner_error(), "user_id": None})]
        text = "".join(answer.content)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text or None,
            "refusal": answer.refusal,
            "reasoning": None,
        }
        if fault == "empty":
            message["content"] = ""
        if answer.padding:
            message["content"] = text + _MARK
        if answer.reasoning:
            thought = "".join(answer.reasoning)
            message["reasoning"] = thought
            message["reasoning_details"] = [{"type": "reasoning.text", "text": thought, "index": 0, "format": None}]
        if answer.tools:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "index": index,
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(call.arguments)},
                }
                for index, call in enumerate(answer.tools)
            ]
        choice = {
            "logprobs": None,
            "finish_reason": answer.finish,
            "native_finish_reason": wire.native(answer),
            "index": 0,
            "message": message,
        }
        if fault == "choice-error":
            choice["error"] = wire.inner_error()
        body = orjson.dumps(
            {
                "id": answer.id,
                "provider": answer.provider,
                "model": answer.model.canonical,
                "object": "chat.completion",
                "created": answer.created,
                "choices": [choice],
                "system_fingerprint": None,
                "usage": _usage(answer),
            }
        )
        return wire.padded(body, answer.padding, _MARK)

    def events(self, answer: Answer, ask: Ask, fault: str, argument: str) -> Iterator[tuple[int, bytes]]:  # noqa: ARG002
        """The events of a streamed answer, each with the number of tokens that it took the model to say."""
        frame = _Frame(answer)
        if fault == "200-error" and argument == "only":
            yield 0, frame.error(None)
        else:
            for delta in _deltas(answer):
                yield 1, frame.choice(delta)
            if answer.padding:
                for block in wire.filler(answer.padding):
                    yield 0, frame.choice({"role": "assistant", "content": block.decode()})
            yield 0, frame.last(answer, fault)
            if fault == "200-error":
                yield 0, frame.error(_usage(answer))
            else:
                yield 0, frame.usage(answer)
        if fault not in {"no-done", "no-end"}:
            yield 0, wire.DONE


# ---------------------------------------------------------------------------------------------- the request


def _offer(asked: dict[str, Any]) -> Offer:
    found = [tool["function"] for tool in asked.get("tools") or () if isinstance(tool.get("function"), dict)]
    functions = tuple(Function(str(one.get("name")), one.get("parameters")) for one in found)
    choice = asked.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        choice = (str((choice.get("function") or {}).get("name")),)
    return Offer(functions, choice, asked.get("parallel_tool_calls") is not False)


def _turn(messages: list[Any]) -> Turn:
    """A round is one message of the assistant with calls; the results that follow it are of that round."""
    said, rounds = "", 0
    for message in messages:
        role = message.get("role")
        if role == "user":
            said, rounds = "\n".join(asks.texts(message.get("content"))), 0
        elif role == "assistant" and message.get("tool_calls"):
            rounds += 1
    return Turn(said, rounds)


def _schema(wanted: Any) -> Any:
    """The JSON schema that the content follows; None for prose."""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        return (wanted.get("json_schema") or {}).get("schema") or {}
    return _FREE if kind == "json_object" else None


# ---------------------------------------------------------------------------------------------- the answer


def _usage(answer: Answer) -> dict[str, Any]:
    """The usage object, full as OpenRouter sends it. The costs are numbers on the wire; the bill keeps the Decimals."""
    charge = answer.charge
    return {
        "prompt_tokens": charge.prompt_tokens,
        "completion_tokens": charge.completion_tokens,
        "total_tokens": charge.prompt_tokens + charge.completion_tokens,
        **wire.costs(charge, "prompt", "completions"),
        "prompt_tokens_details": {
            "cached_tokens": charge.input.cache_read,
            "cache_write_tokens": charge.input.written,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": charge.reasoning_tokens,
            "image_tokens": 0,
            "audio_tokens": 0,
        },
    }


def _deltas(answer: Answer) -> Iterable[dict[str, Any]]:
    """What each chunk adds. As recorded, every delta names the role and has content."""
    for word in answer.reasoning:
        details = [{"type": "reasoning.text", "text": word, "index": 0, "format": None}]
        yield {"role": "assistant", "content": "", "reasoning": word, "reasoning_details": details}
    for word in answer.content:
        yield {"role": "assistant", "content": word}
    if answer.refusal:
        yield {"role": "assistant", "content": None, "refusal": answer.refusal}
    for index, call in enumerate(answer.tools):
        opening = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield {"role": "assistant", "content": None, "tool_calls": [opening]}
        for piece in call.arguments:
            yield {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"index": index, "function": {"arguments": piece}}],
            }


class _Frame:
    """Chunks of one answer: what they all share is written once."""

    def __init__(self, answer: Answer) -> None:
        shared = {
            "id": answer.id,
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model.canonical,
            "provider": answer.provider,
        }
        self._head = b"data: " + orjson.dumps(shared)[:-1]

    def _with(self, more: dict[str, Any]) -> bytes:
        return b"%b,%b\n\n" % (self._head, orjson.dumps(more)[1:])

    def choice(self, delta: dict[str, Any], finish: str | None = None, native: str | None = None, **more: Any) -> bytes:
        choice = {
            "index": 0,
            "delta": delta,
            "finish_reason": finish,
            "native_finish_reason": native,
            "logprobs": None,
            **more,
        }
        return self._with({"choices": [choice]})

    def last(self, answer: Answer, fault: str) -> bytes:
        more = {"error": wire.inner_error()} if fault == "choice-error" else {}
        return self.choice({"role": "assistant", "content": ""}, answer.finish, wire.native(answer), **more)

    def usage(self, answer: Answer) -> bytes:
        return self._with({"choices": [], "usage": _usage(answer)})

    def error(self, spent: dict[str, Any] | None) -> bytes:
        """As recorded: an error beside a choice whose finish_reason is null, after a chunk that had finished."""
        choice = {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "finish_reason": None,
            "native_finish_reason": None,
        }
        return self._with({"error": wire.inner_error(), "choices": [choice], **({"usage": spent} if spent else {})})
