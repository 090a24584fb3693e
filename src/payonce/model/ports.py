"""What the house asks of its guests: stores, dialects, upstreams, clocks. Protocols only.

A store keeps bytes under 33-byte slots and counts epochs. It knows no HTTP and no language model; what it is told
*about* an entry is for listing, sweeping and eviction, never for deciding whether the entry may be served.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from payonce.model.call import Asked, Call, Headers, Intent
from payonce.model.entry import Facts
from payonce.model.policy import HitUsage
from payonce.model.quota import Holding, Quotas
from payonce.model.reason import Reason

Clock = Callable[[], float]
"""Seconds since the Unix epoch."""


class About(msgspec.Struct, frozen=True):
    """What a store may know of the bytes it keeps: enough to list, sweep and evict."""

    stored_at: float
    expires_at: float
    """When the entry can't be served any more, stale windows included."""
    tenant: str
    namespace: str
    endpoint: str
    model: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One entry in a listing; `size` in bytes, as stored."""

    slot: bytes
    size: int
    about: About


@dataclass(frozen=True, slots=True)
class Volume:
    """How full a store is; `limit_bytes` 0 means unbounded."""

    entries: int
    used_bytes: int
    limit_bytes: int


class Store(Protocol):
    """Bytes under slots, safe to use from any thread. Proven by `payonce.testing.StoreContract`.

    `get` raises `StoreError` where the store can't answer; whoever performs the story turns that into a miss.
    `put` never blocks on the medium: it queues, and says False where the entry was dropped (queue full, too large).
    """

    def get(self, slot: bytes) -> bytes | None:
        """The bytes last put under `slot`, if they are still kept; never older ones after `put` returned True."""
        ...

    def put(self, slot: bytes, value: bytes, about: About) -> bool:
        """Keep `value`; True once it is queued and visible to `get` of this process."""
        ...

    def delete(self, slot: bytes) -> None:
        """Forget `slot`; a later `get` in this process gives None."""
        ...

    def epochs(self) -> Mapping[str, int]:
        """Every epoch that was ever raised, by scope, as seen by all processes that share the store."""
        ...

    def raise_epoch(self, scope: str, at_least: int = 0) -> int:
        """Count `scope` up by one (or to `at_least`, if that is more); durable and visible to all on return."""
        ...

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was put is durable; False if `timeout` seconds were not enough."""
        ...

    def volume(self) -> Volume:
        """How full it is."""
        ...

    def rows(self) -> Iterator[Row]:
        """Every entry that is kept, newest first; a snapshot that does not block writers."""
        ...

    def dropped(self) -> Mapping[str, int]:
        """How many entries were dropped or damaged since the start, by reason id."""
        ...

    def close(self) -> None:
        """Flush within a bound and release everything; calling it twice is harmless."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A store that says why it did not take an entry."""

    def keep(self, slot: bytes, value: bytes, about: About) -> Reason | None:
        """As `put`; None where that would say True, else why not, which is what `dropped` counts it under."""
        ...


@runtime_checkable
class Notebook(Protocol):
    """A store that can also keep small named records for all processes that share it (figures of each worker)."""

    def note(self, name: str, value: bytes) -> None:
        """Keep `value` under `name`, replacing what was there; best effort, off the request path."""
        ...

    def notes(self) -> Mapping[str, bytes]:
        """Every record, by name."""
        ...


@runtime_checkable
class Chronicle(Protocol):
    """A store that knows when it was purged, so that what is brought in from elsewhere can be held against that."""

    def raised(self) -> Mapping[str, float]:
        """When each scope was last raised, in Unix seconds; under `key:` the latest of the single keys it forgot."""
        ...


@runtime_checkable
class Rationing(Protocol):
    """A store that counts what each tenant holds, so that no one of them pushes the others out."""

    def ration(self, quotas: Quotas) -> None:
        """No tenant may hold more than these allow; holds for what is put from now on."""
        ...

    def holdings(self, most: int) -> Sequence[Holding]:
        """What those tenants hold that hold most, `most` at most, and those that have a quota of their own, largest
        first. May wait; raises StoreError."""
        ...


@runtime_checkable
class Patience(Protocol):
    """A store whose `get` may wait for a disk or a network, so that an event loop must not call it directly."""

    slow: bool


@runtime_checkable
class Distant(Protocol):
    """A store on servers that many machines share, and that may not answer at all."""

    trust: float
    """For how many seconds what `epochs` said may be relied on: then a purge may have been missed."""

    def trouble(self, slot: bytes | None = None) -> str:
        """Why `slot` (None: anything) is not asked for at the moment, in words; empty where it is. At once."""
        ...

    def pace(self, read_budget: float) -> None:
        """A read has so many seconds."""
        ...


@runtime_checkable
class HandyReading(Protocol):
    """A store that keeps to the read budget by itself, so that whoever asks may wait for it."""

    def get_now(self, slot: bytes) -> bytes | None:
        """As `get`, within the read budget. Raises TimeoutError where that was not enough, NoneIdleError where a thread
        has to wait for longer than that, and StoreError."""
        ...


@runtime_checkable
class AsyncReading(Protocol):
    """A store that an event loop can read without a thread."""

    async def get_soon(self, slots: Sequence[bytes]) -> Sequence[bytes | None] | None:
        """The bytes of each, as `get` has them, within the read budget; None where a thread has to read this time.
        Raises TimeoutError where nothing was answered in time, StoreError where nothing could be asked for."""
        ...


class Glance(NamedTuple):
    """What a glance has shown: rows, newest first, of `looked` entries that were looked at."""

    rows: Sequence[Row]
    looked: int


