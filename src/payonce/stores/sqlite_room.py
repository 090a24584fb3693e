"""Making room in a SQLite store: what is above a tenant's quota goes, then what has expired, then what the tenants that
hold most have not used for longest.

Everything happens inside the transaction that wrote, so the sums are exact however many processes write and whenever
they are killed. This room must never know threads, files or faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

import apsw
import orjson

from payonce.model import reason
from payonce.model.quota import Holding, Quotas
from payonce.model.reason import Reason
from payonce.stores.fairness import cuts
from payonce.stores.write_queue import ROW_OVERHEAD

MOST_EVICTED = 4000
"""Entries that one transaction evicts at most."""
_TENANTS_AT_ONCE = 1000

ROOM_SCHEMA = f"""
CREATE TABLE tenants(tenant TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX by_tenant ON entries(tenant, used_at);
CREATE TRIGGER held AFTER INSERT ON entries BEGIN
  INSERT INTO tenants VALUES (new.tenant, 1, new.size + {ROW_OVERHEAD}) ON CONFLICT (tenant)
  DO UPDATE SET entries = entries + 1, bytes = bytes + excluded.bytes; END;
CREATE TRIGGER released AFTER DELETE ON entries BEGIN
  UPDATE tenants SET entries = entries - 1, bytes = bytes - old.size - {ROW_OVERHEAD} WHERE tenant = old.tenant;
  DELETE FROM tenants WHERE tenant = old.tenant AND entries <= 0; END;
"""  # noqa: S608 - numbers of this package
_FILL = f"INSERT INTO tenants SELECT tenant, count(*), sum(size + {ROW_OVERHEAD}) FROM entries GROUP BY tenant"  # noqa: S608
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE name = 'tenants'"
USED = "SELECT bytes FROM ledger"
LARGEST = "SELECT tenant, entries, bytes FROM tenants ORDER BY bytes DESC LIMIT ?"
SHOWN = (
    "SELECT * FROM (SELECT tenant, entries, bytes FROM tenants ORDER BY bytes DESC LIMIT ?)"
    " UNION SELECT tenant, entries, bytes FROM tenants WHERE tenant IN (SELECT value FROM json_each(?))"
    " ORDER BY bytes DESC"
)
_HELD = "SELECT entries, bytes FROM tenants WHERE tenant = ?"
_LEAST_USED = "SELECT id, size FROM entries WHERE tenant = ? ORDER BY used_at, id"
_DELETE_ID = "DELETE FROM entries WHERE id = ?"
_EXPIRED = "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"


def furnish(db: apsw.Connection) -> None:
    """Give a file that was made before tenants were counted its table of tenants; inside a transaction."""
    if not db.execute(_IS_THERE).fetchall():
        db.execute(ROOM_SCHEMA).fetchall()
        db.execute(_FILL).fetchall()
        db.execute("DROP INDEX IF EXISTS by_use").fetchall()


def is_furnished(db: apsw.Connection) -> bool:
    """Whether the file counts tenants."""
    return bool(db.execute(_IS_THERE).fetchall())


def make_room(
    db: apsw.Connection, limit: int, now: float, quotas: Quotas, wrote: Iterable[str] = ()
) -> Counter[Reason]:
    """Bring the tenants in `wrote` within their quotas, and the store within `limit`; inside a transaction. How many
    entries went, by reason, `MOST_EVICTED` at most.

    It frees a little more than it must, so that not every batch evicts.
    """
    gone: Counter[Reason] = Counter()
    for tenant in wrote if quotas else ():
        gone[reason.OVER_QUOTA] += _within_quota(db, tenant, quotas, MOST_EVICTED - gone.total())
    if used_bytes(db) > limit:
        sweep(db, now)
    need = used_bytes(db) - limit
    need += limit // 64 if need > 0 else 0
    while need > 0 and gone.total() < MOST_EVICTED:
        holdings = cast("list[tuple[str, int, int]]", db.execute(LARGEST, (_TENANTS_AT_ONCE + 1,)).fetchall())
        floor = holdings.pop()[2] if len(holdings) > _TENANTS_AT_ONCE else 0
        given = cuts({tenant: held - floor for tenant, _, held in holdings}, need)
        count = 0
        for tenant, share in given.items():
            evicted, freed = _evict(db, tenant, share, 0, MOST_EVICTED - gone.total() - count)
            count += evicted
            need -= freed
        if not count:
            break
        gone[reason.EVICTED] += count
    return gone


def _within_quota(db: apsw.Connection, tenant: str, quotas: Quotas, most: int) -> int:
    found = cast("list[tuple[int, int]]", db.execute(_HELD, (tenant,)).fetchall())
    quota = quotas.of(tenant)
    if not found:
        return 0
    entries, held = found[0]
    over_bytes = held - quota.bytes if quota.bytes else 0
    over_entries = entries - quota.entries if quota.entries else 0
    return _evict(db, tenant, over_bytes, over_entries, most)[0]


def _evict(db: apsw.Connection, tenant: str, size: int, count: int, most: int) -> tuple[int, int]:
    """Delete what `tenant` has not used for longest, until `size` bytes and `count` entries are gone: how many entries
    and bytes were."""
    chosen: list[tuple[apsw.SQLiteValue]] = []
    freed = 0
    if size > 0 or count > 0:
        for entry, length in db.execute(_LEAST_USED, (tenant,)):
            if (freed >= size and len(chosen) >= count) or len(chosen) >= most:
                break
            chosen.append((entry,))
            freed += cast("int", length) + ROW_OVERHEAD
    db.executemany(_DELETE_ID, chosen)
    return len(chosen), freed


def used_bytes(db: apsw.Connection) -> int:
    """The bytes of all entries, overhead included."""
    return int(cast("int", db.execute(USED).fetchall()[0][0]))


def sweep(db: apsw.Connection, now: float, limit: int = 500) -> int:
    """Delete up to `limit` expired entries. How many it deleted."""
    db.execute(_EXPIRED, (now, limit)).fetchall()
    return db.changes()


def shown(quotas: Quotas) -> str:
    """The tenants with a quota of their own, as `SHOWN` takes them."""
    return orjson.dumps(list(quotas.named)).decode()


def read_holdings(found: Sequence[tuple[apsw.SQLiteValue, ...]]) -> list[Holding]:
    """What `SHOWN` has found."""
    return [Holding(*row) for row in cast("list[tuple[str, int, int]]", found)]
