"""What a shared store asks of the server behind it, so that queue, breaker and expiry are the same for every engine.

This room must never know an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from payonce.model.quota import Holding, Quotas
from payonce.model.reason import Reason
from payonce.model.scopes import ALL, of_tenant
from payonce.stores.lane_queue import Fault
from payonce.stores.shared_leases import LeaseMedium


class Parcel(NamedTuple):
    """What is to be written: the packed bytes, and for how many seconds; without bytes it is deleted."""

    data: bytes | None
    ttl: float


class Found(NamedTuple):
    """One entry of a listing: its slot, and at least the head of its parcel."""

    slot: bytes
    head: bytes


Puts = Mapping[str, Mapping[bytes, float]]
"""What is put, by tenant: the slots, and when they expire (Unix seconds)."""


class Epochs(NamedTuple):
    """What a book of epochs says: the counts, and when each was last raised (Unix seconds)."""

    counts: Mapping[str, int]
    raised: Mapping[str, float]

    def era(self, tenant: str) -> str:
        """Part of the name under which a tenant's entries are counted: a purge of all, or of that tenant's, begins a
        new count, as none of those that were counted is alive."""
        purges = [self.counts.get(scope, 0) for scope in (ALL, of_tenant(tenant))]
        return "." + ".".join(f"{count:x}" for count in purges) if any(purges) else ""

    def era_began(self, tenant: str) -> float:
        """When that was (Unix seconds)."""
        return max(self.raised.get(scope, 0.0) for scope in (ALL, of_tenant(tenant)))


class Count(NamedTuple):
    """How many entries there are, and their bytes; an estimate where there are many."""

    entries: int
    used_bytes: int


class Medium(Protocol):
    """A server, or several. Every method but `trouble` may wait until `deadline` (monotonic seconds), or a bound of its
    own, and raises StoreError where there is no answer. Safe from any thread."""

    largest: int
    """Bytes of a parcel; a larger one is not taken."""

    @property
    def leases(self) -> LeaseMedium:
        """Who makes the call for a slot."""
        ...

    def trouble(self, slot: bytes | None = None) -> str:
        """Why `slot` (None: anything) is not asked for at the moment, in words; empty where it is. At once."""
        ...

    def missing(self) -> str:
        """Which of several servers do not answer, and why, in words; empty where all do. At once."""
        ...

    def read(self, slots: Sequence[bytes], deadline: float) -> Sequence[bytes | StoreFault | None]:
        """The parcel of each slot, in one round trip to each server; what could not be asked for is a fault."""
        ...

    def read_now(self, slot: bytes, deadline: float) -> bytes | StoreFault | None:
        """The parcel of one slot, by a connection that is there: nothing connects, and nothing else is asked. Raises
        NoneIdleError where that would have to be."""
        ...

    async def read_soon(self, slots: Sequence[bytes], deadline: float) -> Sequence[bytes | StoreFault | None] | None:
        """The same on the running loop, without a thread; None where only a thread can, as at the beginning. A request
        that is cancelled meanwhile lets go of its answer."""
        ...

    def ask_for(self, slot: bytes, deadline: float) -> asyncio.Future[list[Any] | Fault] | None:
        """The same for one slot, to be told later: what `parcel_in` wants. None where it can't be asked in this way
        now; raises StoreError where too much waits already. At once."""
        ...

    def parcel_in(self, slot: bytes, answer: list[Any] | Fault) -> bytes | StoreFault | None:
        """The parcel that was answered. Raises NoneIdleError where a thread has to ask, elsewhere. At once."""
        ...

    def write(self, parcels: Mapping[bytes, Parcel], deadline: float) -> Mapping[bytes, Reason]:
        """Write or delete each; those that were not, and why."""
        ...

    def can_write(self, deadline: float) -> Reason | None:
        """Write something small: why nothing can be written, None if it can."""
        ...

    def note(self, day: int, notes: Mapping[str, bytes], keep: float, deadline: float) -> None:
        """Keep records of a day, for `keep` seconds."""
        ...

    def notes(self, days: Sequence[int], deadline: float) -> Mapping[str, bytes]:
        """The records of these days; a later one replaces an earlier one of the same name."""
        ...

    def admit(self, puts: Puts, quotas: Quotas, now: float, deadline: float) -> Collection[bytes]:
        """Before `puts` are written: those that must not be, as their tenants have no room for them."""
        ...

    def trim(self, puts: Puts, quotas: Quotas, now: float, deadline: float) -> int:
        """After `puts` were written: delete what their tenants now have too much. How many entries that were."""
        ...

    def holdings(self, most: int, named: Iterable[str], now: float, deadline: float) -> Sequence[Holding]:
        """What the `most` tenants hold that have most of the counted entries, and those in `named`, largest first."""
        ...

    def epochs(self, deadline: float) -> Epochs:
        """Every epoch; the same object as before where nothing was raised since."""
        ...

    def raise_epochs(self, least: Mapping[str, int], now: float, deadline: float) -> Mapping[str, int]:
        """Count scopes up by one, or to what is given: their counts. Those of single keys count in milliseconds."""
        ...

    def carry(self, lost: Epochs, deadline: float) -> None:
        """Raise each scope to this count and this time, where they are lower."""
        ...

    def raised(self, deadline: float) -> Mapping[str, float]:
        """When each scope was last raised, in Unix seconds."""
        ...

    def listing(self, most: int | None = None) -> Iterator[Sequence[Found]]:
        """Every entry, in pieces, in no order; perhaps twice. With `most`, those among about so many names, of all
        servers alike."""
        ...

    def count(self) -> Count:
        """How many there are, within a bounded number of steps."""
        ...

    def pace(self, read_budget: float) -> None:
        """A read has so many seconds: a server that needs longer is of no use."""
        ...

    def tend(self) -> None:
        """Look after what does not work. Called often, off the request path; never raises."""
        ...

    def close(self) -> None:
        """Let every connection go."""
        ...


class StoreFault(NamedTuple):
    """Why one slot could not be asked for; `late`: there was no answer in time."""

    because: str
    late: bool = False
