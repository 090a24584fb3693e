"""What the dashboard is asked and what it answers: values, and the fields that every answer of it carries.

This room must never know who may ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import orjson

from payonce.dashboard.html import ROOT, Element, document, fragment

MOST_FIELDS: Final = 40
MOST_CHARACTERS: Final = 400
"""Longer fields of a query or a form are cut: none of ours is."""

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        *("script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'", "form-action 'self'"),
        *("base-uri 'none'", "frame-ancestors 'none'"),
    )
)
"""No inline script or style, nothing from elsewhere, in nobody's frame (threats: stored script, T22)."""

GUARDED: Final = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `path` is what stands behind `/_payonce/`, `peer` the address it came from; names of headers are in
    lower case. What is sent twice is not there (a header) or holds its last value (a field)."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""

    @property
    def wants_part(self) -> bool:
        """Whether a script of ours asks for a part of a page."""
        return "hx-request" in self.headers


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole."""

    status: int
    body: bytes
    kind: str = "text/html; charset=utf-8"
    fields: tuple[tuple[str, str], ...] = ()
    kept: str = "no-store"
    """Its Cache-Control."""

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """All header fields but the length."""
        named = (("content-type", self.kind), ("cache-control", self.kept), *GUARDED, *self.fields)
        return tuple((name.encode(), value.encode("latin-1", "replace")) for name, value in named)

    def plus(self, *fields: tuple[str, str]) -> Answer:
        """The same with these fields."""
        return Answer(self.status, self.body, self.kind, (*self.fields, *fields), self.kept)


def page(root: Element, status: int = 200) -> Answer:
    """A page."""
    return Answer(status, document(root))


def part(*parts: Element | None) -> Answer:
    """A part of one."""
    return Answer(200, fragment(parts))


def data(value: Any, status: int = 200) -> Answer:
    """A JSON document."""
    return Answer(status, orjson.dumps(value, option=orjson.OPT_INDENT_2), "application/json")


def trouble(status: int, said: str) -> Answer:
    """A JSON document that says what is wrong; its `code` is the status."""
    return data({"error": {"code": status, "message": said}}, status)


def leads_to(path: str, **query: str | int | None) -> Answer:
    """The browser is to ask for that page."""
    return Answer(303, b"", fields=(("location", link(path, **query)),))


def link(path: str, **query: str | int | None) -> str:
    """The address of a page of the dashboard."""
    told = {name.rstrip("_"): value for name, value in query.items() if value is not None and value != ""}
    return ROOT + path + ("?" + urlencode(told) if told else "")


def fields_of(text: str) -> dict[str, str]:
    """The fields of a query string or a form, bounded; an excess is left out."""
    try:
        pairs = parse_qsl(text[: 1 << 14], keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="replace")
    except ValueError:
        return {}
    return {name[:MOST_CHARACTERS]: value[:MOST_CHARACTERS] for name, value in pairs}
