"""Opening a SQLite store's file: judging it, making it, setting a damaged one aside, joining it from many sides.

Whoever makes, checks or renames the file holds the lock file exclusively; whoever joins holds it shared and looks
whether the file is still the one that was judged. So no process can destroy another's good file, and no connection can
pair a new write-ahead log with an old database. This room must never know an entry or a queue.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum, auto
from pathlib import Path
from urllib.parse import quote

import apsw

from payonce.errors import StoreUnavailableError
from payonce.model.ports import Clock
from payonce.stores import sqlite_place as place
from payonce.stores import sqlite_room as room
from payonce.stores import sqlite_rows as rows
from payonce.stores.sqlite_look import STORE, refuse_foreign, refuse_if_foreign

OLDEST_SQLITE = (3, 51, 3)
"""Older ones may corrupt a file that several processes write (the WAL-reset race)."""
PAGE_BYTES = 8192
_CHECK_SECONDS = 0.05
_READ_BUSY_MS = 50
_log = logging.getLogger("payonce.stores")


class Fault(Enum):
    """What kind of trouble an exception of SQLite means."""

    BUSY = auto()
    FULL = auto()
    READ_ONLY = auto()
    DAMAGED = auto()
    IO = auto()


class Role(Enum):
    """What a connection is for."""

    READER = auto()
    WRITER = auto()
    CLERK = auto()
    """Raises epochs: what it commits is on the medium when it returns."""


class _OtherFormatError(StoreUnavailableError):
    """The file is of another version of this program, or what says whose it is was damaged."""


def fault_of(error: BaseException, errno_of_system: int = 0) -> Fault:
    """Which trouble `error` is."""
    match error:
        case apsw.BusyError() | apsw.LockedError() | apsw.SchemaChangeError() | apsw.ProtocolError():
            return Fault.BUSY
        case apsw.FullError():
            return Fault.FULL
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return Fault.READ_ONLY
        case apsw.CorruptError() | apsw.NotADBError() | apsw.SQLError() | apsw.MismatchError():
            return Fault.DAMAGED
        case apsw.IOError() if errno_of_system in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return Fault.FULL
        case _:
            return Fault.IO


def check_version(version: str) -> None:
    """Refuse a SQLite that may corrupt a shared file."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreUnavailableError(
            f"SQLite {version} may corrupt a file that several processes write: install apsw {oldest} or later"
        )


