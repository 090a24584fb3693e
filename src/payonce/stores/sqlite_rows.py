"""The SQL of a SQLite store: its tables, and what a transaction does with them.

One table holds the entries, words first and bytes last, so that one descent finds an entry and listing reads no large
bodies. Triggers keep count and bytes in one row, whoever deletes. This room must never know threads, files or faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar, cast

import apsw
import orjson

from payonce.model.ports import About, Row
from payonce.model.quota import Quotas
from payonce.model.reason import Reason
from payonce.model.scopes import KEY_SCOPE_SECONDS
from payonce.stores.notes import MOST_NOTES, NOTE_SECONDS
from payonce.stores.sqlite_room import ROOM_SCHEMA, make_room
from payonce.stores.write_queue import ROW_OVERHEAD, Batch, Write

APPLICATION_ID = 0x50594F31
FORMAT = 1
FORMAT_QUERY = (
    "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),"
    " (SELECT count(*) FROM sqlite_master)"
)
"""Whose a file is, of which format, and how many tables it has."""

SCHEMA = f"""
CREATE TABLE entries(
  id INTEGER PRIMARY KEY, slot BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, stored_at REAL NOT NULL,
  expires_at REAL NOT NULL, used_at INTEGER NOT NULL,
  tenant TEXT NOT NULL, namespace TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL,
  tags TEXT NOT NULL, value BLOB NOT NULL);
CREATE INDEX by_expiry ON entries(expires_at);
CREATE TABLE ledger(one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL, bytes INTEGER NOT NULL,
  epoch_changes INTEGER NOT NULL, beat INTEGER NOT NULL);
INSERT INTO ledger VALUES (1, 0, 0, 0, 0);
CREATE TRIGGER counted AFTER INSERT ON entries BEGIN
  UPDATE ledger SET entries = entries + 1, bytes = bytes + new.size + {ROW_OVERHEAD}; END;
CREATE TRIGGER uncounted AFTER DELETE ON entries BEGIN
  UPDATE ledger SET entries = entries - 1, bytes = bytes - old.size - {ROW_OVERHEAD}; END;
