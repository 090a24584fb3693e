"""One receipt: how a request was answered and why, what its key is made of, what the upstream call used and cost.

This room must never ask for a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from payonce.books.words import Filed, Spent
from payonce.dashboard.asking import link
from payonce.dashboard.frame import Framed
from payonce.dashboard.html import Child, Element, h
from payonce.dashboard.pieces import (
    Column,
    badge,
    card,
    cards,
    code,
    count,
    facts,
    moment,
    price,
    seconds,
    section,
    table,
)
from payonce.dashboard.requests import SERVED, place_of, took_of
from payonce.doctor.causes import CAUSES
from payonce.model.reason import REASONS


def receipt_page(receipt: Filed, now: float) -> Framed:
    """All of it."""
    call, avoided = receipt.call, receipt.avoided_nano
    upstream = f"the upstream {seconds(call.took)}" if call is not None else None
    head = cards(
        card("Outcome", badge(receipt.outcome), f"{receipt.times:,} times in a row" if receipt.times > 1 else None),
        card("Took", took_of(receipt), upstream),
        card("Paid", price(0 if call is None or receipt.outcome in SERVED else call.cost_nano)),
        card(
            "Avoided",
            price(None if avoided is None else avoided * receipt.times),
            "by price" if receipt.avoided_estimated else None,
        ),
    )
    parts = (head, _because(receipt), _about(receipt, now), _parts(receipt.parts))
    rest = () if call is None else (_call(call, now), _advice(call.advice))
    return Framed("requests", "Receipt", (*parts, *rest), code(place_of(receipt)))


def _because(receipt: Filed) -> Element | None:
    """Why it was no hit, and what to do about it."""
    reason = REASONS.get(receipt.reason)
    if reason is None:
        return None
    fix = f" To change that: {reason.fix}." if reason.fix else ""
    return h("p", h("strong", reason.id), f": {reason.sentence}.{fix}", class_="panel")


def call_facts(call: Spent) -> list[tuple[str, Child]]:
    """What an upstream call used and cost."""
    saving, premium = call.read_saving_nano, call.premium_nano
    return [
        ("Input tokens", count(call.input_tokens)),
        ("  read from the prompt cache", count(call.read_tokens)),
        ("  written to it", count(call.written_tokens)),
        ("  at the plain price", count(call.plain_tokens)),
        ("Output tokens", count(call.output_tokens)),
        (
            "Cost",
            "unknown" if call.cost_nano is None else price(call.cost_nano) + (" by price" if call.estimated else ""),
        ),
        ("Discount on reads", None if saving is None else price(saving)),
        ("Premium for writes", None if premium is None else price(premium)),
        ("Lost", f"{count(call.missed_tokens)} tokens, {price(call.missed_nano)}" if call.missed_tokens else None),
    ]


def findings_of(found: Iterable[Mapping[str, Any]]) -> Child:
    """What the doctor said, each leading to what to change."""
    drawn = []
    for one in found:
        cause = CAUSES.get(str(one.get("id")))
        title = cause.sentence if cause is not None else ""
        drawn.append(h("li", h("a", str(one.get("id")), href=f"{link('findings')}#{one.get('id')}"), f": {title}"))
    return h("ul", *drawn, class_="plain-list") if drawn else None


def _about(receipt: Filed, now: float) -> Element:
    key = receipt.key
    pairs: list[tuple[str, Child]] = [
        ("When", moment(receipt.at, now)),
        ("Model", h("a", receipt.model, href=link("requests", model=receipt.model)) if receipt.model else None),
        ("Endpoint", receipt.endpoint),
        ("Namespace", receipt.namespace),
        (
            "Tenant",
            h("a", code(receipt.tenant), href=link("requests", tenant=receipt.tenant)) if receipt.tenant else None,
        ),
        ("Framing", "stream" if receipt.stream else "whole"),
        ("Converted", "from the other framing" if receipt.converted else None),
        ("Key", h("a", code(key), href=link("entries/" + key)) if key else None),
        (
            "Tokens avoided",
            f"{count(receipt.avoided_input)} in, {count(receipt.avoided_output)} out"
            if receipt.avoided_nano is not None
            else None,
        ),
        ("Bytes from the cache", count(receipt.served_bytes) if receipt.served_bytes else None),
    ]
    return section("Request", facts(pairs), id="request")


def _parts(parts: Mapping[str, Any]) -> Element | None:
    """Digests of what the key is made of: equal ones stand for equal text."""
    if not parts:
        return None
    rows: list[tuple[Child, ...]] = [(name, code(str(parts[name]))) for name in ("tools", "system") if name in parts]
    rows += [(f"messages[{place}]", code(str(digest))) for place, digest in enumerate(parts.get("messages", ()))]
    for group, prefix in (("parameters", ""), ("headers", "headers.")):
        rows += [(prefix + name, code(str(digest))) for name, digest in parts.get(group, {}).items()]
    drawn = table("Parts of the request, as digests", (Column("Part"), Column("Digest")), rows)
    hint = h(
        "p",
        "Two requests with the same digest had the same text there. ",
        h("code", "payonce why"),
        " compares them.",
        class_="hint",
    )
    return section("What the key is made of", drawn, hint, id="key")


def _call(call: Spent, now: float) -> Element:
    answer = "kept" if call.kept else f"not kept: {call.unkept}" if call.unkept else "passed on"
    pairs: list[tuple[str, Child]] = [
        ("When", moment(call.at, now)),
        ("Provider", call.provider),
        ("Answered by", call.answered_by),
        ("Status", str(call.status) if call.status else None),
        ("Answer", answer),
        ("First byte", seconds(call.ttfb) if call.ttfb is not None else None),
        ("Followers", count(call.followers) if call.followers else None),
        *call_facts(call),
        (
            "Conversation",
            h("a", code(call.conversation), href=link("conversations/" + call.conversation))
            if call.conversation
            else None,
        ),
        ("Findings", findings_of(call.findings)),
    ]
    return section("Upstream call", facts(pairs), id="call")


def _advice(advice: Sequence[Mapping[str, Any]]) -> Element | None:
    columns = (
        Column("Did"),
        Column("Where"),
        Column("For"),
        Column("Tokens", number=True),
        Column("Likely", number=True),
        Column("Saves", number=True),
        Column("Because", wide=True),
    )
    rows = [
        (
            badge(str(one.get("act", ""))),
            code(str(one.get("where", ""))) if one.get("where") else None,
            str(one.get("ttl", "")),
            count(int(one["tokens"])) if one.get("tokens") else None,
            f"{float(one['chance']):.0%}" if one.get("chance") else None,
            count(int(one["saving"])) if one.get("saving") else None,
            str(one.get("why", "")),
        )
        for one in advice
    ]
    return section("The plan", table("What the planner decided, and why", columns, rows), id="plan") if rows else None
