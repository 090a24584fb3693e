"""The leases of one process on a SQLite file: locks on bytes of a file beside it, one byte for each slot.

The kernel takes a lock back at once when its process dies, so nothing expires and nothing is written. While no other
process has the file open, no lock is taken. A lock belongs to the process and not to the descriptor (POSIX), so the
descriptor is never closed before the store is. This room must never know SQL, nor an entry.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from payonce.model.leasing import Claimed

UNKEPT_SECONDS = 2.0
"""For so long it is said that an answer was not kept: everybody who waits has read it by then."""
_PRESENCE = 0
"""The byte on which every process has a shared lock."""
_UNKEPT = 1
"""Behind the byte of a slot's lease stands the one that says so: locked by who says it, tried in vain by who looks."""
_TRIES = 20
_SUFFIX = ".flights"


class FileLeases:
    """Those on the file beside `path`. `waits` says whether what was put at a slot is not yet written."""

    def __init__(self, path: Path, waits: Callable[[bytes], bool]) -> None:
        self._path, self._waits = path.with_name(path.name + _SUFFIX), waits
        self._lock = threading.Lock()
        self._file: int | None = None
        self._closed = False
        self._held: set[bytes] = set()
        self._done: set[bytes] = set()
        self._unsaid: dict[bytes, float] = {}
        self._unkept: dict[bytes, float] = {}
        self._alone = True

    def needed(self, slot: bytes) -> bool:  # noqa: ARG002 - the same for all
        """Whether another process has the store open."""
        return not self._alone

    def claim(self, slot: bytes) -> Claimed:
        """As the port has it; a second claim of this process is free: who waits for whom in it, its tower knows."""
        with self._lock:
            self._give_back()
            ours = slot in self._held or slot in self._unsaid or slot in self._unkept
            return Claimed(self._alone or ours or self._take(slot))

    def release(self, slot: bytes, *, kept: bool) -> None:
        """As the port has it."""
        with self._lock:
            if slot not in self._held:
                return
            self._held.discard(slot)
            if kept:
                self._done.add(slot)
            else:
                self._unsaid[slot] = time.monotonic() + UNKEPT_SECONDS
            self._give_back()

    def tend(self) -> None:
        """Look who else is there, and give back what is done. Called often; never raises."""
        with self._lock:
            if self._opened() is None:
                return
            self._alone = self._locked(fcntl.LOCK_EX, _PRESENCE)
            self._locked(fcntl.LOCK_SH, _PRESENCE)
            self._give_back()

    def close(self) -> None:
        """Give everything back, for good."""
        with self._lock:
            self._closed = self._alone = True
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _take(self, slot: bytes) -> bool:
        """Free where an answer was just not kept, or nobody has it."""
        place = _place(slot)
        if not self._locked(fcntl.LOCK_SH, place + _UNKEPT):
            return True
        self._unlock(place + _UNKEPT)
        if not self._locked(fcntl.LOCK_EX, place):
            return False
        self._held.add(slot)
        self._done.discard(slot)
        return True

    def _say_unkept(self, now: float) -> None:
        """Mark the bytes, and only then give the leases back. Who looks at a byte is in the way for a moment, or for as
        long as the kernel lets its process wait there: then it is tried again, but not for ever."""
        for slot, until in list(self._unsaid.items()):
            said = any(self._locked(fcntl.LOCK_EX, _place(slot) + _UNKEPT) for _ in range(_TRIES))
            if said:
                self._unkept[slot] = now + UNKEPT_SECONDS
            if said or until <= now:
                del self._unsaid[slot]
                self._done.add(slot)

    def _give_back(self) -> None:
        """Unlock what is released and written, and forget what was said long enough."""
        now = time.monotonic()
        self._say_unkept(now)
        for slot in [slot for slot in self._done if not self._waits(slot)]:
            self._done.discard(slot)
            self._unlock(_place(slot))
        for slot in [slot for slot, until in self._unkept.items() if until <= now]:
            del self._unkept[slot]
            self._unlock(_place(slot) + _UNKEPT)

    def _opened(self) -> int | None:
        if self._file is None and not self._closed:
            with suppress(OSError):
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
        return self._file

    def _locked(self, how: int, place: int) -> bool:
        file = self._opened()
        try:
            if file is not None:
                fcntl.lockf(file, how | fcntl.LOCK_NB, 1, place)
        except OSError:  # another process has it, or the kernel has no room for one more lock
            return False
        return True

    def _unlock(self, place: int) -> None:
        if self._file is not None:
            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)


def _place(slot: bytes) -> int:
    """The byte of a slot's lease."""
    return 2 + 2 * int.from_bytes(blake2b(slot, digest_size=7).digest(), "big")
