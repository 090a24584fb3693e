"""How the store, the upstreams and this worker are. This room must never ask an upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from payonce.dashboard.asking import link
from payonce.dashboard.backstage import Backstage
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
    notice,
    seconds,
    section,
    table,
    to,
)
from payonce.errors import StoreError
from payonce.model.reason import REASONS
from payonce.wording import size, span


def health(stage: Backstage) -> dict[str, Any]:
    """The state of this worker and of what it stands on, as plain values."""
    try:
        volume = stage.volume()
    except StoreError as error:
        state = dict(stage.state())
        state["notes"] = [*state["notes"], f"the store can't say how full it is: {error}"]
    else:
        state = dict(stage.state())  # after it: a server that has just not answered is among the notes
        state["store"] |= {"entries": volume.entries, "bytes": volume.used_bytes, "limit_bytes": volume.limit_bytes}
    state["status"] = "degraded" if state["notes"] else "ok"
    return state


def health_page(state: Mapping[str, Any], now: float) -> Framed:
    """The same for people."""
    store, worker = state["store"], state["worker"]
    ok = state["status"] == "ok"
    head = cards(
        card(
            "Gateway",
            badge("ok" if ok else "degraded", "ok" if ok else "warning"),
            f"up for {span(now - worker['started'])}",
        ),
        card("Entries", count(store.get("entries")), href=link("entries")),
        card("Space", size(store.get("bytes", 0)), _limit(store), href=link("entries")),
        card("Calls under way", count(worker["flights"]), "in this worker"),
    )
    notes = [notice(note, look="warning") for note in state["notes"]]
    upstreams = _upstreams(state["upstreams"], worker["started"])
    parts = (_store(store), upstreams, _worker(worker, now), _lost(state["dropped"]))
    return Framed("health", "Health", (head, *notes, *parts))


def _limit(store: Mapping[str, Any]) -> Child:
    used, limit = store.get("bytes", 0), store.get("limit_bytes", 0)
    if not limit:
        return "no limit"
    bar = h("meter", min=0, max=limit, value=used, aria_label="how full the store is")
    return [bar, f" of {size(limit)}"]


def _store(store: Mapping[str, Any]) -> Element:
    pairs: list[tuple[str, Child]] = [
        ("Store", code(store["url"])),
        ("Memory tier", "in front of it" if store["tiered"] else "it is the store"),
        ("Trouble", store["trouble"] or "none"),
        ("Purges seen", count(store["purges"])),
        ("Secret", code(store["secret_file"])),
    ]
    return section("Store", facts(pairs), id="store")


def _upstreams(upstreams: list[Mapping[str, Any]], started: float) -> Element:
    made = link("requests", since=round(started))
    columns = (
        *(Column("Name"), Column("Address"), Column("Calls", number=True), Column("Failed", wide=True)),
        *(Column("Until the answer began", number=True), Column("Open connections", number=True)),
        Column("Idle", number=True),
    )
    rows = [
        (
            h("em", "unnamed") if not each["name"] else each["name"],
            code(each["url"]),
            to(made, count(each["calls"])),
            _failed(each["failed"]),
            seconds(each["seconds"]),
            count(each["open"]),
            count(each["idle"]),
        )
        for each in upstreams
    ]
    return section("Upstreams", table("Where calls went in this worker since its start", columns, rows), id="upstreams")


def _failed(counts: Mapping[str, int]) -> str:
    """How many calls brought no answer, or an error, and which."""
    worst = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} × {count(number)}" for reason, number in worst) or "none"


def _worker(worker: Mapping[str, Any], now: float) -> Element:
    pairs: list[tuple[str, Child]] = [
        ("Worker", code(worker["name"])),
        ("Version", worker["version"]),
        ("Started", moment(worker["started"], now)),
        ("Client connections", count(worker["connections"])),
        ("Answers on the shelf", count(worker["shelf"])),
        ("Conversations followed by the doctor", count(worker["conversations"]) if "conversations" in worker else None),
    ]
    return section("This worker", facts(pairs), id="worker")


def _lost(dropped: Mapping[str, int]) -> Element:
    if not dropped:
        return section("Lost entries", h("p", "None since the start.", class_="nothing"), id="lost")
    columns = (Column("Reason"), Column("Count", number=True), Column("What it means", wide=True))
    rows = [
        (code(reason), count(number), _meaning(reason))
        for reason, number in sorted(dropped.items(), key=lambda item: -item[1])
    ]
    return section("Lost entries", table("Entries lost in this worker since its start", columns, rows), id="lost")


def _meaning(id: str) -> str:  # noqa: A002 - the word of the table of reasons
    reason = REASONS.get(id)
    return "" if reason is None else reason.sentence + (f"; {reason.fix}" if reason.fix else "")
