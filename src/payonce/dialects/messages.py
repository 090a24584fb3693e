"""The dialect of `POST /messages`: Anthropic's, as its own API and OpenRouter speak it.

An answer is whole after `message_stop`, with a stop reason that ends the turn and every block closed; OpenRouter's
`[DONE]` may follow. Sources: OpenRouter's OpenAPI specification (MessagesRequest, MessagesResult, MessagesStreamEvents)
and Anthropic's documentation of streaming. This room must never know of keys, stores or clocks.
"""

from __future__ import annotations

from typing import Any

import orjson

from payonce.dialects.common import DONE, is_torn, names_an_error, read_body, safe_id, text
from payonce.dialects.convert_messages import convert_messages
from payonce.dialects.sse import events
from payonce.dialects.tables import MESSAGES_IGNORED
from payonce.dialects.usage import read_message_tokens, respend
from payonce.model import reason as why
from payonce.model.call import Headers, Intent
from payonce.model.entry import Facts
from payonce.model.policy import HitUsage
from payonce.model.reason import Reason

_ENDS_THE_TURN = frozenset(("end_turn", "stop_sequence", "tool_use", "max_tokens"))
"""`pause_turn` and `compaction` don't: the client is to go on. What is not known is not taken for an end."""

_NO_SUBSTANCE = frozenset(("thinking", "redacted_thinking", "compaction"))
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class _Block:
    """What one content block of an answer has shown so far."""

    __slots__ = ("arguments", "is_open", "kind", "shown", "start")

    def __init__(self, start: dict[str, Any], *, is_open: bool) -> None:
        self.start = start
        self.is_open = is_open
        self.kind: str = start["type"]
        self.shown = bool(start.get("text")) if self.kind == "text" else self.kind not in _NO_SUBSTANCE
        self.arguments: list[str] = []

    def add(self, delta: dict[str, Any]) -> None:
        if delta["type"] == "text_delta" and delta["text"]:
            self.shown = True
        elif delta["type"] == "input_json_delta":
            self.arguments.append(delta["partial_json"])

    @property
    def is_tool(self) -> bool:
        return self.kind.endswith("tool_use")  # tool_use, server_tool_use, mcp_tool_use

    def has_input(self) -> bool:
        """Whether a tool's input can be read: an object, where nothing at all means an empty one."""
        said = "".join(self.arguments)
        try:
            return isinstance(orjson.loads(said) if said else self.start.get("input", {}), dict)
        except orjson.JSONDecodeError:
            return False

    def failed(self) -> bool:
        """Whether this is what a provider's tool gives back when it could not run (`web_search_tool_result_error`)."""
        content = self.start.get("content")
        return isinstance(content, dict) and text(content.get("type")).endswith("_tool_result_error")


