"""Entries, figures and epochs on one memcached or several: each holds its share of the entries, and all the epochs.

A server that is lost takes its entries with it, and nothing else: nothing moves to another one, so what comes back
after a partition can't be older than what was served meanwhile. This room must never hold a connection.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from payonce.errors import StoreError, StoreUnavailableError
from payonce.model import reason
from payonce.model.ports import Clock
from payonce.model.reason import Reason
from payonce.stores import memcached_words as words
from payonce.stores import parcel
from payonce.stores.memcached_books import Books, MemcachedNode, swap
from payonce.stores.memcached_leases import MemcachedLeases
from payonce.stores.memcached_link import MemcachedLink
from payonce.stores.memcached_url import Place, read_place
from payonce.stores.memcached_words import Answer
from payonce.stores.shared import SharedStore
from payonce.stores.shared_medium import Count, Found, Parcel, StoreFault
from payonce.stores.talk import LostError

COUNT_NAMES = 20_000
"""So many names are looked at for a count; with more than that, the rest is estimated."""
_PAGE = 200
_CALL_SECONDS = 2.0
_LIST_SECONDS = 30.0
_INDEX_SECONDS = 60.0


class MemcachedMedium:
    """The `Medium` on the servers of `place`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.largest = place.item_bytes
        self.nodes = [MemcachedNode(address, place.connect_timeout) for address in place.addresses]
        self._budget = 0.05
        self.books = Books(self.nodes, f"{place.prefix}book")
        self.leases = MemcachedLeases(self._place_of)
        self._indexed: dict[str, float] = {}

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

    def read(self, slots: Sequence[bytes], deadline: float) -> Sequence[bytes | StoreFault | None]:
        """The parcel of each slot."""
        found: dict[bytes, bytes | StoreFault | None] = {}

        def asked(node: MemcachedNode, mine: list[bytes]) -> None:
            found.update(_found(mine, node.ask(self._gets(mine, self.books.generation(node, deadline)), deadline)))

        for slot, error in self._each(slots, asked).items():
            found[slot] = StoreFault(str(error))
        return [found[slot] for slot in slots]

    async def read_soon(self, slots: Sequence[bytes], deadline: float) -> Sequence[bytes | StoreFault | None] | None:
        """The same on the running loop, without a thread."""
        mine: dict[MemcachedNode, list[bytes]] = {}
        for slot in slots:
            mine.setdefault(self._node(slot), []).append(slot)
        books = [node.book for node in mine]
        if not all(node.breaker.open or (book and node.lanes.here()) for node, book in zip(mine, books, strict=True)):
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

    def write(self, parcels: Mapping[bytes, Parcel], deadline: float) -> Mapping[bytes, Reason]:
        """Set or delete each."""
        refused: dict[bytes, Reason] = {}
        now = time.time()

        def asked(node: MemcachedNode, mine: list[bytes]) -> None:
            generation = self.books.generation(node, deadline)
            commands = []
            for slot in mine:
                data, ttl = parcels[slot]
                name = words.entry_name(self.place.prefix, generation, slot)
                on = None if data is None else parcel.label(data)
                size = 0 if on is None else on.size
                commands.append(words.drop(name) if data is None else words.put(name, data, ttl, now, size=size))
            for slot, answer in zip(mine, node.ask(commands, deadline), strict=True):
                why = words.refusal(answer)
                if why is not None and not (parcels[slot].data is None and answer.code == "NF"):
                    refused[slot] = why

        for slot in self._each(list(parcels), asked):
            refused[slot] = reason.WRITE_FAULT
        return refused

    def can_write(self, deadline: float) -> Reason | None:
        """Set one byte, for a second; one server that takes it is enough."""
        why: Reason | None = reason.WRITE_FAULT
        for node in self.nodes:
            with suppress(StoreError):
                [answer] = node.ask([words.put(f"{self.place.prefix}probe", b"1", 1.0, time.time())], deadline)
                why = words.refusal(answer)
                if why is None:
                    return None
        return why

    def epochs(self, deadline: float) -> Mapping[str, int]:
        """The highest count that any server has for each scope."""
        return self.books.epochs(deadline)

    def raise_epoch(self, scope: str, at_least: int, now: float, deadline: float) -> int:
        """Raise it on every server that answers."""
        return self.books.raise_epoch(scope, at_least, now, deadline)

    def carry(self, counts: Mapping[str, int], deadline: float) -> None:
        """Tell each server what it has lost."""
        self.books.carry(counts, deadline)

    def raised(self, deadline: float) -> Mapping[str, float]:
        """When each scope was last raised."""
        return self.books.raised(deadline)

    # ------------------------------------------------------------------------------------------------- figures

    def note(self, day: int, notes: Mapping[str, bytes], keep: float, deadline: float) -> None:
        """Each record is an item; an index names those of a day."""
        now = time.time()
        for title, record in notes.items():
            value = msgspec.msgpack.encode((title, record))
            name = self._note_name(day, title)
            [answer] = self._owner(name).ask([words.put(name, value, keep, now)], deadline)
            if words.refusal(answer) is not None:
                raise StoreUnavailableError(f"a record was not kept ({answer.code}): look at the server")
            if now - self._indexed.get(name, 0.0) > _INDEX_SECONDS:
                self._index(day, title, keep, deadline)
                self._indexed = {known: at for known, at in self._indexed.items() if now - at < _INDEX_SECONDS}
                self._indexed[name] = now

    def notes(self, days: Sequence[int], deadline: float) -> Mapping[str, bytes]:
        """The records that the indexes of these days name."""
        found: dict[str, bytes] = {}
        for day in days:
            index = f"{self.place.prefix}n:{day}"
            [answer] = self._owner(index).ask([words.get(index, "v")], deadline)
            for title in _titles(answer.value):
                name = self._note_name(day, title)
                with suppress(LostError, msgspec.DecodeError):
                    [answer] = self._owner(name).ask([words.get(name, "v")], deadline)
                    if answer.value is not None:
                        said, record = msgspec.msgpack.decode(answer.value, type=tuple[str, bytes])
                        found |= {said: record} if said == title else {}
        return found

    def _index(self, day: int, title: str, keep: float, deadline: float) -> None:
        name = f"{self.place.prefix}n:{day}"

        def with_title(value: bytes | None) -> bytes:
            return msgspec.msgpack.encode(sorted({*_titles(value), title}))

        swap(self._owner(name), name, with_title, keep, deadline)

    def _note_name(self, day: int, title: str) -> str:
        return f"{self.place.prefix}n:{day}:{hashlib.sha256(title.encode()).hexdigest()[:32]}"

    # -------------------------------------------------------------------------------------------------- listing

    def listing(self) -> Iterator[Sequence[Found]]:
        """Every entry: names from the server's crawler, then each parcel, of which the head is kept."""
        for node in self.nodes:
            if node.breaker.open:
                continue
            names, _ = self._names(node, None)
            for start in range(0, len(names), _PAGE):
                page = names[start : start + _PAGE]
                answers = node.ask([words.get(name, "v") for _, name in page], _soon())
                yield [
                    Found(slot, _head(answer.value))
                    for (slot, _), answer in zip(page, answers, strict=True)
                    if answer.value is not None
                ]

    def count(self) -> Count:
        """Exact where the servers hold few items; else estimated from those that were looked at."""
        entries = used = 0.0
        for node in self.nodes:
            names, looked = self._names(node, COUNT_NAMES)
            share = 1.0
            if looked >= COUNT_NAMES:
                share = max(1.0, self._items(node) / looked)
            seen = size = 0
            for start in range(0, len(names), _PAGE):
                page = [words.get(name, "f") for _, name in names[start : start + _PAGE]]
                for answer in node.ask(page, _soon()):
                    seen += answer.code == "HD"
                    size += words.read_number(answer, "f") or 0
            entries += seen * share
            used += size * share
        return Count(round(entries), round(used))

    def _names(self, node: MemcachedNode, most: int | None) -> tuple[list[tuple[bytes, str]], int]:
        """Slots and names of a node's entries, and how many names were looked at: at most `most`. The crawler passes
        over an item that somebody uses at that moment, so a short list is read twice."""
        found, looked = self._crawl(node, most)
        if looked < COUNT_NAMES:
            again, _ = self._crawl(node, most)
            found |= again
        return [(slot, name) for name, slot in found.items()], looked

    def _crawl(self, node: MemcachedNode, most: int | None) -> tuple[dict[str, bytes], int]:
        generation = self.books.generation(node, _soon())
        found: dict[str, bytes] = {}
        looked = 0
        link = MemcachedLink(*self.place.addresses[self.nodes.index(node)], self.place.connect_timeout)
        try:
            for line in link.lines(b"lru_crawler metadump all", time.monotonic() + _LIST_SECONDS):
                name = words.crawled(line)
                looked += 1
                slot = words.slot_of(self.place.prefix, generation, name)
                if slot is not None:
                    found[name] = slot
                if looked == most:
                    break
        finally:
            link.close()  # the crawler stops when nobody listens
        return found, looked

    @staticmethod
    def _items(node: MemcachedNode) -> int:
        def counted(link: MemcachedLink) -> int:
            said = dict(line.removeprefix("STAT ").split(" ", 1) for line in link.lines(b"stats", _soon()))
            return int(said["curr_items"])

        return node.use(counted, _soon())

    # ---------------------------------------------------------------------------------------------------- nodes

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

    def _gets(self, slots: Sequence[bytes], generation: int) -> list[tuple[str, bytes]]:
        return [words.get(words.entry_name(self.place.prefix, generation, slot), "v") for slot in slots]

    def _node(self, slot: bytes) -> MemcachedNode:
        if len(self.nodes) == 1:
            return self.nodes[0]
        return max(self.nodes, key=lambda node: hashlib.blake2b(node.seed + slot, digest_size=8).digest())

    def _place_of(self, slot: bytes, deadline: float) -> tuple[MemcachedNode, str, str]:
        """The server of `slot`, and there the names of its lease and its entry."""
        node = self._node(slot)
        entry = words.entry_name(self.place.prefix, self.books.generation(node, deadline), slot)
        return node, f"{self.place.prefix}l:{entry.removeprefix(self.place.prefix + 'e:')}", entry

    def _owner(self, name: str) -> MemcachedNode:
        return self._node(name.encode())

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


def _titles(value: bytes | None) -> list[str]:
    if value is None:
        return []
    try:
        return msgspec.msgpack.decode(value, type=list[str])
    except msgspec.DecodeError:
        return []


def _head(value: bytes) -> bytes:
    on = parcel.label(value)
    return value[: 0 if on is None else on.length]


def _soon() -> float:
    return time.monotonic() + _CALL_SECONDS


def open_memcached(rest: str, *, clock: Clock, max_bytes: int) -> SharedStore:  # noqa: ARG001 - the servers' own limits hold
    """The registry's door: `memcached://host:port,host:port`. Does not connect."""
    place = read_place(rest)
    return SharedStore(partial(MemcachedMedium, place), clock, name=str(place))
