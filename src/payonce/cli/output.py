"""What the commands print: tables for people, JSON for programs, and how sizes, ages and money are written.

This room must never know what it prints is about.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence

# Control characters (also C1, and those that turn the direction of text) could act on a terminal: a stored answer or a
# tag must not (threat table: what is untrusted is shown, never obeyed).
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def say(text: str = "") -> None:
    """One line to stdout."""
    sys.stdout.write(f"{safe(text)}\n")


def complain(text: str) -> None:
    """One line to stderr."""
    sys.stderr.write(f"payonce: {safe(text)}\n")


def safe(text: str) -> str:
    """`text` without what a terminal would obey; line ends and tabs stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def print_json(value: object) -> None:
    """One JSON document to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """A table without frame; columns in `right` are aligned to the right. Piped, it is as wide as it has to be."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    to_the_right = set(right)
    for name in columns:
        drawn.add_column(name, justify="right" if name in to_the_right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(safe(cell)) for cell in row))
    console = Console(file=sys.stdout, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(
            console.width, drawn.__rich_measure__(console, console.options.update(width=10_000)).maximum
        )
    console.print(drawn)


def size(count: int) -> str:
    """`812 B`, `1.5 KiB`, `64 MiB`."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}".replace(".0 ", " ")


def span(seconds: float) -> str:
    """`12 s`, `5 min`, `3.2 h`, `2 d`."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= length:
            return f"{seconds / length:.1f} {unit}".replace(".0 ", " ")
    return f"{seconds:.0f} s"


def money(nanodollars: int) -> str:
    """Billionths of a US dollar as `$1.23`, with more digits where the amount is small."""
    dollars = nanodollars / 1_000_000_000
    return f"${dollars:,.2f}" if abs(dollars) >= 1 or dollars == 0 else f"${dollars:.6f}"


def shortened(text: str, width: int = 60, focus: int = 0) -> str:
    """`text` cut to `width` on one line, so that the place `focus` can be seen."""
    flat = text.replace("\n", "\\n")
    if len(flat) <= width:
        return flat
    start = max(0, min(focus - width // 3, len(flat) - width))
    return ("…" if start else "") + flat[start : start + width] + ("…" if start + width < len(flat) else "")
