"""What the cache says of itself in response headers: OpenRouter's names, RFC 9211's `Cache-Status`, `Age`.

Pure functions from a label to header fields. This room must never decide what happened; it only says it.
"""

from __future__ import annotations

import msgspec

from payonce.model.call import Headers
from payonce.model.entry import Entry
from payonce.model.reason import Reason
from payonce.model.receipt import Outcome


class Label(msgspec.Struct, frozen=True):
    """How an answer came about: why it is no hit (`reason`), why it is not kept (`unkept`); `age` and `ttl` in whole
    seconds. `items` is for batches: how many inputs were answered from the cache, of how many."""

    outcome: Outcome
    reason: Reason | None = None
    unkept: Reason | None = None
    age: int = 0
    ttl: int = 0
    stored: bool = False
    source_id: str = ""
    renewing: bool = False
    items: tuple[int, int] | None = None
    converted: bool = False


def hit_label(entry: Entry, now: float, *, converted: bool = False) -> Label:
    """The label of a fresh hit; `converted` says that it was stored in the other framing."""
    age = int(entry.age(now))
    ttl = max(0, entry.ttl - age)
    return Label(Outcome.HIT, age=age, ttl=ttl, source_id=entry.facts.source_id, converted=converted)


def stale_label(entry: Entry, now: float, reason: Reason, *, renewing: bool) -> Label:
    """The label of an answer past its TTL that is served all the same (RFC 5861)."""
    age = int(entry.age(now))
    return Label(
        Outcome.STALE, reason, age=age, ttl=entry.ttl - age, source_id=entry.facts.source_id, renewing=renewing
    )


def headers(label: Label) -> Headers:
    """The response header fields that say `label`; names in lower case."""
    fields = _status(label)
    return fields if label.items is None else (*fields, (b"x-payonce-items", b"%d/%d" % label.items))


def _status(label: Label) -> Headers:
    outcome = label.outcome
    if outcome is Outcome.BYPASS:
        return ((b"cache-status", b"payonce; fwd=bypass" + _detail(label.reason)),)
    if outcome in (Outcome.HIT, Outcome.STALE):
        age = b"%d" % label.age
        if outcome is Outcome.HIT:
            status = b"payonce; hit; ttl=%d" % label.ttl + (b"; detail=converted" if label.converted else b"")
        elif label.renewing:
            status = b"payonce; hit; ttl=%d; detail=stale-while-revalidate" % label.ttl
        else:
            status = b"payonce; fwd=stale; ttl=%d" % label.ttl + _detail(label.reason)
        fields = [
            (b"x-openrouter-cache-status", b"HIT"),
            (b"x-openrouter-cache-age", age),
            (b"x-openrouter-cache-ttl", b"%d" % max(0, label.ttl)),
            (b"cache-status", status),
            (b"age", age),
        ]
        if label.source_id:
            fields.append((b"x-openrouter-cache-source-id", label.source_id.encode()))
        return tuple(fields)
    if outcome is Outcome.REFUSED:
        return ((b"cache-status", b"payonce" + _detail(label.reason)),)
    partial = label.items is not None and label.items[0] > 0
    forward = b"payonce; fwd=" + (b"partial" if partial else _forward(label.reason))
    if outcome is Outcome.COLLAPSED:
        forward += b"; collapsed"
    elif label.stored:
        forward += b"; stored"
    else:
        forward += _detail(label.unkept)
    return (
        (b"x-openrouter-cache-status", b"MISS"),
        (b"x-openrouter-cache-ttl", b"%d" % label.ttl),
        (b"cache-status", forward),
    )


def _forward(reason: Reason | None) -> bytes:
    """RFC 9211, section 2.2: why the request went forward, in the words the RFC has for it."""
    if reason is None:
        return b"miss"
    return {"refresh": b"request", "too-old": b"request", "expired": b"stale"}.get(reason.id, b"miss")


def _detail(reason: Reason | None) -> bytes:
    return b"; detail=" + reason.id.encode() if reason is not None else b""
