"""Purging one model among a million entries, on every store; and what `payonce ls` and `stats` need there.

The entries are of twenty models; a purge is over when it has returned, and a second opening of the store is asked for
the counts right after it. Before and after, sealed entries of all models are looked up as a gateway would: those of
purged models must be gone, the others still there. Servers are the tests' own, and the whole takes some minutes.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from typing import Any

from tests.support.servers import REDIS, memcached, redis_cluster, redis_server

from benchmarks.parts import Bench
from benchmarks.rounds import Row
from payonce.drive.tiers import Tiers
from payonce.model.call import Ask
from payonce.model.entry import Entry, Facts, Tokens, seal
from payonce.model.key import Key
from payonce.model.ports import About, Glancing, Store
from payonce.model.scopes import of_model, scopes_of
from payonce.stores import parcel
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store
from payonce.stores.shared import SharedStore
from payonce.stores.shared_medium import Parcel

ENTRIES = int(os.environ.get("PAYONCE_BENCH_ENTRIES", "1000000"))
_ONLY = tuple(os.environ.get("PAYONCE_BENCH_STORES", "").split(","))
"""Beginnings of the names of stores, where only those are to be measured."""
MODELS = 20
BOUND = 50.0
"""Milliseconds."""
_PROVEN = 5
"""Sealed entries of each model."""
_SECRET = bytes(32)
_TTL = 86400.0
_AT_ONCE = 8000
_BYTES = 8 << 30


def measure(bench: Bench) -> list[Row]:
    """For each store a row for the purge, and one for listing and counting."""
    rows: list[Row] = []
    for name, url in _places(bench):
        if not name.startswith(_ONLY):
            continue
        with ExitStack() as stack:
            place = stack.enter_context(url())
            stores = [stack.enter_context(closing(store)) for store in _opened(place)]
            bench.say(f"{name}: storing {ENTRIES:,} entries")
            started = time.perf_counter()
            _fill(stores[0])
            bench.say(f"{name}: stored in {time.perf_counter() - started:.0f} s")
            rows += [_purged(name, stores[0], stores[-1], bench), _listed(name, stores[-1], bench)]
    return rows


def _places(bench: Bench) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The stores, and what runs while they are used: it gives their URL."""

    def on(server: Callable[..., Any], folder: str, *options: str, **more: Any) -> Callable[[], Any]:
        place = bench.home / folder
        place.mkdir()
        return partial(server, place, *options, **more)

    yield "memory", lambda: nullcontext("memory:")
    yield "valkey", on(redis_server, "valkey")
    yield "redis", on(redis_server, "redis", kind=REDIS)
    yield "valkey cluster, 3 + 3 nodes", on(redis_cluster, "cluster")
    yield "memcached", on(memcached, "memcached", "-m", "4096")
    yield "sqlite", lambda: nullcontext(f"sqlite:{bench.home}/purge.db")


def _opened(place: Any) -> list[Store]:
    """The store, twice as two processes would have it; in memory there is one."""
    url = place if isinstance(place, str) else place.url
    if url == "memory:":
        return [MemoryStore(_BYTES)]
    return [open_store(url, max_bytes=_BYTES) for _ in range(2)]


def _fill(store: Store) -> None:
    """A million small entries, of which some are sealed."""
    now = time.time()
    abouts = [About(now, now + _TTL, "t" * 64, "", "chat/completions", f"m/{model}") for model in range(MODELS)]
    for model in range(MODELS):
        for number in range(_PROVEN):
            ask, entry = _proof(model, number, now)
            store.put(ask.key.slot, seal(entry, ask.key.slot, _SECRET), abouts[model])
    store.flush()
    value = b"v" * 150
    slots = (hashlib.sha256(b"%d" % number).digest() + b"w" for number in range(ENTRIES - MODELS * _PROVEN))
    if isinstance(store, SharedStore):
        packed = [Parcel(parcel.pack(value, about, time.time_ns()), _TTL) for about in abouts]
        medium = store._live.medium  # noqa: SLF001 - packing a million parcels would only take longer
        for batch in _batches(slots):
            refused = medium.write(
                {slot: packed[number % MODELS] for number, slot in enumerate(batch)}, time.monotonic() + 30
            )
            if refused:
                raise RuntimeError(f"{len(refused)} entries were not stored: {next(iter(refused.values())).id}")
        return
    for batch in _batches(slots):
        for number, slot in enumerate(batch):
            store.put(slot, value, abouts[number % MODELS])
        store.flush(60.0)
    if store.volume().entries != ENTRIES:
        raise RuntimeError(f"{store.volume().entries} entries were stored")


