"""Payonce in the storm: whole requests by the asyncio player on a shared store, and every other command it gives one.

The memory tier holds nothing, so that every request asks the server; what is cancelled is the client's task.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from payonce.core import effects as do
from payonce.drive.aio import AsyncPlayer
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.errors import StoreError
from payonce.intake import Admitted
from payonce.ledger.ledger import Ledger
from payonce.model import ports
from payonce.model.call import Call, Headers
from payonce.model.entry import Entry
from payonce.model.ports import About, Head
from payonce.model.reason import Reason
from payonce.stores.memcached import MemcachedMedium
from payonce.stores.memory import MemoryStore
from payonce.stores.redis import RedisMedium
from payonce.stores.shared import SharedStore
from tests.storm.weather import storm
from tests.support.words import SECRET, admit, chat, intake

PROMPTS = 200
_DOOR = intake(ttl=3600, cache="all")


def body_for(prompt: str) -> bytes:
    message = {"role": "assistant", "content": f"answer to {prompt} " * 20}
    return orjson.dumps({"id": "g", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})


@dataclass
class Echo:
    """An upstream that answers each prompt in words of its own."""

    calls: int = 0

    async def open(self, call: Call) -> Echoed:
        self.calls += 1
        return Echoed(body_for(orjson.loads(call.body)["messages"][0]["content"]))


@dataclass
class Echoed(ports.Answer):
    body: bytes
    head: Head = field(default_factory=lambda: Head(200, ((b"content-type", b"application/json"),)))

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body[:50]
        await asyncio.sleep(0)
        yield self.body[50:]

    def close(self) -> None:
        pass


class Client:
    """Where an answer goes."""

    gone = False

    def __init__(self) -> None:
        self.body, self.whole = b"", False

    def on_gone(self, call: Callable[[], None]) -> None:
        pass

    async def start(self, head: Head, fields: Headers, body: bytes | None) -> None:
        self.body, self.whole = body or b"", body is not None

    async def send(self, chunk: bytes) -> None:
        self.body += chunk

    async def finish(self) -> None:
        self.whole = True

    def abort(self) -> None:
        pass

    async def refuse(self, reason: Reason, fields: Headers) -> None:
        pass


class Nothing(MemoryStore):
    """A memory tier that keeps nothing."""

    def put(self, slot: bytes, value: bytes, about: About) -> bool:
        return False

    def offer(self, slot: bytes, value: bytes, about: About) -> None:
        pass


class Ours:
    """The subject: `request` is one request of the storm."""

    def __init__(self, store: SharedStore) -> None:
        self.store = store
        self.tiers = Tiers(Nothing(1 << 20, time.time), store, SECRET)
        self.ledger = Ledger("w", 0)
        self.upstream = Echo()
        self.player = AsyncPlayer(
            tiers=self.tiers, tower=Tower(1000, 1 << 20), upstreams={"": self.upstream},
            listener=self.ledger, clock=time.time, read_budget=1.0,
        )  # fmt: skip
        store.pace(1.0)  # what is cut off here is cut off by cancellations
        self.asked = [_taken(f"prompt {number}") for number in range(PROMPTS)]

    async def request(self, dice: random.Random, seen: Counter[str]) -> None:
        draw = dice.random()
        for share, kind in self._KINDS:
            draw -= share
            if draw < 0:
                seen[f"asked: {kind.__name__[1:]}"] += 1
                await kind(self, dice, seen)
                return

    async def _exchange(self, dice: random.Random, seen: Counter[str]) -> None:
        number = dice.randrange(PROMPTS)
        client = Client()
        receipt = await self.player.exchange(self.asked[number].ask, self.asked[number].dialect, client)
        if not client.whole:
            seen["errors"] += 1
        else:
            seen["right" if client.body == body_for(f"prompt {number}") else "wrong"] += 1
        seen[receipt.outcome.value] += 1

    async def _batch(self, dice: random.Random, seen: Counter[str]) -> None:
        numbers = dice.sample(range(PROMPTS), 5)
        found = await self.player._lookup_many(do.LookupMany(tuple(self.asked[n].ask for n in numbers)), None)
        for number, entry in zip(numbers, found, strict=True):
            if isinstance(entry, Entry):
                seen["right" if entry.body == body_for(f"prompt {number}") else "wrong"] += 1

    async def _drop(self, dice: random.Random, seen: Counter[str]) -> None:
        await self.player._drop(do.Drop((dice.choice(self.asked).ask.key,)), None)

    async def _poll(self, dice: random.Random, seen: Counter[str]) -> None:
        await asyncio.to_thread(self.tiers.refresh)

    async def _note(self, dice: random.Random, seen: Counter[str]) -> None:
        self.store.note(f"figures/{dice.randrange(4)}", b"%d" % dice.randrange(1000))
        with suppress(StoreError):
            found = await asyncio.to_thread(self.store.notes)
            seen["right" if all(value.isdigit() for value in found.values()) else "wrong"] += 1

    async def _list(self, dice: random.Random, seen: Counter[str]) -> None:
        known = {asked.ask.key.slot for asked in self.asked}
        with suppress(StoreError):
            rows = await asyncio.to_thread(lambda: [*self.store.rows()][:50])
            seen["right" if all(row.slot in known for row in rows) else "wrong"] += 1
            await asyncio.to_thread(self.store.volume)

    async def _raised(self, dice: random.Random, seen: Counter[str]) -> None:
        with suppress(StoreError):
            await asyncio.to_thread(self.store.raise_epoch, "tag:nobody")
            await asyncio.to_thread(self.store.raised)

    _KINDS = (
        (0.85, _exchange),
        (0.06, _batch),
        (0.03, _drop),
        (0.03, _poll),
        (0.015, _note),
        (0.005, _list),
        (1.0, _raised),  # what is left
    )

    async def storm(self, requests: int, seed: int, beside: Callable[[int], None] | None = None) -> Counter[str]:
        """So many requests, and what is left when all is quiet again."""
        await asyncio.to_thread(self.tiers.refresh)
        for number in range(PROMPTS):
            await self.player.exchange(self.asked[number].ask, self.asked[number].dialect, Client())
        await asyncio.to_thread(self.store.flush)
        seen = await storm(self.request, requests, seed, beside)
        await self.player.drain(20, lambda _: True)
        seen["flights left"] = len(self.player.tower)
        return seen

    @property
    def nodes(self) -> list:  # type: ignore[type-arg]
        medium = self.store._live.medium
        assert isinstance(medium, MemcachedMedium | RedisMedium)
        return list(medium.nodes if isinstance(medium, MemcachedMedium) else medium.wire.nodes(time.monotonic() + 5))

    def unbreakable(self) -> None:
        """The storm is to be felt by connections, not to be sat out."""
        for node in self.nodes:
            node.breaker.failed = lambda because: None

    @property
    def used(self) -> int:
        """Connections that hold an exchange."""
        return sum(node.pool.counts[0] + node.lanes.counts[0] for node in self.nodes)

    @property
    def held(self) -> int:
        """Connections there are."""
        return sum(sum(node.pool.counts) + sum(node.lanes.counts) for node in self.nodes)

    async def close(self) -> None:
        await self.player.close(5)
        await asyncio.to_thread(self.store.close)


def _taken(prompt: str) -> Admitted:
    found = admit(chat(messages=[{"role": "user", "content": prompt}]), door=_DOOR)
    assert isinstance(found, Admitted)
    return found
