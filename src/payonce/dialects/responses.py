"""The dialect of `POST /responses`: OpenAI's Responses API, as its own API and OpenRouter speak it.

An answer is whole after `response.completed`, or `response.incomplete` at a limit that the client set; every output
item that began must be done, in whatever order. Sources: OpenRouter's OpenAPI specification (ResponsesRequest,
OpenResponsesResult, StreamEvents) and recorded streams. This room must never know of keys, stores or clocks.
"""

from __future__ import annotations

from typing import Any

import orjson

from payonce.dialects.common import DONE, error_shape, is_json, is_torn, names_an_error, read_body, safe_id, text
from payonce.dialects.convert_responses import convert_responses
from payonce.dialects.sse import events
from payonce.dialects.tables import RESPONSES_IGNORED
from payonce.dialects.usage import read_response_tokens, respend
from payonce.model import reason as why
from payonce.model.call import Headers, Intent
from payonce.model.entry import Facts
from payonce.model.policy import HitUsage
from payonce.model.reason import Reason

_TERMINAL = frozenset(("response.completed", "response.incomplete"))
_NO_SUBSTANCE = frozenset(("reasoning", "compaction"))


class _Answer:
    """Everything an answer has shown: the final response, and before it the items of a stream."""

    __slots__ = ("arguments", "began", "final", "items", "refused")

    def __init__(self) -> None:
        self.final: dict[str, Any] = {}
        self.items: dict[object, dict[str, Any] | None] = {}
        """By output index; None until an item is done."""
        self.arguments: dict[object, list[str]] = {}
        self.began = False
        self.refused = False

    def add_event(self, event: dict[str, Any]) -> Reason | None:
        """One event of a stream; types that are not known change nothing."""
        kind, response = event.get("type"), event.get("response")
        if event.get("error") is not None or (isinstance(response, dict) and response.get("error") is not None):
            return why.ERROR_INSIDE
        if kind == "error" or text(kind).endswith((".error", ".failed")):
            return why.ERROR_INSIDE
        if not isinstance(kind, str) or self.final:
            return why.UNREADABLE
        self.began = True
        if kind in _TERMINAL:
            if not isinstance(response, dict) or kind != f"response.{response.get('status')}":
                return why.UNREADABLE
            self.final = response
        elif kind == "response.output_item.added":
            self.items.setdefault(event["output_index"], None)
        elif kind == "response.output_item.done":
            self.items[event["output_index"]] = event["item"]
        elif kind == "response.function_call_arguments.delta":
            self.arguments.setdefault(event["output_index"], []).append(event["delta"])
        elif kind.startswith("response.refusal."):
            self.refused = True
        return None

    def verdict(self, intent: Intent) -> Facts | Reason:
        """What the answer says of itself, or why it is not kept."""
        final = self.final
        cut_off = final.get("status") == "incomplete"
        problem = self._against_status(final.get("status"), sets_limit=intent.sets_limit)
        if problem is not None:
            return problem
        items = [*(final.get("output") or ()), *self.items.values()]
        if any(item is None for item in items):
            return why.NO_FINISH
        for item in items:
            problem = _against_item(item, cut_off=cut_off)
            if problem is not None:
                return problem
        if self.refused:
            return why.REFUSAL
        if not any(_says_something(item) for item in items):
            return why.EMPTY
        if not all(is_json(said) for said in map("".join, self.arguments.values()) if said):
            return why.BAD_TOOL_JSON
        usage = final.get("usage") or {}
        return Facts(
            source_id=safe_id(text(final.get("id"))),
            model=text(final.get("model")),
            usage="always" if usage else "none",
            tokens=read_response_tokens(usage),
        )

    def _against_status(self, status: object, *, sets_limit: bool) -> Reason | None:
        if self.final.get("error") is not None or status == "failed":
            return why.ERROR_INSIDE
        because = (self.final.get("incomplete_details") or {}).get("reason")
        if because == "content_filter":
            return why.CONTENT_FILTER
        if status == "completed" and because is None:
            return None
        if because != "max_output_tokens":
            return why.NO_FINISH
        return None if sets_limit else why.TRUNCATED


