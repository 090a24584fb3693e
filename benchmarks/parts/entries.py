"""Hit latency with a million stored entries beside a thousand: asked cold (each once), and hot (the same ones again).

Cold: both gateways have just started, so every answer comes from the disk store. Hot: it comes from memory.
"""

from __future__ import annotations

import os
import random
import statistics
from pathlib import Path

from benchmarks import gateway, preload
from benchmarks.gateway import Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.nginx import Origin
from benchmarks.parts import Bench
from benchmarks.rounds import Row
from benchmarks.wrk import Load, LoadError, Run, run

FEW, MANY = 1_000, 1_000_000
_ASKED = 900
"""How many of the stored are asked in a cold turn; some of the thousand are left for warming the connection's code."""
_ONCE_SECONDS = 3
"""More than a cold turn needs; wrk waits for their end in any case."""
_HOT = 200
_WARM = 100
_ENV = {"PAYONCE_TTL": "86400", "PAYONCE_MAX_BYTES": str(64 * 1024**3)}


def _numbers(path: Path, numbers: list[int]) -> str:
    path.write_text("".join(f"{number}\n" for number in numbers))
    return str(path)


def _all_hits(bench: Bench, ours: Gateway, mode: str, file: str) -> Run:
    """One connection, one request after the other; every answer must say HIT."""
    load = Load(mode, file, bench.template(), connections=1, hit_header=gateway.HIT_HEADER)
    seen = run(load, ours.port, _ONCE_SECONDS if mode == "once" else bench.seconds, LOAD_CORE)
    if seen.others or not seen.hits:
        raise LoadError(f"{seen.others} of {seen.requests} answers were no hits ({mode})")
    return seen


def _turn(bench: Bench, origin: Origin, store: Path, stored: int, chance: random.Random) -> tuple[Run, Run]:
    """A gateway that has just started on `store`, asked cold, then hot."""
    chosen = chance.sample(range(stored), _ASKED + _WARM)
    files = bench.home
    with Gateway(files / f"gateway-{stored}", origin.base, SERVER_CORE, store=store, env=_ENV) as ours:
        _all_hits(bench, ours, "once", _numbers(files / "warm", chosen[:_WARM]))
        cold = _all_hits(bench, ours, "once", _numbers(files / "cold", chosen[_WARM:]))
        hot = _all_hits(bench, ours, "cycle", _numbers(files / "hot", chosen[:_HOT]))
    return cold, hot


def _row(what: str, many: list[Run], few: list[Run]) -> Row:
    p99 = [round(statistics.median(r.p99 for r in runs), 4) for runs in (many, few)]
    mean = [round(statistics.median(r.mean for r in runs), 4) for runs in (many, few)]
    return Row(
        part="entries",
        what=what,
        unit="ms (p50), 1M entries",
        ours=[r.p50 for r in many],
        peer=[r.p50 for r in few],
        peer_name="itself, 1k entries",
        target=1.2,
        at_most=True,
        detail={"p99": p99, "mean": mean, "requests": [sum(r.requests for r in runs) for runs in (many, few)]},
    )


def measure(bench: Bench) -> list[Row]:
    """Two rows: median latency of a hit, cold and hot."""
    chance = random.Random(7)
    cold: dict[int, list[Run]] = {FEW: [], MANY: []}
    hot: dict[int, list[Run]] = {FEW: [], MANY: []}
    with Origin(bench.home / "origin", LOAD_CORE) as origin:
        stores = {size: bench.home / f"store-{size}" / "store.db" for size in (FEW, MANY)}
        for size, store in stores.items():
            bench.say(f"storing {size:,} answers")

            def stored(count: int, size: int = size) -> None:
                bench.say(f"{count:,} of {size:,} stored")

            preload.preload(store, size, origin.base, {**os.environ, **_ENV}, stored)
        for number in range(bench.rounds):
            for size in (FEW, MANY) if number % 2 else (MANY, FEW):
                one, other = _turn(bench, origin, stores[size], size, chance)
                cold[size].append(one)
                hot[size].append(other)
            bench.say(
                f"round {number + 1}/{bench.rounds}: cold {cold[MANY][-1].p50:.3f} beside {cold[FEW][-1].p50:.3f} ms, "
                f"hot {hot[MANY][-1].p50:.3f} beside {hot[FEW][-1].p50:.3f} ms"
            )
    return [
        _row("hit latency, cold: each stored answer asked once", cold[MANY], cold[FEW]),
        _row(f"hit latency, hot: {_HOT} answers again and again", hot[MANY], hot[FEW]),
    ]
