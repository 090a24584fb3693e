"""Two requests side by side: every part in which they differ, and whether it gives them different keys.

The bodies are read as strictly as a dialect reads them, numbers keep their text, and the same tables decide. This room
must never make a key, and never shows a credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from payonce.core.directives import NAMES as DIRECTIVES
from payonce.core.fields import CREDENTIALS, is_bookkeeping, is_inert
from payonce.dialects.canonical import number, parse
from payonce.dialects.tables import CHAT_IGNORED, EMBEDDINGS_IGNORED, MESSAGES_IGNORED, RESPONSES_IGNORED
from payonce.errors import PayonceError
from payonce.model.call import Headers
from payonce.model.reason import Reason

ABSENT = "(absent)"
HIDDEN = "(hidden)"
IGNORED: dict[str, Mapping[str, str]] = {
    "chat/completions": CHAT_IGNORED,
    "responses": RESPONSES_IGNORED,
    "messages": MESSAGES_IGNORED,
    "embeddings": EMBEDDINGS_IGNORED,
}
"""The fields of each endpoint's body that don't change the answer, and why."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_KEYED_DIRECTIVES = frozenset((b"x-payonce-namespace", b"x-payonce-sample"))


@dataclass(frozen=True, slots=True)
class Difference:
    """One part that differs: where, as what JSON text on either side, whether the keys differ for it, and why."""

    path: str
    a: str
    b: str
    matters: bool
    because: str


def explain(endpoint: str, a: bytes, b: bytes, ignored: Mapping[str, str] | None = None) -> list[Difference]:
    """Every part in which two request bodies differ, in the order of `a`; `ignored` is the endpoint's table.

    A body that has no canonical form raises `PayonceError`: such a request has no key.
    """
    ours, theirs = _read(a, "the first"), _read(b, "the second")
    table = dict(IGNORED.get(endpoint, {}) if ignored is None else ignored)
    if not all(isinstance(side.get("stream"), bool | None) for side in (ours, theirs)):
        for name in ("stream", "stream_options"):
            table.pop(name, None)
    return [
        Difference(path, old, new, top not in table, table.get(top) or why)
        for top, path, old, new, why in _members(ours, theirs)
    ]


def explain_headers(a: Headers, b: Headers, inert: frozenset[bytes] = frozenset(), share: str = "") -> list[Difference]:
    """Every header in which two requests differ; `inert` and `share` are the operator's settings of these names."""
    ours, theirs = _by_name(a), _by_name(b)
    found = []
    for name in dict.fromkeys((*ours, *theirs)):
        if ours.get(name) == theirs.get(name):
            continue
        old, new = _shown(name, ours.get(name)), _shown(name, theirs.get(name))
        found.append(Difference(f"headers.{name.decode('latin-1')}", old, new, *_header(name, inert, share)))
    return found


def _shown(name: bytes, values: list[bytes] | None) -> str:
    if values is None:
        return ABSENT
    return HIDDEN if name in CREDENTIALS else b", ".join(values).decode("latin-1")


def _header(name: bytes, inert: frozenset[bytes], share: str) -> tuple[bool, str]:
    """Whether a header's value moves the key, and why."""
    verdict = (True, "a header that may change the answer is part of the key")
    if name in CREDENTIALS and share:
        verdict = False, f'all callers share the tenant "{share}"'
    elif name in CREDENTIALS:
        verdict = True, "each API key is a tenant of its own"
    elif name in _KEYED_DIRECTIVES:
        verdict = True, "it names a key space of its own"
    elif name in DIRECTIVES:
        verdict = False, "it tells the cache what to do, and is no part of the key"
    elif is_bookkeeping(name):
        verdict = False, "it belongs to the connection, and is no part of the key"
    elif is_inert(name, inert):
        verdict = False, "it is known, or declared in ignore_headers, to leave answers unchanged"
    return verdict


def _by_name(headers: Headers) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value.strip())
    return found


def _read(body: bytes, which: str) -> dict[str, Any]:
    members = parse(body)
    if isinstance(members, Reason):
        fix = members.fix or "send a JSON object"
        raise PayonceError(f"{which} request has no key ({members.id}): {members.sentence}; {fix}")
    return members


def _members(a: dict[str, Any], b: dict[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """(name of the member, path of the part, its text in `a`, in `b`, why it matters if it does)."""
    for name in dict.fromkeys((*a, *b)):
        old, new = a.get(name, _Gap), b.get(name, _Gap)
        for path, old_text, new_text, because in _parts(_step("", name), old, new):
            yield name, path, old_text, new_text, because


class _Gap:
    """Stands where a side has nothing."""


def _parts(path: str, a: object, b: object) -> Iterator[tuple[str, str, str, str]]:
    old, new = _text(a), _text(b)
    if old == new:
        return
    if isinstance(a, dict) and isinstance(b, dict):
        for name in dict.fromkeys((*a, *b)):
            yield from _parts(_step(path, name), a.get(name, _Gap), b.get(name, _Gap))
    elif isinstance(a, list) and isinstance(b, list):
        yield from _items(path, a, b)
    elif number(a) is not None and number(a) == number(b):
        yield path, old, new, "numbers keep their text in the key: write them alike"
    else:
        yield path, old, new, "whatever may change the answer is part of the key"


def _items(path: str, a: list[object], b: list[object]) -> Iterator[tuple[str, str, str, str]]:
    """Item by item; where one list is longer, their common end is set aside, so that one more item is one part."""
    tail = 0
    if len(a) != len(b):
        olds, news = [_text(item) for item in a], [_text(item) for item in b]
        head = next((n for n, pair in enumerate(zip(olds, news, strict=False)) if pair[0] != pair[1]), None)
        most = min(len(a), len(b)) - (min(len(a), len(b)) if head is None else head)
        while tail < most and olds[-1 - tail] == news[-1 - tail]:
            tail += 1
    for index in range(max(len(a), len(b)) - tail):
        old = a[index] if index < len(a) - tail else _Gap
        new = b[index] if index < len(b) - tail else _Gap
        yield from _parts(f"{path}[{index}]", old, new)


def _step(path: str, name: str) -> str:
    if not _PLAIN.fullmatch(name):
        return f"{path}[{orjson.dumps(name).decode()}]"
    return f"{path}.{name}" if path else name


def _text(value: object) -> str:
    """The JSON text of a parsed value, members sorted as in a key."""
    return ABSENT if value is _Gap else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
