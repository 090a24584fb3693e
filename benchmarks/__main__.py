"""The command: `python -m benchmarks [PART ...]`, from the root of the repository."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks import machine, report
from benchmarks.parts import (
    Bench,
    Part,
    entries,
    first_byte,
    hits,
    key,
    ledger,
    library,
    litellm,
    memory,
    misses,
    plan,
    prefix,
    purge,
    shared,
    uncached,
)
from benchmarks.rounds import Row

PARTS: dict[str, Part] = {
    "hits": hits.measure,
    "misses": misses.measure,
    "pass": uncached.measure,
    "first-byte": first_byte.measure,
    "entries": entries.measure,
    "memory": memory.measure,
    "key": key.measure,
    "library": library.measure,
    "ledger": ledger.measure,
    "shared": shared.measure,
    "plan": plan.measure,
    "litellm": litellm.measure,
    "prefix": prefix.measure_prefix,
    "purge": purge.measure,
}
_PLAIN_WIDTH = 150
"""How wide the table is where nobody is looking at a terminal."""
RESULTS = Path(__file__).parent / "results"


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of: {' '.join(PARTS)}; none means all")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--seconds", type=int, default=4, help="how long each turn of a round is (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go, besides benchmarks/results/")
    parser.add_argument("--gate", action="store_true", help="exit 1 where a target is not met or a part failed")
    parsed = parser.parse_args(given)
    if unknown := set(parsed.parts) - set(PARTS):
        parser.error(f"no such part: {' '.join(sorted(unknown))}; there are: {' '.join(PARTS)}")
    if min(parsed.rounds, parsed.seconds) < 1:
        parser.error("--rounds and --seconds must be at least 1")
    return parsed


def main(given: list[str] | None = None) -> int:
    """Measure the parts that were named, show and keep the figures."""
    arguments = _arguments(given)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    machine.prepare()
    about = machine.describe()
    rows: list[Row] = []
    failed: list[str] = []
    with console.status("") as status:
        for name in arguments.parts or PARTS:

            def say(text: str, name: str = name) -> None:
                status.update(f"{name}: {text}")
                console.print(f"[dim]{name}:[/dim] {text}", highlight=False)

            say("starting")
            with tempfile.TemporaryDirectory(prefix="payonce-bench-", ignore_cleanup_errors=True) as home:
                try:
                    rows += PARTS[name](Bench(Path(home), arguments.rounds, arguments.seconds, say))
                except Exception as error:
                    failed.append(name)
                    say(f"failed: {error}")
                    rows.append(Row(name, f"{name}: failed", "-", [], [], "-", note=str(error).splitlines()[0]))
    if machine.source() != about["source"]:
        about["source"] += " (and changed while measuring: not all rows are of one state)"
    report.show(console, rows, about)
    settings = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    files = [RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json", *([arguments.json] if arguments.json else [])]
    for file in files:
        report.keep(file, rows, about, settings)
    (RESULTS / "latest.md").write_text(report.markdown(rows, about))
    console.print(f"kept in {', '.join(map(str, files))}", style="dim", highlight=False)
    bad = failed or any(row.met is False for row in rows)
    return 1 if arguments.gate and bad else 0


if __name__ == "__main__":
    sys.exit(main())
