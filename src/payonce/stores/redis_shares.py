"""How many entries each tenant has on a Redis server, where that is bounded: a sorted set for each tenant.

Its members are the slots of the tenant's entries, their scores the times at which they expire, so what has expired is
cut off by score and what is too much by rank: the entries that would expire first. What the server itself evicts is
counted until it would have expired; a purge of all, or of a tenant's, begins a new set. One set more, the board, has
the latest counts of the tenants with most entries. This room must never decide what a tenant may hold, nor hold a
connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from payonce.errors import StoreError
from payonce.model.quota import Holding, Quotas
from payonce.stores.redis_book import Book
from payonce.stores.redis_wire import RedisWire
from payonce.stores.redis_words import Command, drop, entry_name, read_count, read_raw
from payonce.stores.shared_medium import Puts

MOST_CUT = 1000
"""Entries of one tenant that are cut off at once."""
ON_BOARD = 100
"""Tenants that the board has room for."""
_BOARD_SECONDS = 35 * 86400
_GRACE_SECONDS = 60


class RedisShares:
    """The sets under `prefix`."""

    def __init__(self, wire: RedisWire, prefix: str) -> None:
        self._wire, self._prefix = wire, prefix

    def trim(self, puts: Puts, quotas: Quotas, book: Book, now: float, deadline: float) -> int:
        """Count what was put, and unlink what a tenant then has too much. After it was written, so that whoever unlinks
        an entry finds it. How many entries went. Raises StoreError."""
        counts: dict[str, int] = {}
        evicted = 0
        for tenant, slots in puts.items():
            most = quotas.of(tenant).entries
            if most:
                name = self._name(book, tenant)
                count, last = self._count(name, slots, now, deadline)
                if count > most:
                    gone = self._cut(name, count, most, deadline)
                    count -= len(gone)
                    evicted += len(gone)
                    self._unlink(gone, book.generation, deadline)
                self._wire.one(name, [("EXPIRE", name, max(1, int(last - now)) + _GRACE_SECONDS)], deadline)
                counts[tenant] = count
        if counts:
            self._post(book, counts, deadline)
        return evicted

    def holdings(self, most: int, named: Iterable[str], book: Book, now: float, deadline: float) -> list[Holding]:
        """The tenants with most entries on the board, and those in `named`, as they are counted now."""
        board = self._name(book)
        [reply] = self._wire.one(board, [("ZRANGE", board, 0, -1)], deadline)
        listed = [read_raw(member).decode("utf-8", "replace") for member in reversed(reply)]
        tenants = list(dict.fromkeys((*listed[:most], *named)))
        names = [self._name(book, tenant) for tenant in tenants]
        replies = self._wire.ask([(name, ("ZCOUNT", name, now, "+inf")) for name in names], deadline)
        found = [Holding(who, read_count(_sound(reply))) for who, reply in zip(tenants, replies, strict=True)]
        return sorted([held for held in found if held.entries], key=lambda held: -held.entries)

    def _count(self, name: bytes, slots: Mapping[bytes, float], now: float, deadline: float) -> tuple[int, float]:
        """How many entries the tenant has, with these; and when the last of them expires."""
        members: list[bytes | float] = []
        for slot, expires_at in slots.items():
            members += (expires_at, slot)
        commands: list[Command] = [
            ("ZADD", name, *members),
            ("ZREMRANGEBYSCORE", name, "-inf", now),
            ("ZCARD", name),
            ("ZRANGE", name, -1, -1, "WITHSCORES"),
        ]
        _, _, count, latest = self._wire.transact(name, commands, deadline)
        return read_count(count), float(latest[1]) if len(latest) == 2 else now

    def _cut(self, name: bytes, count: int, most: int, deadline: float) -> list[bytes]:
        """Take the first to expire out of the set. By rank from the end, so that of several who do at once none takes
        more than there is too much."""
        stop = -(most + 1) if count - most <= MOST_CUT else MOST_CUT - 1
        commands: list[Command] = [("ZRANGE", name, 0, stop), ("ZREMRANGEBYRANK", name, 0, stop)]
        gone, _ = self._wire.transact(name, commands, deadline)
        return [read_raw(slot) for slot in gone]

    def _unlink(self, slots: Iterable[bytes], generation: int, deadline: float) -> None:
        names = [entry_name(self._prefix, generation, slot) for slot in slots]
        for reply in self._wire.ask([(name, drop(name)) for name in names], deadline):
            _sound(reply)

    def _post(self, book: Book, counts: Mapping[str, int], deadline: float) -> None:
        board = self._name(book)
        members: list[str | int] = []
        for tenant, count in counts.items():
            members += (count, tenant)
        posting: list[Command] = [
            ("ZADD", board, *members),
            ("ZREMRANGEBYRANK", board, 0, -(ON_BOARD + 1)),
            ("EXPIRE", board, _BOARD_SECONDS),
        ]
        self._wire.one(board, posting, deadline)

    def _name(self, book: Book, tenant: str = "") -> bytes:
        era = book.epochs.era(tenant) if tenant else ""
        return f"{self._prefix}q:{book.generation:013x}{era}:{tenant}".encode()


def _sound(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise StoreError(f"the server refused ({reply}): look at the user's rights")
    return reply
