"""The books' file in SQL: its tables, and how rows are entered and pruned. Every statement that writes stands here.

`scene` holds who asked whom for what, once for all rows that share it. `minute`, `hour` and `day` hold the same sums,
each by steps of that length in UTC, `receipt` and `call` single requests and upstream calls. This room must never open
a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import apsw

from payonce.books.words import OTHER, SUMMED
from payonce.ledger.tally import HOUR
from payonce.stores.sqlite_look import Kind

APPLICATION_ID: Final = 0x50594C31  # "PYL1"
FORMAT: Final = 3
BOOKS: Final = Kind(APPLICATION_ID, frozenset({"call", "fact", "receipt", "scene"}))
LENGTHS: Final = {"minute": 60, "hour": HOUR, "day": 24 * HOUR}
"""The tables of sums, and the seconds that a row of each stands for."""
SCENES: Final = 20_000
"""So many different scenes are told apart."""
PRUNED: Final = 20_000
"""So many receipts, and so many calls, are pruned at once."""
NAME: Final = 200
"""Characters of a name that are kept: a model's is whatever the client wrote."""


class Scene(NamedTuple):
    """Who asked whom for what."""

    tenant: str = ""
    namespace: str = ""
    endpoint: str = ""
    model: str = ""
    provider: str = ""


class ReceiptRow(NamedTuple):
    """One receipt to be filed, a field for each column. `id` is the number of the request, `request` that of the one
    whose call answered it, 0 where there is none; `parts` is JSON."""

    id: int
    request: int
    scene: Scene
    at: float
    outcome: str
    reason: str
    times: int
    took: float
    stream: bool
    converted: bool
    key: bytes | None
    avoided_nano: int | None
    avoided_input: int | None
    avoided_output: int | None
    served_bytes: int
    parts: bytes | None
    avoided_estimated: bool = False


_SUMS = ", ".join(f"{name} INTEGER NOT NULL" for name in SUMMED)
_KEY = "at INTEGER NOT NULL, scene INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL"
_ROLLUP = f"({_KEY}, {_SUMS}, PRIMARY KEY (at, scene, outcome, reason)) WITHOUT ROWID"
_LATENCY = (
    "(at INTEGER NOT NULL, outcome TEXT NOT NULL, bucket INTEGER NOT NULL, count INTEGER NOT NULL,"
    " PRIMARY KEY (at, outcome, bucket)) WITHOUT ROWID"
)
_DAY_TABLES: Final = f"CREATE TABLE day {_ROLLUP}; CREATE TABLE day_latency {_LATENCY};"
CALL_COLUMNS: Final = (
    *("request", "at", "scene", "passed", "answered_by", "status", "landed", "unkept", "followers", "took", "ttfb"),
    *("input_tokens", "output_tokens", "read_tokens", "written_tokens", "plain_tokens", "cost_nano", "estimated"),
    *("read_saving_nano", "premium_nano", "ours", "missed_tokens", "missed_nano", "advice", "findings", "conversation"),
)
RECEIPT_COLUMNS: Final = ReceiptRow._fields
TURN_SUMS: Final = (
    *("turns", "input_tokens", "read_tokens", "written_tokens", "output_tokens"),
    *("cost_nano", "saving_nano", "missed_tokens", "missed_nano"),
)
"""What a conversation adds up."""
SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
CREATE TABLE fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE scene (scene INTEGER PRIMARY KEY, tenant TEXT NOT NULL, namespace TEXT NOT NULL, endpoint TEXT NOT NULL,
  model TEXT NOT NULL, provider TEXT NOT NULL, UNIQUE (tenant, namespace, endpoint, model, provider));
CREATE TABLE minute {_ROLLUP};
CREATE TABLE hour {_ROLLUP};
CREATE TABLE minute_latency {_LATENCY};
CREATE TABLE hour_latency {_LATENCY};
{_DAY_TABLES}
CREATE TABLE receipt (n INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(RECEIPT_COLUMNS)});
CREATE INDEX receipt_id ON receipt (id);
CREATE INDEX receipt_key ON receipt (substr(key, 1, 8), n) WHERE key IS NOT NULL;
CREATE INDEX receipt_kind ON receipt (n, outcome, reason, scene);
CREATE INDEX receipt_at ON receipt (at);
CREATE TABLE call (n INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(CALL_COLUMNS)});
CREATE INDEX call_request ON call (request);
CREATE INDEX call_conversation ON call (conversation, n) WHERE conversation IS NOT NULL;
CREATE INDEX call_at ON call (at);
CREATE TABLE conversation (conversation BLOB PRIMARY KEY, scene INTEGER NOT NULL, began REAL NOT NULL,
  ended REAL NOT NULL, {", ".join(f"{name} INTEGER NOT NULL" for name in TURN_SUMS)}) WITHOUT ROWID;
CREATE INDEX conversation_ended ON conversation (ended);
"""

_KEPT = ", ".join(SUMMED)
_GROWN = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMMED)
_MARKS = ", ".join("?" for _ in SUMMED)


_SINCE_3 = """
ALTER TABLE {0} ADD COLUMN avoided_estimated INTEGER NOT NULL DEFAULT 0;
"""
"""What format 3 tells apart stands last in its tables, so that older files have it in the same place."""
_TO_3 = f"""
{"".join(_SINCE_3.format(table) for table in ("minute", "hour"))}
ALTER TABLE receipt ADD COLUMN avoided_estimated;
PRAGMA user_version = {FORMAT};
"""
UPGRADES: Final = {
    1: f"""{_TO_3}
{_DAY_TABLES}
INSERT INTO day SELECT at / 86400 * 86400, scene, outcome, reason, {", ".join(f"sum({name})" for name in SUMMED)}
  FROM hour GROUP BY 1, 2, 3, 4;
