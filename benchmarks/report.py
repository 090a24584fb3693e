"""What is shown and kept of a run: a table for people, Markdown for the documentation, JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.rounds import Row

_HEAD = ("what", "unit", "payonce", "peer", "median", "min..max", "target", "met")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _middle(values: list[float]) -> str:
    return _number(sorted(values)[len(values) // 2]) if values else "-"


def cells(row: Row) -> tuple[str, ...]:
    """The texts of one line of the table."""
    sign = "" if row.difference else " x"
    shown = [f"{value:+.3f}" if row.difference else f"{value:.2f}" for value in sorted(row.compared)]
    median = "-"
    if row.median is not None:
        median = (f"{row.median:+.3f}" if row.difference else f"{row.median:.2f}") + sign
    target = "-" if row.target is None else f"{'<=' if row.at_most else '>='} {row.target:g}{sign}"
    met = {True: "yes", False: "NO", None: "-"}[row.met]
    peer = f"{_middle(row.peer)} ({row.peer_name})"
    span = f"{shown[0]}..{shown[-1]}" if shown else row.note or "-"
    return (row.what, row.unit, _middle(row.ours), peer, median, span, target, met)


def machine_line(machine: dict[str, str]) -> str:
    """The machine in one line."""
    return "; ".join(f"{name} {value}" if name != "payonce" else value for name, value in machine.items())


def show(console: Console, rows: list[Row], machine: dict[str, str]) -> None:
    """Print the table, the latencies of each row that has them, and the machine."""
    table = Table(*_HEAD, title="Payonce beside its peers")
    for row in rows:
        style = {True: "green", False: "red", None: None}[row.met]
        table.add_row(*cells(row), style=style)
    console.print(table)
    for row in rows:
        if row.detail:
            console.print(f"{row.part}, {row.what}: {json.dumps(row.detail)}", style="dim", highlight=False)
        if row.note:
            console.print(f"{row.part}, {row.what}: {row.note}", style="dim", highlight=False)
    console.print(machine_line(machine), style="dim", highlight=False)


def markdown(rows: list[Row], machine: dict[str, str]) -> str:
    """The table as it stands in docs/benchmarks.md."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join([*lines, "", machine_line(machine), ""])


def keep(path: Path, rows: list[Row], machine: dict[str, str], settings: dict[str, int]) -> None:
    """Write all figures as JSON."""
    figures = [
        {
            "part": row.part,
            "what": row.what,
            "unit": row.unit,
            "peer": row.peer_name,
            "ours": row.ours,
            "theirs": row.peer,
            "compared": row.compared,
            "by": "difference" if row.difference else "ratio",
            "median": row.median,
            "target": row.target,
            "at_most": row.at_most,
            "met": row.met,
            "detail": row.detail,
            "note": row.note,
        }
        for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "settings": settings, "rows": figures}, indent=1) + "\n")
