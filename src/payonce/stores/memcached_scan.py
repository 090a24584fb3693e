"""Looking through the entries on memcached servers, for listings and counts: names from the crawler, then their items.

Names that come or go meanwhile may be missed: the crawler promises no more. This room must never know what an entry
says, nor stand on the way of a read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

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

    def listing(self, most: int | None = None) -> Iterator[Sequence[Found]]:
        """Every entry: names from the server's crawler, then each parcel, of which the head is kept."""
        each = None if most is None else max(1, most // len(self._nodes))
        for node in self._nodes:
            if node.breaker.open:
                continue
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
        """Exact where the servers hold few items; else estimated from those that were looked at."""
        entries = used = 0.0
        for node in self._nodes:
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
