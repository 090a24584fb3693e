"""Looking through the entries on Redis, for listings and counts: in steps, each well below a millisecond for a server.

Names that come or go meanwhile may be missed, and any may be seen twice: SCAN promises no more. This room must never
know what an entry says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from typing import Any

from payonce.errors import StoreError
from payonce.stores import parcel
from payonce.stores import redis_words as words
from payonce.stores.redis_map import RedisNode
from payonce.stores.redis_wire import RedisWire
from payonce.stores.shared_medium import Count, Found

SCAN_COUNT = 1000
"""Names that the server looks at in one step of a listing: well below a millisecond."""
COUNT_STEPS = 20
"""Steps for a count; with more names than that, the rest is estimated."""
_LIST_SECONDS = 2.0
_LABEL_BYTES = 32


class RedisScan:
    """The entries on the servers of `wire`."""

    def __init__(self, wire: RedisWire) -> None:
        self._wire = wire

    def listing(self, generation: int, most: int | None) -> Iterator[Sequence[Found]]:
        """Every entry: names step by step, then the head of each; the nodes in turns."""
        nodes = self._wire.nodes(soon())
        each = None if most is None else max(1, most // SCAN_COUNT // len(nodes))
        for turn in zip_longest(*(islice(self._steps(node, generation), each) for node in nodes)):
            for node, step in zip(nodes, turn, strict=True):
                if step is not None:
                    yield self._heads(node, generation, step[0], parcel.LISTED)

    def count(self, generation: int) -> Count:
        """Exact where the servers hold few names; else estimated from those that were looked at."""
        entries = used = 0.0
        for node in self._wire.nodes(soon()):
            [reply] = node.ask([("DBSIZE",)], soon())
            total = words.read_count(_sound(reply))
            sizes: dict[bytes, int] = {}
            share = 1.0
            for step, (names, last) in enumerate(self._steps(node, generation), start=1):
                for found in self._heads(node, generation, names, _LABEL_BYTES):
                    on = parcel.label(found.head)
                    sizes[found.slot] = 0 if on is None else on.size
                if step >= COUNT_STEPS and not last:
                    share = max(1.0, total / (step * SCAN_COUNT))
                    break
            entries += len(sizes) * share
            used += sum(sizes.values()) * share
        return Count(round(entries), round(used))

    def _steps(self, node: RedisNode, generation: int) -> Iterator[tuple[list[bytes], bool]]:
        """The names of one node's entries, step by step, and whether this was the last step."""
        cursor = 0
        while True:
            [reply] = node.ask([words.scan(self._wire.place.prefix, generation, cursor, SCAN_COUNT)], soon())
            cursor, names = words.read_scan(_sound(reply))
            yield names, cursor == 0
            if cursor == 0:
                return

    def _heads(self, node: RedisNode, generation: int, names: list[bytes], length: int) -> list[Found]:
        if not names:
            return []
        replies = node.ask([words.head(name, length) for name in names], soon())
        found = []
        for name, reply in zip(names, replies, strict=True):
            slot = words.slot_of(self._wire.place.prefix, generation, name)
            if slot is None or not isinstance(reply, bytes):
                continue
            on = parcel.label(reply)
            if on is not None and length >= parcel.LISTED and on.length > len(reply):
                [whole] = node.ask([words.head(name, on.length)], soon())
                found.append(Found(slot, whole if isinstance(whole, bytes) else reply))
            else:
                found.append(Found(slot, reply))
        return found


def soon() -> float:
    """By when the next step must be answered, in monotonic seconds."""
    return time.monotonic() + _LIST_SECONDS


def _sound(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise StoreError(f"the server refused ({reply}): look at the user's rights")
    return reply
