"""What prompts cost under the planner, beside the least that any marking could have cost; nothing is timed.

The full tables are those of `python -m benchmarks.prefix`.
"""

from __future__ import annotations

from benchmarks.parts import Bench
from benchmarks.prefix import report
from benchmarks.prefix.__main__ import TARGETS, measure, misses
from benchmarks.prefix.strategies import PLANNER, STATIC
from benchmarks.prefix.workloads import WORKLOADS
from benchmarks.rounds import Row

_DRAW = "held-out"


def measure_prefix(bench: Bench) -> list[Row]:
    """One row for each reading of the rules; one for the best strategy that never learns."""
    rows = []
    for reading, target in TARGETS.items():
        bench.say(f"{len(WORKLOADS)} workloads, {reading} reading of the rules")
        found = measure([_DRAW], [reading], list(WORKLOADS), [*STATIC, PLANNER])
        means = report.means(found)
        best = min((value, name) for name, value in means.items() if name != PLANNER)
        rounded = {name: round(value, 3) for name, value in means.items()}
        told: dict[str, object] = {"missed": misses(found), "strategies": rounded}
        ours = [means[PLANNER]]
        what = f"input cost, {reading} reading"
        rows.append(Row("prefix", what, "x bound", ours, [1.0], "hindsight", target, at_most=True, detail=told))
        rows.append(Row("prefix", what, "x bound", ours, [best[0]], best[1], 1.0, at_most=True))
    return rows
