"""The pages of a cassette, found and read; what can't be read is counted, said once, and passed over.

Nothing here raises on the way of a call. This room must never write a page, nor judge an answer.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from payonce.model import reason
from payonce.stores.cassette_errors import said
from payonce.stores.cassette_page import Page
from payonce.stores.cassette_place import Place
from payonce.stores.cassette_read import DamagedError, read

PLAYED: Final = "played"
RECORDED: Final = "recorded"
watchers: list[Callable[[str, Path], None]] = []
"""Told of each file out of which an answer was read (`PLAYED`), and of each that now holds one (`RECORDED`)."""
_log = logging.getLogger("payonce.stores")


class Files:
    """The files of one place, as pages. `dropped` counts what was lost, by reason id."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.dropped: Counter[str] = Counter()
        self._said: set[str] = set()
        self._unsynced: set[str] = set()

    def find(self, slot: bytes) -> tuple[str, Page] | None:
        """The file that holds `slot`, and its page."""
        for anew in (False, True):
            gone = False
            for name in self.place.candidates(slot, anew=anew):
                data = self.data(name)
                gone = gone or data is None
                page = self.page(name, data)
                if page is not None and page.slot == slot:
                    return name, page
            if not gone:
                return None
        return None

    def pages(self, names: list[str]) -> Iterator[tuple[str, Page]]:
        """Those of these files that can be read, with their pages."""
        for name in names:
            page = self.page(name, self.data(name))
            if page is not None:
                yield name, page

    def data(self, name: str) -> bytes | None:
        """What a file holds; None where there is none that can be read."""
        try:
            return self.place.read(name)
        except OSError as error:
            self.fault(error, f"{name} can't be read")
            return None

    def page(self, name: str, data: bytes | None) -> Page | None:
        """The page in a file's `data`; None where it is damaged."""
        if data is None:
            return None
        try:
            return read(data)
        except DamagedError as error:
            if name not in self._said:
                self._said.add(name)
                self.dropped[reason.DAMAGED.id] += 1
                _log.warning("payonce: %s %s: it counts as not recorded", self.named(name), error)
            return None

    def fault(self, error: OSError, so: str) -> None:
        """Say once what the system has refused, and what follows."""
        if so not in self._said:
            self._said.add(so)
            _log.warning("payonce: cassette %s: %s: %s", self.place.path, said(error), so)

    def size(self, name: str) -> int | None:
        """The bytes of a file; None where it is gone."""
        try:
            return (self.place.path / name).stat().st_size
        except OSError:
            return None

    def stamp(self, name: str) -> int:
        """When a file was written, in nanoseconds."""
        try:
            return (self.place.path / name).stat().st_mtime_ns
        except OSError:
            return 0

    def named(self, name: str) -> str:
        """A file's path as a person at this place would write it."""
        path = self.place.path / name
        try:
            return str(path.relative_to(Path.cwd()))
        except (ValueError, OSError):
            return str(path)

    def tell(self, what: str, name: str) -> None:
        """Tell the watchers, and remember what is yet to be brought to the medium."""
        if what == RECORDED:
            self._unsynced.add(name)
        for watcher in watchers:
            watcher(what, self.place.path / name)

    def sync(self, seconds: float) -> bool:
        """Bring what was recorded to the medium itself; False where `seconds` were not enough."""
        until = time.monotonic() + seconds
        waiting, self._unsynced = self._unsynced, set()
        while waiting:
            if time.monotonic() > until:
                self._unsynced |= waiting
                return False
            _sync(self.place.path / waiting.pop())
        return True


def _sync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
