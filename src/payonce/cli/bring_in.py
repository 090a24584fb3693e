"""`payonce import FILE`: the answers of an export, into the store that the settings name.

This room must never decide whether an entry may come in; moving.py does.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from payonce.cli.entries import open_shelf, seal_name
from payonce.cli.flags import AsJson, ConfigFile, SecretFile, StoreUrl
from payonce.cli.output import complain, print_json, say
from payonce.cli.progress import progress
from payonce.errors import PayonceError
from payonce.listing import Shelf
from payonce.model.reason import ROUTINE
from payonce.moving import FLUSH_SECONDS, Importer, Verdict, counted
from payonce.moving_lines import Damage, from_line

_LEFT_OUT = {
    Verdict.PRESENT: "there already, as new",
    Verdict.EXPIRED: "past their TTL",
    Verdict.PURGED: "not shown to be younger than every purge here that concerns them (docs/moving.md)",
    Verdict.FUTURE: "stored in the future: the clock of one of the machines is wrong",
    Verdict.REFUSED: "not taken by the store: it is full, read-only, or they are too large",
}
_WRONG = (Verdict.FUTURE, Verdict.REFUSED)


class _Tally:
    """What became of the lines."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.damaged: list[int] = []
        self.foreign = 0
        self.lost = 0


def bring_in(
    file: Path | None = None,
    /,
    *,
    json: AsJson = False,
    store: StoreUrl = None,
    secret_file: SecretFile = None,
    config: ConfigFile = None,
) -> int:
    """Bring the answers of an export into a store. Exit code 1 where a line is damaged or an entry could not be kept.

    Doing it again changes nothing: what is there already, and as new, is passed over. An entry keeps its age, and stays
    out where a purge in this store may concern it.

    Parameters
    ----------
    file
        A file that payonce export wrote. Without it, standard input.
    """
    tally = _Tally()
    with (
        _input(file) as (lines, total),
        open_shelf(store, config, secret_file=secret_file, create=True, create_secret=True) as shelf,
        progress("importing", total) as gauge,
    ):
        importer, mark, place = Importer(shelf.store, shelf.secret, shelf.clock), seal_name(shelf.secret), 0
        before = _lost(shelf)
        for number, line in enumerate(lines, start=1):
            place += len(line)
            if line.strip():
                _take(importer, mark, tally, number, line)
            gauge.show(place, f"{tally.verdicts[Verdict.IMPORTED]} imported")
        flushed = shelf.store.flush(FLUSH_SECONDS)
        tally.lost = max(_lost(shelf) - before - importer.refusals, 0 if flushed else 1)
    return _report(tally, as_json=json)


def _take(importer: Importer, mark: str, tally: _Tally, number: int, line: bytes) -> None:
    moved = from_line(line)
    if isinstance(moved, Damage):
        tally.damaged.append(number)
        torn = "the export was cut off in it" if not line.endswith(b"\n") else moved.because
        complain(f"line {number} is damaged: {torn}")
        return
    verdict = importer.take(moved)
    tally.verdicts[verdict] += 1
    if verdict is Verdict.IMPORTED:
        tally.foreign += moved.sealed_by != mark


def _report(tally: _Tally, *, as_json: bool) -> int:
    wrong = bool(tally.damaged or tally.lost or any(tally.verdicts[verdict] for verdict in _WRONG))
    if as_json:
        more = {"damaged_lines": tally.damaged, "lost": tally.lost, "of_another_secret": tally.foreign}
        print_json(counted(tally.verdicts) | more)
        return int(wrong)
    say(f"imported {tally.verdicts[Verdict.IMPORTED]}")
    for verdict, because in _LEFT_OUT.items():
        if tally.verdicts[verdict]:
            say(f"left out {tally.verdicts[verdict]}: {because}")
    if tally.damaged:
        say(f"damaged {len(tally.damaged)}: {'line' if len(tally.damaged) == 1 else 'lines'} {_named(tally.damaged)}")
    if tally.lost:
        complain("the store lost some of them while it wrote: see that its disk has room, and import again")
    if tally.foreign:
        complain(
            f"{tally.foreign} come from an installation with another secret: no request here can hit them, unless that "
            "installation's secret file is used here too (docs/moving.md)"
        )
    return int(wrong)


def _named(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (" …" if len(numbers) > 20 else "")


def _lost(shelf: Shelf) -> int:
    """How many entries the store dropped, apart from those that made room for others."""
    return sum(count for reason, count in shelf.store.dropped().items() if reason not in ROUTINE)


@contextmanager
def _input(file: Path | None) -> Iterator[tuple[BinaryIO, int | None]]:
    """The lines, and how many bytes they are, where that is known."""
    if file is None:
        if sys.stdin.isatty():
            raise PayonceError("there is nothing to import: name a file of payonce export, or pipe one in")
        yield sys.stdin.buffer, None
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise PayonceError(f"{file} can't be read ({error.strerror}); name a file of payonce export") from None
    with opened:
        yield opened, file.stat().st_size
