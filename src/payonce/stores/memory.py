"""A store in this process's memory, bounded in bytes: W-TinyLFU in a dict that remembers.

The dict keeps; two policies decide what it may keep. A new entry stands in the *window*, an LRU of about an eighth of
the bytes, so what was just put can be got. What the window pushes out is offered to the *main* region, where moka's
TinyLFU lets it in only if it is asked for more often than what it would displace: a scan can't flush the hot set. What
belongs to a tenant that holds no more than its share is spared, and the tenant that holds most gives instead.
Entries are touched under one lock, moka's eviction listener included. This room must never know a disk or a network.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence

from payonce.errors import SettingsError
from payonce.model import reason
from payonce.model.ports import About, Clock, Row, Volume
from payonce.model.quota import Holding, Quotas
from payonce.stores.local_url import read_nothing
from payonce.stores.memory_epochs import EpochBook
from payonce.stores.memory_main import Kept, main_region
from payonce.stores.memory_tenants import Tenants
from payonce.stores.notes import MOST_NOTES, NOTE_SECONDS

OVERHEAD = 700
"""What an entry costs beyond its value: slot, words about it, and its places in three tables (measured, rounded up)."""
WINDOW_SHARE = 8
"""One part in so many is the window; no entry may be larger than it."""


class MemoryStore:
    """A `Store` and `Notebook` in memory, for one process; safe from any thread."""

    slow = False

    def __init__(self, max_bytes: int, clock: Clock = time.time) -> None:
        self._clock = clock
        self._limit = max_bytes
        self._window_limit = max_bytes // WINDOW_SHARE
        if self._window_limit <= OVERHEAD:
            raise SettingsError(
                f"a memory store of {max_bytes} bytes holds nothing: give it at least {(OVERHEAD + 1) * WINDOW_SHARE}"
            )
        self._lock = threading.RLock()
        self._kept: dict[bytes, Kept] = {}
        self._window: OrderedDict[bytes, int] = OrderedDict()
        self._window_used = 0
        self._used = 0
        self._tenants = Tenants(max_bytes - self._window_limit)
        self._quotas = Quotas()
        self._rationed = False
        self._ghosts: OrderedDict[bytes, None] = OrderedDict()
        self._spared: list[tuple[bytes, Kept]] = []
        self._main = main_region(max_bytes - self._window_limit, self._left_main)
        self._epochs = EpochBook(clock)
        self._notes: dict[str, tuple[float, bytes]] = {}
        self._dropped: dict[str, int] = {}

    def get(self, slot: bytes) -> bytes | None:
        """The bytes last put under `slot`. Absent or not, moka's sketch learns that it was asked for."""
        with self._lock:
            self._main.get(slot)
            kept = self._kept.get(slot)
            if kept is None:
                return None
            if kept.expires_at <= self._clock():
                self._forget(slot)
                return None
            if slot in self._window:
                self._window.move_to_end(slot)
            return kept.value

    def put(self, slot: bytes, value: bytes, about: About) -> bool:
        """Keep `value`; False where `keep` has a reason."""
        return self.keep(slot, value, about) is None

    def keep(self, slot: bytes, value: bytes, about: About) -> reason.Reason | None:
        """Keep `value` in the window, and offer what stood there longest to moka; why not, counted, where it is too
        large or its tenant's quota is too small for it."""
        weight = len(value) + len(slot) + OVERHEAD
        with self._lock:
            if weight > self._window_limit:
                return self._drop(reason.ENTRY_TOO_LARGE)
            self._forget(slot)
            self._kept[slot] = Kept(value, about.expires_at, weight, about)
            self._window[slot] = weight
            self._window_used += weight
            self._used += weight
            self._tenants.put(about.tenant, slot, weight)
            if self._rationed:
                self._hold(about.tenant)
            if self._window_used > self._window_limit:
                self._overflow()
            return None if slot in self._kept else reason.OVER_QUOTA

    def declines(self, slot: bytes, size: int) -> reason.Reason | None:
        """Why `size` bytes would not be taken; None where they might."""
        return reason.ENTRY_TOO_LARGE if size + len(slot) + OVERHEAD > self._window_limit else None

    def offer(self, slot: bytes, value: bytes, about: About) -> None:
        """Keep what another store has and somebody has just asked for. Where something else would have to go for it, it
        has to be asked for again first, before as many others are as there are here: it would not have stayed until
        then either (the ghost list of 2Q: Johnson and Shasha, 1994)."""
        with self._lock:
            weight = len(value) + len(slot) + OVERHEAD
            full = self._window_used + weight > self._window_limit and self._tenants.would_crowd(weight)
            if full and slot not in self._ghosts:
                self._ghosts[slot] = None
                if len(self._ghosts) > len(self._kept):
                    self._ghosts.popitem(last=False)
            else:
                self._ghosts.pop(slot, None)
                self.keep(slot, value, about)

    def delete(self, slot: bytes) -> None:
        """Forget `slot`."""
        with self._lock:
            self._forget(slot)

    def epochs(self) -> Mapping[str, int]:
        """Every epoch, by scope: a view of a table that is never changed, only replaced."""
        return self._epochs.counts

    def raise_epoch(self, scope: str, at_least: int = 0) -> int:
        """Count `scope` up by one, or to `at_least`; epochs of single keys are forgotten after two days."""
        return self._epochs.raise_({scope: at_least})[scope]

    def raise_epochs(self, scopes: Collection[str]) -> None:
        """Count each up by one."""
        self._epochs.raise_(dict.fromkeys(scopes, 0))

    def raised(self) -> Mapping[str, float]:
        """When each scope was last raised; under `key:` the latest of the single keys that were forgotten."""
        return self._epochs.raised()

    def flush(self, timeout: float = 5.0) -> bool:  # noqa: ARG002 - the contract's signature
        """True: nothing here is more durable than it is already."""
        return True

    def volume(self) -> Volume:
        """How full it is; an entry counts with its slot and overhead."""
        with self._lock:
            return Volume(len(self._kept), self._used, self._limit)

    def ration(self, quotas: Quotas) -> None:
        """No tenant may hold more than these allow."""
        self._quotas, self._rationed = quotas, bool(quotas)

    def holdings(self, most: int) -> Sequence[Holding]:
        """What the `most` tenants that hold most hold, and those with a quota of their own."""
        with self._lock:
            return self._tenants.holdings(most, self._quotas.named)

    def rows(self) -> Iterator[Row]:
        """Every entry that has not expired, newest first, as of now."""
        with self._lock:
            slots = list(self._kept)
        now = self._clock()
        for slot in reversed(slots):
            item = self._kept.get(slot)
            if item is not None and item.expires_at > now:
                yield Row(slot, len(item.value), item.about)

    def dropped(self) -> Mapping[str, int]:
        """How many entries were dropped, by reason id."""
        with self._lock:
            return dict(self._dropped)

    def note(self, name: str, value: bytes) -> None:
        """Keep `value` under `name`."""
        with self._lock:
            now = self._clock()
            self._notes.pop(name, None)
            self._notes[name] = (now, value)
            while len(self._notes) > MOST_NOTES or next(iter(self._notes.values()))[0] < now - NOTE_SECONDS:
                del self._notes[next(iter(self._notes))]

    def notes(self) -> Mapping[str, bytes]:
        """Every record, by name."""
        with self._lock:
            return {name: value for name, (_, value) in self._notes.items()}

    def close(self) -> None:
        """Let everything go."""
        with self._lock:
            for slot in list(self._kept):
                self._forget(slot)
            self._notes.clear()

    def _hold(self, tenant: str) -> None:
        quota = self._quotas.of(tenant)
        while self._tenants.exceeds(tenant, quota):
            self._forget(self._tenants.oldest(tenant))
            self._drop(reason.OVER_QUOTA)

    def _overflow(self) -> None:
        offered = []
        while self._window_used > self._window_limit:
            slot = next(iter(self._window))
            kept = self._kept[slot]
            if kept.expires_at <= self._clock():
                self._forget(slot)
            else:
                self._window_used -= self._window.pop(slot)
                self._tenants.promote(kept.about.tenant, kept.weight)
                self._main.set(slot, kept)
                offered.append(slot)
        self._main.run_pending_tasks()
        while self._spared:
            self._make_way(offered)
            slot, kept = self._spared.pop()
            if self._kept.get(slot) is kept:
                self._main.set(slot, kept)
                self._main.run_pending_tasks()

    def _make_way(self, offered: list[bytes]) -> None:
        """Room in the main region: by what was offered last, if it is of the tenant that holds most, as it is likely to
        be asked for least; else by what that tenant put first."""
        while self._tenants.crowded:
            tenant = self._tenants.largest()
            slot = offered.pop() if offered else b""
            kept = self._kept.get(slot)
            if kept is None or kept.about.tenant != tenant:
                slot = self._tenants.oldest(tenant)
            self._forget(slot)
            self._drop(reason.EVICTED)
        self._main.run_pending_tasks()

    def _left_main(self, slot: bytes, kept: Kept, cause: str) -> None:
        # Called by moka inside a call of ours, so under our lock: main region over its bytes, or candidate refused.
        if cause == "size" and self._kept.get(slot) is kept:
            if self._tenants.spares(kept.about.tenant):
                self._spared.append((slot, kept))
                return
            self._strike(slot)
            self._drop(reason.EVICTED)

    def _forget(self, slot: bytes) -> None:
        if self._strike(slot):
            self._main.remove(slot)

    def _strike(self, slot: bytes) -> bool:
        """Take `slot` off the books; True where moka may still have it."""
        kept = self._kept.pop(slot, None)
        if kept is None:
            return False
        in_main = slot not in self._window
        self._used -= kept.weight
        self._window_used -= self._window.pop(slot, 0)
        self._tenants.drop(kept.about.tenant, slot, kept.weight, in_main=in_main)
        return in_main

    def _drop(self, why: reason.Reason) -> reason.Reason:
        self._dropped[why.id] = self._dropped.get(why.id, 0) + 1
        return why


def open_memory(rest: str, *, clock: Clock, max_bytes: int) -> MemoryStore:
    """The registry's door: `memory:` takes nothing behind its colon."""
    read_nothing("memory", rest)
    return MemoryStore(max_bytes, clock)
