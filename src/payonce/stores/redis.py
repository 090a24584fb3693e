"""Entries, figures and epochs on Redis or Valkey: one server, a cluster, or a primary behind sentinels.

No Lua, no KEYS, nothing that blocks the server; every name begins with the prefix, so that a user with few rights is
enough (docs/operators.md lists them). This room must never hold a connection: it asks the wire.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError

from payonce.errors import NoneIdleError, StoreError, StoreUnavailableError
from payonce.model import reason
from payonce.model.ports import Clock
from payonce.model.quota import Holding, Quotas
from payonce.model.reason import Reason
from payonce.stores import redis_book as pages
from payonce.stores import redis_words as words
from payonce.stores.lane_queue import Fault
from payonce.stores.redis_leases import RedisLeases
from payonce.stores.redis_scan import RedisScan, soon
from payonce.stores.redis_shares import RedisShares
from payonce.stores.redis_tls import read_checked
from payonce.stores.redis_url import Place
from payonce.stores.redis_wire import RedisWire
from payonce.stores.shared import SharedStore
from payonce.stores.shared_medium import Count, Epochs, Found, Parcel, Puts, StoreFault
from payonce.stores.talk import LateError

LARGEST = 32 << 20


class RedisMedium:
    """The `Medium` at `place`."""

    largest = LARGEST

    def __init__(self, place: Place) -> None:
        self.place = place
        self.wire = RedisWire(place)
        self.leases = RedisLeases(self.wire, self._name_of)
        self.shares = RedisShares(self.wire, place.prefix)
        self.scan = RedisScan(self.wire)
        self._book_name = pages.book_name(place.prefix)
        self._lock = threading.Lock()
        self._book: pages.Book | None = None

    def trouble(self, slot: bytes | None = None) -> str:
        """Why `slot` is not asked for at the moment; without its epochs, nothing is."""
        wire, book = self.wire, self._book
        if not wire.troubled:
            return ""
        because = wire.trouble(self._book_name)
        if not because and slot is not None and book is not None:
            because = wire.trouble(words.entry_name(self.place.prefix, book.generation, slot))
        return because

    def missing(self) -> str:
        """The nodes that are not asked at the moment; empty where it is not known which there are."""
        with suppress(StoreError):
            nodes = self.wire.nodes(0.0)
            return "; ".join(node.breaker.because for node in nodes if node.breaker.open)
        return ""

    def read(self, slots: Sequence[bytes], deadline: float) -> Sequence[bytes | StoreFault | None]:
        """The parcel of each slot."""
        generation = self._generation(deadline)
        return _found(self.wire.ask(self._gets(slots, generation), deadline))

    def read_now(self, slot: bytes, deadline: float) -> bytes | StoreFault | None:
        """The same for one, by a connection that is there."""
        book = self._book
        if book is None:
            raise NoneIdleError("the epochs were never read")
        [(name, command)] = self._gets([slot], book.generation)
        [found] = _found([self.wire.ask_now(name, command, deadline)])
        return found

    async def read_soon(self, slots: Sequence[bytes], deadline: float) -> Sequence[bytes | StoreFault | None] | None:
        """The same on the running loop, without a thread."""
        book = self._book
        if book is None:
            return None
        replies = await self.wire.ask_soon(self._gets(slots, book.generation), deadline)
        return None if replies is None else _found(replies)

    def ask_for(self, slot: bytes, deadline: float) -> asyncio.Future[list[Any] | Fault] | None:
        """The same for one, to be told later."""
        book = self._book
        if book is None:
            return None
        name = words.entry_name(self.place.prefix, book.generation, slot)
        return self.wire.ask_for(name, words.get(name), deadline)

    def parcel_in(self, slot: bytes, answer: list[Any] | Fault) -> bytes | StoreFault | None:  # noqa: ARG002 - the port's
        """What the server has said."""
        reply = answer[0] if isinstance(answer, list) else answer
        if not isinstance(reply, Exception):
            return words.read_get(reply)
        self.wire.heed(reply)
        return _fault(reply)

    def write(self, parcels: Mapping[bytes, Parcel], deadline: float) -> Mapping[bytes, Reason]:
        """Set or unlink each."""
        generation = self._generation(deadline)
        asked = []
        for slot, (data, ttl) in parcels.items():
            name = words.entry_name(self.place.prefix, generation, slot)
            asked.append((name, words.drop(name) if data is None else words.put(name, data, ttl)))
        replies = self.wire.ask(asked, deadline)
        return {
            slot: _refusal(reply) for slot, reply in zip(parcels, replies, strict=True) if isinstance(reply, Exception)
        }

    def admit(self, puts: Puts, quotas: Quotas, now: float, deadline: float) -> Collection[bytes]:  # noqa: ARG002 - the port's signature
        """All of them: older ones go, afterwards."""
        return ()

    def trim(self, puts: Puts, quotas: Quotas, now: float, deadline: float) -> int:
        """Count the entries of each tenant in a set of its own."""
        return self.shares.trim(puts, quotas, self._known(deadline), now, deadline)

    def holdings(self, most: int, named: Iterable[str], now: float, deadline: float) -> Sequence[Holding]:
        """What those sets hold."""
        return self.shares.holdings(most, named, self._known(deadline), now, deadline)

    def can_write(self, deadline: float) -> Reason | None:
        """Set one byte, for a second."""
        name = f"{self.place.prefix}probe".encode()
        [reply] = self.wire.ask([(name, words.put(name, b"1", 1.0))], deadline)
        return _refusal(reply) if isinstance(reply, Exception) else None

    def note(self, day: int, notes: Mapping[str, bytes], keep: float, deadline: float) -> None:
        """Keep records in the hash of their day."""
        name = words.notes_name(self.place.prefix, day)
        self.wire.one(name, words.note(name, notes, int(keep)), deadline)

    def notes(self, days: Sequence[int], deadline: float) -> Mapping[str, bytes]:
        """The records of these days, one hash each."""
        names = [words.notes_name(self.place.prefix, day) for day in days]
        found: dict[str, bytes] = {}
        for reply in self.wire.ask([(name, words.notes(name)) for name in names], deadline):
            if isinstance(reply, Exception):
                raise StoreUnavailableError(f"the figures can't be read ({reply}): try again")
            found |= words.read_notes(reply)
        return found

    def epochs(self, deadline: float) -> Epochs:
        """Every epoch: two numbers are read, and the whole book only where they have changed."""
        [reply] = self.wire.one(self._book_name, [pages.poll(self._book_name)], deadline)
        said = pages.read_poll(reply)
        with self._lock:
            book = self._book
            if book is not None and said == (book.generation, book.stamp):
                return book.epochs
        return self._read_book(deadline).epochs

    def raise_epochs(self, least: Mapping[str, int], now: float, deadline: float) -> Mapping[str, int]:
        """One transaction (of many scopes, several); what is too old goes with it."""
        name = self._book_name
        [reply] = self.wire.one(name, [pages.last_forgotten(name, now)], deadline)
        forgotten = pages.read_last_forgotten(reply)
        counts: dict[str, int] = {}
        for some in pages.portions(least):
            commands = pages.raise_epochs(name, some, now, _random(), _random(), forgotten)
            replies = self.wire.transact(name, commands, deadline)
            counts |= pages.read_counts(some, replies)
        return counts

    def carry(self, lost: Epochs, deadline: float) -> None:
        """Give the book back what it has lost."""
        commands = pages.carry(self._book_name, lost, _random())
        if commands:
            self.wire.transact(self._book_name, commands, deadline)

    def raised(self, deadline: float) -> Mapping[str, float]:
        """When each scope was last raised."""
        return self._read_book(deadline).epochs.raised

    def listing(self, most: int | None = None) -> Iterator[Sequence[Found]]:
        """Every entry: names step by step, then the head of each; the nodes in turns."""
        yield from self.scan.listing(self._generation(soon()), most)

    def count(self) -> Count:
        """Exact where the servers hold few names; else estimated from those that were looked at."""
        return self.scan.count(self._generation(soon()))

    def pace(self, read_budget: float) -> None:
        """Probes have the budget of reads."""
        self.wire.budget = read_budget

    def tend(self) -> None:
        """Probe servers that did not answer, and learn a new topology."""
        self.wire.tend()

    def close(self) -> None:
        """Close every connection."""
        self.wire.close()

    def _gets(self, slots: Sequence[bytes], generation: int) -> list[tuple[bytes, words.Command]]:
        names = [words.entry_name(self.place.prefix, generation, slot) for slot in slots]
        return [(name, words.get(name)) for name in names]

    def _name_of(self, slot: bytes, deadline: float) -> bytes:
        return words.entry_name(self.place.prefix, self._generation(deadline), slot)

    def _generation(self, deadline: float) -> int:
        return self._known(deadline).generation

    def _known(self, deadline: float) -> pages.Book:
        return self._book or self._read_book(deadline)

    def _read_book(self, deadline: float) -> pages.Book:
        """The whole book, made where there is none; too many single keys are cut off."""
        name = self._book_name
        for _ in range(2):
            [reply] = self.wire.one(name, [pages.read_all(name)], deadline)
            book = pages.read_book(reply)
            if book is not None:
                with self._lock:
                    self._book = book
                if trimmed := pages.trim(name, book.epochs.counts, _random()):
                    self.wire.transact(name, trimmed, deadline)
                return book
            self.wire.one(name, [pages.begin(name, _random())], deadline)
        raise StoreUnavailableError("the server forgets the epochs as soon as they are written: look at its memory")


def _found(replies: Sequence[Any]) -> list[bytes | StoreFault | None]:
    return [_fault(reply) if isinstance(reply, Exception) else words.read_get(reply) for reply in replies]


def _fault(error: Exception) -> StoreFault:
    return StoreFault(str(error), late=isinstance(error, TimeoutError | LateError))


def _refusal(reply: Exception) -> Reason:
    if isinstance(reply, OutOfMemoryError):
        return reason.STORE_FULL
    if isinstance(reply, ReadOnlyError | NoPermissionError):
        return reason.STORE_READ_ONLY
    return reason.WRITE_FAULT


def _random() -> int:
    return 1 + secrets.randbelow(pages.STAMPS - 1)


def open_redis(
    rest: str,
    *,
    clock: Clock,
    max_bytes: int,  # noqa: ARG001 - the server's own limit holds
    scheme: str = "redis",
) -> SharedStore:
    """The registry's door: what stands behind the scheme of a URL (stores/redis_url.py). Does not connect."""
    place = read_checked(scheme, rest)
    return SharedStore(partial(RedisMedium, place), clock, name=str(place))


open_rediss = partial(open_redis, scheme="rediss")
open_redis_cluster = partial(open_redis, scheme="redis+cluster")
open_rediss_cluster = partial(open_redis, scheme="rediss+cluster")
open_redis_sentinel = partial(open_redis, scheme="redis+sentinel")
open_rediss_sentinel = partial(open_redis, scheme="rediss+sentinel")
