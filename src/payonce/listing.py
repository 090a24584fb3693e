"""The entries of a store, as people see them: unsealed, and alive by every epoch.

Commands and dashboard read with these. This room must never decide what may be served, nor change an entry.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from payonce.errors import SettingsError
from payonce.model.about import about_entry
from payonce.model.entry import Entry, unseal
from payonce.model.key import PREFIX
from payonce.model.ports import Clock, Glancing, Row, Store
from payonce.model.scopes import alive


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
        epochs = self.store.epochs()
        for row in self.store.rows():
            if wanted(row) and (found := self.read(row, epochs)):
                yield found

    def newest(self, wanted: Callable[[Row], bool], most: int) -> tuple[list[Listed], int]:
        """The newest living entries whose row is wanted, `most` at most; and how many entries were looked at, where
        those were not all (else 0)."""
        if not isinstance(self.store, Glancing):
            return list(islice(self.listed(wanted), most)), 0
        epochs = self.store.epochs()
        rows, looked = self.store.glance(wanted, 2 * most + 100)  # some of them were purged
        found = [listed for row in rows if (listed := self.read(row, epochs))]
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
        blob = self.store.get(row.slot)
        entry = unseal(blob, row.slot, self.secret) if blob is not None else None
        return Listed(row, entry) if entry is not None and _lives(entry, epochs) else None


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
