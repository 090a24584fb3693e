"""The simulated provider's `/messages`: Anthropic's shapes, as OpenRouter serves them and as Anthropic itself does.

OpenRouter names the host and the cost, and ends a stream with `data: [DONE]`; Anthropic itself wants its own headers
and a `max_tokens`. Sources: OpenRouter's OpenAPI specification (MessagesResult, MessagesStreamEvents) and Anthropic's
documentation of streaming. This room must never know a socket, a clock, or why an answer says what it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from payonce.testing import sim_ask as asks
from payonce.testing import sim_wire as wire
from payonce.testing.sim_answer import Answer
from payonce.testing.sim_ask import Ask, AskError, Function, Offer, Turn

_MARK: Final = "@@padding@@"
_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERRORS: Final = {
    400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error",
    503: "overloaded_error", 529: "overloaded_error",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MessagesTongue:
    """How `/messages` is read and written; `native`: by Anthropic itself, not by OpenRouter."""

    native: bool

    @property
    def comment(self) -> bytes:
        return b"" if self.native else wire.COMMENT

    def read(self, asked: dict[str, Any]) -> Ask:
        """What a request asks; AskError where the provider answers 400 or 404."""
        model = asks.model(asked, bare=self.native)
        messages = asked.get("messages")
        if not isinstance(messages, list) or not messages:
            raise AskError(400, "messages: Field required")
        if self.native and not isinstance(asked.get("max_tokens"), int):
            raise AskError(400, "max_tokens: Field required")
        for block in asks.blocks(messages):
            if block.get("type") == "image":
                _check_image(block.get("source") or {})
        config = asked.get("output_config")
        wanted = (config.get("format") if isinstance(config, dict) else None) or asked.get("output_format") or {}
        return Ask(
            endpoint="messages",
            body=asked,
            model=model,
            stream=asked.get("stream") is True,
            max_tokens=asks.limit(asked, "max_tokens"),
            tools=asks.wanted(_offer(asked), _turn(messages)),
            schema=(wanted.get("schema") or {}) if wanted.get("type") == "json_schema" else None,
            reasons=model.reasons or (asked.get("thinking") or {}).get("type") in {"enabled", "adaptive"},
        )

    def error(self, status: int, message: str, id: str) -> bytes:  # noqa: A002
        """Anthropic's error shape."""
        inner = {"type": _ERRORS.get(status, "api_error"), "message": message}
        if not self.native:
            inner["error_type"] = wire.error_type(status)
        return orjson.dumps({"type": "error", "error": inner, "request_id": id})

    # -------------------------------------------------------------------------------------------- one JSON body

    def result(self, answer: Answer, ask: Ask, fault: str) -> list[bytes]:  # noqa: ARG002 - tongues share it
        """The body of an answer that is not streamed. One piece, or many where padding makes it large."""
        if fault in {"200-error", "choice-error"}:
            return [self.error(502, "Provider returned error", answer.id)]
        blocks = [block.whole for block in self._blocks(answer, fault)]
        return wire.padded(orjson.dumps(self._message(answer, blocks, ended=True)), answer.padding, _MARK)

    def _message(self, answer: Answer, blocks: list[Any], *, ended: bool) -> dict[str, Any]:
        usage = self._usage(answer) | ({} if ended else {"output_tokens": min(1, answer.charge.completion_tokens)})
        if not ended:
            usage = {name: value for name, value in usage.items() if name not in {"cost", "cost_details", "is_byok"}}
        message = {
            "id": answer.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model.id if self.native else answer.model.canonical,
            "content": blocks,
            **(_end(answer) if ended else _end(None)),
            "usage": usage,
        }
        if self.native:
            return message | dict(answer.charge.input.extra)
        return message | {"container": None, "provider": answer.provider}

    def _usage(self, answer: Answer) -> dict[str, Any]:
        """Anthropic's convention: `input_tokens` leaves out what was read from or written to the cache."""
        charge, given = answer.charge, answer.charge.input
        usage = {
            "input_tokens": given.uncached,
            "cache_creation_input_tokens": given.written,
            "cache_read_input_tokens": given.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": given.cache_write_5m,
                "ephemeral_1h_input_tokens": given.cache_write_1h,
            },
            "output_tokens": charge.completion_tokens,
            "output_tokens_details": {"thinking_tokens": charge.reasoning_tokens},
            "server_tool_use": None,
            "service_tier": "standard",
            "inference_geo": None,
        }
        return usage if self.native else usage | wire.costs(charge, "prompt", "completions")

    # -------------------------------------------------------------------------------------------- a stream

    def events(self, answer: Answer, ask: Ask, fault: str, argument: str) -> Iterator[tuple[int, bytes]]:  # noqa: ARG002
        """The events of a streamed answer, each with the number of tokens that it took the model to say."""
        failed = fault in {"200-error", "choice-error"}
        if not (failed and argument == "only"):
            yield 0, _event("message_start", message=self._message(answer, [], ended=False))
            for index, block in enumerate(self._blocks(answer, fault)):
                yield 0, _event("content_block_start", index=index, content_block=block.start)
                if index == 0:
                    yield 0, _event("ping")
                for cost, delta in block.deltas:
                    yield cost, _event("content_block_delta", index=index, delta=delta)
                yield 0, _event("content_block_stop", index=index)
            if not failed:
                delta = _end(answer) | ({} if self.native else {"container": None})
                yield 0, _event("message_delta", delta=delta, usage=self._usage(answer))
                if fault != "no-end":
                    yield 0, _event("message_stop")
        if failed:
            yield 0, b"event: error\ndata: %b\n\n" % self.error(502, "Provider returned error", answer.id)
        if not self.native and fault not in {"no-done", "no-end"}:
            yield 0, wire.DONE

    def _blocks(self, answer: Answer, fault: str) -> Iterator[_Block]:
        if answer.reasoning:
            yield _thinking(answer)
        # OpenRouter's schemas want these two members, which Anthropic sends where there is something to say.
        citations: dict[str, Any] = {} if self.native else {"citations": None}
        caller: dict[str, Any] = {} if self.native else {"caller": {"type": "direct"}}
        if answer.content or answer.padding:
            deltas = [(1, {"type": "text_delta", "text": word}) for word in answer.content]
            deltas += [(0, {"type": "text_delta", "text": part.decode()}) for part in wire.filler(answer.padding)]
            text = "".join(answer.content) + _MARK * bool(answer.padding)
            yield _Block({"type": "text", "text": "", **citations}, deltas, {"type": "text", "text": text, **citations})
        for call in answer.tools:
            said = "".join(call.arguments)
            named = {"type": "tool_use", "id": call.id.replace("call_", "toolu_"), "name": call.name, **caller}
            pieces = [(1, {"type": "input_json_delta", "partial_json": piece}) for piece in ("", *call.arguments)]
            given: Any = said if fault == "bad-tool-json" else orjson.loads(said)
            yield _Block({**named, "input": {}}, pieces, {**named, "input": given})


