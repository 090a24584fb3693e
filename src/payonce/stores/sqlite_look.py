"""What a file is, before anything is made of it. This room must never write, nor make or rename a file."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from payonce.stores import sqlite_rows as rows


def strange(path: Path) -> str:
    """Why the file at `path` is no SQLite store of this version; "" where it is one, is empty, or can't be told."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW
    try:
        db = apsw.Connection(os.fspath(path), flags=flags)
    except apsw.Error:
        return ""
    try:
        [(application, version, tables)] = db.execute(rows.FORMAT_QUERY).fetchall()
    except (apsw.NotADBError, apsw.CorruptError) as error:
        return str(error)
    except apsw.Error:
        return ""
    finally:
        db.close()
    if (application, version) == (rows.APPLICATION_ID, rows.FORMAT) or not (application or version or tables):
        return ""
    return "it is of another version" if application == rows.APPLICATION_ID else "it is another program's database"
