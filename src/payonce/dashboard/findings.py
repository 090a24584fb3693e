"""What the doctor found behind all gateways on the store: the worst first, with what it cost and what to change.

Findings may quote prompts; who may not read sees everything but the quotes. This room must never judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from payonce.dashboard.asking import link
from payonce.dashboard.backstage import Backstage
from payonce.dashboard.frame import Framed
from payonce.dashboard.html import Child, Element, h
from payonce.dashboard.pieces import badge, card, cards, code, count, facts, moment, nothing, notice, to
from payonce.doctor import Finding, Report, add_up
from payonce.doctor.pages import PREFIX
from payonce.wording import money

SHOWN: Final = 200


def report(stage: Backstage, since: float = 0.0) -> Report:
    """The findings of all workers. Raises StoreError."""
    notes: Mapping[str, bytes] = {name: note for name, note in stage.notes().items() if name.startswith(PREFIX)}
    return add_up(notes, since)


def as_json(found: Report, *, reads: bool) -> dict[str, Any]:
    """The same as plain values, money as decimal text."""
    tokens, cost = totals(found)
    return {
        "requests": found.counts["seen"],
        "wrong": found.wrong,
        "tokens": tokens,
        "dollars": None if cost is None else format(cost, "f"),
        "findings": [_plain(one, reads=reads) for one in found.findings[:SHOWN]],
    }


def totals(found: Report) -> tuple[int, Decimal | None]:
    """Tokens that were paid again, and what they cost as far as it is known; None where no price is."""
    costs = [one.cost for one in found.findings if one.cost is not None]
    return sum(one.tokens or 0 for one in found.findings), sum(costs, Decimal(0)) if costs else None


def findings_page(found: Report, now: float, *, reads: bool) -> Framed:
    """All of them."""
    tokens, cost = totals(found)
    below = "#found" if found.findings else ""
    head = cards(
        card(
            "Cost of what was found",
            _dollars(cost),
            "more than reading from the prompt cache would have cost",
            href=below,
        ),
        card("Tokens paid again", count(tokens), href=below),
        card(
            "Requests looked at",
            count(found.counts["seen"]),
            f"{count(found.counts['judged'])} say what was read from the cache",
            href=link("conversations"),
        ),
    )
    shown = [_one(one, now, reads=reads) for one in found.findings[:SHOWN]]
    rest = len(found.findings) - len(shown)
    more = notice(f"{rest} more are listed by payonce doctor --live.") if rest > 0 else None
    lead = "Why the provider's prompt cache was not hit, what that cost, and what to change."
    empty = (
        nothing("Nothing was found. The doctor looks at every answer that reports its usage.") if not shown else None
    )
    return Framed("findings", "Findings", (head, empty, h("div", *shown, class_="findings", id="found"), more), lead)


def _one(finding: Finding, now: float, *, reads: bool) -> Element:
    where = finding.where if reads else finding.place
    lost: list[Child] = [_dollars(finding.cost)] if finding.cost is not None else []
    pairs: list[tuple[str, Child]] = [
        ("Where", code(where) if where else None),
        ("That is", finding.detail if reads else None),
        ("Model", code(finding.model) if finding.model else None),
        ("Tokens", to(link("conversations"), count(finding.tokens)) if finding.tokens else None),
        ("Seen", h("a", _times(finding.times), href=link("conversations"))),
        ("Last", moment(finding.at, now) if finding.at else None),
        ("Before", h("pre", finding.before) if finding.before and reads else None),
        ("After" if finding.before else "Text", h("pre", finding.after) if finding.after and reads else None),
    ]
    hidden = (finding.detail or finding.before or finding.after) and not reads
    return h(
        "article",
        h(
            "h2",
            badge(finding.severity.value),
            " ",
            finding.title[:1].upper() + finding.title[1:],
            h("span", *lost, class_="lost"),
        ),
        h("p", h("strong", "What to change: "), finding.fix, class_="fix"),
        facts(pairs),
        h("p", "The differing text is hidden.", class_="hint") if hidden else None,
        class_="finding",
        id=finding.id,
    )


def _times(number: int) -> str:
    return f"{count(number)} {'time' if number == 1 else 'times'}"


def _plain(finding: Finding, *, reads: bool) -> dict[str, Any]:
    said = finding.as_json()
    if reads:
        return said
    hidden = ("before", "after", "detail")
    return {name: value for name, value in said.items() if name not in hidden} | {"where": finding.place}


def _dollars(amount: Decimal | None) -> str:
    return "–" if amount is None else money(amount)
