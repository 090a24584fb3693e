"""What is wrong with the cache markers of one request: too many, in the wrong order, in the wrong place.

Sources: Anthropic, "Prompt caching" (limits, TTL order, what can't be cached), and OpenRouter's specification for where
its endpoints read a marker. This room must never look at the text of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from payonce.doctor import causes as why
from payonce.doctor.blocks import Chain, Mark, find, spell
from payonce.doctor.findings import Finding
from payonce.doctor.models import Habit, Marking

MOST = 4
"""Markers a request may carry (Anthropic: "A maximum of 4 blocks with cache_control may be provided")."""

_THINKING = ("thinking", "redacted_thinking")


def lint_markers(body: Mapping[str, Any], chain: Chain, dialect: str, habit: Habit) -> Iterator[Finding]:
    """Every marker that will be refused or ignored."""
    if habit.limit and len(chain.marks) > habit.limit:
        yield _too_many(chain, habit.limit)
    if habit.limit:
        yield from _order(chain)
    yield from _misplaced(body, chain)
    yield from _ignored(chain, dialect, habit)


def _too_many(chain: Chain, limit: int) -> Finding:
    explicit = [mark for mark in chain.marks if not mark.top]
    first_over = (explicit + [mark for mark in chain.marks if mark.top])[limit]
    paths = ", ".join(spell(mark.path[:-1]) or "the request itself" for mark in chain.marks[:12])
    return Finding(
        why.TOO_MANY_MARKERS,
        where=spell(first_over.path),
        block=first_over.block,
        detail=f"{len(chain.marks)} markers: {paths}",
    )


def _order(chain: Chain) -> Iterator[Finding]:
    """5m before 1h, and the marker at the top level against that on the last block."""
    explicit = sorted((mark for mark in chain.marks if not mark.top), key=lambda mark: mark.block)
    top = next((mark for mark in chain.marks if mark.top), None)
    last = explicit[-1] if explicit else None
    conflict = top is not None and last is not None and last.block == top.block and last.ttl != top.ttl
    if conflict and top is not None and last is not None:
        yield Finding(
            why.MARKER_CONFLICT,
            where=spell(last.path),
            block=last.block,
            detail=f"{_lifetime(top)} at the top level, {_lifetime(last)} on the last block",
        )
    short: Mark | None = None
    for mark in explicit if conflict or top is None else [*explicit, top]:
        if mark.ttl < 3600:
            short = short or mark
        elif short is not None:
            yield Finding(
                why.TTL_ORDER,
                where=spell(mark.path),
                block=mark.block,
                detail=f"1h stands behind the 5m of {spell(short.path)}",
            )
            return


def _lifetime(mark: Mark) -> str:
    return "1h" if mark.ttl >= 3600 else "5m"


def _misplaced(body: Mapping[str, Any], chain: Chain) -> Iterator[Finding]:
    for mark in chain.marks:
        if mark.top:
            continue
        block = find(body, mark.path[:-1])
        because = _unmarkable(block) or _unmarkable(find(body, mark.path[:2]), of_message=True)
        if because:
            yield Finding(why.MARKER_MISPLACED, where=spell(mark.path), block=mark.block, detail=because)
    for place, path in enumerate(chain.paths):
        for inner in _inside(find(body, path)):
            where = spell((*path, *inner))
            yield Finding(
                why.MARKER_MISPLACED, where=where, block=place, detail="it stands inside a block: mark the block itself"
            )


def _unmarkable(block: Any, *, of_message: bool = False) -> str:
    """Why a block, or the blocks of a message, may carry no marker; "" where they may."""
    if not isinstance(block, dict):
        return ""
    if of_message:
        return "a message that is cleared later can't be marked" if "clear_at" in block else ""
    kind = block.get("type")
    if kind in _THINKING:
        return "thinking blocks can't be marked; they are cached with what follows them"
    if kind == "text" and not block.get("text"):
        return "an empty text can't be marked"
    if block.get("defer_loading") is True:
        return "a tool that is loaded later can't be marked"
    return ""


def _inside(block: Any) -> Iterator[tuple[str | int, ...]]:
    """The paths of markers on citations, and on content of a document, which are parts of a block."""
    if not isinstance(block, dict):
        return
    citations = block.get("citations")
    for place, part in enumerate(citations if isinstance(citations, list) else ()):
        if isinstance(part, dict) and "cache_control" in part:
            yield "citations", place, "cache_control"
    source = block.get("source")
    parts = source.get("content") if block.get("type") == "document" and isinstance(source, dict) else None
    for place, part in enumerate(parts if isinstance(parts, list) else ()):
        if isinstance(part, dict) and "cache_control" in part:
            yield "source", "content", place, "cache_control"


def _ignored(chain: Chain, dialect: str, habit: Habit) -> Iterator[Finding]:
    for mark in (*chain.marks, *chain.stray):
        because = _no_effect(mark, chain, dialect, habit)
        if because:
            yield Finding(why.MARKER_IGNORED, where=spell(mark.path), block=max(mark.block, 0), detail=because)
            return


def _no_effect(mark: Mark, chain: Chain, dialect: str, habit: Habit) -> str:
    on_message = mark.path[0] in ("messages", "input") and len(mark.path) == 3
    if habit.marking is Marking.UNUSED:
        return "this model caches by itself, and reads no markers"
    if mark.block < 0:
        return "it stands on a message without content"
    if dialect == "responses" and not mark.top and mark.kind == "cache_control":
        return "this endpoint reads prompt_cache_breakpoint on its parts, or cache_control at the top level"
    if dialect == "messages" and on_message:
        return "this endpoint reads markers on content blocks, not on messages"
    if mark.kind == "prompt_cache_breakpoint" and chain.level(mark.block) == "tools":
        return "prompt_cache_breakpoint is read on content blocks, not on tools"
    return ""
