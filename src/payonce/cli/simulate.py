"""`payonce simulate FILE.jsonl`: what recorded requests cost without prompt caching, as sent, and with Payonce.

The file is read twice: once for times, hosts and lengths, once in the order of the times. Nothing is sent anywhere.
This room must never decide what a request costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from cyclopts import Parameter

from payonce.cli.flags import AsJson, OnlyModel
from payonce.cli.output import complain, print_json, say, span, table
from payonce.cli.progress import Gauge, progress
from payonce.cli.simulate_world import Facts, Pricing, Providers, unmarked
from payonce.errors import PayonceError, SettingsError
from payonce.ledger.prices import MISSING_EXTRA, Prices
from payonce.optimise import Planner
from payonce.recorded import BadLine, Record, read_records
from payonce.simulation import FREED, PLANNED, RECORDED, UNCACHED, Lane, Planned, Replay, Simulation

_SHOWN_BAD_LINES = 20
_BAR = 40
_NAMES = {
    UNCACHED: "no caching",
    RECORDED: "as recorded",
    PLANNED: "with Payonce",
    FREED: "Payonce, unmarked",
}
_STEP = 50
"""Lines between two looks at the gauge."""


def simulate(
    file: Path,
    /,
    *,
    gap: Annotated[float, Parameter(help="Seconds after the line before, for lines without a time.")] = 30.0,
    model: OnlyModel = None,
    pessimistic: Annotated[
        bool, Parameter(negative="", help="Where documentation is silent, take what costs more.")
    ] = False,
    json: AsJson = False,
) -> int:
    """What recorded requests would cost: without prompt caching, as they were sent, and with Payonce.

    Every request is replayed at its recorded time through models of the providers' prompt caches, offline. Exit code 1:
    some lines could not be read.

    Parameters
    ----------
    file
        One request a line: {"at": seconds, "dialect": "chat", "body": {…}}, a bare body with a timestamp, or a line of
        an OpenAI batch file; "tenant", "session", "provider", "usage" and "ended" are used where they are known.
    """
    if not 0 <= gap <= 366 * 86400:
        raise SettingsError("--gap: write seconds, 0 or more")
    with _opened(file) as lines:
        size = lines.seek(0, 2)
        with progress("reading", size) as gauge:
            index = _Index(model, gap)
            index.read(lines, gauge)
        if not index.places and not index.bad:
            raise PayonceError(f"{file} holds no requests{_wanted(model)}; write one request a line as JSON")
        pricing = Pricing(Prices())

        def world(*, pinned: bool = False) -> Providers:
            return Providers(index.facts, pricing, pinned=pinned, pessimistic=pessimistic)

        ways = {PLANNED: Planned(Planner(), world())}
        if any(facts.marked for facts in index.facts.values()):
            ways[FREED] = Planned(Planner(), world(), unmarked)
        replay = Replay(world(pinned=True), ways, _upstream)
        with progress("replaying", len(index.places)) as gauge:

            def done(number: int) -> None:
                if number % _STEP == 0:
                    gauge.show(number, f"{number} requests")

            found = replay.run(index.again(lines), done)
    notes = _notes(index, found, pricing)
    if json:
        print_json(_as_json(found, index, notes, pessimistic=pessimistic))
    else:
        _show(found, index, notes)
    return 1 if index.bad else 0


@dataclass(slots=True)
class _Index:
    """What the first reading keeps: where each request stands and when it was, and what its model shows."""

    model: str | None
    gap: float
    places: list[tuple[float, int, int]] = field(default_factory=list)
    facts: dict[str, Facts] = field(default_factory=dict)
    bad: list[BadLine] = field(default_factory=list)
    untimed: int = 0
    other_models: int = 0

    def read(self, file: BinaryIO, gauge: Gauge) -> None:
        """Every line once; a bad one is told at once."""
        offset = 0
        starts: list[int] = []

        def lines() -> Iterator[bytes]:
            nonlocal offset
            file.seek(0)
            for line in file:
                starts.append(offset)
                offset += len(line)
                yield line

        before = -self.gap
        for one in read_records(lines()):
            if len(starts) % _STEP == 0:
                gauge.show(offset, f"{len(self.places)} requests")
            if isinstance(one, BadLine):
                self._refuse(one)
                continue
            if one.at is None:
                self.untimed += 1
            before = before + self.gap if one.at is None else one.at
            if self.model is not None and not fnmatchcase(one.model, self.model):
                self.other_models += 1
                continue
            self.places.append((before, one.number, starts[one.number - 1]))
            self.facts.setdefault(one.model, Facts()).learn(one)
        self.places.sort()

    def _refuse(self, line: BadLine) -> None:
        self.bad.append(line)
        if len(self.bad) <= _SHOWN_BAD_LINES:
            complain(f"line {line.number}: {line.because}")
        elif len(self.bad) == _SHOWN_BAD_LINES + 1:
            complain("more lines can't be read; --json lists them all")

    def again(self, file: BinaryIO) -> Iterator[Record]:
        """The same requests in the order of their times."""
        for at, number, start in self.places:
            file.seek(start)
            for one in read_records([file.readline()]):
                if isinstance(one, Record):
                    yield replace(one, at=at, number=number)


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise PayonceError(f"{file} can't be read ({error.strerror}); name a file with one request a line") from None


def _wanted(model: str | None) -> str:
    return f" for a model like {model!r}" if model else ""


def _upstream(model: str) -> str:
    """Where a model of that name is asked: a name with an author is OpenRouter's."""
    if "/" in model:
        return "openrouter"
    return (
        "anthropic"
        if "claude" in model
        else "openai"
        if model.startswith(("gpt", "o1", "o3", "o4", "chatgpt"))
        else "other"
    )


