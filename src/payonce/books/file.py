"""The books' file: where it stands, how it is opened, and what becomes of one that is damaged.

One file for each store, beside it; processes share it. What can't be read is set aside, and fresh books are begun. For
a store in memory the books are in memory too. This room must never know what is written in it.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from payonce.books import schema
from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores import sqlite_place as place
from payonce.stores.sqlite_look import refuse_foreign, refuse_if_foreign

BUSY_MS: Final = 1000
PAGE_BYTES: Final = 4096
STATEMENTS: Final = 512
"""So many statements apsw keeps prepared, the most that it will. To it each use is one more: with its usual 100, the
receipts of a second drive out all that enters the sums."""
_numbers = itertools.count(1)
_log = logging.getLogger("payonce.books")


class _OtherFormatError(Exception):
    """The file is of another version of this program, or what says whose it is was damaged."""


class BooksFile:
    """The books at `path`, or in memory where it is None: these are seen by this process alone, and end with the last
    connection to them."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.memory = "" if path is not None else f"file:/payonce-books-{os.getpid()}-{next(_numbers)}?vfs=memdb"
        self._identity: place.Identity | None = None
        self._read: place.Identity | None = None

    @property
    def exists(self) -> bool:
        """Whether there is anything to read."""
        return self.path is None or self.path.exists()

    def moved(self) -> bool:
        """Whether another file, or none, stands at the path now."""
        return self.path is not None and place.identity(self.path) != self._identity

    def replaced(self) -> bool:
        """The same, for who reads."""
        return self.path is not None and place.identity(self.path) != self._read

    def writer(self) -> apsw.Connection:
        """A connection that writes; the file is made where there is none. Raises `StoreError`, also where it is another
        program's: nothing is done to that."""
        if self.path is None:
            return self._ready(_connect(self.memory, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE))
        self.refuse_foreign()
        self.path = place.prepare(self.path)
        with place.locked(self.path, exclusive=True):
            try:
                db = self._joined()
            except (apsw.CorruptError, apsw.NotADBError, _OtherFormatError) as error:
                aside = place.set_aside(self.path, time.time())
                _log.warning("payonce: %s can't be read (%s): set aside as %s", self.path, error, aside.name)
                db = self._joined()
            except apsw.Error as error:
                raise StoreUnavailableError(f"{self.path} can't be opened: {error}") from error
            self._identity = place.identity(self.path)
            return db

    def reader(self) -> apsw.Connection | None:
        """A connection that only reads; None where there are no books yet. Raises `StoreError` where there are some
        that can't be read."""
        try:
            if self.path is None:
                db = _connect(self.memory, apsw.SQLITE_OPEN_READWRITE)
            else:
                self._read = place.identity(self.path)
                db = _connect(os.fspath(self.path), apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW)
            db.set_busy_timeout(BUSY_MS)
            db.execute("PRAGMA query_only = ON; PRAGMA cache_size = -16000").fetchall()
            found = _format(db)
            if found == (0, 0):
                db.close()
                return None
            if found != (schema.APPLICATION_ID, schema.FORMAT):
                db.close()
                raise StoreError(f"{self.path} is a ledger of another version: start a gateway, which updates it")
            return db
        except apsw.Error as error:
            raise StoreUnavailableError(f"the ledger {self.path or ''} can't be read: {error}") from error

    def refuse_foreign(self) -> None:
        """Raises `StoreUnavailableError` where the file is another program's database."""
        if self.path is not None:
            refuse_foreign(self.path, schema.BOOKS, "ledger")

    def _joined(self) -> apsw.Connection:
        assert self.path is not None
        place.create(self.path)
        return self._ready(_connect(os.fspath(self.path), apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW))

    def _ready(self, db: apsw.Connection) -> apsw.Connection:
        try:
            db.set_busy_timeout(BUSY_MS)
            found = _format(db)
            if found == (0, 0) and not db.execute("SELECT count(*) FROM sqlite_master").get:
                db.execute(f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL").fetchall()
                self._log_ahead(db)
                with transaction(db):
                    db.execute(schema.SCHEMA).fetchall()
                    db.execute("INSERT INTO fact VALUES ('name', ?)", (secrets.token_hex(8),)).fetchall()
            elif found[0] == schema.APPLICATION_ID and found[1] in schema.UPGRADES:
                with transaction(db):
                    db.execute(schema.UPGRADES[found[1]]).fetchall()
            elif found != (schema.APPLICATION_ID, schema.FORMAT):
                if self.path is not None:
                    refuse_if_foreign(db, self.path, schema.BOOKS, "ledger")
                raise _OtherFormatError(f"format {found}")
            else:
                self._log_ahead(db)
            db.execute(
                "PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON"
            ).fetchall()
            return db
        except BaseException:
            db.close()
            raise

    def _log_ahead(self, db: apsw.Connection) -> None:
        if self.path is not None:
            db.execute("PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = 8388608").fetchall()


@contextmanager
def transaction(db: apsw.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK."""
    db.execute("BEGIN IMMEDIATE").fetchall()
    try:
        yield
        db.execute("COMMIT").fetchall()
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK").fetchall()
        raise


def _connect(name: str, flags: int) -> apsw.Connection:
    uri = apsw.SQLITE_OPEN_URI if name.startswith("file:") else 0
    return apsw.Connection(name, flags=flags | uri, statementcachesize=STATEMENTS)


def _format(db: apsw.Connection) -> tuple[int, int]:
    with db:  # both of one moment: another process may just be making the file
        [(application,)] = db.execute("PRAGMA application_id").fetchall()
        [(version,)] = db.execute("PRAGMA user_version").fetchall()
    return int(str(application)), int(str(version))
