"""How far something is, on stderr: a bar on a terminal, elsewhere a line now and then. This room must never know what
is counted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from payonce.cli.output import complain
from payonce.wording import safe

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_SECONDS = 10.0
"""How often a line is written where there is no terminal."""


class Gauge:
    """Shows `done` of `total` (None: nobody knows how many); a total of 0 shows nothing."""

    def __init__(self, what: str, total: int | None, bar: Progress | None) -> None:
        self._what = what
        self._total = total
        self._bar = bar
        self._task: TaskID | None = bar.add_task(what, total=total, note="") if bar is not None else None
        self._said_at = time.monotonic()

    def show(self, done: int, note: str = "") -> None:
        """So much is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, note=safe(note))
            return
        now = time.monotonic()
        if now - self._said_at >= LINE_SECONDS:
            self._said_at = now
            share = f" {done / self._total:.0%}" if self._total else ""
            complain(f"{self._what}{share} {note}".rstrip())


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Gauge]:
    """A gauge that is taken away at the end of the block."""
    if not sys.stderr.isatty():
        yield Gauge(what, total, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, redirect_stdout=False) as bar:
        yield Gauge(what, total, bar)
