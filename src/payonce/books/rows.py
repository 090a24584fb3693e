"""Questions about single receipts, upstream calls and conversations, each by an index.

This room must never write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import apsw
import orjson

from payonce.books.schema import CALL_COLUMNS, RECEIPT_COLUMNS, TURN_SUMS
from payonce.books.words import Conversation, Filed, Spent
from payonce.model.key import PREFIX

_SCENE: Final = ("tenant", "namespace", "endpoint", "model", "provider")
_RECEIPT: Final = ", ".join(
    ("r.n", *(f"r.{name}" for name in RECEIPT_COLUMNS if name != "scene"), *(f"s.{name}" for name in _SCENE))
)
_CALL: Final = ", ".join(
    ("c.n", *(f"c.{name}" for name in CALL_COLUMNS if name != "scene"), *(f"s.{name}" for name in _SCENE))
)
_RECEIPT_NAMES: Final = ("n", *(name for name in RECEIPT_COLUMNS if name != "scene"), *_SCENE)
_CALL_NAMES: Final = ("n", *(name for name in CALL_COLUMNS if name != "scene"), *_SCENE)


@dataclass(frozen=True, slots=True)
class Which:
    """Which receipts are asked for: what is not None must be so. `outcome` may be several, with commas between them;
    `after` and `before` are numbers of receipts, `since` and `until` Unix seconds."""

    outcome: str | None = None
    reason: str | None = None
    model: str | None = None
    tenant: str | None = None
    namespace: str | None = None
    endpoint: str | None = None
    after: int | None = None
    before: int | None = None
    since: float | None = None
    until: float | None = None


def recent(db: apsw.Connection, which: Which, limit: int) -> list[Filed]:
    """The newest receipts that fit, newest first."""
    wanted: list[str] = []
    args: list[apsw.SQLiteValue] = []
    scenes = {name: value for name in _SCENE[:4] if (value := getattr(which, name)) is not None}
    if scenes:
        same = " AND ".join(f"{name} = ?" for name in scenes)
        wanted.append(f"scene IN (SELECT scene FROM scene WHERE {same})")
        args += scenes.values()
    if which.reason is not None:
        wanted.append("reason = ?")
        args.append(which.reason)
    if which.outcome is not None:
        outcomes = which.outcome.split(",")
        wanted.append(f"outcome IN ({', '.join('?' * len(outcomes))})")
        args += outcomes
    index = "INDEXED BY receipt_kind" if wanted else ""
    for condition, bound in (
        ("n > ?", which.after),
        ("n < ?", which.before),
        ("n >= (SELECT min(n) FROM receipt WHERE at >= ?)", which.since),
        ("n <= (SELECT max(n) FROM receipt WHERE at < ?)", which.until),
    ):
        if bound is not None:
            wanted.append(condition)
            args.append(bound)
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    chosen = f"SELECT n FROM receipt {index} {where} ORDER BY n DESC LIMIT ?"
    query = f"SELECT {_RECEIPT} FROM receipt r JOIN scene s USING (scene) WHERE r.n IN ({chosen}) ORDER BY r.n DESC"
    return _read(db, query, (*args, limit))


def of_id(db: apsw.Connection, number: int) -> Filed | None:
    """The receipt of a request."""
    query = f"SELECT {_RECEIPT} FROM receipt r JOIN scene s USING (scene) WHERE r.id = ? ORDER BY r.n DESC LIMIT 1"
    found = _read(db, query, (number,))
    return found[0] if found else None


def of_key(db: apsw.Connection, digest: bytes, limit: int) -> list[Filed]:
    """The newest receipts of a key, or of all keys that begin so, newest first."""
    query = (
        f"SELECT {_RECEIPT} FROM receipt r JOIN scene s USING (scene) WHERE r.key IS NOT NULL"
        " AND substr(r.key, 1, 8) BETWEEN ? AND ? AND substr(r.key, 1, ?) = ? ORDER BY r.n DESC LIMIT ?"
    )
    return _read(db, query, (digest[:8], digest[:8].ljust(8, b"\xff"), len(digest), digest, limit))


def calls(db: apsw.Connection, conversation: bytes | None, before: int | None, limit: int) -> list[Spent]:
    """The newest upstream calls, or those of a conversation, newest first. They are chosen in the order in which the
    workers wrote them down, within a second or two of that in which they ended."""
    wanted = {"c.conversation = ?": conversation, "c.n < ?": before}
    given = {condition: value for condition, value in wanted.items() if value is not None}
    where = f"WHERE {' AND '.join(given)}" if given else ""
    query = f"SELECT {_CALL} FROM call c JOIN scene s USING (scene) {where} ORDER BY c.n DESC LIMIT ?"
    found = [_spent(row) for row in db.execute(query, (*given.values(), limit))]
    return sorted(found, key=lambda call: call.at, reverse=True)


def slowest(db: apsw.Connection, since: float, limit: int) -> list[Spent]:
    """Of the latest 100,000 upstream calls those that took longest."""
    query = (
        f"SELECT {_CALL} FROM call c JOIN scene s USING (scene) WHERE c.at >= ?"
        " AND c.n > (SELECT max(n) FROM call) - 100000 AND c.took IS NOT NULL ORDER BY c.took DESC LIMIT ?"
    )
    return [_spent(row) for row in db.execute(query, (since, limit))]


def conversations(db: apsw.Connection, since: float, before: float | None, limit: int) -> list[Conversation]:
    """Conversations that went on after `since` and ended before `before`, the latest first."""
    query = f"{_TALKS} WHERE ended >= ? AND ended < ? ORDER BY ended DESC LIMIT ?"
    return [_talk(row) for row in db.execute(query, (since, 1e18 if before is None else before, limit))]


def conversation(db: apsw.Connection, name: bytes) -> Conversation | None:
    """One conversation."""
    return next((_talk(row) for row in db.execute(f"{_TALKS} WHERE conversation = ?", (name,))), None)


_TALKS: Final = (
    f"SELECT conversation, tenant, model, began, ended, {', '.join(TURN_SUMS)}"
    " FROM conversation JOIN scene USING (scene)"
)


def _talk(row: Sequence[Any]) -> Conversation:
    sums = dict(zip(TURN_SUMS, row[5:], strict=True))
    return Conversation(id=row[0].hex(), tenant=row[1], model=row[2], began=row[3], ended=row[4], **sums)


def _read(db: apsw.Connection, query: str, args: Sequence[apsw.SQLiteValue]) -> list[Filed]:
    """The receipts that a query finds, each with the upstream call that answered it."""
    rows = [dict(zip(_RECEIPT_NAMES, row, strict=True)) for row in db.execute(query, args)]
    wanted = list({row["request"] for row in rows if row["request"] is not None})
    marks = ", ".join("?" for _ in wanted)
    ask = f"SELECT {_CALL} FROM call c JOIN scene s USING (scene) WHERE c.request IN ({marks}) ORDER BY c.n"
    found = {call.request: call for call in map(_spent, db.execute(ask, wanted))} if wanted else {}
    return [_filed(row, found.get(_id(row["request"]))) for row in rows]


def _filed(row: dict[str, Any], call: Spent | None) -> Filed:
    names = ("n", "at", "outcome", "reason", "times", "took", "avoided_nano", "avoided_input", "avoided_output")
    scene = ("tenant", "namespace", "endpoint", "model", "served_bytes")
    return Filed(
        id=_id(row["id"]),
        stream=bool(row["stream"]),
        converted=bool(row["converted"]),
        avoided_estimated=bool(row["avoided_estimated"]),
        key=PREFIX + row["key"].hex() if row["key"] is not None else "",
        parts=orjson.loads(row["parts"]) if row["parts"] is not None else {},
        call=call,
        **{name: row[name] for name in (*names, *scene)},
    )


def _spent(values: Sequence[Any]) -> Spent:
    row = dict(zip(_CALL_NAMES, values, strict=True))
    row["kept"] = bool(row["landed"]) and not row["unkept"]
    row["request"] = _id(row["request"])
    row["conversation"] = row["conversation"].hex() if row["conversation"] is not None else ""
    for name in ("advice", "findings"):
        row[name] = tuple(orjson.loads(row[name])) if row[name] is not None else ()
    known = {name: row[name] for name in _SPENT if row[name] is not None}
    known |= {name: bool(row[name]) for name in ("passed", "estimated", "ours")}
    return Spent(**known)


_SPENT: Final = tuple(each.name for each in fields(Spent))


def _id(number: int | None) -> str:
    """How the id of a request is written: 16 hexadecimal digits."""
    return "" if number is None else f"{number:016x}"