class _Answer:
    """Everything an answer has shown: filled by one whole body, or by a stream's events one after the other."""

    __slots__ = ("blocks", "id", "model", "started", "stops", "usage")

    def __init__(self) -> None:
        self.started = False
        self.blocks: dict[int, _Block] = {}
        self.stops: set[str] = set()
        self.id = ""
        self.model = ""
        self.usage: dict[str, Any] = {}

    def add_message(self, message: dict[str, Any]) -> Reason | None:
        """A whole message, or the one that a stream starts with."""
        if message.get("error") is not None:
            return why.ERROR_INSIDE
        if message["type"] != "message" or self.started or self.blocks or self.stops:
            return why.UNREADABLE
        self.started = True
        self.id = text(message.get("id"))
        self.model = text(message.get("model"))
        self.blocks = {place: _Block(block, is_open=False) for place, block in enumerate(message.get("content") or ())}
        self._add_end(message, message.get("usage"))
        return None

    def add_event(self, event: dict[str, Any]) -> Reason | None:
        """Any event of a stream but its last; types that are not known change nothing."""
        if event.get("error") is not None or event["type"] == "error":
            return why.ERROR_INSIDE
        kind = event["type"]
        if kind == "message_start":
            return self.add_message(event["message"])
        if kind == "message_delta":
            self._add_end(event["delta"], event.get("usage"))
        elif kind == "content_block_start":
            if event["index"] in self.blocks:
                return why.UNREADABLE
            self.blocks[event["index"]] = _Block(event["content_block"], is_open=True)
        elif kind in ("content_block_delta", "content_block_stop"):
            block = self.blocks[event["index"]]
            if not block.is_open:
                return why.UNREADABLE
            if kind == "content_block_delta":
                block.add(event["delta"])
            else:
                block.is_open = False
        return None

    def _add_end(self, said: dict[str, Any], usage: dict[str, Any] | None) -> None:
        if said.get("stop_reason"):
            self.stops.add(said["stop_reason"])
        self.usage.update((name, value) for name, value in (usage or {}).items() if value is not None)

    def verdict(self, intent: Intent) -> Facts | Reason:
        """What the answer says of itself, or why it is not kept."""
        blocks = self.blocks.values()
        if "refusal" in self.stops:
            return why.REFUSAL
        if "model_context_window_exceeded" in self.stops:
            return why.TRUNCATED
        if not self.stops or not self.stops <= _ENDS_THE_TURN or any(block.is_open for block in blocks):
            return why.NO_FINISH
        cut_off = "max_tokens" in self.stops
        if cut_off and not intent.sets_limit:
            return why.TRUNCATED
        if not any(block.shown for block in blocks):
            return why.EMPTY
        if any(block.failed() for block in blocks):
            return why.ERROR_INSIDE
        if any(block.is_tool and (cut_off or not block.has_input()) for block in blocks):
            return why.BAD_TOOL_JSON
        return Facts(
            source_id=safe_id(self.id),
            model=self.model,
            usage="always" if self.usage else "none",
            tokens=read_message_tokens(self.usage),
        )


class MessagesDialect:
    """See the room's first paragraph."""

    endpoint = "messages"

    def read(self, body: bytes) -> Intent | Reason:
        """What the client means, or why its request has no key."""
        reading = read_body(body, MESSAGES_IGNORED)
        if isinstance(reading, Reason):
            return reading
        container = reading.members.get("container")
        if isinstance(container, str) or (isinstance(container, dict) and container.get("id") is not None):
            return why.SERVER_STATE
        return Intent(
            model=reading.model,
            stream=reading.stream,
            deterministic=reading.deterministic,
            sets_limit=reading.members.get("max_tokens") is not None,
            wants_usage=False,
            canonical=reading.canonical,
        )

    def judge(self, intent: Intent, headers: Headers, body: bytes) -> Facts | Reason:  # noqa: ARG002 - the port's
        """What a 200 answer whose transport ended well says of itself, or why it is not kept."""
        answer = _Answer()
        try:
            problem = _read_stream(answer, body) if intent.stream else answer.add_message(orjson.loads(body))
            return problem or answer.verdict(intent)
        except (ValueError, TypeError, AttributeError, KeyError):
            return why.UNREADABLE if body.strip() else why.EMPTY

    def respend(self, body: bytes, stream: bool, mode: HitUsage) -> bytes:
        """A stored body with the usage that a hit reports."""
        return respend(body, stream, mode, inside=("message",))

    def convert(self, body: bytes, *, to_stream: bool, wants_usage: bool) -> bytes | None:  # noqa: ARG002 - the port's
        """A stored body in the other framing; None where that is not proven to lose nothing."""
        return convert_messages(body, to_stream=to_stream)

    def error(self, status: int, code: str, message: str) -> bytes:  # noqa: ARG002 - no place for it in this shape
        """Anthropic's error shape (OpenRouter's specification, schema AnthropicMessagesErrorResponse)."""
        kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


def _read_stream(answer: _Answer, body: bytes) -> Reason | None:
    if names_an_error(body):
        return why.ERROR_INSIDE
    stopped = done = False
    for data in events(body):
        if data == DONE and stopped and not done:
            done = True
            continue
        event = orjson.loads(data)
        problem = answer.add_event(event)
        if problem is None and stopped and event["type"] != "ping":
            problem = why.UNREADABLE
        if problem is not None:
            return problem
        stopped = stopped or event["type"] == "message_stop"
    if not stopped:
        return why.NO_TERMINAL if answer.started else why.EMPTY
    if not answer.started:
        return why.UNREADABLE
    return why.CUT if is_torn(body) else None