def _against_item(item: dict[str, Any], *, cut_off: bool) -> Reason | None:
    """Why an answer with this output item is not kept; None if it is good."""
    status = item.get("status")
    if item.get("error") is not None or status == "failed":
        return why.ERROR_INSIDE
    if item["type"] == "message" and any(part["type"] == "refusal" for part in item.get("content") or ()):
        return why.REFUSAL
    if item["type"] == "function_call" and (cut_off or not is_json(item["arguments"])):
        return why.BAD_TOOL_JSON
    if status == "in_progress" or (status == "incomplete" and not cut_off):
        return why.NO_FINISH
    return None


def _says_something(item: dict[str, Any]) -> bool:
    if item["type"] != "message":
        return item["type"] not in _NO_SUBSTANCE
    return any(part["type"] != "output_text" or part.get("text") for part in item.get("content") or ())


class ResponsesDialect:
    """See the room's first paragraph."""

    endpoint = "responses"

    def read(self, body: bytes) -> Intent | Reason:
        """What the client means, or why its request has no key."""
        reading = read_body(body, RESPONSES_IGNORED)
        if isinstance(reading, Reason):
            return reading
        if _leans_on_state(reading.members):
            return why.SERVER_STATE
        return Intent(
            model=reading.model,
            stream=reading.stream,
            deterministic=reading.deterministic,
            sets_limit=reading.members.get("max_output_tokens") is not None,
            wants_usage=False,
            canonical=reading.canonical,
        )

    def judge(self, intent: Intent, headers: Headers, body: bytes) -> Facts | Reason:  # noqa: ARG002 - the port's
        """What a 200 answer whose transport ended well says of itself, or why it is not kept."""
        answer = _Answer()
        try:
            if intent.stream:
                problem = _read_stream(answer, body)
                return problem or answer.verdict(intent)
            answer.final = orjson.loads(body)
            return answer.verdict(intent)
        except (ValueError, TypeError, AttributeError, KeyError):
            return why.UNREADABLE if body.strip() else why.EMPTY

    def respend(self, body: bytes, stream: bool, mode: HitUsage) -> bytes:
        """A stored body with the usage that a hit reports."""
        return respend(body, stream, mode, inside=("response",))

    def convert(self, body: bytes, *, to_stream: bool, wants_usage: bool) -> bytes | None:  # noqa: ARG002 - the port's
        """A stored body in the other framing; None where that is not proven to lose nothing."""
        return convert_responses(body, to_stream=to_stream)

    def error(self, status: int, code: str, message: str) -> bytes:
        """OpenRouter's error shape."""
        return error_shape(status, code, message)


def _leans_on_state(members: dict[str, Any]) -> bool:
    """Whether the request is about what the provider keeps, so that its text alone does not say what it asks."""
    options, items, background = (members.get(name) for name in ("prompt_cache_options", "input", "background"))
    return (
        (background is not None and background is not False)  # 0 is neither, whatever `==` says
        or members.get("previous_response_id") is not None
        or members.get("conversation") is not None
        or (isinstance(options, dict) and bool(options.get("comparison_response_id") or options.get("prewarm")))
        or (isinstance(items, list) and any(_is_reference(item) for item in items))
    )


def _is_reference(item: object) -> bool:
    """An `item_reference`; its type may be left out."""
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "id" in item and "role" not in item)


def _read_stream(answer: _Answer, body: bytes) -> Reason | None:
    if names_an_error(body):
        return why.ERROR_INSIDE
    done = False
    for data in events(body):
        if data == DONE and not done:
            done = True
            continue
        problem = answer.add_event(orjson.loads(data))
        if problem is None and done:
            problem = why.UNREADABLE
        if problem is not None:
            return problem
    if not answer.final:
        return why.NO_TERMINAL if answer.began else why.EMPTY
    return why.CUT if is_torn(body) else None
