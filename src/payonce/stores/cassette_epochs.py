"""The epochs of a cassette: a small file beside the recordings that git does not see.

A purge deletes recordings; the counts are only for answers that are under way meanwhile, so they need not travel. This
room must never know what a scope means, beyond that scopes of single keys are forgotten after two days.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from payonce.model.ports import Clock
from payonce.model.scopes import KEY_SCOPE_SECONDS
from payonce.stores.cassette_place import Place

FILE: Final = "epochs.json"
_OF_KEYS: Final = "key:"


class _Book(msgspec.Struct):
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    raised: dict[str, float] = msgspec.field(default_factory=dict)
    """When each was last raised; under `key:` the latest of those that were forgotten."""


class EpochBook:
    """The counts as they stand in the file, read again when it has changed."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._stamp: Any = None
        self._book = _Book()
        self._counts: Mapping[str, int] = MappingProxyType({})

    def read(self) -> Mapping[str, int]:
        """Every epoch. A file that can't be read counts as none."""
        try:
            found = os.stat(self._place.hidden / FILE)  # noqa: PTH116 - a third of the time, four times a second
            stamp: Any = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            stamp = None
        if stamp != self._stamp:
            self._take(_load(self._place) if stamp else _Book())
            self._stamp = stamp
        return self._counts

    def raised(self) -> Mapping[str, float]:
        """When each scope was last raised."""
        self.read()
        return dict(self._book.raised)

    def raise_(self, scope: str, at_least: int) -> int:
        """Count `scope` up, under the lock of the place. Raises OSError."""
        book, now = _load(self._place), self._clock()
        count = book.counts[scope] = max(book.counts.get(scope, 0) + 1, at_least)
        book.raised[scope] = now
        for name in [name for name in book.counts if name.startswith(_OF_KEYS)]:
            if now - book.raised.get(name, 0.0) > KEY_SCOPE_SECONDS:
                del book.counts[name]
                book.raised[_OF_KEYS] = max(book.raised.get(_OF_KEYS, 0.0), book.raised.pop(name, 0.0))
        self._place.write(FILE, msgspec.json.format(msgspec.json.encode(book), indent=1), hidden=True)
        self._take(book)
        self._stamp = None
        return count

    def _take(self, book: _Book) -> None:
        self._book = book
        self._counts = MappingProxyType(dict(book.counts))


def _load(place: Place) -> _Book:
    try:
        return msgspec.json.decode((place.hidden / FILE).read_bytes(), type=_Book)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return _Book()