# ------------------------------------------------------------------------------------------------- what is shown


def _dollars(amount: Decimal) -> str:
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.6f}"


def _share(part: Decimal, whole: Decimal) -> str:
    return f"{float(part / whole):.1%}" if whole else "-"


def _show(found: Simulation, index: _Index, notes: Iterable[str]) -> None:
    lanes = found.lanes
    length = span((found.last or 0.0) - (found.first or 0.0))
    tokens = f"{lanes[UNCACHED].tokens:,} input tokens"
    say(f"{found.requests} requests over {length}, {tokens}, {_models(len(index.facts))}\n")
    most = max((lane.cost for lane in lanes.values()), default=Decimal(0))
    for name, lane in lanes.items():
        cost = lane.cost
        bar = "█" * round(float(cost / most) * _BAR) if most else ""
        say(f"{_NAMES[name]:<18}{bar:<{_BAR}} {_dollars(cost)}  {_share(cost, lanes[UNCACHED].cost)}")
    say()
    columns = ("input cost", "to no caching", "read", "written 5m", "written 1h", "plain", "refused")
    table(["", *columns], [_row(_NAMES[name], lane, lanes[UNCACHED]) for name, lane in lanes.items()], right=columns)
    if len(index.facts) > 1:
        say()
        models = sorted(lanes[UNCACHED].models, key=lambda name: -lanes[UNCACHED].models[name])
        rows = [(name, *(_dollars(lanes[lane].models.get(name, Decimal(0))) for lane in lanes)) for name in models[:20]]
        names = [_NAMES[name] for name in lanes]
        table(["model", *names], rows, right=names)
    for note in notes:
        say(f"\n{note}")


def _lines(number: int) -> str:
    return "1 line" if number == 1 else f"{number} lines"


def _models(number: int) -> str:
    return "1 model" if number == 1 else f"{number} models"


def _row(name: str, lane: Lane, plain: Lane) -> tuple[str, ...]:
    tokens = (lane.read, lane.write_5m, lane.write_1h, lane.plain)
    figures = (_dollars(lane.cost), _share(lane.cost, plain.cost), *(f"{number:,}" for number in tokens))
    return (name, *figures, str(lane.refused))


def _notes(index: _Index, found: Simulation, pricing: Pricing) -> list[str]:
    """What a reader has to know to believe the figures, as sentences."""
    notes = []
    if index.untimed:
        many = f"Without a time: {_lines(index.untimed)}"
        notes.append(f'{many}, counted as {index.gap:g} s after the line before; add "at" for true gaps.')
    if pricing.assumed:
        names = ", ".join(sorted(pricing.assumed)[:5]) + (" …" if len(pricing.assumed) > 5 else "")
        hint = f" ({MISSING_EXTRA})" if not Prices().load() else ""
        notes.append(f"At list prices of the model family, as no price is known: {names}{hint}.")
    if found.compared:
        notes.append(
            f"By the recorded usage of {found.compared} requests their input cost {_dollars(found.measured)}; "
            f"these models of the providers say {_dollars(found.modelled)} for the same."
        )
    notes += [f"Refused {times} x: {sentence}" for sentence, times in found.refusals.most_common(3)]
    if marked := sum(facts.marked for facts in index.facts.values()):
        notes.append(
            f"{marked} requests carry markers of their own, and Payonce leaves those as they are. "
            f"'{_NAMES[FREED]}' shows what it would do if they did not."
        )
    if index.bad:
        notes.append(f"{_lines(len(index.bad))} could not be read and so are not in these figures.")
    return notes


def _as_json(found: Simulation, index: _Index, notes: list[str], *, pessimistic: bool) -> dict[str, Any]:
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
