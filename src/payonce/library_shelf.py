"""The library's shelf: answers ready to be handed over, found by the names of requests.

As the gateway's (gateway/shelf.py), for any number of threads and for responses instead of wire bytes. Only what the
story has just served as a fresh hit stands here; anything newer about its key takes it off. Bounded in bytes. This room
must never decide that something is a hit.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from payonce.core.labels import headers as label_headers
from payonce.core.labels import hit_label
from payonce.core.naming import Name
from payonce.drive.tiers import Tiers
from payonce.ledger.hits import BUCKETS
from payonce.ledger.ledger import Ledger
from payonce.model.call import Headers
from payonce.model.entry import Entry
from payonce.model.ports import Head
from payonce.model.receipt import Hits

_OVERHEAD = 3000


def answer_fields(head: Head, fields: Headers, length: int | None) -> list[tuple[bytes, bytes]]:
    """The header fields of an answer: the head's, the cache's own (which win), and the length where it is known."""
    ours = {name for name, _ in fields}
    result = [field for field in head.headers if field[0] not in ours]
    result += fields
    if length is not None:
        result.append((b"content-length", b"%d" % length))
    return result


class Ready:
    """One answer; its header fields are made anew every second, by `make` (the host's class of header fields)."""

    __slots__ = (
        *("_headers", "_make", "_second", "body", "converted"),
        *("entry", "expires_at", "purges", "size", "slot", "unsaid"),
    )

    def __init__(
        self,
        entry: Entry,
        body: bytes,
        slot: bytes,
        purges: int,
        make: Callable[[list[tuple[bytes, bytes]]], Any],
        *,
        converted: bool = False,
    ) -> None:
        self.entry = entry
        self.converted = converted
        self.body = body
        self.slot = slot
        self.purges = purges
        self.expires_at = entry.stored_at + entry.ttl
        self.size = len(body) + _OVERHEAD
        self.unsaid = 0
        self._make = make
        self._second = -1
        self._headers: Any = None

    def headers(self, now: float) -> Any:
        """The header fields at `now`; not to be changed."""
        second = int(now)
        if second != self._second:
            entry = self.entry
            label = hit_label(entry, now, converted=self.converted)
            fields = answer_fields(Head(entry.status, entry.headers), label_headers(label), len(self.body))
            self._headers = self._make(fields)
            self._second = second
        return self._headers


class Shelf:
    """Ready answers by the names of requests, the oldest go first."""

    def __init__(self, max_bytes: int, tiers: Tiers) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        self.changes = 0
        self._tiers = tiers
        self._lock = threading.Lock()
        self._ready: OrderedDict[Name, Ready] = OrderedDict()  # of a dict, the first is far behind what has gone
        self._names: dict[bytes, set[Name]] = {}
        self._said: list[Ready] = []
        self._histogram = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def __len__(self) -> int:
        return len(self._ready)

    def moment(self) -> tuple[int, int]:
        """Moves on with every purge and every change of an entry: what was read before may no longer hold."""
        return self._tiers.purges, self.changes

    def get(self, name: Name, now: float) -> Ready | None:
        """What may be handed over for a request with this name, at `now`."""
        ready = self._ready.get(name)
        if ready is None:
            return None
        if now >= ready.expires_at or now < ready.entry.stored_at or ready.purges != self._tiers.purges:
            with self._lock:
                self._remove(name)
            return None
        return ready if self._tiers.trusted else None

    def served(self, ready: Ready, seconds: float) -> None:
        """`ready` was handed over, `seconds` after it was asked for."""
        with self._lock:
            if not ready.unsaid:
                self._said.append(ready)
            ready.unsaid += 1
            self._histogram[bisect_left(BUCKETS, seconds)] += 1
            self._seconds += seconds

    def put(self, name: Name, ready: Ready, moment: tuple[int, int]) -> None:
        """Keep `ready` for requests with this name, if nothing has changed since `moment`."""
        if _size(name, ready) > self.max_bytes // 8:
            return
        with self._lock:
            if moment != self.moment():
                return
            self._remove(name)
            self._ready[name] = ready
            self._names.setdefault(_meaning(ready.slot), set()).add(name)
            self.used += _size(name, ready)
            while self.used > self.max_bytes:
                self._remove(next(iter(self._ready)))

    def drop(self, slot: bytes) -> None:
        """Something about this slot has changed; `changes` counts such calls. What was converted stands under the slot
        that it is served for, so both framings of an answer go together."""
        with self._lock:
            self.changes += 1
            for name in tuple(self._names.get(_meaning(slot), ())):
                self._remove(name)

    def settle(self, ledger: Ledger) -> None:
        """Tell the ledger what was served since the last time."""
        with self._lock:
            if not self._said:
                return
            said, self._said = self._said, []
            histogram, self._histogram = self._histogram, [0] * (len(BUCKETS) + 1)
            seconds, self._seconds = self._seconds, 0.0
            hits = []
            for ready in said:
                hits.append(Hits(ready.entry, ready.slot, ready.unsaid, ready.converted))
                ready.unsaid = 0
        ledger.fast_hits(hits, histogram, round(seconds * 1e9))

    def _remove(self, name: Name) -> None:
        ready = self._ready.pop(name, None)
        if ready is None:
            return
        self.used -= _size(name, ready)
        meaning = _meaning(ready.slot)
        names = self._names[meaning]
        names.discard(name)
        if not names:
            del self._names[meaning]


def _size(name: Name, ready: Ready) -> int:
    return ready.size + len(name[-1])


def _meaning(slot: bytes) -> bytes:
    """A slot without its last byte, the framing."""
    return slot[:-1]
