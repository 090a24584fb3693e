"""Requests, one by one: a live tail of receipts, and each receipt with what made it.

Neither prompt nor answer is in a receipt. This room must never add anything up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from payonce.books.rows import Which
from payonce.books.words import Filed
from payonce.dashboard.backstage import Backstage
from payonce.dashboard.pieces import seconds

PAGE: Final = 50
SERVED: Final = ("hit", "collapsed")
"""Outcomes of requests for which nothing was paid; what is told of a call then is another's."""
FROM_CACHE: Final = "hit,stale,collapsed"
"""Outcomes that count into the hit rate, as a filter."""
FILTERS: Final = ("outcome", "reason", "model", "namespace", "tenant", "endpoint")
_TIMES: Final = ("since", "until")
_PLACE: Final = re.compile(r"n(\d{1,15})", re.ASCII)


def which(query: Mapping[str, str]) -> Which:
    """The receipts that a query asks for; what can't be read asks for nothing."""
    named = {name: query.get(name) or None for name in FILTERS}
    times = {name: _number(query.get(name, "")) for name in (*_TIMES, "before")}
    return Which(**named, **times)  # type: ignore[arg-type]  # each by its own name


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 16 else None


def asked(query: Mapping[str, str]) -> dict[str, str]:
    """The part of a query that says which receipts; for links that keep to it."""
    return {name: query[name] for name in (*FILTERS, *_TIMES) if query.get(name)}


def listed(stage: Backstage, query: Mapping[str, str]) -> list[Filed]:
    """The newest receipts that fit, one more than a page has if there are more. Raises StoreError."""
    return stage.books.recent(which(query), PAGE + 1)


def page_of(found: Sequence[Filed]) -> tuple[list[Filed], int | None]:
    """A page of what `listed` found, newest first, and the number before which the next one begins, if there is more.
    Several workers write receipts down in another order than they came in, by up to a second or two."""
    chosen = found[:PAGE]
    following = chosen[-1].n if len(found) > PAGE else None
    return sorted(chosen, key=lambda receipt: (receipt.at, receipt.n), reverse=True), following


def one(stage: Backstage, place: str) -> Filed | None:
    """The receipt at a place: its id, or `n` and its number where the fast lane gave it none. Raises StoreError."""
    numbered = _PLACE.fullmatch(place)
    if numbered is None:
        return stage.books.receipt(place)
    number = int(numbered[1])
    found = stage.books.recent(Which(after=number - 1, before=number + 1), 1)
    return found[0] if found else None


def place_of(receipt: Filed) -> str:
    """Where a receipt is found."""
    return receipt.id or f"n{receipt.n}"


def took_of(receipt: Filed) -> str:
    """How long it took; the fast lane is not timed request by request."""
    return seconds(receipt.took) if receipt.took or receipt.id else "–"


def as_json(receipt: Filed) -> dict[str, Any]:
    """A receipt as plain values; money in billionths of a dollar."""
    return asdict(receipt)
