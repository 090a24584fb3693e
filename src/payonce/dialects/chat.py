"""The dialect of `POST /chat/completions`: OpenAI's, as OpenRouter speaks it.

Reads a request into an intent, and judges a whole answer: is it complete by the protocol's own terminal event, free of
errors, and worth giving twice. Sources: OpenRouter's OpenAPI specification (ChatRequest, ChatResult, ChatStreamChunk)
and recorded streams. This room must never know of keys, stores or clocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from payonce.dialects.common import DONE, error_shape, is_json, read_body, safe_id, text
from payonce.dialects.convert_chat import convert_chat
from payonce.dialects.sse import events
from payonce.dialects.tables import CHAT_IGNORED
from payonce.dialects.usage import read_tokens, respend
from payonce.model import reason as why
from payonce.model.call import Headers, Intent
from payonce.model.entry import Facts
from payonce.model.policy import HitUsage
from payonce.model.reason import Reason


class _Choice:
    """What one choice of an answer has shown so far."""

    __slots__ = ("arguments", "finishes", "refusal", "substance")

    def __init__(self) -> None:
        self.finishes: set[str] = set()
        self.refusal = False
        self.substance = False
        self.arguments: dict[object, list[str]] = {}

    def add(self, message: dict[str, Any]) -> None:
        """A delta, or a whole message."""
        for name, value in message.items():
            if name in ("role", "reasoning", "reasoning_details", "reasoning_content", "annotations") or not value:
                continue
            if name == "refusal":
                self.refusal = True
            elif name == "tool_calls":
                self._tools(value)
            else:
                if name == "function_call":
                    self.arguments.setdefault("function_call", []).append(value.get("arguments") or "")
                self.substance = True

    def _tools(self, calls: Iterable[dict[str, Any]]) -> None:
        self.substance = True
        for place, call in enumerate(calls):
            function = call.get("function")
            if function is not None:
                said = self.arguments.setdefault(call.get("index", place), [])
                said.append(function.get("arguments") or "")

    def verdict(self, *, sets_limit: bool) -> Reason | None:
        """Why this choice is not kept; None if it is good."""
        if not self.finishes:
            return why.NO_FINISH
        if "error" in self.finishes:
            return why.ERROR_INSIDE
        if "content_filter" in self.finishes:
            return why.CONTENT_FILTER
        if self.refusal:
            return why.REFUSAL
        cut_off = "length" in self.finishes
        if cut_off and not sets_limit:
            return why.TRUNCATED
        if not self.substance:
            return why.EMPTY
        if cut_off and self.arguments:
            return why.BAD_TOOL_JSON
        if not all(is_json("".join(said)) for said in self.arguments.values()):
            return why.BAD_TOOL_JSON
        return None


class _Answer:
    """Everything an answer has shown: filled by one whole body, or by a stream's chunks one after the other."""

    __slots__ = ("choices", "fingerprint", "id", "model", "usage")

    def __init__(self) -> None:
        self.choices: dict[object, _Choice] = {}
        self.id = ""
        self.model = ""
        self.fingerprint = ""
        self.usage: dict[str, Any] | None = None

    def add(self, part: object, member: str) -> Reason | None:
        """A chunk (`member` is `delta`) or a whole answer (`message`); a reason where it can't be kept."""
        if not isinstance(part, dict):
            return why.UNREADABLE
        if part.get("error") is not None:
            return why.ERROR_INSIDE
        self.id = self.id or text(part.get("id"))
        self.model = self.model or text(part.get("model"))
        self.fingerprint = self.fingerprint or text(part.get("system_fingerprint"))
        self.usage = part.get("usage") or self.usage
        for place, choice in enumerate(part.get("choices") or ()):
            said = choice.get(member) or {}
            if choice.get("error") is not None or said.get("error") is not None:
                return why.ERROR_INSIDE
            if choice.get("native_finish_reason") in ("error", "network_error"):
                return why.ERROR_INSIDE
            seen = self.choices.setdefault(choice.get("index", place), _Choice())
            if choice.get("finish_reason"):
                seen.finishes.add(choice["finish_reason"])
            seen.add(said)
        return None

    def verdict(self, intent: Intent) -> Facts | Reason:
        """What the answer says of itself, or why it is not kept."""
        if not self.choices:
            return why.EMPTY
        for choice in self.choices.values():
            problem = choice.verdict(sets_limit=intent.sets_limit)
            if problem is not None:
                return problem
        return Facts(
            source_id=safe_id(self.id),
            model=self.model,
            usage=_who_gets_usage(self.usage, asked=intent.wants_usage),
            tokens=read_tokens(self.usage or {}),
            fingerprint=self.fingerprint,
        )


class ChatDialect:
    """See the room's first paragraph."""

    endpoint = "chat/completions"

    def read(self, body: bytes) -> Intent | Reason:
        """What the client means, or why its request has no key."""
        reading = read_body(body, CHAT_IGNORED)
        if isinstance(reading, Reason):
            return reading
        members = reading.members
        options = members.get("stream_options")
        return Intent(
            model=reading.model,
            stream=reading.stream,
            deterministic=reading.deterministic,
            sets_limit=members.get("max_tokens") is not None or members.get("max_completion_tokens") is not None,
            wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
            canonical=reading.canonical,
        )

    def judge(self, intent: Intent, headers: Headers, body: bytes) -> Facts | Reason:  # noqa: ARG002 - the port's
        """What a 200 answer whose transport ended well says of itself, or why it is not kept."""
        answer = _Answer()
        try:
            problem = _read_stream(answer, body) if intent.stream else answer.add(orjson.loads(body), "message")
            return problem or answer.verdict(intent)
        except (ValueError, TypeError, AttributeError):
            return why.UNREADABLE if body.strip() else why.EMPTY

    def respend(self, body: bytes, stream: bool, mode: HitUsage) -> bytes:
        """A stored body with the usage that a hit reports."""
        return respend(body, stream, mode)

    def convert(self, body: bytes, *, to_stream: bool, wants_usage: bool) -> bytes | None:
        """A stored body in the other framing; None where that is not proven to lose nothing."""
        return convert_chat(body, to_stream=to_stream, wants_usage=wants_usage)

    def error(self, status: int, code: str, message: str) -> bytes:
        """OpenRouter's error shape."""
        return error_shape(status, code, message)


def _read_stream(answer: _Answer, body: bytes) -> Reason | None:
    done = False
    for data in events(body):
        if data == DONE:
            done = True
            continue
        if done:
            return why.UNREADABLE
        problem = answer.add(orjson.loads(data), "delta")
        if problem is not None:
            return problem
    if done:
        return None
    return why.NO_TERMINAL if answer.choices else why.EMPTY


def _who_gets_usage(usage: dict[str, Any] | None, *, asked: bool) -> str:
    """See `Facts.usage`. A `cost` beside the token counts is OpenRouter's, which sends usage to everybody."""
    if usage is None:
        return "never" if asked else "none"
    return "asked" if asked and "cost" not in usage else "always"
