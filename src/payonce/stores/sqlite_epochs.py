"""The epochs in a SQLite store: cheap to poll, durable to raise, and never falling back when the file is a new one.

This room must never know what a scope means, beyond that scopes of single keys are forgotten after two days.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import cast

import apsw

from payonce.errors import StoreUnavailableError
from payonce.model.ports import Clock
from payonce.stores import sqlite_rows as rows
from payonce.stores.sqlite_medium import Medium, Role


class EpochBook:
    """One connection of its own: what it commits is on the medium (synchronous=FULL), what others commit it notices."""

    def __init__(self, clock: Clock) -> None:
        self.known: Mapping[str, int] = MappingProxyType({})
        """The counts as last seen: what a fresh file is given."""
        self._clock = clock
        self._lock = threading.Lock()
        self._db: apsw.Connection | None = None
        self._generation = 0
        self._closed = False
        self._version: apsw.SQLiteValue = None
        self._changes: apsw.SQLiteValue = None

    def read(self, medium: Medium) -> Mapping[str, int]:
        """Every epoch; reads the table only if someone has raised one since."""
        with self._lock:
            db = self._joined(medium)
            version = db.execute(rows.DATA_VERSION).fetchall()[0][0]
            if version != self._version:
                self._read(db)
                self._version = version
            return self.known

    def raise_(self, medium: Medium, least: Mapping[str, int]) -> Mapping[str, int]:
        """Count scopes up by one, or to what is given; on return they are on the medium. Their counts."""
        with self._lock:
            db = self._joined(medium)
            counts = rows.raise_epochs(db, least, self._clock())
            self._read(db)
            return counts

    def close(self) -> None:
        """Let the connection go, for good."""
        with self._lock:
            self._closed = True
            self._leave()

    def _joined(self, medium: Medium) -> apsw.Connection:
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        if self._db is not None and self._generation == medium.generation and not medium.moved():
            return self._db
        self._leave()
        self._db, self._generation = medium.connect(Role.CLERK)
        known = self.known
        self._read(self._db)
        behind = {scope: count for scope, count in known.items() if self.known.get(scope, 0) < count}
        if behind:  # another process made this file and knew less than we do
            self.known = MappingProxyType({**self.known, **behind})
            with suppress(apsw.Error), rows.transaction(self._db):
                rows.carry_epochs(self._db, behind, self._clock())
        return self._db

    def _read(self, db: apsw.Connection) -> None:
        changes = db.execute(rows.LEDGER).fetchall()[0][2]
        if changes != self._changes:
            self.known = MappingProxyType(dict(cast("list[tuple[str, int]]", db.execute(rows.EPOCHS).fetchall())))
            self._changes = changes

    def _leave(self) -> None:
        if self._db is not None:
            with suppress(apsw.Error):
                self._db.close()
        self._db = self._version = self._changes = None
