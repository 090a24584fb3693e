"""Where two requests first differ, block by block in wire order, and what that change is.

This room must never know what was read or paid; it explains a difference, whether or not it did harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from payonce.doctor import causes as why
from payonce.doctor.blocks import Chain, Path, find, spell, text_of
from payonce.doctor.causes import Cause
from payonce.doctor.excerpts import Texts, changed_words, difference, excerpt
from payonce.doctor.lineage import common
from payonce.doctor.seen import Turn
from payonce.doctor.volatile import looks_volatile

_NAMES = 8


@dataclass(frozen=True, slots=True)
class Change:
    """The first difference: its block, its path in the later request, what it is, and both texts around it."""

    cause: Cause
    block: int
    where: str
    detail: str = ""
    before: str = ""
    after: str = ""


def first_change(before: Turn, chain: Chain, body: Mapping[str, Any], texts: Texts) -> Change | None:
    """The first block in which a request differs from the turn before; None where it only adds to it."""
    block = common(before.digests, chain.digests)
    if block == len(before.digests) and chain.tools == before.tools and chain.static == before.static:
        return None
    if block < max(before.tools, chain.tools):
        return _tools(before, chain, body, texts, block)
    if block < max(before.static, chain.static):
        return _system(before, chain, body, texts, block)
    return _history(before, chain, body, texts, block)


def _tools(before: Turn, chain: Chain, body: Mapping[str, Any], texts: Texts, block: int) -> Change:
    old, new = before.digests[: before.tools], chain.digests[: chain.tools]
    where = f"tools[{block}]" if block < chain.tools else "tools"
    if sorted(old) == sorted(new):
        return Change(
            why.TOOLS_REORDERED,
            block,
            where,
            f"{len(new)} tools, in another order from tools[{block}] on",
            _listed(before.names[block:]),
            _listed(chain.names[block:]),
        )
    name = chain.names[block] if block < chain.tools else ""
    if block < before.tools and before.names[block] == name:
        return _tool(before, chain, body, texts, block, name)
    added = Counter(chain.names) - Counter(before.names)
    removed = Counter(before.names) - Counter(chain.names)
    if added or removed:
        said = [
            f"added: {_listed(list(added))}" if added else "",
            f"removed: {_listed(list(removed))}" if removed else "",
        ]
        shown = _listed(before.names[block:]), _listed(chain.names[block:])
        return Change(why.TOOLS_ADDED, block, where, "; ".join(filter(None, said)), *shown)
    return Change(
        why.TOOLS_REORDERED,
        block,
        where,
        "in another order, and some with another definition",
        _listed(before.names[block:]),
        _listed(chain.names[block:]),
    )


def _tool(before: Turn, chain: Chain, body: Mapping[str, Any], texts: Texts, block: int, name: str) -> Change:
    old = texts.get(before.digests[block])
    new, _ = text_of(find(body, chain.paths[block]))
    path, a, b = _inside(old, new)
    shown = difference(a, b)[:2] if old is not None else ("", excerpt(new))
    where = spell((*chain.paths[block], *path))
    return Change(why.TOOL_CHANGED, block, where, f"the tool {excerpt(name, width=60)!r}", *shown)


def _inside(old: str | None, new: str) -> tuple[Path, str, str]:
    """The path of the first member in which two JSON texts differ, and both values as text."""
    if old is None:
        return (), "", new
    try:
        a, b = orjson.loads(old), orjson.loads(new)
    except orjson.JSONDecodeError:
        return (), old, new
    path: list[str | int] = []
    while len(path) < 64:
        step: str | int | None = None
        if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
            step = next((name for name in a if a[name] != b[name] or _said(a[name]) != _said(b[name])), None)
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            step = next((n for n, (x, y) in enumerate(zip(a, b, strict=True)) if _said(x) != _said(y)), None)
        if step is None:
            break
        a, b = a[step], b[step]
        path.append(step)
    return tuple(path), a if isinstance(a, str) else _said(a), b if isinstance(b, str) else _said(b)


def _said(value: Any) -> str:
    return orjson.dumps(value).decode()


def _system(before: Turn, chain: Chain, body: Mapping[str, Any], texts: Texts, block: int) -> Change:
    if block >= chain.static or block >= before.static:
        where = chain.where(block) if block < len(chain) else "system"
        grown = chain.static - chain.tools > before.static - before.tools
        return Change(why.SYSTEM_CHANGED, block, where, "a block was added" if grown else "a block was left out")
    return _text(why.SYSTEM_CHANGED, before, chain, body, texts, block)


def _history(before: Turn, chain: Chain, body: Mapping[str, Any], texts: Texts, block: int) -> Change:
    if block >= len(chain):
        left = len(before.digests) - block
        where = chain.where(len(chain) - 1) if len(chain) else ""
        return Change(why.HISTORY_REWRITTEN, block, where, f"{_blocks(left)} at the end left out")
    old, new = before.digests[block:], chain.digests[block:]
    gone = _found(new[0], old)
    come = _found(old[0], new)
    if gone:
        text, _ = text_of(find(body, chain.paths[block]))
        dropped = texts.get(before.digests[block])
        kind = ", which held thinking," if dropped and '"type":"thinking"' in dropped[:4000] else ""
        detail = f"{_blocks(gone)}{kind} left out here"
        return Change(
            why.HISTORY_REWRITTEN,
            block,
            chain.where(block),
            detail,
            "" if dropped is None else excerpt(dropped),
            excerpt(text),
        )
    if come:
        text, _ = text_of(find(body, chain.paths[block]))
        return Change(
            why.HISTORY_REWRITTEN, block, chain.where(block), f"{_blocks(come)} put in here", "", excerpt(text)
        )
    return _text(why.HISTORY_REWRITTEN, before, chain, body, texts, block)


def _found(digest: int, among: Sequence[int]) -> int:
    """How far on the same block stands; 0 where it does not."""
    return next((place for place, other in enumerate(among) if place and other == digest), 0)


def _blocks(count: int) -> str:
    return "a block" if count == 1 else f"{count} blocks"


def _text(cause: Cause, before: Turn, chain: Chain, body: Mapping[str, Any], texts: Texts, block: int) -> Change:
    """A block that came back with another text: a time that moves, or an edit."""
    new, inner = text_of(find(body, chain.paths[block]))
    old = texts.get(before.digests[block])
    path = chain.paths[block]
    where = spell((*path, *inner))
    if old is None:
        return Change(cause, block, where, "", "", excerpt(new))
    a, b, place = difference(old, new)
    kind = looks_volatile(*changed_words(old, new))
    if kind and not (cause is why.HISTORY_REWRITTEN and kind == "a number"):
        return Change(why.VOLATILE_TEXT, block, where, f"{kind}, at character {place:,}", a, b)
    if place == len(new) and len(old) > len(new):
        return Change(cause, block, where, f"cut short after {place:,} characters", a, b)
    return Change(cause, block, where, f"from character {place:,} on", a, b)


def _listed(names: Sequence[str]) -> str:
    shown = [excerpt(name, width=60) for name in names[:_NAMES]]
    return ", ".join(shown) + (" …" if len(names) > _NAMES else "")
