"""The one connection of a process that writes to a SQLite store: opened when it is wanted, and anew where the file was
replaced, has to be looked at, or is damaged.

Only the writer's thread may use it, but for `suspect`. This room must never know what is written.
"""

from __future__ import annotations

from contextlib import suppress

import apsw

from payonce.errors import StoreError
from payonce.stores.sqlite_medium import PAGE_BYTES, Fault, Medium, Role, fault_of


class Hand:
    """Writes on `medium`. `db` is the connection, None where there is none at the moment."""

    def __init__(self, medium: Medium) -> None:
        self.db: apsw.Connection | None = None
        self.recheck = False
        """Whether the file is opened and checked anew before it is written again."""
        self._medium = medium
        self._generation = 0
        self._suspect: tuple[int, BaseException] | None = None
        self._repairs = 0

    def suspect(self, generation: int, error: BaseException) -> None:
        """The file of `generation` was found damaged. From any thread."""
        self._suspect = (generation, error)

    def connected(self) -> apsw.Connection:
        """The connection, to the file as it is now. Raises StoreError and apsw.Error."""
        medium = self._medium
        if self._suspect is not None:
            generation, error = self._suspect
            self._suspect = None
            medium.repair(generation, error)
        if self.recheck:
            self.let_go()
            medium.establish()
            self.recheck = False
        if self.db is not None and (self._generation != medium.generation or medium.moved()):
            self.let_go()
        if self.db is None:
            self.db, self._generation = medium.connect(Role.WRITER)
            spare = 0 if medium.ballast is None else medium.ballast.size // 2
            self.db.wal_autocheckpoint(max(16, min(1000, spare // PAGE_BYTES)))
        return self.db

    def let_go(self) -> None:
        """Close the connection."""
        if self.db is not None:
            with suppress(apsw.Error):
                self.db.close()
            self.db = None

    def fault(self, error: Exception) -> Fault:
        """Which fault an error on this connection is."""
        return fault_of(error, 0 if self.db is None else self.db.system_errno)

    def is_astray(self) -> bool:
        """Whether the file went away under the connection."""
        return self.db is not None and self._medium.moved()

    def repaired(self, error: Exception) -> bool:
        """Set the damaged file aside; False where that can't be done, or did not help the last time."""
        self._repairs += 1
        generation = self._generation or self._medium.generation
        self.let_go()
        if self._repairs > 1:
            return False
        with suppress(StoreError):
            self._medium.repair(generation, error)
            return True
        return False

    def proven(self) -> None:
        """An entry was written: the next damage is a new one."""
        self._repairs = 0
