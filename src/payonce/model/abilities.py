"""What some stores can do besides keeping bytes: a protocol for each ability, which a store has or has not.

Whoever uses one asks for it first and does without it where it is missing. This room must never name a store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from payonce.model.call import Asked
from payonce.model.quota import Holding, Quotas
from payonce.model.reason import Reason
from payonce.model.store import About, Row


@runtime_checkable
class Explaining(Protocol):
    """A store that says why it did not take an entry."""

    def keep(self, slot: bytes, value: bytes, about: About) -> Reason | None:
        """As `put`; None where that would say True, else why not, which is what `dropped` counts it under."""
        ...


@runtime_checkable
class Declining(Protocol):
    """A store that often knows, before it is given an entry, that it would not take it."""

    def declines(self, slot: bytes, size: int) -> Reason | None:
        """Why `keep` would not take `size` bytes (0: it is not known how many) under `slot` now; None where it might.
        At once; nothing is counted."""
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
class Spread(Protocol):
    """A store on several servers, of which each has its share."""

    def missing(self) -> str:
        """Which of them do not answer, and why, in words; empty where all do. At once."""
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


class Later(Awaitable[Any], Protocol):
    """What is to come on the running event loop; `asyncio.Future` is one."""

    def add_done_callback(self, call: Callable[[Any], object], /) -> object:
        """Call `call` with this very thing, soon after it has come."""
        ...

    def result(self) -> Any:
        """What has come."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A store that an event loop can ask for one entry, and be told later: nothing is awaited in between."""

    def ask_for(self, slot: bytes) -> Later | None:
        """What will be answered, for `answered`; None where it can't be asked in this way now. At once."""
        ...

    def answered(self, slot: bytes, answer: Any, *, in_thread: bool = False) -> bytes | None:
        """The bytes, as `get` has them. Raises TimeoutError where the answer did not come in time, NoneIdleError where
        a thread has to look at it, or to ask again, and StoreError."""
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
