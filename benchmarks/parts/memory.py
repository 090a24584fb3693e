"""Memory: the gateway's resident bytes while ever more distinct answers are stored, with a memory tier of 64 MiB."""

from __future__ import annotations

from itertools import count

from benchmarks import wrk
from benchmarks.gateway import Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.nginx import Origin
from benchmarks.parts import Bench
from benchmarks.rounds import Row

TIER_BYTES = 64 * 1024**2
ANSWERS = 200_000
_MIB = 1024**2
_APART = 100_000_000
_ENV = {"PAYONCE_MEMORY_BYTES": str(TIER_BYTES)}


def measure(bench: Bench) -> list[Row]:
    """One row: resident MiB after all answers beside after half of them, when the tier is long full."""
    with (
        Origin(bench.home / "origin", LOAD_CORE) as origin,
        Gateway(bench.home / "gateway", origin.base, SERVER_CORE, env=_ENV) as ours,
    ):
        readings = [(0, ours.rss() / _MIB)]
        for turn in count(1):
            load = wrk.Load("count", str(turn * _APART), bench.template())
            done = readings[-1][0] + wrk.run(load, ours.port, bench.seconds, LOAD_CORE).requests
            ours.cpu_at_rest()
            readings.append((done, ours.rss() / _MIB))
            bench.say(f"{done:,} answers: {readings[-1][1]:.0f} MiB resident")
            if done >= ANSWERS:
                break
        calls = origin.asked()
        volume = sum(path.stat().st_size for path in ours.store.parent.glob(f"{ours.store.name}*")) / _MIB
    if calls < readings[-1][0]:
        raise wrk.LoadError(f"{readings[-1][0]} answers, but only {calls} upstream calls: they were not distinct")
    half = next(rss for done, rss in readings if done >= ANSWERS // 2)
    detail: dict[str, object] = {
        "tier_mib": TIER_BYTES // _MIB,
        "store_mib": round(volume),
        "rss_mib": {f"{done}": round(rss, 1) for done, rss in readings},
    }
    what = f"resident after {ANSWERS // 1000}k answers beside after {ANSWERS // 2000}k"
    return [Row("memory", what, "MiB", [readings[-1][1]], [half], "itself, half way", 1.1, at_most=True, detail=detail)]