@runtime_checkable
class Glancing(Protocol):
    """A store whose `rows` would have to look at all there is before the first of them."""

    def glance(self, wanted: Callable[[Row], bool], most: int) -> Glance:
        """The newest `most` rows that are wanted, of as many entries as can be looked at within moments. May wait."""
        ...


@runtime_checkable
class Choosy(Protocol):
    """A store that is asked to keep what another one has, and keeps what is worth it."""

    def offer(self, slot: bytes, value: bytes, about: About) -> None:
        """Keep `value`, maybe: somebody has just asked for it."""
        ...


@runtime_checkable
class Sieving(Protocol):
    """A store that often knows, without a look at its medium, that it has nothing."""

    def absent(self, slot: bytes) -> bool:
        """True where it is certain that nothing is stored under `slot`; False says nothing."""
        ...


@runtime_checkable
class Bulk(Protocol):
    """A store that finds many slots at once for less than it would cost to ask one by one."""

    def get_many(self, slots: Sequence[bytes]) -> Sequence[bytes | None]:
        """As `get`, for each slot, in order."""
        ...


@runtime_checkable
class BulkRaising(Protocol):
    """A store that raises many epochs for little more than one costs."""

    def raise_epochs(self, scopes: Collection[str]) -> None:
        """As `raise_epoch` for each; in one step, or in few."""
        ...


class Recording(NamedTuple):
    """What an entry of a `Recorder` is called, and what was asked for it."""

    name: str
    stream: bool
    asked: Asked


@runtime_checkable
class Recorder(Protocol):
    """A store that keeps with each answer what was asked, for people to read; never a credential."""

    def keep_asked(self, slot: bytes, value: bytes, about: About, asked: Asked | None) -> Reason | None:
        """As `Explaining.keep`, with the question where it is known."""
        ...

    def shown(self, asked: Asked) -> Asked:
        """A question as it is kept: without what looks like a secret, and with very long values named by a digest."""
        ...

    def recordings(self, endpoint: str, model: str) -> Iterator[Recording]:
        """What is recorded, for this endpoint and model first, then of the endpoint, then all else."""
        ...

    def trouble(self, slot: bytes) -> str:
        """Why what is recorded under `slot` can't be read, and what to do; empty where nothing is wrong with it."""
        ...

    def refusal(self) -> str:
        """Why nothing can be recorded, and what to do; empty where it can."""
        ...


class Dialect(Protocol):
    """One endpoint's wire: pure functions over bytes."""

    endpoint: str

    def read(self, body: bytes) -> Intent | Reason:
        """What the client means, or why its request has no key (the bytes then go upstream untouched)."""
        ...

    def judge(self, intent: Intent, headers: Headers, body: bytes) -> Facts | Reason:
        """What a whole 200 answer says of itself, or why it is not kept."""
        ...

    def respend(self, body: bytes, stream: bool, mode: HitUsage) -> bytes:
        """A stored body that reports the usage of a hit: `free` sets cost fields to 0, `zero` token counters too."""
        ...

    def convert(self, body: bytes, *, to_stream: bool, wants_usage: bool) -> bytes | None:
        """A stored body in the other framing: what an SDK reads in it is what it reads in `body`, the usage that a
        stream leaves out unless it is asked for (`wants_usage`) aside. None where that is not proven."""
        ...

    def error(self, status: int, code: str, message: str) -> bytes:
        """A body in the endpoint's own error shape."""
        ...


class Piece(NamedTuple):
    """One item of a batch's answer: the body under which it is stored, and its share in what the answer says."""

    body: bytes
    facts: Facts


class Division(NamedTuple):
    """A batch's answer as a whole, and each of its items, in order."""

    facts: Facts
    pieces: tuple[Piece, ...]


@runtime_checkable
class BatchDialect(Dialect, Protocol):
    """A dialect of batches, whose items are answered one by one."""

    def narrow(self, body: bytes, places: Sequence[int]) -> bytes:
        """The request with only the inputs at these places, all else as it was written."""
        ...

    def divide(self, body: bytes, weights: Sequence[int]) -> Generator[None, None, Division | Reason]:
        """A whole 200 answer, divided; `weights` has one for each item that was sent. Yields now and then, so that the
        work on a large answer can be spread. The numbers in the pieces' usage add up to the answer's exactly."""
        ...

    def assemble(
        self, pieces: Sequence[bytes], places: Sequence[int], paid: Collection[int], mode: HitUsage
    ) -> Generator[None, None, bytes | None]:
        """An answer with `pieces[places[0]]` at index 0 and so on; usage counts each piece once, those in `paid` as
        they are and the others as `mode` says. None where the pieces don't belong together. Yields as above."""
        ...


class Head(msgspec.Struct, frozen=True):
    """The first part of an answer: its status and end-to-end headers."""

    status: int
    headers: Headers


class Answer(Protocol):
    """An upstream's answer that is still arriving."""

    head: Head

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, undecoded. Raises `UpstreamFault` when it ends before it is whole."""
        ...

    def close(self) -> None:
        """Give the connection back if the answer was read whole; otherwise destroy it."""
        ...


class Upstream(Protocol):
    """Whoever answers for money."""

    async def open(self, call: Call) -> Answer:
        """Send `call`, wait for the head. Raises `UpstreamFault`."""
        ...


class UpstreamFault(Exception):  # noqa: N818 - a fault is an outcome that the story names, not a mistake of the caller
    """The upstream gave no answer, or not all of it; `reason` says which of the known ways it was."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.id}: {detail}" if detail else reason.id)
        self.reason = reason
        self.detail = detail
