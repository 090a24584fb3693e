"""Interleaved rounds: two servers take turns under one load, and what is compared is the ratio within a round.

The machine may be busy with other things; a round lasts seconds, so both arms of a round meet the same weather.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks import wrk
from benchmarks.machine import LOAD_CORE
from benchmarks.process import Server

Say = Callable[[str], None]
"""Where progress is told."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one server; latencies in milliseconds."""

    requests: int
    per_cpu: float
    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Arm:
    """A server, where it is asked, and how. `load` is called with the number of the turn."""

    server: Server
    load: Callable[[int], wrk.Load]
    port: int | None = None
    check: Callable[[wrk.Run], None] = lambda _: None
    """Called after each turn; raises where the answers were not what this row is about."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a figure of ours beside a peer's, round by round. `target` None: reported only."""

    part: str
    what: str
    unit: str
    ours: list[float]
    peer: list[float]
    peer_name: str
    target: float | None = None
    at_most: bool = False
    difference: bool = False
    """Compare by difference (ours - peer) in place of the ratio."""
    detail: dict[str, object] = field(default_factory=dict)
    note: str = ""

    @property
    def compared(self) -> list[float]:
        """The ratio, or the difference, of each round."""
        pairs = zip(self.ours, self.peer, strict=True)
        return [mine - theirs if self.difference else mine / theirs for mine, theirs in pairs]

    @property
    def median(self) -> float | None:
        """The figure that is held against the target; None where there is nothing to compare."""
        return statistics.median(self.compared) if self.compared else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target or without figures."""
        if self.target is None or self.median is None:
            return None
        return self.median <= self.target if self.at_most else self.median >= self.target


def always(load: wrk.Load) -> Callable[[int], wrk.Load]:
    """The same load in every turn."""
    return lambda _: load


def turn(arm: Arm, number: int, seconds: int) -> Sample:
    """Load one server once; its CPU time counts until it is idle again."""
    before = arm.server.cpu()
    run = wrk.run(arm.load(number), arm.port or arm.server.port, seconds, LOAD_CORE)
    cpu = arm.server.cpu_at_rest() - before
    arm.check(run)
    if cpu <= 0:
        raise wrk.LoadError(f"{arm.server.name} used no measurable CPU time in {seconds} s: raise --seconds")
    return Sample(run.requests, run.requests / cpu, run.requests / run.seconds, run.p50, run.p99, cpu)


def interleaved(ours: Arm, peer: Arm, rounds: int, seconds: int, say: Say) -> Iterator[tuple[Sample, Sample]]:
    """Pairs of turns, after one short turn each to warm up; who goes first changes every round."""
    numbers = iter(range(2 * rounds + 2))
    for arm in (ours, peer):
        turn(arm, next(numbers), 1)
    for number in range(rounds):
        order = (ours, peer) if number % 2 == 0 else (peer, ours)
        got = {id(arm): turn(arm, next(numbers), seconds) for arm in order}
        mine, theirs = got[id(ours)], got[id(peer)]
        say(
            f"round {number + 1}/{rounds}: {ours.server.name} {mine.per_cpu:,.0f}, "
            f"{peer.server.name} {theirs.per_cpu:,.0f} requests per CPU-second ({mine.per_cpu / theirs.per_cpu:.2f} x)"
        )
        yield mine, theirs


def throughput_row(part: str, what: str, pairs: list[tuple[Sample, Sample]], peer: str, target: float | None) -> Row:
    """The row that compares requests per CPU-second; throughput and latencies go along."""

    def middle(index: int) -> dict[str, float]:
        samples = [pair[index] for pair in pairs]
        names = ("per_cpu", "rate", "p50", "p99")
        return {name: round(statistics.median(getattr(s, name) for s in samples), 3) for name in names}

    return Row(
        part=part,
        what=what,
        unit="requests per CPU-s",
        ours=[mine.per_cpu for mine, _ in pairs],
        peer=[theirs.per_cpu for _, theirs in pairs],
        peer_name=peer,
        target=target,
        detail={"ours": middle(0), "peer": middle(1)},
    )
