"""One file of a cassette: an entry and its question, as a page that people read, edit and compare.

A page holds no seal, no tenant (unless it is a strange one), no lifetime and no epochs: it means the same on every
machine, for as long as it is there. What is not an entry, a page keeps as bytes. This room must never know where a page
is kept, nor what may be served.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Any, Final

from payonce.core.keying import OPEN_SECRET, OPEN_SHARE, derive, tenant_id
from payonce.model.call import Asked, Headers
from payonce.model.entry import Entry, Facts
from payonce.model.key import PREFIX
from payonce.model.ports import About
from payonce.model.scopes import scopes_of
from payonce.stores.cassette_body import show
from payonce.stores.cassette_json import Number, pretty
from payonce.stores.cassette_scrub import recorded_headers

VERSION: Final = 1
FOREVER: Final = 100 * 31_536_000
"""The TTL of a recording, in seconds: recordings are kept until they are deleted or made anew."""
TENANT: Final = tenant_id((), derive(OPEN_SECRET, "tenant"), OPEN_SHARE)
"""Whose answer every recording is."""
FRAMINGS: Final = {b"w": "whole", b"s": "stream"}


@dataclass(frozen=True, slots=True)
class Page:
    """What a file says. `entry` has no epochs; where it is None, `value` is all there is. `asked` is None where the
    question is not known."""

    slot: bytes
    about: About
    entry: Entry | None
    asked: Asked | None
    value: bytes = b""


def write(slot: bytes, entry: Entry, asked: Asked | None) -> str | None:
    """The page of `entry`; None where one of its times can't be written as a date."""
    try:
        recorded = datetime.fromtimestamp(floor(entry.stored_at - entry.took), UTC)
    except (OverflowError, ValueError, OSError):
        return None
    page: dict[str, Any] = {
        "payonce": VERSION,
        **_named(slot),
        "recorded": recorded.replace(tzinfo=None).isoformat() + "Z",
    }
    if entry.tenant != TENANT:
        page["tenant"] = entry.tenant
    page |= _given({"namespace": entry.namespace, "tags": list(entry.tags)})
    if entry.scopes != scopes_of(entry.tenant, entry.model, entry.namespace, entry.tags, slot[:-1]):
        page["scopes"] = list(entry.scopes)
    page["request"] = {"endpoint": entry.endpoint, "model": entry.model} | (_question(asked) if asked else {})
    page["facts"] = _facts(entry.facts)
    answer: dict[str, Any] = {} if entry.status == 200 else {"status": entry.status}
    answer["headers"] = _fields(recorded_headers(entry.headers))
    page["answer"] = answer | show(entry.body, stream=slot.endswith(b"s"))
    return pretty(page)


def write_bytes(slot: bytes, value: bytes, about: About) -> str:
    """A page for what is not an entry of a cassette."""
    words = {
        "stored_at": Number(repr(float(about.stored_at))),
        "expires_at": Number(repr(float(about.expires_at))),
        "tenant": about.tenant,
        "namespace": about.namespace,
        "endpoint": about.endpoint,
        "model": about.model,
        "tags": list(about.tags),
    }
    text = base64.b64encode(value).decode()
    return pretty({"payonce": VERSION} | _named(slot) | {"about": words, "bytes": text})


def _named(slot: bytes) -> dict[str, Any]:
    return {"key": PREFIX + slot[:-1].hex(), "framing": FRAMINGS.get(slot[-1:], slot[-1:].hex())}


def _question(asked: Asked) -> dict[str, Any]:
    said = _given({"upstream": asked.upstream, "query": asked.query, "sample": asked.sample})
    if asked.headers:
        said["headers"] = _fields(asked.headers)
    shown = show(asked.body, stream=False)
    return said | ({"body": shown["json"]} if shown.keys() == {"json"} else {"body_" + k: v for k, v in shown.items()})


def _facts(facts: Facts) -> dict[str, Any]:
    tokens = facts.tokens
    counts = {"input_tokens": tokens.input, "output_tokens": tokens.output, "nano_dollars": tokens.cost}
    told = {name: count for name, count in counts.items() if count is not None}
    return _given({"id": facts.source_id, "model": facts.model}) | {"usage": facts.usage} | told


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}


def _fields(headers: Headers) -> dict[str, Any]:
    """Fields by name; one that comes several times has a list."""
    found: dict[str, Any] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        if name in found:
            found[name] = [*([found[name]] if isinstance(found[name], str) else found[name]), text]
        else:
            found[name] = text
    return found
