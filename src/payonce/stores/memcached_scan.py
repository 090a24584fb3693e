"""Looking through the entries on memcached servers, for listings and counts: names from the crawler, then their items.

Names that come or go meanwhile may be missed: the crawler promises no more. This room must never know what an entry
says, nor stand on the way of a read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from payonce.errors import StoreError
from payonce.stores import memcached_words as words
from payonce.stores import parcel
from payonce.stores.memcached_books import Books, MemcachedNode
from payonce.stores.memcached_link import MemcachedLink
from payonce.stores.memcached_url import Place
from payonce.stores.shared_medium import Count, Found

COUNT_NAMES = 20_000
"""So many names are looked at for a count; with more than that, the rest is estimated."""
_PAGE = 200
_CALL_SECONDS = 2.0
_LIST_SECONDS = 30.0


class MemcachedScan:
    """The entries on the servers of `place`."""

    def __init__(self, place: Place, nodes: Sequence[MemcachedNode], books: Books) -> None:
        self._place, self._nodes, self._books = place, nodes, books
        self.missed: dict[str, str] = {}
        """The servers that did not answer when they were last looked through, and why."""

    def listing(self, most: int | None = None) -> Iterator[Sequence[Found]]:
        """Every entry of the servers that answer: names from the crawler, then each parcel, of which the head is kept.
        Raises StoreError where none does."""
        each = None if most is None else max(1, most // len(self._nodes))
        lost: list[str] = []
        for node in self._nodes:
            with self._missing(node, lost):
                names, _ = self._names(node, each)
                for start in range(0, len(names), _PAGE):
                    page = names[start : start + _PAGE]
                    answers = node.ask([words.get(name, "v") for _, name in page], _soon())
                    yield [
                        Found(slot, _head(answer.value))
                        for (slot, _), answer in zip(page, answers, strict=True)
                        if answer.value is not None
                    ]

    def count(self) -> Count:
        """What the servers that answer have: exact where they hold few items, else estimated from what was looked at.
        Raises StoreError where none answers."""
        entries = used = 0.0
        lost: list[str] = []
        for node in self._nodes:
            with self._missing(node, lost):
                seen, size = self._count(node)
                entries += seen
                used += size
        return Count(round(entries), round(used))

    def _count(self, node: MemcachedNode) -> tuple[float, float]:
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
        return seen * share, size * share

    @contextmanager
    def _missing(self, node: MemcachedNode, lost: list[str]) -> Iterator[None]:
        """A server that does not answer is noted, and passed over unless all of them are `lost`."""
        try:
            yield
        except StoreError as error:
            self.missed[node.name] = str(error)
            lost.append(node.name)
            if len(lost) == len(self._nodes):
                raise
        else:
            self.missed.pop(node.name, None)

    def _names(self, node: MemcachedNode, most: int | None) -> tuple[list[tuple[bytes, str]], int]:
        """Slots and names of a node's entries, and how many names were looked at: at most `most`. The crawler passes
        over an item that somebody uses at that moment, so a short list is read twice."""
        found, looked = self._crawl(node, most)
        if looked < COUNT_NAMES:
            again, _ = self._crawl(node, most)
            found |= again
        return [(slot, name) for name, slot in found.items()], looked

    def _crawl(self, node: MemcachedNode, most: int | None) -> tuple[dict[str, bytes], int]:
        generation = self._books.generation(node, _soon())
        found: dict[str, bytes] = {}
        looked = 0
        link = MemcachedLink(*self._place.addresses[self._nodes.index(node)], self._place.connect_timeout)
        try:
            for line in link.lines(b"lru_crawler metadump all", time.monotonic() + _LIST_SECONDS):
                name = words.crawled(line)
                looked += 1
                slot = words.slot_of(self._place.prefix, generation, name)
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


def _head(value: bytes) -> bytes:
    on = parcel.label(value)
    return value[: 0 if on is None else on.length]


def _soon() -> float:
    return time.monotonic() + _CALL_SECONDS