def _batches(slots: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := [slot for _, slot in zip(range(_AT_ONCE), slots, strict=False)]:
        yield batch


def _proof(model: int, number: int, now: float) -> tuple[Ask, Entry]:
    """An entry as a gateway keeps it, and who asks for it."""
    key = Key(hashlib.sha256(b"proof %d %d" % (model, number)).digest(), False)
    scopes = scopes_of("t", f"m/{model}", "", (), key.digest)
    facts = Facts("id", f"m/{model}", "none", Tokens())
    words = ("t", "", (), "chat/completions", f"m/{model}", 1.0)
    entry = Entry(now, int(_TTL), 0, 0, scopes, (0,) * len(scopes), 200, (), b"{}", facts, *words)
    ask: Any = type("Asker", (), {"key": key, "tenant": "t"})()
    return ask, entry


def _alive(tiers: Tiers, model: int) -> int:
    """How many of a model's sealed entries a gateway would serve."""
    found = 0
    for number in range(_PROVEN):
        ask, _ = _proof(model, number, 0.0)
        blob = tiers.keeper.get(ask.key.slot)
        found += blob is not None and isinstance(tiers.prove(ask, blob), Entry)
    return found


def _purged(name: str, store: Store, other: Store, bench: Bench) -> Row:
    tiers = Tiers(MemoryStore(1 << 20), other, _SECRET)
    tiers.refresh()
    took: list[float] = []
    known: list[float] = []
    for model in range(0, MODELS, 2):
        if _alive(tiers, model) != _PROVEN:
            raise RuntimeError(f"{name}: entries were lost before the purge")
        started = time.perf_counter()
        store.raise_epoch(of_model(f"m/{model}"))
        returned = time.perf_counter()
        tiers.refresh()
        known.append((time.perf_counter() - returned) * 1e3)
        took.append((returned - started) * 1e3)
        if _alive(tiers, model) or _alive(tiers, model + 1) != _PROVEN:
            raise RuntimeError(f"{name}: the purge took the wrong entries")
    bench.say(f"{name}: a purge {statistics.median(took):.2f} ms, {max(took):.2f} at most")
    detail: dict[str, object] = {"median": round(statistics.median(took), 3), "read anew": round(max(known), 3)}
    what = f"purge of one model among {ENTRIES:,}: {name}"
    return Row("purge", what, "ms, the slowest of 10", [max(took)], [BOUND], "the bound", 1.0, True, detail=detail)


def _listed(name: str, store: Store, bench: Bench) -> Row:
    """What `payonce ls` needs for its 50 newest, and `payonce stats` for its count."""
    started = time.perf_counter()
    if isinstance(store, Glancing):
        looked = len(store.glance(lambda _row: True, 200).rows)
    else:
        looked = sum(1 for _ in zip(range(50), store.rows(), strict=False))
    listed = time.perf_counter()
    volume = store.volume()
    counted = (time.perf_counter() - listed) * 1e3
    if looked < 50 or not 0.5 < volume.entries / ENTRIES < 2:
        raise RuntimeError(f"{name}: {looked} listed, {volume.entries} counted")
    bench.say(f"{name}: ls {(listed - started) * 1e3:.0f} ms, stats {counted:.0f} ms, {volume.entries:,} entries")
    detail: dict[str, object] = {"entries by stats": volume.entries}
    what = f"ls among {ENTRIES:,}: {name}"
    return Row("purge", what, "ms", [(listed - started) * 1e3], [counted], "stats", detail=detail)
