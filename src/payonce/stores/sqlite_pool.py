"""Connections that read: as many as there are gets at one moment, bounded, renewed when the file is another.

This room must never write, nor judge a fault: it hands SQLite's exceptions to its caller.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import apsw

from payonce.errors import StoreUnavailableError
from payonce.stores.sqlite_medium import Medium, Role


class _Reader(NamedTuple):
    db: apsw.Connection
    generation: int


class ReaderPool:
    """Queries on whichever reader is free."""

    def __init__(self, medium: Medium, *, size: int, wait: float) -> None:
        self._medium, self._size, self._wait = medium, size, wait
        self._idle: list[_Reader] = []
        self._returned = threading.Condition(threading.Lock())
        self._open = 0
        self._waiting = 0
        self._closed = False

    def query(self, sql: str, args: Sequence[apsw.SQLiteValue] = ()) -> list[tuple[apsw.SQLiteValue, ...]]:
        """Every row at once, so that no read transaction stays open."""
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = self._another()
        if reader.generation != self._medium.generation:
            self._retire(reader)
            reader = self._another()
        try:
            rows = reader.db.execute(sql, args).fetchall()
        except BaseException:
            self._retire(reader)
            raise
        self._idle.append(reader)
        if self._closed:
            self.close()
        elif self._waiting:
            with self._returned:
                self._returned.notify()
        return rows

    def close(self) -> None:
        """Close every reader, those in use when they come back."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._retire(self._idle.pop())

    def _another(self) -> _Reader:
        with self._returned:
            while self._open >= self._size:
                self._waiting += 1
                try:
                    if not self._idle and not self._returned.wait(self._wait):
                        raise StoreUnavailableError(
                            f"{self._size} reads are under way and none ended within {self._wait} s: look at the disk"
                        )
                finally:
                    self._waiting -= 1
                if self._idle:
                    reader = self._idle.pop()
                    if reader.generation == self._medium.generation:
                        return reader
                    reader.db.close()
                    self._open -= 1
            if self._closed:
                raise StoreUnavailableError("the store is closed")
            self._open += 1
        try:
            return _Reader(*self._medium.connect(Role.READER))
        except BaseException:
            with self._returned:
                self._open -= 1
                self._returned.notify()
            raise

    def _retire(self, reader: _Reader) -> None:
        with suppress(apsw.Error):
            reader.db.close()
        with self._returned:
            self._open -= 1
            self._returned.notify()
