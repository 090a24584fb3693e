"""The entries of a store, as people see them: unsealed, and alive by every epoch.

Commands and dashboard read with these. This room must never decide what may be served, nor change an entry.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from payonce.errors import SettingsError
from payonce.model.about import about_entry
from payonce.model.entry import Entry, unseal
from payonce.model.key import PREFIX
from payonce.model.ports import Bulk, Clock, Glancing, Row, Store
from payonce.model.scopes import alive

AT_ONCE = 250
"""So many entries are read at once,"""
BATCH_BYTES = 1 << 20
"""or as many as have so many bytes; one that is larger by itself."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry that is kept and not purged."""

    row: Row
    entry: Entry

    @property
    def key(self) -> str:
        """How the key is shown."""
        return PREFIX + self.row.slot[:-1].hex()

    @property
    def framing(self) -> str:
        """`stream` or `whole`."""
        return "stream" if self.row.slot.endswith(b"s") else "whole"


@dataclass(frozen=True, slots=True)
class Shelf:
    """An open store, with what is needed to read it."""

    store: Store
    secret: bytes
    clock: Clock

    def listed(self, wanted: Callable[[Row], bool] = lambda _row: True) -> Iterator[Listed]:
        """The living entries whose row is wanted, newest first."""
        return (found for found in self.looked_at(wanted) if found is not None)

    def looked_at(self, wanted: Callable[[Row], bool]) -> Iterator[Listed | None]:
        """The same, and None in the place of each that is wanted and gone, or dead."""
        epochs = self.store.epochs()
        for rows in _batches(filter(wanted, self.store.rows())):
            yield from self._read_all(rows, epochs)

    def newest(self, wanted: Callable[[Row], bool], most: int) -> tuple[list[Listed], int]:
        """The newest living entries whose row is wanted, `most` at most; and how many entries were looked at, where
        those were not all (else 0)."""
        if not isinstance(self.store, Glancing):
            return list(islice(self.listed(wanted), most)), 0
        epochs = self.store.epochs()
        rows, looked = self.store.glance(wanted, 2 * most + 100)  # some of them were purged
        found = [listed for some in _batches(rows) for listed in self._read_all(some, epochs) if listed is not None]
        return found[:most], looked if self.store.volume().entries > looked else 0

    def under(self, digest: bytes) -> Iterator[Listed]:
        """The living entries of one key, in either framing, without a look at any other."""
        epochs = self.store.epochs()
        for slot in (digest + b"s", digest + b"w"):
            blob = self.store.get(slot)
            entry = unseal(blob, slot, self.secret) if blob is not None else None
            if blob is not None and entry is not None and _lives(entry, epochs):
                yield Listed(Row(slot, len(blob), about_entry(entry)), entry)

    def read(self, row: Row, epochs: Mapping[str, int]) -> Listed | None:
        """The entry of a row; None where it is gone, or dead by these epochs."""
        return self._proven(row, self.store.get(row.slot), epochs)

    def _read_all(self, rows: Sequence[Row], epochs: Mapping[str, int]) -> list[Listed | None]:
        """As `read` for each, in one step where the store can. What is not found so is asked for by itself, as a server
        may not have answered: then that is raised."""
        if not isinstance(self.store, Bulk):
            return [self.read(row, epochs) for row in rows]
        blobs = self.store.get_many([row.slot for row in rows])
        return [
            self.read(row, epochs) if blob is None else self._proven(row, blob, epochs)
            for row, blob in zip(rows, blobs, strict=True)
        ]

    def _proven(self, row: Row, blob: bytes | None, epochs: Mapping[str, int]) -> Listed | None:
        entry = unseal(blob, row.slot, self.secret) if blob is not None else None
        return Listed(row, entry) if entry is not None and _lives(entry, epochs) else None


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in pieces that a server far away answers in one round trip."""
    some: list[Row] = []
    size = 0
    for row in rows:
        if some and (len(some) == AT_ONCE or size + row.size > BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append(row)
        size += row.size
    if some:
        yield some


def _lives(entry: Entry, epochs: Mapping[str, int]) -> bool:
    return alive(entry.scopes, entry.epochs, entry.stored_at, epochs)


_DIGITS = re.compile(r"[0-9a-f]{4,64}", re.ASCII)


def key_digits(text: str) -> str:
    """The digits of a key, or of the beginning of one; raises `SettingsError` where `text` is neither."""
    digits = text.strip().lower().removeprefix(PREFIX)
    if not _DIGITS.fullmatch(digits):
        raise SettingsError(
            f"{text!r} is no key: write {PREFIX} and 4 to 64 hexadecimal digits, as payonce ls shows them"
        )
    return digits


def fitting(model: str | None, tag: str | None, namespace: str | None) -> Callable[[Row], bool]:
    """Whether a row fits: `model` is a glob; None asks nothing."""

    def fits(row: Row) -> bool:
        about = row.about
        return (
            (model is None or fnmatch.fnmatchcase(about.model, model))
            and (tag is None or tag in about.tags)
            and (namespace is None or about.namespace == namespace)
        )

    return fits
