"""The pages of requests: the live tail, and one receipt. This room must never ask for a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

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
    nothing,
    price,
    seconds,
    section,
    table,
)
from payonce.dashboard.requests import FILTERS, PAGE, asked, place_of
from payonce.doctor.causes import CAUSES
from payonce.model.reason import REASONS
from payonce.model.receipt import Outcome

_COLUMNS: Final = (
    Column("When"),
    Column("Outcome"),
    Column("Reason"),
    Column("Model"),
    Column("Took", number=True),
    Column("Paid", number=True),
    Column("Avoided", number=True),
    Column("Read", number=True),
    Column("Endpoint"),
    Column("Namespace"),
)
TAIL: Final = "tail"


def list_page(receipts: Sequence[Filed], query: Mapping[str, str], now: float) -> Framed:
    """The newest receipts that fit; the first page follows what happens."""
    told = asked(query)
    tail = not query.get("before") and not query.get("until")
    page = receipts[:PAGE]
    rows = h("div", table_of(page, now), **_following(told) if tail else {}, id=TAIL)
    live = _live() if tail else None
    more = len(receipts) > PAGE
    older = (
        h(
            "p",
            h("a", "Older requests", href=link("requests", **told, before=page[-1].n), class_="button"),
            class_="more",
        )
        if more
        else None
    )
    lead = "Receipts of this machine's gateways, newest first. Neither prompts nor answers are in them."
    return Framed("requests", "Requests", (_search(query), live, rows, older), lead)


def table_of(receipts: Sequence[Filed], now: float) -> Element:
    """The table alone: what the live tail asks for."""
    if not receipts:
        return nothing("No request fits, or none has come yet.")
    return table("Requests", _COLUMNS, [_row(receipt, now) for receipt in receipts])


def receipt_page(receipt: Filed, now: float) -> Framed:
    """One receipt: how it was answered and why, what its key is made of, what the upstream call used and cost."""
    reason = REASONS.get(receipt.reason)
    call = receipt.call
    avoided = receipt.avoided_nano
    head = cards(
        card("Outcome", badge(receipt.outcome), f"{receipt.times:,} times in a row" if receipt.times > 1 else None),
        card("Took", seconds(receipt.took), f"the upstream {seconds(call.took)}" if call is not None else None),
        card(
            "Paid",
            price(call.cost_nano)
            if call is not None and call.cost_nano is not None and receipt.outcome != "hit"
            else price(0)
            if call is None
            else "unknown",
        ),
        card("Avoided", "–" if avoided is None else price(avoided * receipt.times)),
    )
    because = (
        h(
            "p",
            h("strong", receipt.reason),
            ": ",
            reason.sentence + ". ",
            reason.fix and f"To change that: {reason.fix}.",
            class_="panel",
        )
        if reason
        else None
    )
    parts = (
        head,
        because,
        _about(receipt, now),
        _parts(receipt.parts),
        *(_call(call, now) if call is not None else ()),
    )
    return Framed("requests", "Receipt", parts, code(place_of(receipt)))


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


def _row(receipt: Filed, now: float) -> tuple[Child, ...]:
    call, avoided = receipt.call, receipt.avoided_nano
    own = call is not None and receipt.outcome not in ("hit", "collapsed")
    paid = call.cost_nano if call is not None and own else None
    return (
        h("a", moment(receipt.at, now), href=link("requests/" + place_of(receipt))),
        [badge(receipt.outcome), f" ×{receipt.times:,}" if receipt.times > 1 else None],
        receipt.reason or (call.unkept if call is not None and own else ""),
        receipt.model,
        seconds(receipt.took),
        price(paid),
        "–" if avoided is None else price(avoided * receipt.times),
        count(call.read_tokens) if call is not None and own else "–",
        receipt.endpoint,
        receipt.namespace,
    )


def _following(told: Mapping[str, str]) -> dict[str, str]:
    return {
        "hx_get": link("requests/tail", **told),
        "hx_trigger": "every 2s",
        "hx_swap": "innerMorph",
        "data_tail": "yes",
    }


def _live() -> Element:
    dot = h("span", class_="dot", aria_hidden="true")
    button = h(
        "button", "Pause", type="button", class_="plain", data_live="yes", aria_pressed="true", aria_controls=TAIL
    )
    return h("p", dot, h("span", "Follows new requests"), button, class_="live")


def _search(query: Mapping[str, str]) -> Element:
    chosen = query.get("outcome", "")
    outcomes = [h("option", each, value=each, selected=each == chosen) for each in Outcome]
    select = h("select", h("option", "any", value=""), *outcomes, name="outcome")
    fields = [
        h(
            "label",
            name.capitalize(),
            h("input", type="search", name=name, value=query.get(name, ""), autocomplete="off"),
        )
        for name in FILTERS
        if name not in ("outcome", "tenant", "endpoint")
    ]
    kept = [
        h("input", type="hidden", name=name, value=query[name])
        for name in ("since", "tenant", "endpoint")
        if query.get(name)
    ]
    whole = h("a", "Show all", href=link("requests"), class_="button") if asked(query) else None
    return h(
        "form",
        h("label", "Outcome", select),
        *fields,
        *kept,
        h("button", "Search"),
        whole,
        method="get",
        action=link("requests"),
        class_="search",
        role="search",
    )


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


def _call(call: Spent, now: float) -> tuple[Element | None, ...]:
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
    return section("Upstream call", facts(pairs), id="call"), _advice(call.advice)


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
