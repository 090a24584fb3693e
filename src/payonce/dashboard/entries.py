"""What is stored: a search that is bounded, one entry as it was, a purge that says first what it would take.

This room must never show text of an answer to who may not see it (`may_read`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from payonce.dashboard.backstage import Backstage
from payonce.dashboard.door import Visitor
from payonce.errors import SettingsError
from payonce.listing import Listed, fitting, key_digits
from payonce.model.ports import Distant

PAGE: Final = 50
LOOKED_AT: Final = 20_000
"""So many entries are looked at for one page, and of these no more than `READ` are opened to look for a text."""
READ: Final = 4_000
SECONDS: Final = 1.5
DIGITS: Final = 64
"""So many digits a whole key has."""
LISTABLE: Final = 100_000
"""A shared store lists all or nothing: with more entries than that it is left to `payonce ls`."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, and how many entries of the store's listing are passed over first."""

    model: str = ""
    tag: str = ""
    namespace: str = ""
    text: str = ""
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """One page of entries; `more` is how many are to be passed over for the next (0: this is the last), `short` says
    that the search gave up before the page was full, `too_many` that the store has too many to be listed here."""

    entries: tuple[Listed, ...]
    more: int = 0
    short: bool = False
    too_many: bool = False


def search_of(query: Mapping[str, str], *, reads: bool) -> Search:
    """The search that a query means; who may not read can't look for text either."""
    skip = query.get("skip", "")
    named = {name: query.get(name, "").strip() for name in ("model", "tag", "namespace")}
    text = query.get("text", "") if reads else ""
    return Search(**named, text=text, skip=int(skip) if skip.isdecimal() and len(skip) < 10 else 0)


def may_read(stage: Backstage, visitor: Visitor) -> bool:
    """Whether a visitor may see text of prompts and answers."""
    return visitor.admin and stage.settings.show_content


def search(stage: Backstage, wanted: Search) -> Found:
    """A page of what fits, newest first. Raises StoreError."""
    if isinstance(stage.shelf.store, Distant) and stage.volume().entries > LISTABLE:
        return Found((), too_many=True)
    fits = fitting(wanted.model or None, wanted.tag or None, wanted.namespace or None)
    needle = wanted.text.casefold()
    epochs, until = stage.shelf.store.epochs(), time.monotonic() + SECONDS
    found: list[Listed] = []
    opened = 0
    for place, row in enumerate(stage.shelf.store.rows()):
        if place < wanted.skip:
            continue
        if place - wanted.skip >= LOOKED_AT or opened >= READ or time.monotonic() > until:
            return Found(tuple(found), place, short=True)
        if not fits(row) or (listed := stage.shelf.read(row, epochs)) is None:
            continue
        opened += 1
        if needle and needle not in text_of(listed).casefold():
            continue
        if len(found) == PAGE:
            return Found(tuple(found), place)
        found.append(listed)
    return Found(tuple(found))


def one(stage: Backstage, key: str) -> tuple[Listed, ...]:
    """Both framings of a key, or of the only one that begins so; empty where nothing is stored. Raises SettingsError
    where it is none or several begin so, StoreError."""
    digits = key_digits(key)
    keys = {digits} if len(digits) == DIGITS else _beginning(stage, digits)
    if len(keys) > 1:
        raise SettingsError(f"{key[:80]!r} is how several keys begin: write more of its digits")
    return tuple(listed for whole in keys for listed in stage.shelf.under(bytes.fromhex(whole)))


def _beginning(stage: Backstage, digits: str) -> set[str]:
    """The keys that begin so, two at most, among as many entries as a search looks at."""
    if isinstance(stage.shelf.store, Distant) and stage.volume().entries > LISTABLE:
        raise SettingsError(f"this shared store has too many entries to look for a key: write all {DIGITS} digits")
    found: set[str] = set()
    until = time.monotonic() + SECONDS
    for row in islice(stage.shelf.store.rows(), LOOKED_AT):
        whole = row.slot[:-1].hex()
        if whole.startswith(digits):
            found.add(whole)
        if len(found) > 1 or time.monotonic() > until:
            break
    return found


def facts(listed: Listed, now: float) -> dict[str, Any]:
    """What is known of an entry but its headers and body; times in seconds, money in billionths of a dollar."""
    entry = listed.entry
    return {
        "key": listed.key,
        "framing": listed.framing,
        "model": entry.model,
        "answered_by": entry.facts.model,
        "endpoint": entry.endpoint,
        "namespace": entry.namespace,
        "tags": list(entry.tags),
        "tenant": entry.tenant,
        "size": listed.row.size,
        "stored_at": entry.stored_at,
        "ttl": entry.ttl,
        "expires_in": round(entry.expires_at - now, 3),
        "took": entry.took,
        "input_tokens": entry.facts.tokens.input,
        "output_tokens": entry.facts.tokens.output,
        "nano_dollars": entry.facts.tokens.cost,
    }


def text_of(listed: Listed) -> str:
    """The body as text."""
    return listed.entry.body.decode("utf-8", "replace")
