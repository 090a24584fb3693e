"""The shelf: answers ready to be written, found by the bytes of the request alone.

Only what the story has just served as a fresh hit stands here, with its expiry and the purge count under which it was
put; anything newer about its key takes it off. Bounded in bytes. This room must never decide that something is a hit:
it repeats what the story decided for exactly these bytes, for as long as nothing has changed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from blake3 import blake3

from payonce.core.fields import HOP_BY_HOP, REBUILT, REROUTING, is_inert
from payonce.core.labels import headers as label_headers
from payonce.core.labels import hit_label
from payonce.core.naming import Name
from payonce.gateway.wire import answer_fields, head_bytes
from payonce.ledger.hits import BUCKETS
from payonce.ledger.ledger import Ledger
from payonce.model.call import NUMBERS, Headers
from payonce.model.entry import Entry
from payonce.model.key import DIGEST_BYTES
from payonce.model.ports import Head
from payonce.model.receipt import Hits

_OVERHEAD = 1500


_NOT_DIGESTED = (HOP_BY_HOP | REBUILT | REROUTING) - {b"host", b"connection"}
_KEPT_INERT = frozenset((b"origin", b"content-type"))
_digested: dict[bytes, bool] = {}


def told_by(target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """32 bytes that two requests share only if all of them that could matter is the same, bodies apart."""
    parts = [target]
    for name, value in headers:
        if _digested[name] if name in _digested else _is_digested(name):
            parts += (name, value)
    return blake3(b"\0".join(parts)).digest()  # none of them holds a NUL


def _is_digested(name: bytes) -> bool:
    """Whether a field is part of the digest; remembered for the first thousand names, unless they are long."""
    known = _digested.get(name)
    if known is None:
        known = name in _KEPT_INERT or not (name in _NOT_DIGESTED or is_inert(name))
        if len(_digested) < 1000 and len(name) <= 64:
            _digested[name] = known
    return known


def _meaning(slot: bytes) -> bytes:
    """A slot without its framing."""
    return slot[:DIGEST_BYTES]


class PurgeCount(Protocol):
    """Whoever counts purges; `Tiers` does."""

    purges: int

    @property
    def trusted(self) -> bool:
        """Whether the count is up to date."""
        ...


class Ready:
    """One answer, with its wire bytes for the present second."""

    __slots__ = (
        *("_date", "_earlier", "_name", "_request", "_second", "_wire", "body", "converted", "entry"),
        *("expires_at", "purges", "size", "slot", "unsaid"),
    )

    def __init__(
        self,
        entry: Entry,
        body: bytes,
        slot: bytes,
        purges: int,
        name: Callable[[int], Headers] | None = None,
        *,
        converted: bool = False,
    ) -> None:
        """`name` gives the header field with the id of a request, by its number; those of one second share one."""
        self._name = name
        self._request = 0
        self._earlier: list[tuple[int, int]] = []
        self.entry = entry
        self.converted = converted
        self.body = body
        self.slot = slot
        self.purges = purges
        self.expires_at = entry.stored_at + entry.ttl
        self.size = 2 * len(body) + _OVERHEAD
        self.unsaid = 0
        self._second = -1
        self._date: object = None
        self._wire = b""

    def wire(self, now: float, default: list[tuple[bytes, bytes]]) -> bytes:
        """The whole response at `now`; `default` are the server's own fields (a new list whenever they change)."""
        second = int(now)
        if second != self._second or default is not self._date:
            entry = self.entry
            head = Head(entry.status, entry.headers)
            said = label_headers(hit_label(entry, now, converted=self.converted))
            if self._name is not None:
                if self.unsaid:
                    self._earlier.append((self._request, self.unsaid))
                self._request = next(NUMBERS)
                said += self._name(self._request)
            fields = answer_fields(head, said, len(self.body))
            self._wire = head_bytes(entry.status, default, fields) + self.body
            self._second, self._date = second, default
        return self._wire

    def settle(self) -> Iterator[Hits]:
        """What was served since the last time, by the number that was said."""
        earlier, self._earlier, told = self._earlier, [], 0
        for request, count in (*earlier, (self._request, self.unsaid)):
            if count > told:
                yield Hits(self.entry, self.slot, count - told, self.converted, request)
            told = count
        self.unsaid = 0


class Shelf:
    """Ready answers by the names of requests, least recently used ones go first; `max_bytes` 0 keeps none."""

    def __init__(self, max_bytes: int, purge_count: PurgeCount) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        self.changes = 0
        self._purge_count = purge_count
        self._ready: OrderedDict[Name, Ready] = OrderedDict()
        self._names: dict[bytes, set[Name]] = {}
        self._said: list[Ready] = []
        self._histogram = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def __len__(self) -> int:
        return len(self._ready)

    def get(self, name: Name, now: float) -> Ready | None:
        """What may be written for a request with this name, at `now`."""
        ready = self._ready.get(name)
        if ready is None:
            return None
        if now >= ready.expires_at or now < ready.entry.stored_at or ready.purges != self._purge_count.purges:
            self._remove(name)
            return None
        if not self._purge_count.trusted:
            return None
        self._ready.move_to_end(name)
        return ready

    def served(self, ready: Ready, seconds: float) -> None:
        """`ready` was written, `seconds` after the first byte of its request."""
        if not ready.unsaid:
            self._said.append(ready)
        ready.unsaid += 1
        self._histogram[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def put(self, name: Name, ready: Ready) -> None:
        """Keep `ready` for requests with this name."""
        if _size(name, ready) > self.max_bytes // 8:
            return
        self._remove(name)
        self._ready[name] = ready
        self._names.setdefault(_meaning(ready.slot), set()).add(name)
        self.used += _size(name, ready)
        while self.used > self.max_bytes:
            self._remove(next(iter(self._ready)))

    def drop(self, slot: bytes) -> None:
        """Something about this slot has changed; `changes` counts such calls. What was converted stands under the slot
        of the other framing, so both framings go."""
        self.changes += 1
        for name in tuple(self._names.get(_meaning(slot), ())):
            self._remove(name)

    def settle(self, ledger: Ledger) -> None:
        """Tell the ledger what was served since the last time."""
        if not self._said:
            return
        said, self._said = self._said, []
        histogram, self._histogram = self._histogram, [0] * (len(BUCKETS) + 1)
        seconds, self._seconds = self._seconds, 0.0
        hits = [hit for ready in said for hit in ready.settle()]
        ledger.fast_hits(hits, histogram, round(seconds * 1e9))

    def _remove(self, name: Name) -> None:
        ready = self._ready.pop(name, None)
        if ready is None:
            return
        self.used -= _size(name, ready)
        names = self._names[_meaning(ready.slot)]
        names.discard(name)
        if not names:
            del self._names[_meaning(ready.slot)]


def _size(name: Name, ready: Ready) -> int:
    return ready.size + len(name[-1])
