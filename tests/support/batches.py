"""Batches of embeddings through the asyncio player, in front of an upstream that embeds by hashing each item."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from payonce.drive.aio import AsyncPlayer
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.intake import Admitted, Intake
from payonce.ledger.ledger import Ledger
from payonce.model import ports
from payonce.model.call import Call, Headers
from payonce.model.ports import Head, UpstreamFault
from payonce.model.reason import Reason
from payonce.model.receipt import Receipt
from payonce.stores.memory import MemoryStore
from payonce.testing.clock import FakeClock
from tests.support.words import HEADERS, NOW, SECRET, intake

JSON: Headers = ((b"content-type", b"application/json"),)
EMBEDDINGS = "embeddings"


def vector(given: Any, encoding: str = "float", model: str = "m", size: int = 3) -> bytes:
    """The JSON text of an item's embedding: more digits than a float holds, so that printing it anew would show."""
    noise = hashlib.sha256(orjson.dumps([model, given, encoding])).digest() * 8
    if encoding == "base64":
        import base64

        return b'"' + base64.b64encode(bytes(byte & 0x3F for byte in noise[: 4 * size])) + b'"'
    return b"[%b]" % b", ".join(b"-0.%d%024d" % (noise[n] % 10, int.from_bytes(noise[n : n + 8])) for n in range(size))


def tokens(given: Any) -> int:
    return len(given) if isinstance(given, list) else 1 + len(orjson.dumps(given)) // 3


def items_of(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)


def answer(asked: dict[str, Any], number: int = 1, model: str = "m-1", size: int = 3) -> bytes:
    """What a fresh upstream says to a request."""
    given = items_of(asked["input"])
    data = [
        b'{"object": "embedding", "index": %d, "embedding": %b}'
        % (index, vector(item, asked.get("encoding_format", "float"), asked["model"], size))
        for index, item in enumerate(given)
    ]
    used = sum(map(tokens, given))
    usage = b'{"prompt_tokens":%d,"total_tokens":%d,"cost":%.9fe-1,"is_byok":false,"cost_details":{"upstream":%d}}'
    usage %= (used, used, used * 1.3e-7, number)
    return b'{"object":"list","data":[%b],"model":"%b","usage":%b,"id":"gen-%d"}' % (
        b",".join(data), model.encode(), usage, number,
    )  # fmt: skip


@dataclass
class Arriving(ports.Answer):
    head: Head
    body: bytes
    cut: Reason | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        half = len(self.body) // 2
        yield self.body[:half]
        await asyncio.sleep(0)
        if self.cut is not None:
            raise UpstreamFault(self.cut)
        yield self.body[half:]

    def close(self) -> None:
        pass


@dataclass
class Embedder:
    """Answers in full; `bend` may put another answer in the place of the next ones, one each."""

    calls: list[Call] = field(default_factory=list)
    bend: list[Callable[[dict[str, Any], bytes], tuple[int, bytes] | Reason | Arriving] | None] = field(
        default_factory=list
    )
    model: str = "m-1"
    size: int = 3
    gate: asyncio.Event | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, call: Call) -> Arriving:
        self.calls.append(call)
        self.called.set()
        asked = orjson.loads(call.body)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        body = answer(asked, len(self.calls), self.model, self.size)
        bend = self.bend.pop(0) if self.bend else None
        bent = (200, body) if bend is None else bend(asked, body)
        if isinstance(bent, Reason):
            raise UpstreamFault(bent)
        return bent if isinstance(bent, Arriving) else Arriving(Head(bent[0], JSON), bent[1])

    @property
    def sent(self) -> list[list[Any]]:
        """The items of each call."""
        return [items_of(orjson.loads(call.body)["input"]) for call in self.calls]


@dataclass
class Reply:
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    ended: str = ""
    gone: bool = False

    def on_gone(self, call: Callable[[], None]) -> None:
        pass

    async def start(self, head: Head, fields: Headers, body: bytes | None) -> None:
        self.status = head.status
        self.fields = {name.decode(): value.decode() for name, value in (*head.headers, *fields)}
        if body is not None:
            self.parts, self.ended = [body], "whole"

    async def send(self, chunk: bytes) -> None:
        self.parts.append(chunk)

    async def finish(self) -> None:
        self.ended = "whole"

    def abort(self) -> None:
        self.ended = "broken"

    async def refuse(self, reason: Reason, fields: Headers) -> None:
        self.status, self.ended = reason.status, reason.id
        self.fields = {name.decode(): value.decode() for name, value in fields}

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def said(self) -> str:
        return self.fields["cache-status"]

    @property
    def usage(self) -> dict[str, Any]:
        import json

        found: dict[str, Any] = json.loads(self.body, parse_float=Decimal)["usage"]
        return found


class Bench:
    """A player on a store in memory. `max_batch` as the setting."""

    def __init__(self, door: Intake | None = None, behind: Any = None, max_batch: int = 64 << 20, **kit: Any) -> None:
        self.clock = FakeClock(NOW)
        self.upstream = Embedder()
        self.ledger = Ledger("w", 0)
        self.tiers = Tiers(MemoryStore(64 << 20, self.clock), behind, SECRET)
        self.door = door or intake(ttl=100, ttl_jitter=0)
        self.player = AsyncPlayer(
            tiers=self.tiers, tower=Tower(64, 1 << 20, max_batch), upstreams={"": self.upstream},
            listener=self.ledger, clock=self.clock, ttl_jitter=0.0, **kit,
        )  # fmt: skip
        self.receipts: list[Receipt] = []

    async def post(self, body: bytes, *more: tuple[bytes, bytes], headers: Headers = HEADERS) -> Reply:
        taken = self.door.admit("", EMBEDDINGS, b"", (*headers, *more), body)
        assert isinstance(taken, Admitted), taken
        reply = Reply()
        self.receipts.append(await self.player.exchange(taken.ask, taken.dialect, reply))
        return reply

    async def ask(self, given: Any, *more: tuple[bytes, bytes], **members: Any) -> Reply:
        """A request for the embeddings of `given`; further members beside it."""
        return await self.post(orjson.dumps({"model": "m", "input": given, **members}), *more)

    async def settle(self) -> None:
        """Let flights that nobody waits for land."""
        await asyncio.gather(*self.player.flights.tasks)


def embeddings(body: bytes) -> list[bytes]:
    """The text of each embedding of an answer, in the order of their indices; each index stands where it should."""
    import msgspec

    data = msgspec.json.decode(
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])["data"], type=list[dict[str, Any]]
    )
    assert [item["index"] for item in data] == list(range(len(data)))
    assert all(item["object"] == "embedding" for item in data)
    raws = msgspec.json.decode(
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])["data"], type=list[dict[str, msgspec.Raw]]
    )
    return [bytes(item["embedding"]) for item in raws]
