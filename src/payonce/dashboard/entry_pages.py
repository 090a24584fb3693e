"""The pages of what is stored: the search, one entry, and what a purge would take.

This room must never decide who may see what; entries.py and door.py do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson

from payonce.dashboard import entries
from payonce.dashboard.asking import link
from payonce.dashboard.door import Visitor
from payonce.dashboard.entries import Found, Search
from payonce.dashboard.frame import Framed, form
from payonce.dashboard.html import Child, Element, h
from payonce.dashboard.pieces import (
    Column,
    badge,
    code,
    count,
    facts,
    moment,
    nothing,
    notice,
    price,
    seconds,
    section,
    table,
)
from payonce.dialects import DIALECTS
from payonce.dialects.sse import events
from payonce.listing import Listed
from payonce.wording import size, span

SHOWN_EVENTS: Final = 400
SHOWN_CHARACTERS: Final = 60_000
SELECTORS: Final = {
    "key": "the answer with the key",
    "model": "all answers of the model",
    "tag": "all answers with the tag",
    "namespace": "all answers of the namespace",
    "tenant": "all answers of the tenant",
    "all": "everything",
}
_COLUMNS: Final = (
    Column("Key"),
    Column("Model"),
    Column("Stored"),
    Column("Expires in", number=True),
    Column("Size", number=True),
    Column("Cost", number=True),
    Column("Endpoint"),
    Column("Framing"),
    Column("Namespace"),
    Column("Tags"),
)


def list_page(found: Found, wanted: Search, visitor: Visitor, now: float, *, reads: bool, purged: str) -> Framed:
    """The search and what it found."""
    said = notice(f"Purged: {purged}. Gateways that share this store know it within a second.") if purged else None
    lead = "Answers that are kept, newest first. What was purged is not listed."
    body = (said, _search(wanted, reads=reads), *_purges(wanted, visitor), *results(found, wanted, now))
    return Framed("entries", "Entries", body, lead)


def results(found: Found, wanted: Search, now: float) -> tuple[Child, ...]:
    """The table, and what there is to say of it."""
    if found.too_many:
        return (
            notice(
                "This shared store has too many entries to be listed here without a burden on it. ",
                h("code", "payonce ls"),
                " lists them.",
            ),
        )
    rows = [_row(listed, now) for listed in found.entries]
    drawn = (
        table("Stored answers", _COLUMNS, rows)
        if rows
        else nothing("Nothing that is stored fits." if not found.short else "Nothing here fits.")
    )
    short = notice("The search stopped early, so that it is no burden; it goes on from there.") if found.short else None
    told = {"model": wanted.model, "tag": wanted.tag, "namespace": wanted.namespace, "text": wanted.text}
    more = h(
        "p", h("a", "Older entries", href=link("entries", skip=found.more, **told), class_="button"), class_="more"
    )
    return drawn, short, more if found.more else None


def one_page(listed: tuple[Listed, ...], visitor: Visitor, now: float, *, reads: bool) -> Framed:
    """One key, in each framing that is stored."""
    first = listed[0]
    purge = (
        h("p", h("a", "Purge this answer …", href=link("purge", key=first.key), class_="button danger"))
        if visitor.admin
        else None
    )
    parts = [_entry(each, now, reads=reads) for each in listed]
    return Framed("entries", "Entry", (purge, *parts), code(first.key))


def purge_page(selector: str, value: str, taken: str, visitor: Visitor) -> Framed:
    """What a purge would take, and the button that does it."""
    named = code(value) if value else h("em", "without a name") if selector == "namespace" else None
    asks = h("p", "This purges ", SELECTORS[selector], " " if named else None, named, ". It can't be undone.")
    act = form(
        visitor,
        "purge",
        h("button", "Purge", class_="danger"),
        h("a", "Cancel", href=link("entries"), class_="button"),
        selector=selector,
        value=value,
    )
    return Framed("entries", "Purge?", (h("div", asks, h("p", h("strong", taken)), act, class_="panel confirm"),))


def _search(wanted: Search, *, reads: bool) -> Element:
    fields: list[Child] = [
        _field("model", "Model", wanted.model, "anthropic/*"),
        _field("tag", "Tag", wanted.tag),
        _field("namespace", "Namespace", wanted.namespace),
    ]
    if reads:
        fields.append(_field("text", "Text of the answer", wanted.text))
    else:
        fields.append(
            h(
                "p",
                "Text can be searched by an administrator where ",
                h("code", "show_content"),
                " is on.",
                class_="hint",
            )
        )
    return h(
        "form", *fields, h("button", "Search"), method="get", action=link("entries"), class_="search", role="search"
    )


def _field(name: str, title: str, value: str, example: str = "") -> Element:
    return h(
        "label",
        title,
        h("input", type="search", name=name, value=value, placeholder=example or None, autocomplete="off"),
    )


def _purges(wanted: Search, visitor: Visitor) -> Iterable[Child]:
    if not visitor.admin:
        return ()
    named = [("model", wanted.model), ("tag", wanted.tag), ("namespace", wanted.namespace)]
    offers = [
        h("a", f"Purge {SELECTORS[name]} {value} …", href=link("purge", **{name: value}), class_="button danger")
        for name, value in named
        if value and not (name == "model" and any(mark in value for mark in "*?["))
    ]
    return (
        h(
            "p",
            *offers,
            h("a", "Purge everything …", href=link("purge", all="yes"), class_="button danger"),
            class_="actions",
        ),
    )


def _row(listed: Listed, now: float) -> tuple[Child, ...]:
    entry, left = listed.entry, listed.entry.expires_at - now
    cost = entry.facts.tokens.cost
    return (
        h("a", code(listed.key[:15], whole=listed.key), href=link("entries/" + listed.key)),
        h("a", entry.model, href=link("entries", model=entry.model)),
        moment(entry.stored_at, now),
        span(left) if left > 0 else "expired",
        size(listed.row.size),
        price(cost),
        entry.endpoint,
        listed.framing,
        h("a", entry.namespace, href=link("entries", namespace=entry.namespace)) if entry.namespace else None,
        [[h("a", tag, href=link("entries", tag=tag)), " "] for tag in entry.tags],
    )


def _entry(listed: Listed, now: float, *, reads: bool) -> Element:
    entry, told = listed.entry, entries.facts(listed, now)
    cost, left = told["nano_dollars"], told["expires_in"]
    pairs: list[tuple[str, Child]] = [
        ("Model", h("a", entry.model, href=link("entries", model=entry.model))),
        ("Answered by", told["answered_by"]),
        ("Endpoint", entry.endpoint),
        ("Namespace", entry.namespace),
        ("Tags", [[badge(tag, "tag"), " "] for tag in entry.tags] or None),
        ("Tenant", code(entry.tenant) if entry.tenant else None),
        ("Stored", moment(entry.stored_at, now)),
        ("Expires in", span(left) if left > 0 else "expired"),
        ("Size", f"{size(len(entry.body))} of answer, {size(listed.row.size)} stored"),
        ("Upstream took", seconds(entry.took)),
        ("Tokens", f"{count(told['input_tokens'])} in, {count(told['output_tokens'])} out"),
        ("Cost", "unknown" if cost is None else price(cost)),
        ("Source id", code(entry.facts.source_id) if entry.facts.source_id else None),
    ]
    title = "As a stream" if listed.framing == "stream" else "As a whole"
    text = _text(listed) if reads else [_hidden()]
    return section(title, facts(pairs), *text, id=listed.framing)


def _hidden() -> Element:
    return nothing("The text is hidden. An administrator sees it where ", h("code", "show_content = true"), " is set.")


def _text(listed: Listed) -> list[Child]:
    """The headers and the body as they were; a stream event by event, in order."""
    entry = listed.entry
    fields = "\n".join(f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in entry.headers)
    parts: list[Child] = [h("h3", "Headers"), h("pre", f"HTTP {entry.status}\n{fields}")]
    if listed.framing == "stream":
        told = [data.decode("utf-8", "replace") for data in events(entry.body)]
        items = [h("li", h("pre", text[:SHOWN_CHARACTERS])) for text in told[:SHOWN_EVENTS]]
        parts += [
            _answer(listed),
            h("h3", f"The stream as it was: {count(len(told))} events"),
            h("ol", *items, class_="events"),
        ]
        if len(told) > SHOWN_EVENTS:
            parts.append(notice(f"The first {SHOWN_EVENTS} events are shown; payonce show has all of them."))
        return parts
    text = entries.text_of(listed)
    parts += [_answer(listed), h("h3", "The answer as it was"), h("pre", text[:SHOWN_CHARACTERS])]
    if len(text) > SHOWN_CHARACTERS:
        parts.append(notice(f"The first {count(SHOWN_CHARACTERS)} characters are shown; payonce show has all of them."))
    return parts


def _answer(listed: Listed) -> Child:
    """What the model said, as text, where it can be told."""
    body = listed.entry.body
    dialect = DIALECTS.get(listed.entry.endpoint)
    if listed.framing == "stream":
        body = (dialect.convert(body, to_stream=False, wants_usage=True) or b"") if dialect is not None else b""
    try:
        said = "\n\n".join(_said(orjson.loads(body)))
    except (ValueError, RecursionError):
        return None
    return [h("h3", "What the model said"), h("blockquote", said[:SHOWN_CHARACTERS])] if said else None


_TEXTS: Final = frozenset(("content", "text", "reasoning", "refusal", "arguments"))
_WAYS: Final = ("choices", "message", "content", "output", "tool_calls", "function", "summary")


def _said(value: object, depth: int = 0) -> Iterable[str]:
    """The texts of an answer, in order, in whichever dialect."""
    if depth > 8:
        return
    if isinstance(value, list):
        for item in value:
            yield from _said(item, depth + 1)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in _TEXTS and isinstance(inner, str) and inner:
                yield inner
            elif name in _WAYS:
                yield from _said(inner, depth + 1)
