"""A store on servers that many machines share: what is the same for Redis, Valkey and Memcached.

A put waits in a queue that readers look into first and is sent off the request path; a get is one attempt within the
read budget, and none at all while the server is known not to answer. Whatever fails costs a miss and is counted.
Whether an entry may be served is not decided here: entries prove themselves. This room must never know an engine.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from payonce.errors import NoneIdleError, StoreError, StoreUnavailableError
from payonce.model import reason
from payonce.model.ports import About, Clock, Glance, Row, Volume
from payonce.model.quota import Holding, Quotas
from payonce.stores import forks
from payonce.stores import shared_listing as listing
from payonce.stores.notes import NOTE_DAYS
from payonce.stores.registry import not_raised
from payonce.stores.shared_live import MOST_BYTES, Live
from payonce.stores.shared_medium import Medium, StoreFault

TRUST_SECONDS = 1.0
"""For how long what the server said of purges may be relied on."""
UNPACK_BYTES = 512 << 10
"""More than this is not unpacked on an event loop."""
_POLL_SECONDS = 0.25
_CALL_SECONDS = 2.0


class SharedStore:
    """A `Store`, `Notebook` and `Chronicle` on the medium that `build` makes; `name` is its URL, redacted.

    `queue_rows` and `queue_bytes` bound what waits to be written.
    """

    slow = True
    gate = None
    trust = TRUST_SECONDS

    def __init__(
        self,
        build: Callable[[], Medium],
        clock: Clock = time.time,
        *,
        name: str = "the store",
        queue_rows: int = 10_000,
        queue_bytes: int = 64 << 20,
    ) -> None:
        self._clock = clock
        self._name = name
        self._budget, self._poll = 0.05, _POLL_SECONDS
        self._most_rows = queue_rows
        self._quotas = Quotas()
        self._build: Callable[[], Live] = lambda: Live(build, clock, name, queue_rows, queue_bytes)
        self._live = self._build()
        self._box = [self._live]
        self.leases = self._live.leases
        self._finalizer = weakref.finalize(self, _close_box, self._box)
        forks.tell(self)

    def pace(self, read_budget: float) -> None:
        """A read has so many seconds, and a poll no less, up to what any call has."""
        self._budget = self.leases.budget = read_budget
        self._poll = min(max(_POLL_SECONDS, read_budget), _CALL_SECONDS)
        self._live.medium.pace(read_budget)

    def ration(self, quotas: Quotas) -> None:
        """No tenant may have more entries than these allow; bytes are not counted here."""
        self._quotas = self._live.keeper.quotas = quotas

    def holdings(self, most: int) -> Sequence[Holding]:
        """What tenants hold: those with most entries, and those with a quota; none where nothing is counted for one."""
        deadline = time.monotonic() + _CALL_SECONDS
        return self._open().medium.holdings(most, self._quotas.named, self._clock(), deadline) if self._quotas else ()

    def trouble(self, slot: bytes | None = None) -> str:
        """Why `slot` (None: anything) is not asked for at the moment, in words; empty where it is."""
        return self._live.medium.trouble(slot)

    def missing(self) -> str:
        """Which of several servers do not answer, and why, in words; empty where all do."""
        return self._live.medium.missing()

    def get(self, slot: bytes) -> bytes | None:
        """The bytes last put under `slot`. Raises StoreError where the server can't answer within the read budget."""
        live = self._open()
        write = live.queue.pending.get(slot)
        if write is not None:
            return write.value if write.about is not None and write.about.expires_at > self._clock() else None
        [found] = live.medium.read([slot], time.monotonic() + self._budget)
        if isinstance(found, StoreFault):
            raise StoreError(found.because)
        return live.opened(slot, found)

    def get_now(self, slot: bytes) -> bytes | None:
        """As `get`, in this very thread: nothing connects. Raises TimeoutError where there was no answer within the
        read budget, and NoneIdleError where another thread has to read."""
        live = self._open()
        values, asked = self._waiting(live, [slot])
        if asked:
            values = self._opened_all(live, asked, [live.medium.read_now(slot, time.monotonic() + self._budget)])
        return values[slot]

    def get_many(self, slots: Sequence[bytes]) -> Sequence[bytes | None]:
        """As `get` for each, in one round trip; raises StoreError only where nothing at all could be asked for."""
        live = self._open()
        values, asked = self._waiting(live, slots)
        if asked:
            values |= self._opened_all(live, asked, live.medium.read(asked, time.monotonic() + self._budget))
        return [values[slot] for slot in slots]

    async def get_soon(self, slots: Sequence[bytes]) -> Sequence[bytes | None] | None:
        """As `get_many`, on the running loop; None where a thread has to read: there is no connection for this loop at
        the moment (the keeper makes one). Raises TimeoutError where nothing was answered within the read budget."""
        live = self._open()
        values, asked = self._waiting(live, slots)
        if asked:
            found = await live.medium.read_soon(asked, time.monotonic() + self._budget)
            if found is None:
                live.keeper.start()
                return None
            if len(found) == 1 and isinstance(found[0], bytes) and len(found[0]) <= UNPACK_BYTES:
                values[asked[0]] = live.opened(asked[0], found[0])  # what a hit brings
            elif sum(len(item) for item in found if isinstance(item, bytes)) > UNPACK_BYTES:
                values |= await asyncio.to_thread(self._opened_all, live, asked, found)
            else:
                values |= self._opened_all(live, asked, found)
        return [values[slot] for slot in slots]

    def ask_for(self, slot: bytes) -> asyncio.Future[Any] | None:
        """What the server will answer, on the running loop; None where it waits to be written, or `get_soon` has to."""
        live = self._live
        if slot in live.queue.pending or live.queue.closed:
            return None
        try:
            return live.medium.ask_for(slot, time.monotonic() + self._budget)
        except StoreError:
            return None

    def answered(self, slot: bytes, answer: Any, *, in_thread: bool = False) -> bytes | None:
        """The bytes, as `get_soon` has them; what is too large to be unpacked on an event loop is left to a thread."""
        live = self._live
        found = live.medium.parcel_in(slot, answer)
        if isinstance(found, bytes):
            if len(found) > UNPACK_BYTES and not in_thread:
                raise NoneIdleError("a thread unpacks what is large")
            return live.opened(slot, found)
        if found is not None:
            raise TimeoutError(found.because) if found.late else StoreError(found.because)
        return None

    def put(self, slot: bytes, value: bytes, about: About) -> bool:
        """Queue `value`; False where `keep` has a reason."""
        return self.keep(slot, value, about) is None

    def keep(self, slot: bytes, value: bytes, about: About) -> reason.Reason | None:
        """Queue `value`; why not, counted, where it is too large, the server does not answer or the queue refuses."""
        live = self._live
        why = self._unreached(slot, len(value))
        if why is not None:
            live.losses.add(why)
            return why
        why = live.queue.put(slot, value, about)
        live.keeper.start()
        return why

    def declines(self, slot: bytes, size: int) -> reason.Reason | None:
        """Why `size` bytes would not be taken now; None where they might."""
        return self._unreached(slot, size) or self._live.queue.refusal

    def _unreached(self, slot: bytes, size: int) -> reason.Reason | None:
        if size > MOST_BYTES:
            return reason.ENTRY_TOO_LARGE
        return reason.STORE_DOWN if self._live.medium.trouble(slot) else None

    def delete(self, slot: bytes) -> None:
        """Queue a deletion; a get of this process sees it at once."""
        live = self._live
        if len(live.queue.pending) >= 2 * self._most_rows:
            live.ignored = time.time_ns()  # too many to remember: whatever was written before now is forgotten
            live.queue.forget_deletions()
        live.queue.delete(slot)
        live.keeper.start()

    def epochs(self) -> Mapping[str, int]:
        """Every epoch; one short question where nobody has raised one since the last call."""
        live = self._open()
        live.keeper.start()
        return live.book.read(time.monotonic() + self._poll)

    def raise_epoch(self, scope: str, at_least: int = 0) -> int:
        """Count `scope` up; the server has it on return."""
        return self._raise({scope: at_least})[scope]

    def raise_epochs(self, scopes: Collection[str]) -> None:
        """Count each up; the server has them on return."""
        self._raise(dict.fromkeys(scopes, 0))

    def _raise(self, least: Mapping[str, int]) -> Mapping[str, int]:
        live = self._open()
        try:
            return live.book.raise_(least, time.monotonic() + _CALL_SECONDS)
        except StoreError as error:
            raise not_raised(least, error) from error

    def raised(self) -> Mapping[str, float]:
        """When each scope was last raised; under `key:` the latest of the single keys that were forgotten."""
        return self._open().medium.raised(time.monotonic() + _CALL_SECONDS)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was put is on the server; False where it took too long or some of it was dropped."""
        self._live.keeper.start()
        return self._live.queue.flush(timeout)

    def volume(self) -> Volume:
        """How full it is, by uncompressed sizes; an estimate where there are many entries. No limit is known here."""
        entries, used = self._open().medium.count()
        return Volume(entries, used, 0)

    def rows(self) -> Iterator[Row]:
        """Every entry, newest first; what waits is written first, if that is quick."""
        live = self._open()
        self.flush(1.0)
        yield from listing.everything(live.medium, live.queue, self._clock())

    def glance(self, wanted: Callable[[Row], bool], most: int) -> Glance:
        """The newest `most` entries that are wanted, of as many as can be looked at within moments."""
        live = self._open()
        self.flush(1.0)
        return listing.glance(live.medium, live.queue, self._clock(), wanted, most)

    def dropped(self) -> Mapping[str, int]:
        """How many entries were dropped or damaged, by reason id."""
        return self._live.losses.counts()

    def note(self, name: str, value: bytes) -> None:
        """Queue a record."""
        self._live.queue.note(name, value)
        self._live.keeper.start()

    def notes(self) -> Mapping[str, bytes]:
        """Every record of the last days, by name, of all processes."""
        live = self._open()
        waiting = live.queue.notes()
        today = int(self._clock()) // 86400
        days = range(today - NOTE_DAYS, today + 2)  # another machine's clock may be ahead
        return {**live.medium.notes(days, time.monotonic() + _CALL_SECONDS), **waiting}

    def close(self, timeout: float = 5.0) -> None:
        """Flush within `timeout` and release everything; a get raises from now on, a put says False."""
        forks.forget(self)
        self._live.close(timeout)
        self._finalizer.detach()

    def _open(self) -> Live:
        if self._live.queue.closed:
            raise StoreUnavailableError("the store is closed")
        return self._live

    def _waiting(self, live: Live, slots: Sequence[bytes]) -> tuple[dict[bytes, bytes | None], list[bytes]]:
        """What is known of those that wait to be written, and the slots that have to be asked for."""
        pending, now = live.queue.pending, self._clock()
        values: dict[bytes, bytes | None] = {}
        asked = []
        for slot in slots:
            write = pending.get(slot)
            if write is None:
                asked.append(slot)
            else:
                values[slot] = write.value if write.about is not None and write.about.expires_at > now else None
        return values, asked

    def _opened_all(
        self, live: Live, asked: Sequence[bytes], found: Sequence[bytes | StoreFault | None]
    ) -> dict[bytes, bytes | None]:
        faults = [item for item in found if isinstance(item, StoreFault)]
        if faults and len(faults) == len(asked):
            raise TimeoutError(faults[0].because) if faults[0].late else StoreError(faults[0].because)
        live.losses.add(reason.STORE_FAULT, len(faults))
        return {
            slot: None if isinstance(item, StoreFault) else live.opened(slot, item)
            for slot, item in zip(asked, found, strict=True)
        }

    def forked(self) -> object:
        """Begin anew in a child; what was the parent's, whose connections are not to be used here, nor closed."""
        parents, self._live = self._live, self._build()
        self._box[0], self.leases = self._live, self._live.leases
        self.ration(self._quotas)
        self.pace(self._budget)
        return parents


def _close_box(box: list[Live]) -> None:
    box[0].close(2.0)
