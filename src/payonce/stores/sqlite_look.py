"""What a file is, before anything is made of it: a store of ours, another program's database, or something else.

A file may be named by mistake, so this room must never write, nor make or rename a file: what is another's comes out of
it as it went in, its write-ahead log included.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import apsw

from payonce.errors import StoreUnavailableError
from payonce.stores import sqlite_rows as rows

TABLES_QUERY = "SELECT name FROM sqlite_master WHERE type = 'table'"


@dataclass(frozen=True, slots=True)
class Kind:
    """How files of one kind are known: by SQLite's `application_id`, or, where that is damaged, by their tables."""

    application: int
    tables: frozenset[str]


STORE = Kind(rows.APPLICATION_ID, frozenset({"entries", "epochs", "ledger", "notes"}))


def refuse_foreign(path: Path, kind: Kind, what: str) -> None:
    """Raises StoreUnavailableError where a sound database of another program stands at `path`, which was named as
    `what`; not where that can't be told."""
    with suppress(apsw.Error), closing(_opened(path)) as db:
        refuse_if_foreign(db, path, kind, what)


def refuse_if_foreign(db: apsw.Connection, path: Path, kind: Kind, what: str) -> None:
    """The same for a database that is open. One without tables is nobody's. Raises apsw's errors too."""
    [(application,)] = db.execute("PRAGMA application_id").fetchall()
    tables = {str(name) for (name,) in db.execute(TABLES_QUERY)}
    if application != kind.application and tables and not kind.tables <= tables:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # a log is for its own program to write back
        raise StoreUnavailableError(
            f"{path} is another program's database and was left as it is: give the {what} another path"
        )


def strange(path: Path) -> str:
    """Why the file at `path` is no SQLite store of this version; "" where it is one, is empty, or can't be told."""
    try:
        with closing(_opened(path)) as db:
            [(application, version, tables)] = db.execute(rows.FORMAT_QUERY).fetchall()
    except (apsw.NotADBError, apsw.CorruptError) as error:
        return str(error)
    except apsw.Error:
        return ""
    if (application, version) == (rows.APPLICATION_ID, rows.FORMAT) or not (application or version or tables):
        return ""
    return "it is of another version" if application == rows.APPLICATION_ID else "it is another program's database"


def _opened(path: Path) -> apsw.Connection:
    alone = "" if _has_log(path) else "?immutable=1"  # then nothing is made beside it
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(f"file:{quote(os.fspath(path))}{alone}", flags=flags)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
    return db


def _has_log(path: Path) -> bool:
    """Whether changes wait beside the file; another process may just be making or removing what holds them."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:  # none is there, or none can be: what opens the file says why
        return False
