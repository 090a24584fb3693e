"""The file of `payonce simulate`, read twice: once for times, hosts and lengths, once in the order of the times.

Of the first reading only places are kept, so that a file may be larger than memory. This room must never decide what a
request costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from payonce.cli.output import complain
from payonce.cli.progress import Gauge
from payonce.cli.simulate_world import Facts, sent_otherwise
from payonce.errors import PayonceError
from payonce.recorded import BadLine, Record, read_records

_SHOWN_BAD_LINES = 20
STEP = 50
"""Lines between two looks at the gauge."""


@dataclass(slots=True)
class Index:
    """What the first reading keeps: where each request stands and when it was, and what its model shows."""

    model: str | None
    gap: float
    places: list[tuple[float, int, int]] = field(default_factory=list)
    facts: dict[str, Facts] = field(default_factory=dict)
    bad: list[BadLine] = field(default_factory=list)
    untimed: int = 0
    other_models: int = 0

    def read(self, file: BinaryIO, gauge: Gauge) -> None:
        """Every line once; a bad one is told at once."""
        offset = 0
        starts: list[int] = []

        def lines() -> Iterator[bytes]:
            nonlocal offset
            file.seek(0)
            for line in file:
                starts.append(offset)
                offset += len(line)
                yield line

        before = -self.gap
        for one in read_records(lines()):
            if len(starts) % STEP == 0:
                gauge.show(offset, f"{len(self.places)} requests")
            if isinstance(one, BadLine):
                self._refuse(one)
                continue
            if one.at is None:
                self.untimed += 1
            before = before + self.gap if one.at is None else one.at
            if self.model is not None and not fnmatchcase(one.model, self.model):
                self.other_models += 1
                continue
            self.places.append((before, one.number, starts[one.number - 1]))
            self.facts.setdefault(one.model, Facts()).learn(one)
        self.places.sort()

    def _refuse(self, line: BadLine) -> None:
        self.bad.append(line)
        if len(self.bad) <= _SHOWN_BAD_LINES:
            complain(f"line {line.number}: {line.because}")
        elif len(self.bad) == _SHOWN_BAD_LINES + 1:
            complain("more lines can't be read; --json lists them all")

    def again(self, file: BinaryIO) -> Iterator[Record]:
        """The same requests in the order of their times."""
        for at, number, start in self.places:
            file.seek(start)
            one = next(read_records([file.readline()]), None)
            if not isinstance(one, Record):
                raise PayonceError(f"line {number} changed while the file was read: run this again once it is complete")
            yield replace(one, at=at, number=number, planned=sent_otherwise(one))


def opened(file: Path) -> BinaryIO:
    """The file, which can be read twice; PayonceError where it can't."""
    try:
        lines = file.open("rb")
    except OSError as error:
        raise PayonceError(f"{file} can't be read ({error.strerror}); name a file with one request a line") from None
    if not lines.seekable():
        lines.close()
        raise PayonceError(f"{file} can be read only once, and it has to be read twice: write it into a file first")
    return lines
