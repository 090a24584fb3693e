"""The pieces that pages are put together from: cards, tables, lists of facts, badges, times, notices.

All of them take plain values and give elements. This room must never ask for a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from typing import Final

from payonce.dashboard.html import Child, Element, h
from payonce.wording import money, span

GOOD: Final = frozenset(("hit", "stale", "collapsed", "ok"))
BAD: Final = frozenset(("refused", "error", "damaged"))


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; `number` sets it to the right, `wide` lets it wrap."""

    title: str
    number: bool = False
    wide: bool = False

    @property
    def look(self) -> str | None:
        """Its class."""
        return "number" if self.number else "wide" if self.wide else None


UNKNOWN: Final = "–"
"""What stands where there is no figure; a phone leaves it out."""


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Child]],
    *,
    names: Sequence[str] = (),
    dense: bool = False,
) -> Element:
    """A table with a caption and headed columns; it scrolls by itself where it is too wide for the page. A `dense` one
    has many columns: on a phone its first three speak for themselves, and its texts behind the figures are left out.
    Rows with `names` stay what they are when others come before them: what has the focus keeps it."""
    drawn = [
        h("tr", *(_cell(column, cell) for column, cell in zip(columns, row)), id=name)  # noqa: B905 - may be shorter
        for row, name in zip(rows, names or repeat(None))  # noqa: B905 - without end
    ]
    heads = h("tr", *(h("th", column.title, scope="col", class_=column.look) for column in columns))
    body = h("tbody", *drawn)
    inner = h("table", h("caption", caption), h("thead", heads), body)
    return h("div", inner, class_="table dense" if dense else "table", role="region", aria_label=caption, tabindex="0")


def _cell(column: Column, cell: Child) -> Element:
    look = f"{column.look or ''} none".strip() if cell == UNKNOWN else column.look
    whole = h("span", *cell) if isinstance(cell, list) and cell else cell  # one thing beside its title
    return h("td", whole, class_=look, data_title=column.title)


def card(title: str, value: Child, note: Child = None, *, href: str = "", look: str = "") -> Element:
    """One figure; where it is made of something, a link to it."""
    figure = h("a", value, href=href) if href else value
    parts = (h("dt", title), h("dd", figure, class_="figure"), h("dd", note, class_="note") if note else None)
    return h("div", *parts, class_=f"card {look}".strip())


def cards(*each: Child) -> Element:
    """Figures side by side."""
    return h("dl", *each, class_="cards")


def facts(pairs: Iterable[tuple[str, Child]]) -> Element:
    """Names and values; those without a value are left out."""
    return h(
        "dl", *((h("dt", name), h("dd", value)) for name, value in pairs if value not in (None, "")), class_="facts"
    )


def to(href: str, figure: str) -> Child:
    """A figure that leads to what it is made of; what is unknown leads nowhere, nor does what `href` is empty for."""
    return h("a", figure, href=href) if href and figure != UNKNOWN else figure


def badge(text: str, look: str = "") -> Element:
    """A word that stands out; outcomes and severities have a colour of their own."""
    return h("span", text, class_=f"badge {look or text.replace(' ', '-')}")


def code(text: str, *, whole: str = "") -> Element:
    """A name, a key or a model as it is written; `whole` is told where it is shortened."""
    return h("code", text, title=whole or None)


def moment(at: float, now: float) -> Element:
    """A time, as how long ago it was; the exact one is told too."""
    when = datetime.fromtimestamp(max(at, 0.0), UTC)
    past = max(now - at, 0.0)
    shown = "now" if past < 1 else f"{span(past)} ago" if past < 86400 else when.strftime("%d %b %H:%M")
    return h("time", shown, datetime=when.isoformat(timespec="seconds"), title=when.strftime("%Y-%m-%d %H:%M:%S UTC"))


def notice(*what: Child, look: str = "") -> Element:
    """Something to know before reading on."""
    return h("p", *what, class_=f"notice {look}".strip(), role="alert" if look == "bad" else "status")


def nothing(*what: Child) -> Element:
    """In the place of what is not there."""
    return h("p", *what, class_="nothing")


def section(title: str, *children: Child, id: str = "", note: Child = None) -> Element:  # noqa: A002
    """A part of a page, under its heading."""
    head = h("h2", title, id=f"{id}-title" if id else None)
    return h("section", head, h("p", note, class_="lead") if note else None, *children, id=id or None)


def seconds(amount: float | None) -> str:
    """A duration as people read it: `0.21 ms`, `1.3 s`; a dash where it is unknown."""
    if amount is None:
        return "–"
    if amount < 0.001:
        return f"{amount * 1e6:.0f} µs"
    if amount < 1:
        return f"{amount * 1e3:.3g} ms"
    return f"{amount:.2f} s" if amount < 60 else span(amount)


def count(number: int | None) -> str:
    """A whole number with its thousands apart; a dash where it is unknown."""
    return "–" if number is None else f"{number:,}"


def share(part: float | None) -> str:
    """A fraction of 1 in per cent."""
    return "–" if part is None else f"{part:.1%}"


def price(nano: int | None) -> str:
    """Billionths of a dollar as an amount that is easy to take in; a dash where it is unknown."""
    return "–" if nano is None else money(nano)
