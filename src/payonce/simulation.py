"""Recorded requests replayed at their own times: without prompt caching, as they were, and as the planner sends them.

Where clients mark requests themselves, the planner leaves those alone; a further way shows what it would do without.

Each way meets a provider of its own, so that none reads what another wrote. What a provider bills is asked of the
models that the caller brings; answers are shown to the planner when they have ended, never before. This room must never
do I/O, read a clock or know a provider's rules.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any, Final, Protocol

from payonce.ledger.usage import parse
from payonce.optimise import Plan, Planner
from payonce.recorded import Record

UNCACHED: Final = "no_caching"
RECORDED: Final = "recorded"
PLANNED: Final = "payonce"
FREED: Final = "payonce_unmarked"
_ANSWER_SECONDS: Final = 2.0
_TOKENS_A_SECOND: Final = 60.0
_FIRST_TOKEN: Final = 1.0
"""How long an answer takes where no end was recorded: so long until it begins, so long and its tokens until it ends."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What one request costs: input in US dollars, its tokens by how they are billed, and what a provider reports.

    `uncached` is the same input at the plain price. `refused` is the provider's sentence where it takes the request
    only without markers; it is billed so.
    """

    cost: Decimal
    uncached: Decimal
    read: int
    write_5m: int
    write_1h: int
    plain: int
    usage: dict[str, Any] = field(default_factory=dict)
    provider: str = ""
    refused: str = ""


class World(Protocol):
    """The providers that one way of sending meets. Calls come in the order of their times."""

    def bill(
        self, record: Record, body: dict[str, Any], headers: Mapping[str, str], at: float, *, first_token: float
    ) -> Bill:
        """What the provider bills for `body`, sent in the place of the record's own."""

    def recorded_cost(self, record: Record) -> Decimal | None:
        """The input cost that the recorded usage says; None where it does not."""


@dataclass(slots=True)
class Lane:
    """One way of sending, added up."""

    cost: Decimal = Decimal(0)
    read: int = 0
    write_5m: int = 0
    write_1h: int = 0
    plain: int = 0
    refused: int = 0
    models: dict[str, Decimal] = field(default_factory=dict)

    def add(self, model: str, bill: Bill) -> None:
        """One more request."""
        self.cost += bill.cost
        self.read += bill.read
        self.write_5m += bill.write_5m
        self.write_1h += bill.write_1h
        self.plain += bill.plain
        self.refused += bool(bill.refused)
        self.models[model] = self.models.get(model, Decimal(0)) + bill.cost

    @property
    def tokens(self) -> int:
        """All of the input."""
        return self.read + self.write_5m + self.write_1h + self.plain


@dataclass(slots=True)
class Simulation:
    """What came of it: each lane, when the first and the last request were, and how recorded usage compares.

    `measured` and `modelled` are the input cost of the same `compared` requests: by their recorded usage, and by the
    provider models as they were sent. `planned` requests were sent otherwise than they were recorded: of `billed` of
    them the recorded usage says what they cost, `paid`. `acts` says what the planner did, and how often.
    """

    lanes: dict[str, Lane] = field(default_factory=dict)
    requests: int = 0
    first: float | None = None
    last: float | None = None
    compared: int = 0
    measured: Decimal = Decimal(0)
    modelled: Decimal = Decimal(0)
    planned: int = 0
    billed: int = 0
    paid: Decimal = Decimal(0)
    refusals: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Planned:
    """A planner and the world it meets; answers wait until they have ended. `strip` takes the client's markers out."""

    planner: Planner
    world: World
    strip: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    waiting: list[tuple[float, int, Plan, Bill]] = field(default_factory=list)

    def observe(self, now: float) -> None:
        """Show the planner every answer that has ended."""
        while self.waiting and self.waiting[0][0] <= now:
            ended, _, plan, bill = heapq.heappop(self.waiting)
            self.planner.observe(plan, bill.usage, now=ended, provider=bill.provider)


class Replay:
    """One replay. `ways` are planners by the name of their lane; `upstream` says of a model where it is asked:
    "openrouter", "anthropic", "openai" or "other"."""

    def __init__(self, recorded: World, ways: Mapping[str, Planned], upstream: Callable[[str], Any]) -> None:
        self.result = Simulation({name: Lane() for name in (UNCACHED, RECORDED, *ways)})
        self._recorded = recorded
        self._ways = ways
        self._upstream = upstream
        self._numbers = count()

    def run(self, records: Iterable[Record], on_done: Callable[[int], None] | None = None) -> Simulation:
        """Replay `records`, each with a time, in the order of their times; `on_done` is told how many are done."""
        for record in records:
            self._one(record, record.at or 0.0)
            if on_done is not None:
                on_done(self.result.requests)
        return self.result

    def _one(self, record: Record, at: float) -> None:
        result = self.result
        result.requests += 1
        result.first = at if result.first is None else result.first
        result.last = at
        begins, ends = _times(record, at)
        sent = self._recorded.bill(record, record.body, record.headers, at, first_token=begins)
        self._add(RECORDED, record, sent)
        result.lanes[UNCACHED].add(record.model, Bill(sent.uncached, sent.uncached, 0, 0, 0, _tokens(sent)))
        self._compare(record, sent)
        for name, way in self._ways.items():
            way.observe(at)
            plan = self._plan(way, record, at)
            if name == PLANNED:
                result.acts.update(advice.act.value for advice in plan.advice)
            bill = way.world.bill(record, plan.body, _changed(record.headers, plan), at, first_token=begins)
            self._add(name, record, bill)
            heapq.heappush(way.waiting, (ends, next(self._numbers), plan, bill))

    def _plan(self, way: Planned, record: Record, at: float) -> Plan:
        return way.planner.plan(
            record.body if way.strip is None else way.strip(record.body),
            dialect=record.dialect,  # type: ignore[arg-type] # read_records lets no other through
            model=record.model,
            tenant=record.tenant or record.key or "",
            session=record.session,
            now=at,
            upstream=self._upstream(record.model),
            headers=tuple((_wire(name), _wire(value)) for name, value in record.headers.items()),
        )

    def _add(self, lane: str, record: Record, bill: Bill) -> None:
        self.result.lanes[lane].add(record.model, bill)
        if bill.refused:
            self.result.refusals[f"{lane}: {bill.refused}"] += 1

    def _compare(self, record: Record, sent: Bill) -> None:
        measured, result = self._recorded.recorded_cost(record), self.result
        result.planned += record.planned
        if measured is not None and record.planned:
            result.billed += 1
            result.paid += measured
        elif measured is not None:
            result.compared += 1
            result.measured += measured
            result.modelled += sent.cost


def _wire(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _tokens(bill: Bill) -> int:
    return bill.read + bill.write_5m + bill.write_1h + bill.plain


def _times(record: Record, at: float) -> tuple[float, float]:
    """Seconds until the answer begins, and when it has ended."""
    if record.ended is not None and record.ended > at:
        return min(_FIRST_TOKEN, record.ended - at), record.ended
    said = parse(record.usage, dialect=record.dialect, model=record.model).output if record.usage else None
    return _FIRST_TOKEN, at + _ANSWER_SECONDS + (said or 0) / _TOKENS_A_SECOND


def _changed(headers: Mapping[str, str], plan: Plan) -> dict[str, str]:
    """The headers that go out with a plan."""
    fields = dict(headers)
    for name, value in plan.headers:
        fields.pop(name.decode("latin-1"), None)
        if value is not None:
            fields[name.decode("latin-1")] = value.decode("latin-1")
    return fields
