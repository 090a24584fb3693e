"""A stream's usage put together from its events: one usage object, as the whole answer would have carried it.

Anthropic says input on `message_start` and repeats it, grown by what server tools did, on `message_delta`, which leaves
out how long writes live; OpenRouter starts with nulls. OpenAI's shapes say everything once, on a last chunk; Moonshot
inside a choice, Groq under `x_groq`, `/responses` inside its response. This room must never judge a figure, nor raise.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

EVENTS: Final = 1_000_000
"""No more events of one stream than that are looked at."""


def fold(events: Iterable[object]) -> dict[str, Any] | None:
    """The usage that decoded stream events carry together, or None where none does. Usage objects by themselves are
    taken too. What comes later counts, but a null never hides a figure."""
    held: dict[str, Any] | None = None
    for event in islice(events, EVENTS):
        for found in _carried(event):
            held = _over({} if held is None else _unsplit(held, found), found)
    return held


def _unsplit(held: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """`held` without its writes by time to live where `found` has fewer writes and does not say how long they live:
    after a compaction, Anthropic's `message_start` tells of another step than its `message_delta`."""
    split, whole = held.get("cache_creation"), found.get("cache_creation_input_tokens")
    if not isinstance(split, dict) or not isinstance(whole, int) or isinstance(found.get("cache_creation"), dict):
        return held
    if sum(size for size in split.values() if isinstance(size, int)) <= whole:
        return held
    return {name: value for name, value in held.items() if name != "cache_creation"}


def _carried(event: object) -> list[dict[str, Any]]:
    """The usage objects inside one event."""
    if not isinstance(event, dict):
        return []
    places: list[object] = [event, event.get("message"), event.get("response"), event.get("x_groq")]
    choices = event.get("choices")
    places += choices if isinstance(choices, list) else []
    inside = [
        usage
        for place in places
        if isinstance(place, dict)
        for usage in (place.get("usage"), place.get("usageMetadata"))
        if isinstance(usage, dict)
    ]
    bare = not inside and not ("usage" in event or "type" in event or "choices" in event) and _has_figure(event)
    return [event] if bare else inside


def _has_figure(event: dict[str, Any]) -> bool:
    return any(str(name).lower().endswith(("tokens", "tokencount")) for name in event)


def _over(held: dict[str, Any], found: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """`held` with everything that `found` says; neither is changed."""
    whole = dict(held)
    for name, value in found.items():
        before = whole.get(name)
        if isinstance(value, dict) and isinstance(before, dict) and depth < 4:
            whole[name] = _over(before, value, depth + 1)
        elif value is not None or name not in whole:
            whole[name] = value
    return whole
