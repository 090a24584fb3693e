"""A sieve: a small map in a file that all processes of a store share, which knows for certain what is *not* stored.

Every put marks two bytes; a slot whose bytes are not both marked was never put, and its miss needs neither disk nor
thread. Marks are only ever added, one byte at a time, so processes need no lock; what is evicted stays marked, which
costs a look and nothing else. Until the slots that the store already holds have been marked, the sieve knows nothing.
This room must never know what is stored where, and never grow.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

BYTES_PER_ENTRY = 16
TYPICAL_ENTRY = 3000
SMALLEST, LARGEST = 1 << 16, 1 << 26

_log = logging.getLogger("payonce.stores")


def sieve_bytes(max_bytes: int) -> int:
    """How large the sieve of a store of `max_bytes` is: a power of two, room for twice the entries it may hold."""
    wanted = max_bytes // TYPICAL_ENTRY * BYTES_PER_ENTRY
    return min(LARGEST, max(SMALLEST, 1 << max(0, wanted - 1).bit_length()))


class Sieve:
    """`held` gives the slots that the store holds, in pieces; it is called in a thread, once, and again when the map's
    file was replaced."""

    def __init__(self, beside: Path, max_bytes: int, held: Callable[[], Iterable[Iterable[bytes]]]) -> None:
        size = sieve_bytes(max_bytes)
        self.path = beside.with_name(f"{beside.name}.seen{size.bit_length() - 1}")
        self._mask = size - 1
        self._held = held
        self._map: mmap.mmap | None = None
        self._file = (0, 0)
        self._ready = False
        self._closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def absent(self, slot: bytes) -> bool:
        """True where it is certain that `slot` was never put by any process."""
        if not self._ready or (seen := self._map) is None:
            return False
        first, second = self._places(slot)
        try:
            return not (seen[first] and seen[second])
        except ValueError:  # closed at this moment
            return False

    def mark(self, slot: bytes) -> None:
        """`slot` is about to be put."""
        if (seen := self._map) is not None:
            with suppress(ValueError):  # closed at this moment
                for place in self._places(slot):
                    seen[place] = 1

    def start(self) -> None:
        """Map the file and begin to mark what is held; also after the file was replaced. May wait for the disk."""
        with self._lock:
            if self._closed or (self._map is not None and self._file == _identity(self.path)):
                return
            self._ready = False
            try:
                self._map = self._open()
            except (OSError, ValueError) as error:
                self._map = None
                _log.info("no sieve at %s, every miss looks into the file: %s", self.path, error)
                return
            self._thread = threading.Thread(target=self._fill, args=(self._map,), name="payonce-sieve", daemon=True)
            self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Until what is held is marked; False if `timeout` seconds were not enough."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return self._ready

    def close(self) -> None:
        """Know nothing any more."""
        with self._lock:
            self._closed = True
        self.wait(2.0)
        self._ready = False
        seen, self._map = self._map, None
        if seen is not None:
            seen.close()

    def _places(self, slot: bytes) -> tuple[int, int]:
        first = int.from_bytes(slot[:4], "little")
        second = int.from_bytes(slot[4:8], "little") ^ (slot[-1] * 0x9E3779B1 if slot else 0)
        return first & self._mask, second & self._mask

    def _open(self) -> mmap.mmap:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(handle)
            if found.st_uid != os.geteuid():
                raise OSError(f"{self.path} belongs to another user")
            os.posix_fallocate(handle, 0, self._mask + 1)  # a page that the disk has no room for would kill the process
            self._file = (found.st_dev, found.st_ino)
            return mmap.mmap(handle, self._mask + 1)
        finally:
            os.close(handle)

    def _fill(self, seen: mmap.mmap) -> None:
        try:
            for slots in self._held():
                for slot in slots:
                    for place in self._places(slot):
                        seen[place] = 1
                if self._closed:
                    return
        except Exception as error:  # noqa: BLE001 - whatever it is: without a sieve the store answers all the same
            _log.info("the sieve stays empty, every miss looks into the file: %s", error)
            return
        if self._map is seen and not self._closed:
            self._ready = True


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.lstat()
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)
