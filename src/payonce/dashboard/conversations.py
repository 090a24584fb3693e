"""Conversations, turn by turn: what each read from the provider's prompt cache, wrote to it, lost, and why.

This room must never follow a conversation; the ledger has its turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from payonce.books.words import Conversation, Spent
from payonce.dashboard.asking import link
from payonce.dashboard.backstage import Backstage
from payonce.dashboard.frame import Framed
from payonce.dashboard.html import Child, Element, h
from payonce.dashboard.pieces import (
    UNKNOWN,
    Column,
    badge,
    card,
    cards,
    code,
    count,
    moment,
    nothing,
    notice,
    price,
    section,
    share,
    table,
    to,
)
from payonce.dashboard.receipt_page import findings_of
from payonce.wording import span

PAGE: Final = 50
TURNS: Final = 200
_COLUMNS: Final = (
    Column("Last turn"),
    Column("Conversation"),
    Column("Model"),
    Column("Turns", number=True),
    Column("Input", number=True),
    Column("Read", number=True),
    Column("Saved", number=True),
    Column("Lost", number=True),
    Column("Paid", number=True),
)
_TURN_COLUMNS: Final = (
    Column("Turn", number=True),
    Column("When"),
    Column("Input", number=True),
    Column("Read, written, plain"),
    Column("Read", number=True),
    Column("Written", number=True),
    Column("Plain", number=True),
    Column("Lost", number=True),
    Column("Paid", number=True),
    Column("Why", wide=True),
)


def listed(stage: Backstage, query: Mapping[str, str]) -> list[Conversation]:
    """The latest conversations, one more than a page has if there are more. Raises StoreError."""
    since = _time(query.get("since", ""))
    return stage.books.conversations(since or 0.0, _time(query.get("before", "")), PAGE + 1)


def _time(text: str) -> float | None:
    return float(text) if text.replace(".", "", 1).isdecimal() and len(text) < 24 else None


def turns_of(stage: Backstage, name: str) -> tuple[Conversation, list[Spent]] | None:
    """A conversation and its latest turns, the first first; None where it is not known. Raises StoreError."""
    found = stage.books.conversation(name)
    return None if found is None else (found, stage.books.calls(name, limit=TURNS)[::-1])


def list_page(found: Sequence[Conversation], query: Mapping[str, str], now: float) -> Framed:
    """The latest conversations."""
    rows = [_row(each, now) for each in found[:PAGE]]
    drawn = table("Conversations", _COLUMNS, rows) if rows else nothing("No conversation has been followed yet.")
    more = len(found) > PAGE
    older = (
        h(
            "p",
            h(
                "a",
                "Older conversations",
                href=link("conversations", since=query.get("since"), before=str(found[PAGE - 1].ended)),
                class_="button",
            ),
            class_="more",
        )
        if more
        else None
    )
    lead = "Calls that continue one another: what the provider's prompt cache gave of each, and what was paid again."
    since = _time(query.get("since", ""))
    part = (
        h("p", "Those that went on after ", moment(since, now), ". ", h("a", "Show all", href=link("conversations")))
        if since
        else None
    )
    return Framed("conversations", "Conversations", (part, drawn, older), lead)


def one_page(talk: Conversation, turns: Sequence[Spent], now: float) -> Framed:
    """One conversation, turn by turn."""
    read = talk.read_tokens / talk.input_tokens if talk.input_tokens else None
    turns_below = "#turns"
    head = cards(
        card(
            "Saved by the prompt cache",
            price(talk.saving_nano),
            "discount on reads less the premium for writes",
            href=turns_below,
            look="first",
        ),
        card("Turns", count(talk.turns), f"in {span(talk.ended - talk.began)}", href=turns_below),
        card(
            "Read",
            share(read),
            f"{count(talk.read_tokens)} of {count(talk.input_tokens)} input tokens",
            href=turns_below,
        ),
        card("Paid", price(talk.cost_nano), href=turns_below),
        card(
            "Lost",
            price(talk.missed_nano),
            f"{count(talk.missed_tokens)} tokens paid again",
            href=link("findings") if talk.missed_tokens else "",
        ),
    )
    first = talk.turns - len(turns) + 1
    cut = notice(f"The latest {len(turns)} turns are shown.") if first > 1 else None
    rows = [_turn(number, each, now) for number, each in enumerate(turns, start=first)]
    drawn = table("Turn by turn", _TURN_COLUMNS, rows) if rows else nothing("Its turns are no longer kept.")
    legend = h(
        "p",
        *(_key(look, name) for look, name in (("read", "read"), ("written", "written"), ("plain", "plain"))),
        class_="legend",
    )
    return Framed(
        "conversations",
        "Conversation",
        (head, cut, section("Turns", legend, drawn, id="turns")),
        [code(talk.id), " ", talk.model],
    )


def _row(talk: Conversation, now: float) -> tuple[Child, ...]:
    read = talk.read_tokens / talk.input_tokens if talk.input_tokens else None
    href = link("conversations/" + talk.id)
    return (
        moment(talk.ended, now),
        h("a", code(talk.id), href=href),
        talk.model,
        to(href, count(talk.turns)),
        to(href, count(talk.input_tokens)),
        to(href, share(read)),
        to(href, price(talk.saving_nano)),
        to(href, price(talk.missed_nano)) if talk.missed_nano else UNKNOWN,
        to(href, price(talk.cost_nano)),
    )


def _turn(number: int, turn: Spent, now: float) -> tuple[Child, ...]:
    href = link("requests/" + turn.request) if turn.request else ""
    lost = f"{count(turn.missed_tokens)}, {price(turn.missed_nano)}" if turn.missed_tokens else UNKNOWN
    when = moment(turn.at, now)
    return (
        count(number),
        h("a", when, href=href) if href else when,
        to(href, count(turn.input_tokens)),
        _bar(turn),
        to(href, count(turn.read_tokens)),
        to(href, count(turn.written_tokens)),
        to(href, count(turn.plain_tokens)),
        to(link("findings"), lost),
        to(href, price(turn.cost_nano)),
        [findings_of(turn.findings), *([badge("lost")] if turn.missed_tokens and not turn.findings else [])],
    )


def _bar(turn: Spent) -> Element | None:
    """How a turn's input tokens were had, as a bar."""
    parts = (("read", turn.read_tokens or 0), ("written", turn.written_tokens or 0), ("plain", turn.plain_tokens or 0))
    whole = sum(tokens for _, tokens in parts)
    if not whole:
        return None
    drawn, x = [], 0.0
    for look, tokens in parts:
        width = 100 * tokens / whole
        drawn.append(h("rect", x=f"{x:.2f}%", y=0, width=f"{width:.2f}%", height=10, class_=look))
        x += width
    said = ", ".join(f"{count(tokens)} {look}" for look, tokens in parts)
    return h("svg", *drawn, class_="share", width="120", height="10", role="img", aria_label=said)


def _key(look: str, name: str) -> Element:
    return h(
        "span",
        h(
            "svg",
            h("rect", width=10, height=10, class_=look),
            class_="share",
            width="10",
            height="10",
            aria_hidden="true",
        ),
        f" {name}  ",
    )