class Medium:
    """The file of one store, as this process knows it. `generation` counts the files it has been."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        max_bytes: int,
        vfs: str | None,
        busy_ms: int,
        carry: Callable[[], Mapping[str, int]],
    ) -> None:
        self.path = path
        self.generation = 0
        self.read_only = False
        self.set_asides = 0
        self.furnished = False
        """Whether the file counts what each tenant holds: an old one that can't be written does not."""
        self.ballast: place.Ballast | None = None
        self.max_bytes = max_bytes
        self._immutable = False
        self._clock, self._vfs, self._busy_ms, self._carry = clock, vfs, busy_ms, carry
        self._identity: place.Identity | None = None
        self._lock = threading.RLock()

    def moved(self) -> bool:
        """Whether another file, or none, stands at the path now."""
        return place.identity(self.path) != self._identity

    def establish(self) -> None:
        """Judge the file, make it where there is none, set a damaged one aside. Raises `StoreUnavailableError`, also
        where it is another program's: nothing is done to that."""
        check_version(apsw.sqlite_lib_version())
        with self._lock:
            refuse_foreign(self.path, STORE, "store")
            self.path = place.prepare(self.path)
            with place.locked(self.path, exclusive=True):
                try:
                    self._judge_or_replace()
                except apsw.Error as error:
                    raise StoreUnavailableError(
                        f"{self.path} can't be opened ({error}): check its permissions and the disk"
                    ) from error
                self._identity = place.identity(self.path)
                self.generation += 1
                for part in place.PARTS:
                    _tighten(self.path.with_name(self.path.name + part))
            if not self.read_only and self.ballast is None:
                self.ballast = place.Ballast(self.path, self.max_bytes)
                self.ballast.restore()

    def _judge_or_replace(self) -> None:
        try:
            self._judge()
        except _OtherFormatError as error:
            if self.generation:
                raise  # placed there while we ran: a newer version's file is not ours to push away
            self._push_aside(error)
            self._judge()
        except apsw.Error as error:
            if fault_of(error) is not Fault.DAMAGED:
                raise
            self._push_aside(error)
            self._judge()

    def repair(self, generation: int, error: BaseException) -> None:
        """Set the file of `generation` aside as damaged and start a fresh one, unless somebody already did."""
        with self._lock:
            if generation != self.generation:
                return
            with place.locked(self.path, exclusive=True):
                if not self.moved():
                    self._push_aside(error)
            self.establish()

    def connect(self, role: Role) -> tuple[apsw.Connection, int]:
        """A new connection for `role`, and the generation it belongs to. Raises `StoreUnavailableError`."""
        with self._lock:
            if not self.generation or self.moved():
                self.establish()
            with place.locked(self.path, exclusive=False):
                if self.moved():
                    raise StoreUnavailableError(f"{self.path} was replaced while it was being opened: try again")
                return self._open(role), self.generation

    def _judge(self) -> None:
        self._immutable = False
        if not self.path.exists():
            place.create(self.path)
        try:
            self._look()
        except apsw.CantOpenError:
            if os.access(self.path.parent, os.W_OK):
                raise
            self._immutable = True  # a write-ahead log needs its index, and this medium takes none: read the file alone
            self._look()

    def _look(self) -> None:
        db = self._open(Role.WRITER, first=True)
        try:
            self.read_only = db.readonly("main")
            if self.read_only and max(db.read("main", 0, 18, 2)[1], default=0) > 2:
                raise apsw.NotADBError("its header says that no SQLite of today may write it")
            [(application, version, tables)] = db.execute(rows.FORMAT_QUERY).fetchall()
            if (application, version) == (rows.APPLICATION_ID, rows.FORMAT):
                if not self.read_only:
                    _use_wal(db)
                    _furnish(db)
                self.furnished = room.is_furnished(db)
                db.execute(rows.LEDGER).fetchall()
            elif application or version or tables:
                refuse_if_foreign(db, self.path, STORE, "store")
                raise _OtherFormatError(f"it is of format {version} of {application}, not {rows.FORMAT}")
            elif self.read_only:
                raise StoreUnavailableError(f"{self.path} is empty and can't be written: check its permissions")
            else:
                self._make(db)
            _quick_check(db)
        finally:
            _close(db)

    def _make(self, db: apsw.Connection) -> None:
        for pragma in (f"page_size = {PAGE_BYTES}", "auto_vacuum = INCREMENTAL"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        _use_wal(db)
        with rows.transaction(db):
            db.execute(rows.SCHEMA).fetchall()
            self.furnished = True
            rows.carry_epochs(db, self._carry(), self._clock())

    def _push_aside(self, error: BaseException) -> None:
        target = place.set_aside(self.path, self._clock())
        self.set_asides += 1
        _log.warning(
            "payonce: %s could not be used (%s); it was set aside as %s and a fresh store was started",
            self.path,
            error,
            target.name,
        )

    def _open(self, role: Role, *, first: bool = False) -> apsw.Connection:
        try:
            db = self._plain_open()
        except apsw.Error as error:
            if not first:
                raise StoreUnavailableError(f"{self.path} can't be opened: {error}") from error
            raise
        try:
            db.set_busy_timeout(_READ_BUSY_MS if role is Role.READER else self._busy_ms)
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, role is Role.READER)
            for pragma in (
                "trusted_schema = OFF",
                "cell_size_check = ON",
                f"synchronous = {'FULL' if role is Role.CLERK else 'NORMAL'}",
            ):
                db.execute(f"PRAGMA {pragma}").fetchall()
            if role is Role.READER:
                db.execute("PRAGMA query_only = ON").fetchall()
                db.execute("PRAGMA cache_size = -8000").fetchall()
            if not first:
                db.execute(rows.LEDGER).fetchall()  # opens the log and its index while we hold the lock
        except BaseException:
            _close(db)
            raise
        return db

    def _plain_open(self) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_NOFOLLOW
        if self._immutable:
            uri = f"file:{quote(os.fspath(self.path))}?immutable=1"
            return apsw.Connection(uri, flags=flags | apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, vfs=self._vfs)
        return apsw.Connection(os.fspath(self.path), flags=flags | apsw.SQLITE_OPEN_READWRITE, vfs=self._vfs)


def _use_wal(db: apsw.Connection) -> None:
    [(mode,)] = db.execute("PRAGMA journal_mode = WAL").fetchall()
    if mode != "wal":
        raise StoreUnavailableError("this file system takes no write-ahead log: put the store on a local disk")


def _furnish(db: apsw.Connection) -> None:
    if not room.is_furnished(db):
        with rows.transaction(db):
            room.furnish(db)


def _quick_check(db: apsw.Connection) -> None:
    # Bounded in time, so a large file is checked in part: what is missed shows as SQLITE_CORRUPT later.
    deadline = time.monotonic() + _CHECK_SECONDS
    db.set_progress_handler(lambda: time.monotonic() > deadline, 2000)
    try:
        found = db.execute("PRAGMA quick_check(1)").fetchall()
    except apsw.InterruptError:
        return
    finally:
        db.set_progress_handler(None)
    if found != [("ok",)]:
        raise apsw.CorruptError(str(found[0][0]))


def _tighten(path: Path) -> None:
    try:
        if path.stat(follow_symlinks=False).st_mode & 0o077:
            path.chmod(0o600)
    except OSError:
        return


def _close(db: apsw.Connection) -> None:
    try:
        db.close()
    except apsw.Error:
        return
