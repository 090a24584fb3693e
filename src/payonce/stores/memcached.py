"""Entries, figures and epochs on one memcached or several: each holds its share of the entries, and all the epochs.

A server that is lost takes its entries with it, and nothing else: nothing moves to another one, so what comes back
after a partition can't be older than what was served meanwhile. This room must never hold a connection.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from payonce.errors import NoneIdleError, StoreError
from payonce.model import reason
from payonce.model.ports import Clock
from payonce.model.quota import Holding, Quotas
from payonce.model.reason import Reason
from payonce.stores import memcached_words as words
from payonce.stores import parcel
from payonce.stores.lane_queue import Fault
from payonce.stores.memcached_books import Books, MemcachedNode
from payonce.stores.memcached_leases import MemcachedLeases
from payonce.stores.memcached_notes import MemcachedNotes
from payonce.stores.memcached_scan import MemcachedScan
from payonce.stores.memcached_shares import MemcachedShares
from payonce.stores.memcached_url import Place, read_place
from payonce.stores.memcached_words import Answer
from payonce.stores.shared import SharedStore
from payonce.stores.shared_medium import Count, Epochs, Found, Parcel, Puts, StoreFault
from payonce.stores.talk import LateError


class MemcachedMedium:
    """The `Medium` on the servers of `place`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.largest = place.item_bytes
        self.nodes = [MemcachedNode(address, place.connect_timeout) for address in place.addresses]
        self._budget = 0.05
        self.books = Books(self.nodes, f"{place.prefix}book")
        self.leases = MemcachedLeases(self.books, place.prefix, self._node)
        self.shares = MemcachedShares(self.books, place.prefix, self._node)
        self.scan = MemcachedScan(place, self.nodes, self.books)
        self.figures = MemcachedNotes(place.prefix, lambda name: self._node(name.encode()))

    def pace(self, read_budget: float) -> None:
        """Probes have the budget of reads."""
        self._budget = read_budget

    def trouble(self, slot: bytes | None = None) -> str:
        """Why the server of `slot` (None: every one) is not asked at the moment."""
        if not any(node.breaker.open for node in self.nodes):
            return ""
        if slot is not None:
            breaker = self._node(slot).breaker
            return breaker.because if breaker.open else ""
        return self.nodes[0].breaker.because if all(node.breaker.open for node in self.nodes) else ""

    def missing(self) -> str:
        """Those that are not asked at the moment, and those that did not answer when they were last looked through."""
        missed = self.scan.missed | {node.name: node.breaker.because for node in self.nodes if node.breaker.open}
        return "; ".join(why if name in why else f"{name}: {why}" for name, why in missed.items())

    def read(self, slots: Sequence[bytes], deadline: float) -> Sequence[bytes | StoreFault | None]:
        """The parcel of each slot."""
        found: dict[bytes, bytes | StoreFault | None] = {}

        def asked(node: MemcachedNode, mine: list[bytes]) -> None:
            found.update(_found(mine, node.ask(self._gets(mine, self.books.generation(node, deadline)), deadline)))

        for slot, error in self._each(slots, asked).items():
            found[slot] = StoreFault(str(error))
        return [found[slot] for slot in slots]

    def read_now(self, slot: bytes, deadline: float) -> bytes | StoreFault | None:
        """The same for one, by a connection that is there."""
        node = self._node(slot)
        if node.book is None:
            raise NoneIdleError("the epochs were never read")
        try:
            answers = node.ask(self._gets([slot], node.book.generation), deadline, idle=True)
        except NoneIdleError:
            raise
        except StoreError as error:
            return StoreFault(str(error), late=isinstance(error, LateError))
        return _found([slot], answers)[slot]

    async def read_soon(self, slots: Sequence[bytes], deadline: float) -> Sequence[bytes | StoreFault | None] | None:
        """The same on the running loop, without a thread."""
        mine: dict[MemcachedNode, list[bytes]] = {}
        for slot in slots:
            mine.setdefault(self._node(slot), []).append(slot)
        books = [node.book for node in mine]
        lanes = [node.breaker.open or node.lanes.here() for node in mine]  # each is told that it is wanted
        if not all(lanes) or not all(node.breaker.open or book for node, book in zip(mine, books, strict=True)):
            return None
        found: dict[bytes, bytes | StoreFault | None] = {}
        waits = []
        for (node, group), book in zip(mine.items(), books, strict=True):
            try:
                waits.append((group, node.ask_soon(self._gets(group, book.generation if book else 0), deadline)))
            except StoreError as error:
                found |= dict.fromkeys(group, StoreFault(str(error)))
        for group, future in waits:
            answers = await future
            if isinstance(answers, list):
                found |= _found(group, answers)
            else:
                found |= dict.fromkeys(group, StoreFault(str(answers), isinstance(answers, TimeoutError)))
        return [found[slot] for slot in slots]

    def ask_for(self, slot: bytes, deadline: float) -> asyncio.Future[list[Any] | Fault] | None:
        """The same for one, to be told later."""
        node = self._node(slot)
        lane = None if node.book is None or node.breaker.open else node.lanes.here()
        if lane is None or node.book is None:
            return None
        return lane.ask(self._gets([slot], node.book.generation), deadline)

    def parcel_in(self, slot: bytes, answer: list[Any] | Fault) -> bytes | StoreFault | None:
        """What the server has said."""
        if isinstance(answer, list):
            return _found([slot], answer)[slot]
        return StoreFault(str(answer), isinstance(answer, TimeoutError))

    def write(self, parcels: Mapping[bytes, Parcel], deadline: float) -> Mapping[bytes, Reason]:
        """Set or delete each."""
        refused: dict[bytes, Reason] = {}
        now = time.time()

        def asked(node: MemcachedNode, mine: list[bytes]) -> None:
            until = self._turn(deadline)
            generation = self.books.generation(node, until)
            commands = []
            for slot in mine:
                data, ttl = parcels[slot]
                name = words.entry_name(self.place.prefix, generation, slot)
                on = None if data is None else parcel.label(data)
                size = 0 if on is None else on.size
                commands.append(words.drop(name) if data is None else words.put(name, data, ttl, now, number=size))
            for slot, answer in zip(mine, node.ask(commands, until), strict=True):
                why = words.refusal(answer)
                if why is not None and not (parcels[slot].data is None and answer.code == "NF"):
                    refused[slot] = why

        for slot in self._each(list(parcels), asked):
            refused[slot] = reason.WRITE_FAULT
        return refused

    def admit(self, puts: Puts, quotas: Quotas, now: float, deadline: float) -> Collection[bytes]:
        """Count the entries of each tenant in an item of its own."""
        return self.shares.admit(puts, quotas, now, deadline)

    def trim(self, puts: Puts, quotas: Quotas, now: float, deadline: float) -> int:  # noqa: ARG002 - the port's signature
        """Nothing: it is not known which entries a tenant has, so what was too much was refused."""
        return 0

    def holdings(self, most: int, named: Iterable[str], now: float, deadline: float) -> Sequence[Holding]:
        """What those items count."""
        return self.shares.holdings(most, named, now, deadline)

    def can_write(self, deadline: float) -> Reason | None:
        """Set one byte, for a second; one server that takes it is enough."""
        why: Reason | None = reason.WRITE_FAULT
        for node in self.nodes:
            with suppress(StoreError):
                probe = words.put(f"{self.place.prefix}probe", b"1", 1.0, time.time())
                [answer] = node.ask([probe], self._turn(deadline))
                why = words.refusal(answer)
                if why is None:
                    return None
        return why

    def epochs(self, deadline: float) -> Epochs:
        """The highest count that any server has for each scope."""
        return self.books.epochs(deadline)

    def raise_epochs(self, least: Mapping[str, int], now: float, deadline: float) -> Mapping[str, int]:
        """Raise them on every server that answers."""
        return self.books.raise_epochs(least, now, deadline)

    def carry(self, lost: Epochs, deadline: float) -> None:
        """Tell each server what it has lost."""
        self.books.carry(lost, deadline)

    def raised(self, deadline: float) -> Mapping[str, float]:
        """When each scope was last raised."""
        return self.books.raised(deadline)

    def note(self, day: int, notes: Mapping[str, bytes], keep: float, deadline: float) -> None:
        """Keep records of a day."""
        self.figures.note(day, notes, keep, deadline)

    def notes(self, days: Sequence[int], deadline: float) -> Mapping[str, bytes]:
        """The records of these days."""
        return self.figures.notes(days, deadline)

    def listing(self, most: int | None = None) -> Iterator[Sequence[Found]]:
        """Every entry, in pieces."""
        return self.scan.listing(most)

    def count(self) -> Count:
        """How many entries there are; estimated where there are many."""
        return self.scan.count()

    def tend(self) -> None:
        """Probe servers that did not answer."""
        for node in self.nodes:
            if node.breaker.due():
                with suppress(StoreError):
                    deadline = time.monotonic() + self._budget
                    node.ask([words.get(f"{self.place.prefix}probe", "v")], deadline, probe=True)
            node.tend()

    def close(self) -> None:
        """Close every connection."""
        for node in self.nodes:
            node.close()

    def _turn(self, deadline: float) -> float:
        """Until when one server may be waited for where several are asked in turns: a silent one leaves time for the
        others."""
        now = time.monotonic()
        return now + (deadline - now) / len(self.nodes)

    def _gets(self, slots: Sequence[bytes], generation: int) -> list[tuple[str, bytes]]:
        return [words.get(words.entry_name(self.place.prefix, generation, slot), "v") for slot in slots]

    def _node(self, slot: bytes) -> MemcachedNode:
        if len(self.nodes) == 1:
            return self.nodes[0]
        return max(self.nodes, key=lambda node: hashlib.blake2b(node.seed + slot, digest_size=8).digest())

    def _each(
        self, slots: Sequence[bytes], job: Callable[[MemcachedNode, list[bytes]], None]
    ) -> dict[bytes, StoreError]:
        """Do `job` for the slots of each node; the slots for which it failed, and why."""
        mine: dict[int, list[bytes]] = {}
        for slot in slots:
            mine.setdefault(self.nodes.index(self._node(slot)), []).append(slot)
        failed: dict[bytes, StoreError] = {}
        for index, group in mine.items():
            try:
                job(self.nodes[index], group)
            except StoreError as error:
                failed.update(dict.fromkeys(group, error))
        return failed


def _found(slots: Sequence[bytes], answers: Sequence[Answer]) -> dict[bytes, bytes | StoreFault | None]:
    return {
        slot: StoreFault(answer.code) if answer.is_error else answer.value
        for slot, answer in zip(slots, answers, strict=True)
    }


def open_memcached(rest: str, *, clock: Clock, max_bytes: int) -> SharedStore:  # noqa: ARG001 - the servers' own limits hold
    """The registry's door: `memcached://host:port,host:port`. Does not connect."""
    place = read_place(rest)
    return SharedStore(partial(MemcachedMedium, place), clock, name=str(place))
