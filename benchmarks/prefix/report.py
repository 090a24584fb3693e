"""What is shown and kept of a run: tables for people, Markdown and a chart for the docs, JSON for programs.

This room must never know how a figure came about.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console
from rich.table import Table

from benchmarks.prefix.running import Bill


@dataclass(frozen=True, slots=True)
class Row:
    """One workload under one reading of the rules: the bound in US dollars, and the bill of each strategy."""

    draw: str
    reading: str
    workload: str
    seed: int
    requests: int
    bound: float
    bills: dict[str, Bill]

    def ratio(self, strategy: str) -> float:
        """What a strategy cost, as a multiple of the bound."""
        return float(self.bills[strategy].cost) / self.bound

    def to_plain(self, strategy: str) -> float:
        """What a strategy cost, as a multiple of no caching."""
        return float(self.bills[strategy].cost) / float(self.bills["no caching"].cost)


def mean(ratios: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))


def means(rows: Sequence[Row]) -> dict[str, float]:
    """The geometric mean of each strategy's ratios to the bound."""
    return {name: mean(row.ratio(name) for row in rows) for name in rows[0].bills}


def spread(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """The least and the greatest of the geometric means over the workloads of one seed."""
    seeds = [means([row for row in rows if row.seed == seed]) for seed in dict.fromkeys(row.seed for row in rows)]
    return {name: (min(one[name] for one in seeds), max(one[name] for one in seeds)) for name in seeds[0]}


def by_workload(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each workload together: one for each seed."""
    return [[row for row in rows if row.workload == name] for name in dict.fromkeys(row.workload for row in rows)]


def chosen(rows: Sequence[Row], draw: str, reading: str) -> list[Row]:
    """The rows of one draw under one reading."""
    return [row for row in rows if (row.draw, row.reading) == (draw, reading)]


def _groups(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.draw, row.reading) for row in rows))


def show(console: Console, rows: Sequence[Row]) -> None:
    """One table for each draw and reading."""
    for draw, reading in _groups(rows):
        part = chosen(rows, draw, reading)
        table = Table(title=f"Input cost as a multiple of the bound: {draw}, {reading} reading")
        table.add_column("workload")
        for name in ("requests", "bound $", *part[0].bills):
            table.add_column(name, justify="right")
        for same in by_workload(part):
            table.add_row(*_cells(same))
        table.add_section()
        table.add_row("geometric mean", "", "", *(f"{value:.3f}" for value in means(part).values()), style="bold")
        if len({row.seed for row in part}) > 1:
            table.add_row("of one seed", "", "", *(f"{low:.2f}..{high:.2f}" for low, high in spread(part).values()))
        console.print(table)


def _cells(rows: list[Row]) -> list[str]:
    """One line: requests and bound added up over the seeds, ratios as their geometric mean."""
    ratios = []
    for name, ratio in means(rows).items():
        refused = sum(row.bills[name].refused for row in rows)
        ratios.append(f"{ratio:.2f}" + (f" ({refused} x 400)" if refused else ""))
    return [rows[0].workload, str(sum(row.requests for row in rows)), f"{sum(row.bound for row in rows):.4f}", *ratios]


def markdown(rows: Sequence[Row], draw: str, reading: str) -> str:
    """The table as it stands in the documentation."""
    part = chosen(rows, draw, reading)
    names = list(part[0].bills)
    lines = [f"| workload | requests | bound, $ | {' | '.join(names)} |", "|---|" + "---:|" * (len(names) + 2)]
    lines += [f"| {' | '.join(_cells(same))} |" for same in by_workload(part)]
    lines.append("| **geometric mean** | | | " + " | ".join(f"**{v:.3f}**" for v in means(part).values()) + " |")
    lines.append(
        "| of one seed | | | " + " | ".join(f"{low:.2f}..{high:.2f}" for low, high in spread(part).values()) + " |"
    )
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> str:
    """Every figure; money as decimal text."""
    return json.dumps(
        {
            "rows": [
                {
                    "draw": row.draw, "reading": row.reading, "workload": row.workload, "seed": row.seed,
                    "requests": row.requests,
                    "bound": f"{row.bound:.9f}",
                    "strategies": {
                        name: {
                            "cost": format(bill.cost, "f"), "to_bound": round(row.ratio(name), 4),
                            "to_no_caching": round(row.to_plain(name), 4), "refused": bill.refused,
                            "read": bill.split.read, "write_5m": bill.split.write, "write_1h": bill.split.write_1h,
                            "plain": bill.split.plain,
                        }
                        for name, bill in row.bills.items()
                    },
                }
                for row in rows
            ],
            "geometric_means": {
                f"{draw}, {reading}": {name: round(v, 4) for name, v in means(chosen(rows, draw, reading)).items()}
                for draw, reading in _groups(rows)
            },
        },
        indent=1,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the chart

_BAR, _GAP, _LEFT, _WIDTH = 20, 10, 190, 520
_INK, _PAPER, _OURS, _OTHERS = "#24292f", "#ffffff", "#1a7f37", "#8c959f"


def chart(rows: Sequence[Row], draw: str, reading: str, ours: str) -> str:
    """Horizontal bars: the geometric mean of each strategy, dearest first, and the bound as a line at 1."""
    ordered = sorted(means(chosen(rows, draw, reading)).items(), key=lambda item: -item[1])
    scale = _WIDTH / max(value for _, value in ordered)
    height = 56 + len(ordered) * (_BAR + _GAP) + 30
    line = _LEFT + scale
    size = f'width="{_LEFT + _WIDTH + 70}" height="{height}"'
    title = "Input cost as a multiple of the least possible (geometric mean)"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
        f'<text x="16" y="26" font-size="15" font-weight="600" fill="{_INK}">{title}</text>',
    ]
    for place, (name, value) in enumerate(ordered):
        top = 46 + place * (_BAR + _GAP)
        colour = _OURS if name == ours else _OTHERS
        parts += [
            f'<text x="{_LEFT - 8}" y="{top + 15}" text-anchor="end" fill="{_INK}">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{top}" width="{value * scale:.1f}" height="{_BAR}" rx="3" fill="{colour}"/>',
            f'<text x="{_LEFT + value * scale + 6:.1f}" y="{top + 15}" fill="{_INK}">{value:.2f}</text>',
        ]
    bottom = height - 34
    parts += [
        f'<line x1="{line:.1f}" y1="40" x2="{line:.1f}" y2="{bottom}" stroke="{_INK}" stroke-dasharray="4 3"/>',
        f'<text x="{line:.1f}" y="{bottom + 18}" text-anchor="middle" fill="{_INK}">bound = 1</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def keep(path: Path, text: str) -> None:
    """Write a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
