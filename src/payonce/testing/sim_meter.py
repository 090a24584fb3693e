"""What the simulated provider counts as input: the tokens of a request, and the seam for a model of a prompt cache.

A `Meter` is asked once for every request that is charged, with all that may matter, and says which part of the input
was read from or written to a cache. The one that is here knows no cache: everything is new to it. This room must never
know how an answer is made or written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import orjson

from payonce.testing.sim_bill import Input

IMAGE_TOKENS: Final = 258
_A_MESSAGE: Final = 4
_TURNS: Final = {"chat/completions": "messages", "messages": "messages", "responses": "input"}
_BEFORE: Final = {
    "chat/completions": ("tools",),
    "messages": ("tools", "system"),
    "responses": ("tools", "instructions"),
}
_FRAMES: Final = frozenset(("cache_control", "prompt_cache_breakpoint"))


class Meter(Protocol):
    """Says what the input of a request was. `now` is in seconds on the provider's clock."""

    def charge(self, endpoint: str, body: Mapping[str, Any], headers: Mapping[str, str], now: float) -> Input:
        """The input tokens of a request that arrived at `now`. `endpoint` is `chat/completions`, `messages` or
        `responses`; names of headers are in lower case, the API key's among them, and
        `x-sim-native` where Anthropic's own endpoint was asked. Raises AskError where the provider
        refuses the request (a fifth breakpoint). The input's `provider` may name another host than the model's own."""
        ...

    def began(self, given: Input, now: float) -> None:
        """The first bytes of the answer to the request that `given` was returned for leave at `now`."""
        ...


class PlainMeter:
    """A provider without a prompt cache."""

    def charge(self, endpoint: str, body: Mapping[str, Any], headers: Mapping[str, str], now: float) -> Input:  # noqa: ARG002
        return Input(count(endpoint, body))

    def began(self, given: Input, now: float) -> None:
        pass


def count(endpoint: str, body: Mapping[str, Any]) -> int:
    """All the input tokens of a request: about four characters each, four for every message, 258 for an image."""
    turns = body.get(_TURNS[endpoint])
    given = [turns] if isinstance(turns, str) else turns if isinstance(turns, list) else []
    before = [body[name] for name in _BEFORE[endpoint] if body.get(name)]
    return sum(map(tokens, before)) + sum(_A_MESSAGE + tokens(turn) for turn in given)


def tokens(part: Any) -> int:
    """The tokens of a message, a block, a list of them, a tool or a text; cache markers count nothing."""
    return sum(_weights(part)) if not isinstance(part, str) else len(part) // 4


def _weights(part: Any) -> Iterator[int]:
    if isinstance(part, list):
        for one in part:
            yield tokens(one)
    elif not isinstance(part, dict):
        yield len(orjson.dumps(part)) // 4
    elif part.get("type") in {"image", "image_url", "input_image"}:
        yield IMAGE_TOKENS
    elif "content" in part or "text" in part:
        content = part.get("content", part.get("text"))
        yield 0 if content is None else tokens(content)
        yield from (tokens(call) for call in part.get("tool_calls") or ())
    else:
        yield len(orjson.dumps({name: value for name, value in part.items() if name not in _FRAMES})) // 4
