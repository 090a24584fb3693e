"""The parts of the benchmark, one file each; a part is a function from a `Bench` to rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies
from benchmarks.rounds import Row, Say


@dataclass(frozen=True, slots=True)
class Bench:
    """What a part is given: a directory of its own, how long to measure, and where to tell how it goes."""

    home: Path
    rounds: int
    seconds: int
    say: Say

    def template(self) -> Path:
        """The file of the numbered chat request."""
        path = self.home / "request.json"
        if not path.exists():
            path.write_text(bodies.request_template())
        return path


Part = Callable[[Bench], list[Row]]