@dataclass(frozen=True, slots=True)
class _Block:
    """One content block: as a stream opens it, what is added, each with its tokens, and as it stands in the end."""

    start: dict[str, Any]
    deltas: list[tuple[int, dict[str, Any]]]
    whole: dict[str, Any]


def _thinking(answer: Answer) -> _Block:
    deltas: list[tuple[int, dict[str, Any]]] = [
        (1, {"type": "thinking_delta", "thinking": w}) for w in answer.reasoning
    ]
    signature = f"sig_{answer.id[-20:]}"
    deltas.append((0, {"type": "signature_delta", "signature": signature}))
    empty = {"type": "thinking", "thinking": "", "signature": ""}
    return _Block(empty, deltas, empty | {"thinking": "".join(answer.reasoning), "signature": signature})


def _end(answer: Answer | None) -> dict[str, Any]:
    details = None
    stop = None if answer is None else _STOPS.get(answer.finish or "")
    if answer is not None and answer.refusal:
        stop = "refusal"
        details = {"type": "refusal", "category": None, "explanation": answer.refusal}
    return {"stop_reason": stop, "stop_sequence": None, "stop_details": details}


def _event(kind: str, **more: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **more}))


# ---------------------------------------------------------------------------------------------- the request


def _check_image(source: dict[str, Any]) -> None:
    if source.get("type") == "base64":
        if not str(source.get("media_type")).startswith("image/"):
            raise AskError(400, "source.media_type: not an image")
        asks.check_base64(source.get("data"))
    elif source.get("type") == "url":
        asks.check_image(source.get("url"))
    else:
        raise AskError(400, "source: neither base64 nor url")


def _offer(asked: dict[str, Any]) -> Offer:
    found = [tool for tool in asked.get("tools") or () if "input_schema" in tool]
    functions = tuple(Function(str(tool.get("name")), tool["input_schema"]) for tool in found)
    choice = asked.get("tool_choice") or {"type": "auto"}
    kind = {"any": "required", "tool": (str(choice.get("name")),)}.get(choice["type"], choice["type"])
    return Offer(functions, kind, not choice.get("disable_parallel_tool_use"))


def _turn(messages: list[Any]) -> Turn:
    """A round is one message of the assistant with calls; a user's message with their results is of that round."""
    said, rounds = "", 0
    for message in messages:
        kinds = {block.get("type") for block in asks.blocks([message])}
        if message.get("role") == "user" and "tool_result" not in kinds:
            said, rounds = "\n".join(asks.texts(message.get("content"))), 0
        elif message.get("role") == "assistant" and "tool_use" in kinds:
            rounds += 1
    return Turn(said, rounds)
