"""What the commands print: tables for people, JSON for programs.

This room must never know what it prints is about.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

from payonce.wording import one_line, safe


def say(text: str = "") -> None:
    """One line to stdout."""
    sys.stdout.write(f"{safe(text)}\n")


def complain(text: str) -> None:
    """One line to stderr."""
    sys.stderr.write(f"payonce: {safe(text)}\n")


def print_json(value: object, *, lines: bool = False) -> None:
    """One JSON document to stdout; with `lines` on one line, as where others follow."""
    sys.stdout.write(json.dumps(value, indent=None if lines else 2, ensure_ascii=True) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """A table without frame, each row on one line of text; columns in `right` are aligned to the right. Piped, it is as
    wide as it has to be."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    to_the_right = set(right)
    for name in columns:
        drawn.add_column(name, justify="right" if name in to_the_right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(one_line(cell)) for cell in row))
    console = Console(file=sys.stdout, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(
            console.width, drawn.__rich_measure__(console, console.options.update(width=10_000)).maximum
        )
    console.print(drawn)


def shortened(text: str, width: int = 60, focus: int = 0) -> str:
    """`text` cut to `width` on one line, so that the place `focus` can be seen."""
    flat = one_line(text)
    if len(flat) <= width:
        return flat
    start = max(0, min(focus - width // 3, len(flat) - width))
    return ("…" if start else "") + flat[start : start + width] + ("…" if start + width < len(flat) else "")
