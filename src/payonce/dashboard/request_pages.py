"""The pages of requests: the live tail, and one receipt. This room must never ask for a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from payonce.books.words import Filed
from payonce.dashboard.asking import link
from payonce.dashboard.frame import Framed
from payonce.dashboard.html import Child, Element, h
from payonce.dashboard.pieces import (
    Column,
    badge,
    count,
    moment,
    nothing,
    price,
    table,
)
from payonce.dashboard.requests import FILTERS, FROM_CACHE, SERVED, asked, page_of, place_of, took_of
from payonce.model.receipt import Outcome

_COLUMNS: Final = (
    Column("When"),
    Column("Outcome"),
    Column("Model"),
    Column("Reason"),
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
    page, following = page_of(receipts)
    rows = h("div", table_of(page, now), **_following(told) if tail else {}, id=TAIL)
    live = _live() if tail else None
    older = (
        h(
            "p",
            h("a", "Older requests", href=link("requests", **told, before=following), class_="button"),
            class_="more",
        )
        if following is not None
        else None
    )
    lead = "Receipts of this machine's gateways, newest first. Neither prompts nor answers are in them."
    return Framed("requests", "Requests", (_search(query), live, rows, older), lead)


def table_of(receipts: Sequence[Filed], now: float) -> Element:
    """The table alone: what the live tail asks for."""
    if not receipts:
        return nothing("No request fits, or none has come yet.")
    names = [f"r{receipt.n}" for receipt in receipts]
    return table("Requests", _COLUMNS, [_row(receipt, now) for receipt in receipts], names=names, dense=True)


def _row(receipt: Filed, now: float) -> tuple[Child, ...]:
    call, avoided = receipt.call, receipt.avoided_nano
    own = call is not None and receipt.outcome not in SERVED
    paid = call.cost_nano if call is not None and own else None
    return (
        h("a", moment(receipt.at, now), href=link("requests/" + place_of(receipt))),
        h("span", badge(receipt.outcome), f" ×{receipt.times:,}" if receipt.times > 1 else None),
        receipt.model,
        receipt.reason or (call.unkept if call is not None and own else ""),
        took_of(receipt),
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
    button = h("button", "Pause", type="button", class_="plain", data_live="yes", aria_controls=TAIL)
    return h("p", dot, h("span", "Follows new requests"), button, class_="live")


def _search(query: Mapping[str, str]) -> Element:
    chosen = query.get("outcome", "")
    kinds = [("any", ""), ("from the cache", FROM_CACHE), *((each.value, each.value) for each in Outcome)]
    select = h(
        "select", *(h("option", name, value=kind, selected=kind == chosen) for name, kind in kinds), name="outcome"
    )
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
