"""Anthropic's own account of a cache miss: how a request parted from the one before it, as its documentation has it.

`previous_message_id` in the body's `diagnostics` names the answer before (null on a first turn). The account is null
where the old prompt is the beginning of the new one, names the earliest level that changed, and says `unavailable`
where something else than blocks changed. This room must never know what is kept in a cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from payonce.testing.providers.blocks import Asked

_LEVELS: Final = ("tools_changed", "system_changed", "messages_changed")
_MOST: Final = 1000
"""Answers that are remembered, over all workspaces; the documentation calls it short-lived."""


class Diagnoses:
    """The prompts of recent answers, by workspace and id."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Asked] = OrderedDict()

    def of(self, asked: Asked, wanted: Mapping[str, Any], scope: str) -> dict[str, Any] | None:
        """The answer's `diagnostics` for a request whose own were `wanted`."""
        previous = wanted.get("previous_message_id")
        if previous is None:
            return None
        before = self._known.get((scope, str(previous)))
        if before is None:
            return _reason("previous_message_not_found")
        return _parted(before, asked)

    def remember(self, id: str, asked: Asked, scope: str) -> None:  # noqa: A002 - the word of the wire
        """The prompt that the answer `id` was given to."""
        self._known[scope, id] = asked
        if len(self._known) > _MOST:
            self._known.popitem(last=False)


def _reason(kind: str, missed: int | None = None) -> dict[str, Any]:
    tokens = {} if missed is None else {"cache_missed_input_tokens": missed}
    return {"cache_miss_reason": {"type": kind, **tokens}}


def _parted(before: Asked, asked: Asked) -> dict[str, Any] | None:
    total = sum(block.tokens for block in asked.blocks)
    if before.model != asked.model:
        return _reason("model_changed", total)
    same = 0
    for old, new in zip(before.blocks, asked.blocks, strict=False):
        if (old.level, old.digest) != (new.level, new.digest):
            break
        same += 1
    if same == len(before.blocks):
        return None if before.salts == asked.salts else _reason("unavailable")
    levels = [blocks[same].level for blocks in (before.blocks, asked.blocks) if same < len(blocks)]
    return _reason(_LEVELS[min(levels)], total - sum(block.tokens for block in asked.blocks[:same]))