CREATE TABLE epochs(scope TEXT PRIMARY KEY, count INTEGER NOT NULL, raised_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE notes(name TEXT PRIMARY KEY, value BLOB NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
{ROOM_SCHEMA}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""  # noqa: S608 - numbers of this module

GET = "SELECT value, expires_at, used_at FROM entries WHERE slot = ?"
LEDGER = "SELECT entries, bytes, epoch_changes FROM ledger"
EPOCHS = "SELECT scope, count FROM epochs"
NOTES = "SELECT name, value FROM notes"
DATA_VERSION = "PRAGMA data_version"
_LIST = (
    "SELECT id, slot, size, stored_at, expires_at, tenant, namespace, endpoint, model, tags FROM entries"
    " WHERE id < ? AND expires_at > ? ORDER BY id DESC LIMIT 256"
)
_INSERT = "INSERT INTO entries VALUES "
_ROW = "(NULL,?,?,?,?,?,?,?,?,?,?,?)"
_DELETE_ID = "DELETE FROM entries WHERE id = ?"
_NOTE = "INSERT INTO notes VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at"
_PRUNE = "DELETE FROM notes WHERE at < ? AND name <> 'epochs/forgotten-keys'"
_PRUNE_OLDEST = (
    "DELETE FROM notes WHERE name IN (SELECT name FROM notes WHERE name <> 'epochs/forgotten-keys'"
    " ORDER BY at DESC LIMIT -1 OFFSET ?)"
)
_TOUCH = "UPDATE entries SET used_at = ? WHERE slot = ?"
_RAISE = (
    "INSERT INTO epochs VALUES (?, max(1, ?), ?) ON CONFLICT (scope) DO UPDATE"
    " SET count = max(count + 1, ?), raised_at = excluded.raised_at RETURNING count"
)
_CARRY = (
    "INSERT INTO epochs VALUES (?, ?, ?) ON CONFLICT (scope) DO UPDATE"
    " SET count = excluded.count, raised_at = excluded.raised_at WHERE excluded.count > count"
)
_REMEMBER_KEYS = (  # the note's time is that of the latest purge of a single key that was forgotten
    "INSERT INTO notes SELECT 'epochs/forgotten-keys', x'', max(raised_at) FROM epochs"
    " WHERE scope >= 'key:' AND scope < 'key;' AND raised_at < ? HAVING max(raised_at) IS NOT NULL"
    " ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)"
)
_FORGET_KEYS = "DELETE FROM epochs WHERE scope >= 'key:' AND scope < 'key;' AND raised_at < ?"
RAISED = (
    "SELECT scope, raised_at FROM epochs UNION ALL SELECT 'key:', at FROM notes WHERE name = 'epochs/forgotten-keys'"
)

T = TypeVar("T")
Query = Callable[[str, tuple["apsw.SQLiteValue", ...]], list[tuple["apsw.SQLiteValue", ...]]]


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


def apply(db: apsw.Connection, batch: Batch, now: float, limit: int, quotas: Quotas) -> Counter[Reason]:
    """Write `batch` in one transaction, and make room in it. How many entries went for that, by reason."""
    with transaction(db):
        if batch.touches:
            db.executemany(_TOUCH, [(at, slot) for slot, at in batch.touches.items()])
        for slots in _chunks(list(batch.writes)):
            db.execute(f"DELETE FROM entries WHERE slot IN ({','.join('?' * len(slots))})", slots).fetchall()  # noqa: S608
        new = [(slot, write) for slot, write in batch.writes.items() if write.value is not None]
        for rows in _chunks([_columns(slot, write, now) for slot, write in new]):
            db.execute(_INSERT + ",".join([_ROW] * len(rows)), tuple(chain.from_iterable(rows))).fetchall()
        gone = make_room(db, limit, now, quotas, {_text(write.about.tenant) for _, write in new if write.about})
        if batch.notes:
            db.executemany(_NOTE, [(name, value, now) for name, (_, value) in batch.notes.items()])
    return gone


def _chunks(items: list[T]) -> Iterator[list[T]]:
    """`items` in pieces of few different lengths: one statement for many rows, which SQLite runs while Python goes on
    elsewhere, and whose text is prepared once."""
    start = 0
    for size in (32, 8, 1):
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


def _columns(slot: bytes, write: Write, now: float) -> tuple[apsw.SQLiteValue, ...]:
    about, value = write.about, write.value
    assert about is not None
    assert value is not None
    tags = orjson.dumps([_text(tag) for tag in about.tags]).decode() if about.tags else ""
    words = (_text(about.tenant), _text(about.namespace), _text(about.endpoint), _text(about.model), tags)
    return (slot, len(value), about.stored_at, about.expires_at, int(now), *words, value)


def _text(word: str) -> str:
    return word if word.isascii() else word.encode("utf-8", "replace").decode()  # half a surrogate pair has no UTF-8


def slots(query: Query) -> Iterator[Iterator[bytes]]:
    """Every slot, in pieces, from its index alone."""
    last = b""
    while found := query("SELECT slot FROM entries WHERE slot > ? ORDER BY slot LIMIT 5000", (last,)):
        last = cast("bytes", found[-1][0])
        yield (cast("bytes", slot) for (slot,) in found)


def prune_notes(db: apsw.Connection, now: float) -> None:
    """Delete the records that are too old, and the oldest of too many; inside a transaction."""
    db.execute(_PRUNE, (now - NOTE_SECONDS,)).fetchall()
    db.execute(_PRUNE_OLDEST, (MOST_NOTES,)).fetchall()


def delete_ids(db: apsw.Connection, ids: Iterable[int]) -> int:
    """Delete entries by their row ids. How many there were."""
    with transaction(db):
        before = cast("int", db.execute(LEDGER).fetchall()[0][0])
        db.executemany(_DELETE_ID, [(entry,) for entry in ids])
        return before - cast("int", db.execute(LEDGER).fetchall()[0][0])


def shrink(db: apsw.Connection, pages: int = 200) -> None:
    """Give up to `pages` pages back to the disk where more than a quarter of the file is unused."""
    free, count = (
        cast("int", db.execute(f"PRAGMA {name}").fetchall()[0][0]) for name in ("freelist_count", "page_count")
    )
    if free > 500 and free * 4 > count:
        db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()


def probe(db: apsw.Connection) -> None:
    """Write something small, to see whether writing works again."""
    with transaction(db):
        db.execute("UPDATE ledger SET beat = beat + 1").fetchall()


def raise_epochs(db: apsw.Connection, least: Mapping[str, int], now: float) -> dict[str, int]:
    """Count scopes up by one, or to what is given, in one transaction, and forget epochs of single keys that no flight
    can remember. Their new counts."""
    counts: dict[str, int] = {}
    with transaction(db):
        for statement in (_REMEMBER_KEYS, _FORGET_KEYS):
            db.execute(statement, (now - KEY_SCOPE_SECONDS,)).fetchall()
        for scope, at_least in least.items():
            [(count,)] = db.execute(_RAISE, (scope, at_least, now, at_least)).fetchall()
            counts[scope] = int(cast("int", count))
        db.execute("UPDATE ledger SET epoch_changes = epoch_changes + 1").fetchall()
    return counts


def carry_epochs(db: apsw.Connection, epochs: Mapping[str, int], now: float) -> None:
    """Write what this process knows of the epochs into a fresh file, so that no count ever falls back."""
    db.executemany(_CARRY, [(scope, count, now) for scope, count in epochs.items()])
    db.execute("UPDATE ledger SET epoch_changes = epoch_changes + 1").fetchall()


def listing(query: Query, now: float) -> Iterator[tuple[int, Row]]:
    """Every entry with its row id, newest first, a page at a time: no read transaction outlives its page."""
    last: apsw.SQLiteValue = 1 << 62
    while page := query(_LIST, (last, now)):
        for row in cast("list[tuple[int, bytes, int, float, float, str, str, str, str, str]]", page):
            last, slot, size, stored_at, expires_at, tenant, namespace, endpoint, model, tags = row
            words = (tenant, namespace, endpoint, model, tuple(orjson.loads(tags)) if tags else ())
            yield row[0], Row(slot, size, About(stored_at, expires_at, *words))
