"""A file layer for SQLite that fails when a test says so, and values that prove themselves."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from payonce.errors import StoreError
from payonce.model.ports import About
from payonce.stores.sqlite import SqliteStore
from payonce.testing import FakeClock
from payonce.testing.contract import slot_of

Rule = Callable[[str, int], Exception | None]


def value_of(name: object, size: int = 300) -> bytes:
    """A value that belongs to `name` and to nothing else: text and a checksum."""
    text = (repr(name) + "/").encode()
    text *= size // len(text) + 1
    return text[:size] + hashlib.sha256(repr(name).encode() + text[:size]).digest()


def is_value(value: bytes) -> bool:
    """Whether `value` is some whole value of `value_of`."""
    name = value.split(b"/", 1)[0]
    return hashlib.sha256(name + value[:-32]).digest() == value[-32:]


def about_now(now: float, ttl: float = 86_400.0, tenant: str = "tenant") -> About:
    """Words about an entry that is stored at `now`."""
    return About(now, now + ttl, tenant, "space", "chat/completions", "some/model")


def error(kind: type[apsw.Error], extended: int = 0) -> Exception:
    """An exception that SQLite's file layer understands as its own error code."""
    made = kind("injected")
    if extended:
        made.extendedresult = extended
    return made


FULL: Rule = lambda op, n: error(apsw.FullError) if op == "write" else None  # noqa: E731
READ_ONLY: Rule = lambda op, n: error(apsw.ReadOnlyError) if op == "write" else None  # noqa: E731


class Faults(apsw.VFS):
    """Counts every call; `rule(op, n)` may answer the n-th call of `op` (read, write, sync) with an exception."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rule: Rule | None = None
        self.calls: Counter[str] = Counter()
        self.opens_read_only = False
        super().__init__(name, "")

    def xOpen(self, name, flags):  # noqa: N802
        if self.opens_read_only and flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            flags[0] = flags[0] & ~apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_READONLY
        return _File(self, name, flags)

    def hit(self, op: str) -> None:
        self.calls[op] += 1
        if self.rule is not None and (raised := self.rule(op, self.calls[op])) is not None:
            raise raised

    def excepthook(self, *_: object) -> bool:
        return True


class _File(apsw.VFSFile):
    def __init__(self, faults: Faults, name, flags) -> None:
        self.faults = faults
        super().__init__("", name, flags)

    def xRead(self, amount, offset):  # noqa: N802
        self.faults.hit("read")
        return super().xRead(amount, offset)

    def xWrite(self, data, offset):  # noqa: N802
        self.faults.hit("write")
        return super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        self.faults.hit("sync")
        return super().xSync(flags)

    def excepthook(self, *_: object) -> bool:
        return True


@contextmanager
def faulty(name: str) -> Iterator[Faults]:
    """A `Faults` under `name`, unregistered at the end."""
    faults = Faults(name)
    try:
        yield faults
    finally:
        faults.unregister()


def opened(path: Path, clock: FakeClock, faults: Faults | None = None, max_bytes: int = 4 << 20) -> SqliteStore:
    return SqliteStore(path, max_bytes, clock, vfs=faults and faults.name, retry_after=0.001, busy_ms=50)


def heal(store: SqliteStore, faults: Faults) -> None:
    """No more faults, from one round of the writer to the next: one that is healed in the middle of a round in which it
    makes do with a full disk would have to live within what a nearly empty file holds."""
    with store._live.writer.gate:
        faults.rule = None


def fill(store: SqliteStore, clock: FakeClock, names: range, size: int = 300) -> int:
    return sum(store.put(slot_of(n), value_of(n, size), about_now(clock())) for n in names)


def wrong(store: SqliteStore, names: range, size: int = 300) -> list[int]:
    """Those whose value is neither absent nor right; an answer that can't be read is absent."""
    bad = []
    for name in names:
        with suppress(StoreError):
            if store.get(slot_of(name)) not in {None, value_of(name, size)}:
                bad.append(name)
    return bad


def recovers(store: SqliteStore, clock: FakeClock) -> bool:
    """Whether a put is on disk again after some rounds of the writer; each flush waits for one."""
    for turn in range(300):
        if store.put(slot_of(f"after {turn}"), value_of("after"), about_now(clock())) and store.flush(5):
            return store.get(slot_of(f"after {turn}")) == value_of("after")
        store.delete(slot_of("nudge"))
        store.flush(0.2)
    return False
