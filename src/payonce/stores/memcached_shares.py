"""How many entries each tenant has on memcached servers, where that is bounded: one small item for each tenant.

memcached can't say which entries a tenant has, so they are counted by when they expire: to the minute for those that
live up to three hours, else to the hour. What the server evicts is counted until then; a purge
of all, or of a tenant's, begins a new item. An index has the latest counts
of the tenants with most entries. This room must never decide what a tenant may hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from payonce.model.quota import Holding, Quotas
from payonce.stores import memcached_words as words
from payonce.stores import parcel
from payonce.stores.memcached_books import Books, MemcachedNode, swap
from payonce.stores.shared_medium import Puts

FINE_SECONDS = 3 * 3600
IN_INDEX = 100
_KEEP_SECONDS = 400 * 86400.0
_STEPS = (60, 3600)

Counts = dict[int, int]


def bucket(expires_at: float, now: float) -> int:
    """The end of the minute, or the hour, in which an entry expires (Unix seconds)."""
    step = _STEPS[expires_at - now > FINE_SECONDS]
    return -int(-expires_at // step) * step


def living(counts: Counts, now: float) -> Counts:
    """Without the buckets whose time is up."""
    return {end: count for end, count in counts.items() if end > now and count > 0}


def moved(counts: Counts, old: float | None, new: float, now: float) -> Counts:
    """Counts in which an entry that expires at `new` is counted, and no more where it expired before (`old`)."""
    changed = dict(counts)
    if old is not None:
        for end in sorted({-int(-old // step) * step + slip for step in _STEPS for slip in (0, -step, step)}):
            if changed.get(end):  # the server tells its time to the second, so it may be the bucket beside
                changed[end] -= 1
                break
    end = bucket(new, now)
    changed[end] = changed.get(end, 0) + 1
    return changed


class MemcachedShares:
    """The items under `prefix`; `owner` says which server has an item."""

    def __init__(self, books: Books, prefix: str, owner: Callable[[bytes], MemcachedNode]) -> None:
        self._books, self._prefix, self._owner = books, prefix, owner

    def admit(self, puts: Puts, quotas: Quotas, now: float, deadline: float) -> set[bytes]:
        """Count what each tenant is about to put; the slots for which it has no room. Raises StoreError."""
        refused: set[bytes] = set()
        held: dict[str, int] = {}
        epochs = self._books.known(deadline)
        for tenant, slots in puts.items():
            most = quotas.of(tenant).entries
            if most:
                before = self._expiries(list(slots), now, epochs.era_began(tenant), deadline)
                name = self._place(_title(tenant), deadline, epochs.era(tenant))
                excess, held[tenant] = self._enter(name, slots, before, most, now, deadline)
                refused |= excess
        if held:
            self._post(held, deadline)
        return refused

    def holdings(self, most: int, named: Iterable[str], now: float, deadline: float) -> list[Holding]:
        """The tenants with most entries in the index, and those in `named`, as they are counted now."""
        listed = sorted(self._index(self._read("index", deadline)).items(), key=lambda item: -item[1])
        found = []
        epochs = self._books.known(deadline)
        for tenant in dict.fromkeys((*(tenant for tenant, _ in listed[:most]), *named)):
            count = sum(living(self._counts(self._read(_title(tenant), deadline, epochs.era(tenant))), now).values())
            found += [Holding(tenant, count)] if count else []
        return sorted(found, key=lambda holding: -holding.entries)

    def _expiries(self, slots: Sequence[bytes], now: float, since: float, deadline: float) -> dict[bytes, float]:
        """When the entries expire that are there already, and were stored after `since` (0: whenever)."""
        flags = ("t", "v") if since else ("t",)
        found: dict[bytes, float] = {}
        for node, mine in self._by_node(slots):
            generation = self._books.generation(node, deadline)
            asked = [words.get(words.entry_name(self._prefix, generation, slot), *flags) for slot in mine]
            for slot, answer in zip(mine, node.ask(asked, deadline), strict=True):
                left = words.read_number(answer, "t")
                if left is not None and (not since or _stored_at(answer.value) > since):
                    found[slot] = now + left
        return found

    def _enter(
        self,
        place: tuple[MemcachedNode, str],
        slots: Mapping[bytes, float],
        before: Mapping[bytes, float],
        most: int,
        now: float,
        deadline: float,
    ) -> tuple[set[bytes], int]:
        refused: set[bytes] = set()
        total = 0

        def entered(value: bytes | None) -> bytes:
            nonlocal total
            refused.clear()
            counts = living(self._counts(value), now)
            total = sum(counts.values())
            for slot, expires_at in slots.items():
                if slot not in before and total >= most:
                    refused.add(slot)
                else:
                    counts = moved(counts, before.get(slot), expires_at, now)
                    total += slot not in before
            return msgspec.msgpack.encode(counts)

        node, name = place
        swap(node, name, entered, _KEEP_SECONDS, deadline)
        return refused, total

    def _post(self, held: Mapping[str, int], deadline: float) -> None:
        def posted(value: bytes | None) -> bytes:
            merged = {**self._index(value), **held}
            largest = sorted(merged.items(), key=lambda item: -item[1])[:IN_INDEX]
            return msgspec.msgpack.encode(dict(largest))

        node, name = self._place("index", deadline)
        swap(node, name, posted, _KEEP_SECONDS, deadline)

    def _read(self, title: str, deadline: float, era: str = "") -> bytes | None:
        node, name = self._place(title, deadline, era)
        [answer] = node.ask([words.get(name, "v")], deadline)
        return answer.value

    def _place(self, title: str, deadline: float, era: str = "") -> tuple[MemcachedNode, str]:
        node = self._owner(title.encode())
        return node, f"{self._prefix}q:{self._books.generation(node, deadline):013x}{era}:{title}"

    def _by_node(self, slots: Sequence[bytes]) -> Iterator[tuple[MemcachedNode, list[bytes]]]:
        groups: dict[int, tuple[MemcachedNode, list[bytes]]] = {}
        for slot in slots:
            node = self._owner(slot)
            groups.setdefault(id(node), (node, []))[1].append(slot)
        yield from groups.values()

    @staticmethod
    def _counts(value: bytes | None) -> Counts:
        try:
            return _counts.decode(value) if value is not None else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}

    @staticmethod
    def _index(value: bytes | None) -> dict[str, int]:
        try:
            return _index.decode(value) if value is not None else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}


_counts = msgspec.msgpack.Decoder(dict[int, int])
_index = msgspec.msgpack.Decoder(dict[str, int])


def _title(tenant: str) -> str:
    return "t:" + hashlib.sha256(tenant.encode("utf-8", "replace")).hexdigest()[:32]


def _stored_at(value: bytes | None) -> float:
    on = None if value is None else parcel.label(value)
    about = None if value is None or on is None else parcel.about(value, on)
    return 0.0 if about is None else about.stored_at
