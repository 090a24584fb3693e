"""The command: `python -m benchmarks.prefix`, from the root of the repository. Offline, and the same every time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import product
from math import inf
from pathlib import Path

from rich.console import Console

from benchmarks.prefix import report
from benchmarks.prefix.report import Row
from benchmarks.prefix.running import GPT, WORLDS, bound, run
from benchmarks.prefix.strategies import PAID, PLANNER, STATIC, Planned
from benchmarks.prefix.workloads import CHAT, DRAWS, ONE_SHOT, SEEDS, WORKLOADS, workload

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "prefix-benchmark.md"
CHART = ROOT / "docs" / "prefix-benchmark.svg"
TARGETS = {"optimistic": 1.08, "pessimistic": 1.25}
"""At most so many times the bound, as a geometric mean over workloads and seeds."""
_TITLES = {
    "optimistic": "Claude, open questions read as they cost less",
    "pessimistic": "Claude, open questions read as they cost more",
    GPT: "GPT-5.6, which writes and charges by itself",
}
_NOTHING_TO_GAIN = 1.005
"""No caching costs the bound, or nearly: then a plan must not cost more."""
_BEGIN, _END = "<!-- table: python -m benchmarks.prefix --write -->", "<!-- end of table -->"


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prefix", description=__doc__)
    parser.add_argument("--draw", choices=(*DRAWS, "both"), default="both", help="which traffic (%(default)s)")
    parser.add_argument("--reading", choices=(*WORLDS, "all"), default="all", help="of the rules (%(default)s)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how often each workload is drawn (%(default)s)")
    parser.add_argument("--workload", action="append", metavar="TEXT", help="only those whose name holds this text")
    parser.add_argument("--strategy", action="append", metavar="NAME", help=f"only these: {', '.join(names())}")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON in place of the tables")
    parser.add_argument("--write", action="store_true", help="renew the table and the chart in docs/")
    parser.add_argument("--gate", action="store_true", help="exit 1 where the planner misses a target")
    parsed = parser.parse_args(given)
    if unknown := set(parsed.strategy or ()) - set(names()):
        parser.error(f"no such strategy: {', '.join(sorted(unknown))}; there are: {', '.join(names())}")
    whole = parsed.draw != "train" and (parsed.reading, parsed.seeds) == ("all", SEEDS)
    if parsed.write and (parsed.workload or parsed.strategy or not whole):
        parser.error("--write needs all held-out traffic: leave the other choices out")
    return parsed


def names() -> list[str]:
    """Every strategy that can be run here."""
    return [*STATIC, *([PLANNER] if find_spec("payonce.optimise") else [])]


def measure(
    draws: Sequence[str], readings: Sequence[str], wanted: Sequence[str], strategies: Sequence[str], seeds: int = 1
) -> list[Row]:
    """One row for each workload, draw, reading and seed. `no caching` is always among the strategies."""
    rows = []
    for draw, name, seed in product(draws, wanted, range(seeds)):
        given = workload(name, draw, seed)
        for reading in readings:
            if reading == GPT and name not in CHAT:
                continue
            world = WORLDS[reading]
            requests = world.requests(given)
            static = PAID if reading == GPT else STATIC
            kinds = {kind: make for kind, make in static.items() if kind in strategies or kind == "no caching"}
            kinds |= {"left alone": PAID["left alone"]} if reading == GPT else {}
            kinds |= {PLANNER: Planned} if PLANNER in strategies else {}
            bills = {kind: run(requests, make(), world) for kind, make in kinds.items()}
            rows.append(Row(draw, reading, name, seed, len(requests), float(bound(requests, world)), bills))
    return rows


def misses(rows: Sequence[Row]) -> list[str]:
    """What the planner promises and does not keep, as sentences."""
    said = []
    for draw, reading in dict.fromkeys((row.draw, row.reading) for row in rows):
        part = report.chosen(rows, draw, reading)
        found = report.means(part)
        if found[PLANNER] > TARGETS.get(reading, inf):
            said.append(f"{draw}, {reading}: {found[PLANNER]:.3f} x the bound, above {TARGETS[reading]}")
        said += [
            f"{draw}, {reading}: not below {name!r} ({found[PLANNER]:.3f} and {value:.3f})"
            for name, value in found.items()
            if name != PLANNER and value <= found[PLANNER]
        ]
        for row in part:
            nothing_there = row.ratio("no caching") < _NOTHING_TO_GAIN
            most = 1.01 if row.workload in ONE_SHOT or nothing_there else 1.05
            if row.to_plain(PLANNER) > most:
                said.append(f"{draw}, {reading}, {row.workload}: {row.to_plain(PLANNER):.3f} x no caching")
            if row.bills[PLANNER].refused:
                said.append(f"{draw}, {reading}, {row.workload}: {row.bills[PLANNER].refused} plans were refused")
    return said


def _write(rows: Sequence[Row]) -> None:
    tables = []
    for reading in WORLDS:
        tables += [f"### {_TITLES[reading]}", "", report.markdown(rows, "held-out", reading), ""]
    page = PAGE.read_text()
    head, rest = page.split(_BEGIN)
    report.keep(PAGE, head + _BEGIN + "\n\n" + "\n".join(tables) + _END + rest.split(_END)[1])
    report.keep(CHART, report.chart(rows, "held-out", "optimistic", PLANNER))


def main(given: list[str] | None = None) -> int:
    """Run what was asked for and show it."""
    arguments = _arguments(given)
    draws = DRAWS if arguments.draw == "both" else (arguments.draw,)
    readings = tuple(WORLDS) if arguments.reading == "all" else (arguments.reading,)
    wanted = [name for name in WORKLOADS if not arguments.workload or any(t in name for t in arguments.workload)]
    if not wanted:
        print("no workload has such a name; there are: " + "; ".join(WORKLOADS), file=sys.stderr)
        return 2
    rows = measure(draws, readings, wanted, arguments.strategy or names(), max(1, arguments.seeds))
    if arguments.json:
        print(report.as_json(rows))
    else:
        console = Console()
        report.show(console if console.is_terminal else Console(width=170), rows)
    if arguments.write:
        _write(rows)
    planned = PLANNER in rows[0].bills
    missed = misses(rows) if planned else [f"there is no strategy {PLANNER!r} to hold against the targets"]
    if arguments.gate:
        for sentence in missed:
            print(f"target missed: {sentence}", file=sys.stderr)
    return 1 if arguments.gate and missed else 0


if __name__ == "__main__":
    sys.exit(main())
