"""How `payonce simulate` shows what it found: a chart and tables for people, JSON for programs.

This room must never decide what a request costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from payonce.cli.output import say, table
from payonce.cli.simulate_reading import Index
from payonce.cli.simulate_world import Pricing
from payonce.ledger.prices import MISSING_EXTRA, Prices
from payonce.simulation import FREED, PLANNED, RECORDED, UNCACHED, Lane, Simulation
from payonce.wording import money, span

_BAR = 40
_NAMES = {
    UNCACHED: "no caching",
    RECORDED: "as recorded",
    PLANNED: "with Payonce",
    FREED: "Payonce, unmarked",
}
_ASKED = "as clients asked"
"""What the recorded bodies are where Payonce sent them on with markers of its own."""


def _names(found: Simulation) -> dict[str, str]:
    return _NAMES | ({RECORDED: _ASKED} if found.planned else {})


def _share(part: Decimal, whole: Decimal) -> str:
    return f"{float(part / whole):.1%}" if whole else "-"


def show(found: Simulation, index: Index, notes: Iterable[str]) -> None:
    lanes, names = found.lanes, _names(found)
    length = span((found.last or 0.0) - (found.first or 0.0))
    tokens = f"{lanes[UNCACHED].tokens:,} input tokens"
    say(f"{_counted(found.requests, 'request')} over {length}, {tokens}, {_counted(len(index.facts), 'model')}\n")
    most = max((lane.cost for lane in lanes.values()), default=Decimal(0))
    for name, lane in lanes.items():
        cost = lane.cost
        bar = "█" * round(float(cost / most) * _BAR) if most else ""
        say(f"{names[name]:<18}{bar:<{_BAR}} {money(cost)}  {_share(cost, lanes[UNCACHED].cost)}")
    say()
    columns = ("input cost", "to no caching", "read", "written 5m", "written 1h", "plain", "refused")
    table(["", *columns], [_row(names[name], lane, lanes[UNCACHED]) for name, lane in lanes.items()], right=columns)
    if len(index.facts) > 1:
        say()
        models = sorted(lanes[UNCACHED].models, key=lambda name: -lanes[UNCACHED].models[name])
        rows = [(name, *(money(lanes[lane].models.get(name, Decimal(0))) for lane in lanes)) for name in models[:20]]
        heads = [names[name] for name in lanes]
        table(["model", *heads], rows, right=heads)
    for note in notes:
        say(f"\n{note}")


def _counted(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def _row(name: str, lane: Lane, plain: Lane) -> tuple[str, ...]:
    tokens = (lane.read, lane.write_5m, lane.write_1h, lane.plain)
    figures = (money(lane.cost), _share(lane.cost, plain.cost), *(f"{number:,}" for number in tokens))
    return (name, *figures, str(lane.refused))


def notes_on(index: Index, found: Simulation, pricing: Pricing) -> list[str]:
    """What a reader has to know to believe the figures, as sentences."""
    notes = []
    if index.untimed:
        many = f"Without a time: {_counted(index.untimed, 'line')}"
        notes.append(f'{many}, counted as {index.gap:g} s after the line before; add "at" for true gaps.')
    if pricing.assumed:
        names = ", ".join(sorted(pricing.assumed)[:5]) + (" …" if len(pricing.assumed) > 5 else "")
        hint = f" ({MISSING_EXTRA})" if not Prices().load() else ""
        notes.append(f"At list prices of the model family, as no price is known: {names}{hint}.")
    if found.planned:
        notes.append(_planned(found))
    if found.compared:
        notes.append(
            f"By its recorded usage, the input of {_counted(found.compared, 'request')} cost "
            f"{money(found.measured)}; these models of the providers say {money(found.modelled)} for the same."
        )
    notes += [f"Refused {times} x: {sentence}" for sentence, times in found.refusals.most_common(3)]
    if marked := sum(facts.marked for facts in index.facts.values()):
        notes.append(
            f"With markers of their own: {_counted(marked, 'request')}. Payonce leaves those as they are; "
            f"'{_NAMES[FREED]}' shows what it would do without them."
        )
    if index.bad:
        notes.append(f"Not in these figures, as it could not be read: {_counted(len(index.bad), 'line')}.")
    return notes


def _planned(found: Simulation) -> str:
    """What the recorded lane is where it is not what was sent."""
    paid = f"; by recorded usage, the input of {found.billed} of them cost {money(found.paid)}" if found.billed else ""
    return (
        f"Changed by Payonce on their way (with markers): {_counted(found.planned, 'request')}{paid}. "
        f"'{_ASKED}' is what the bodies would have cost as the clients wrote them, not what is done today."
    )


def as_json(found: Simulation, index: Index, notes: list[str], *, pessimistic: bool) -> dict[str, Any]:
    plain = found.lanes[UNCACHED].cost
    return {
        "requests": found.requests,
        "seconds": (found.last or 0.0) - (found.first or 0.0),
        "reading": "pessimistic" if pessimistic else "optimistic",
        "lanes": {name: _lane(lane, plain) for name, lane in found.lanes.items()},
        "saved": {
            "to_no_caching": format(plain - found.lanes[PLANNED].cost, "f"),
            "to_recorded": format(found.lanes[RECORDED].cost - found.lanes[PLANNED].cost, "f"),
        },
        "recorded_usage": {
            "requests": found.compared,
            "dollars": format(found.measured, "f"),
            "simulated_dollars": format(found.modelled, "f"),
        },
        "planned": {"requests": found.planned, "compared": found.billed, "dollars": format(found.paid, "f")},
        "advice": dict(found.acts.most_common()),
        "refusals": dict(found.refusals),
        "untimed": index.untimed,
        "other_models": index.other_models,
        "bad_lines": [{"line": line.number, "because": line.because} for line in index.bad],
        "notes": notes,
    }


def _lane(lane: Lane, plain: Decimal) -> dict[str, Any]:
    return {
        "dollars": format(lane.cost, "f"),
        "to_no_caching": round(float(lane.cost / plain), 4) if plain else None,
        "read": lane.read,
        "write_5m": lane.write_5m,
        "write_1h": lane.write_1h,
        "plain": lane.plain,
        "refused": lane.refused,
        "models": {name: format(cost, "f") for name, cost in lane.models.items()},
    }