INSERT INTO day_latency SELECT at / 86400 * 86400, outcome, bucket, sum(count) FROM hour_latency GROUP BY 1, 2, 3;
""",
    2: f"{_TO_3}{_SINCE_3.format('day')}",
}
"""What makes a file of an older format one of this: the first had no days, and neither told what was estimated of what
was avoided."""


Place = tuple[int, Scene, str, str]
"""Beginning of the minute, scene, outcome, reason."""


def scene_number(db: apsw.Connection, scene: Scene) -> int:
    """The number of a scene, entered where it is new; beyond the limit its model and names are not told apart."""
    scene = Scene(*(each[:NAME] for each in scene))
    found = _find_scene(db, scene)
    if found is not None:
        return found
    if (_number(db, "SELECT count(*) FROM scene") or 0) >= SCENES:
        scene = Scene("", "", scene.endpoint, OTHER, "")
        found = _find_scene(db, scene)
        if found is not None:
            return found
    db.execute("INSERT INTO scene (tenant, namespace, endpoint, model, provider) VALUES (?, ?, ?, ?, ?)", scene)
    return db.last_insert_rowid()


def _find_scene(db: apsw.Connection, scene: Scene) -> int | None:
    rows = db.execute(
        "SELECT scene FROM scene WHERE tenant = ? AND namespace = ? AND endpoint = ? AND model = ? AND provider = ?",
        scene,
    ).fetchall()
    return int(rows[0][0]) if rows else None  # type: ignore[arg-type]


def add_sums(db: apsw.Connection, table: str, rows: Iterable[Sequence[apsw.SQLiteValue]]) -> None:
    """Add rows (at, scene, outcome, reason, sums…) to what a table of `LENGTHS` holds."""
    db.executemany(
        f"INSERT INTO {table} (at, scene, outcome, reason, {_KEPT}) VALUES (?, ?, ?, ?, {_MARKS})"
        f" ON CONFLICT DO UPDATE SET {_GROWN}",
        rows,
    )


def add_latency(db: apsw.Connection, table: str, rows: Iterable[Sequence[apsw.SQLiteValue]]) -> None:
    """Add rows (at, outcome, bucket, count) to what the table holds."""
    db.executemany(
        f"INSERT INTO {table} (at, outcome, bucket, count) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        rows,
    )


def add_receipts(db: apsw.Connection, rows: Iterable[Sequence[apsw.SQLiteValue]]) -> None:
    """Enter receipts, with a value for each of `RECEIPT_COLUMNS`."""
    marks = ", ".join("?" for _ in RECEIPT_COLUMNS)
    db.executemany(f"INSERT INTO receipt ({', '.join(RECEIPT_COLUMNS)}) VALUES ({marks})", rows)


def add_call(db: apsw.Connection, values: dict[str, apsw.SQLiteValue], number: int | None) -> int:
    """Enter what is known of an upstream call: a new row, or more of row `number`. Returns the row's number."""
    if number is None:
        names = ", ".join(values)
        marks = ", ".join("?" for _ in values)
        db.execute(f"INSERT INTO call ({names}) VALUES ({marks})", tuple(values.values()))
        return db.last_insert_rowid()
    sets = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE call SET {sets} WHERE n = ?", (*values.values(), number))
    return number


def add_turns(db: apsw.Connection, rows: Iterable[Sequence[apsw.SQLiteValue]]) -> None:
    """Add turns (conversation, scene, began, ended, sums…) to their conversations."""
    marks = ", ".join("?" for _ in range(4 + len(TURN_SUMS)))
    grown = ", ".join(f"{name} = {name} + excluded.{name}" for name in TURN_SUMS)
    db.executemany(
        f"INSERT INTO conversation (conversation, scene, began, ended, {', '.join(TURN_SUMS)}) VALUES ({marks})"
        f" ON CONFLICT DO UPDATE SET scene = excluded.scene, ended = excluded.ended, {grown}",
        rows,
    )


def prune(db: apsw.Connection, now: int, *, receipts: int, minutes: int, hours: int, max_bytes: int) -> None:
    """Delete some of what is past its time, the oldest first: `receipts` is how many receipts and calls may stay each,
    `minutes` and `hours` (days as well) for how many seconds sums are kept, `max_bytes` how large all of it may be."""
    for name, keep, step in (("minute", minutes, HOUR), ("hour", hours, 24 * HOUR), ("day", hours, 24 * HOUR)):
        for table in (name, f"{name}_latency"):
            first = _number(db, f"SELECT min(at) FROM {table}")
            if first is not None and first < now - keep:
                db.execute(f"DELETE FROM {table} WHERE at < ?", (min(now - keep, first + step),))
    used = (_number(db, "PRAGMA page_count") or 0) - (_number(db, "PRAGMA freelist_count") or 0)
    full = used * (_number(db, "PRAGMA page_size") or 0) > max_bytes
    for table in ("receipt", "call"):
        first, last = _number(db, f"SELECT min(n) FROM {table}"), _number(db, f"SELECT max(n) FROM {table}")
        if first is None or last is None:
            continue
        over = max(last - receipts, first + (last - first) // 50 if full else 0)
        db.execute(f"DELETE FROM {table} WHERE n <= ?", (min(over, first + PRUNED),))
    # Calls are entered in the order in which both halves were known, which is not quite that in which they ended.
    db.execute("DELETE FROM conversation WHERE ended < (SELECT at FROM call ORDER BY n LIMIT 1) - 60")


def _number(db: apsw.Connection, query: str) -> int | None:
    [(found,)] = db.execute(query).fetchall()
    return found if isinstance(found, int) else None
