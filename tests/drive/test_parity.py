"""One script of exchanges through both players, and through the pushed face as well: same receipts, labels, bytes."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from payonce.core import effects as do
from payonce.core.labels import Label
from payonce.core.tape import COMPLETE
from payonce.drive import aio, aio_flights, sync, sync_flights
from payonce.drive.aio import AsyncPlayer
from payonce.drive.performing import ANSWERS, Turn
from payonce.drive.sync import SyncPlayer
from payonce.drive.tiers import Tiers
from payonce.drive.tower import Tower
from payonce.errors import StoreError
from payonce.intake import Admitted
from payonce.model import ports
from payonce.model import reason as why
from payonce.model.call import Call, Headers
from payonce.model.entry import Entry
from payonce.model.ports import Head, UpstreamFault
from payonce.model.reason import Reason
from payonce.model.receipt import Landing, Outcome, Receipt
from payonce.stores.memory import MemoryStore
from payonce.testing.clock import FakeClock
from tests.support.words import NOW, SECRET, admit, chat

JSON: Headers = ((b"content-type", b"application/json"),)
SSE: Headers = ((b"content-type", b"text/event-stream"),)


@dataclass
class Said:
    """What an upstream does with one call."""

    status: int = 200
    chunks: tuple[bytes, ...] | None = None
    fault: Reason | None = None
    cut: Reason | None = None


@dataclass
class Listening:
    receipts: list[Receipt] = field(default_factory=list)
    landings: list[tuple[str, int]] = field(default_factory=list)

    def exchanged(self, receipt: Receipt, seconds: float, asked: object) -> None:
        self.receipts.append(receipt)

    def landed(self, landing: Landing, followers: int, ask: object) -> None:
        self.landings.append((landing.reason.id if landing.reason else "kept", followers))


def whole(number: int) -> tuple[bytes, ...]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": f"answer {number}"}}
    body = orjson.dumps({"id": f"gen-{number}", "choices": [choice], "usage": {"cost": 0.1}})
    return body[:10], body[10:]


def stream(number: int) -> tuple[bytes, ...]:
    event = {"id": f"gen-{number}", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
    return b": wait\n\n", b"data: " + orjson.dumps(event) + b"\n\n", b"data: [DONE]\n\n"


class Script:
    """Both upstreams: answers are numbered, the next ones may be told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.next: list[Said] = []

    def begin(self, call: Call) -> tuple[Said, tuple[bytes, ...], Head]:
        self.calls.append(call)
        said = self.next.pop(0) if self.next else Said()
        if said.fault is not None:
            raise UpstreamFault(said.fault)
        streams = b'"stream":true' in call.body
        chunks = said.chunks or (stream if streams else whole)(len(self.calls))
        return said, chunks, Head(said.status, SSE if streams and said.status == 200 else JSON)


class SyncScript(Script):
    def open(self, call: Call) -> SyncScripted:
        return SyncScripted(*self.begin(call))


class AsyncScript(Script):
    async def open(self, call: Call) -> AsyncScripted:
        await asyncio.sleep(0)
        return AsyncScripted(*self.begin(call))


@dataclass
class SyncScripted:
    said: Said
    parts: tuple[bytes, ...]
    head: Head

    def chunks(self) -> Iterator[bytes]:
        yield from self.parts[:1] if self.said.cut else self.parts
        if self.said.cut:
            raise UpstreamFault(self.said.cut)

    def close(self) -> None:
        pass


@dataclass
class AsyncScripted(ports.Answer):
    said: Said
    parts: tuple[bytes, ...]
    head: Head

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self.parts[:1] if self.said.cut else self.parts:
            yield part
            await asyncio.sleep(0)
        if self.said.cut:
            raise UpstreamFault(self.said.cut)

    def close(self) -> None:
        pass


Seen = tuple[str, str, str, str, bytes, str]
"""What a client and the ledger see: outcome, reason, whole label, status, body, how it ended."""


class World:
    def __init__(self, upstream: Script, behind: Any = None, max_tape: int = 1 << 20) -> None:
        self.clock = FakeClock(NOW)
        self.listener = Listening()
        self.upstream = upstream
        self.tiers = Tiers(MemoryStore(1 << 20, self.clock), behind, SECRET, clock=self.clock)
        self.tower = Tower(4, max_tape)
        self.kit: dict[str, Any] = {
            "tiers": self.tiers,
            "tower": self.tower,
            "upstreams": {"": upstream},
            "listener": self.listener,
            "clock": self.clock,
            "ttl_jitter": 0.0,
            "read_budget": 10.0,
            "rng": random.Random(1),
        }

    def passed(self, effect: do.Pass) -> bytes:
        """What a client that pulls gets by itself."""
        return b"".join(self.upstream.begin(effect.call)[1])

    def seen(self, effect: Any, body: bytes, ended: str) -> Seen:
        receipt = self.listener.receipts[-1]
        label: Label = effect.label
        status = str(effect.head.status) if isinstance(effect, do.Relay) else type(effect).__name__
        reason = receipt.reason.id if receipt.reason else ""
        streamed = isinstance(effect, do.Relay) and SSE[0] in effect.head.headers
        if receipt.outcome.value == "miss" and (streamed or effect_is_large(effect)):
            label = replace(
                label, unkept=None, stored=False, ttl=0
            )  # what is said while it arrives is a matter of luck
        return receipt.outcome.value, reason, repr(label), status, body, ended


def effect_is_large(effect: Any) -> bool:
    return isinstance(effect, do.Relay) and effect.tape.spilled


class Threads(World):
    async def ask(self, taken: Admitted) -> Seen:
        return await asyncio.to_thread(self._ask, taken)

    def _ask(self, taken: Admitted) -> Seen:
        player: SyncPlayer = self.player
        turn = player.open(taken.ask, taken.dialect)
        body, ended = b"", ""
        if isinstance(turn.effect, do.Relay):
            known = whole_of(turn)
            if known is not None:
                body, ended = known, "complete"
            else:
                body = b"".join(player.chunks(turn))
                ended = _ending(turn)
        elif isinstance(turn.effect, do.Pass):
            body, ended = self.passed(turn.effect), "complete"
        player.leave(turn)
        turn.end(ended == "complete")
        player.drain(5.0)
        return self.seen(turn.effect, body, ended)

    async def __aenter__(self) -> Threads:
        self.player = SyncPlayer(**self.kit)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.player.drain(5.0)
        self.player.reads.pool.shutdown()


class Tasks(World):
    async def ask(self, taken: Admitted) -> Seen:
        player: AsyncPlayer = self.player
        turn = await player.open(taken.ask, taken.dialect)
        body, ended = b"", ""
        if isinstance(turn.effect, do.Relay):
            known = whole_of(turn)
            if known is not None:
                body, ended = known, "complete"
            else:
                body = b"".join([chunk async for chunk in player.chunks(turn)])
                ended = _ending(turn)
        elif isinstance(turn.effect, do.Pass):
            body, ended = self.passed(turn.effect), "complete"
        if turn.reader is not None:
            turn.reader.leave()
        turn.end(ended == "complete")
        await player.drain(5.0, lambda _: True)
        return self.seen(turn.effect, body, ended)

    async def __aenter__(self) -> Tasks:
        self.player = AsyncPlayer(**self.kit)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.player.close(5.0)


class Pushed(Tasks):
    """The gateway's way: the player pushes the answer at a face."""

    async def ask(self, taken: Admitted) -> Seen:
        face = PushedFace()
        table = dict(aio._ASYNC)
        told: list[Any] = []
        try:
            for kind in ANSWERS:
                aio._ASYNC[kind] = _noting(told, table[kind])
            await self.player.exchange(taken.ask, taken.dialect, face)
        finally:
            aio._ASYNC.update(table)
        await self.player.drain(5.0, lambda _: True)
        return self.seen(told[0], face.body, face.ended)


def _noting(told: list[Any], how: Callable[..., Any]) -> Callable[..., Any]:
    def noted(player: AsyncPlayer, effect: Any, face: Any) -> Any:
        told.append(effect)
        return how(player, effect, face)

    return noted


class PushedFace:
    gone = False

    def __init__(self) -> None:
        self.body = b""
        self.ended = ""

    def on_gone(self, call: Callable[[], None]) -> None:
        pass

    async def start(self, head: Head, fields: Headers, body: bytes | None) -> None:
        if body is not None:
            self.body, self.ended = body, "complete"

    async def send(self, chunk: bytes) -> None:
        self.body += chunk

    async def finish(self) -> None:
        self.ended = "complete"

    def abort(self) -> None:
        self.ended = "cut"

    async def refuse(self, reason: Reason, fields: Headers) -> None:
        self.ended = ""


def whole_of(turn: Turn) -> bytes | None:
    assert isinstance(turn.effect, do.Relay)
    tape = turn.effect.tape
    return tape.body() if tape.ending is COMPLETE else None


def _ending(turn: Turn) -> str:
    assert turn.reader is not None
    assert turn.reader.tape.ending is not None
    return turn.reader.tape.ending.end.value


def taken(*more: tuple[bytes, bytes], **members: Any) -> Admitted:
    found = admit(chat(**members), *more)
    assert isinstance(found, Admitted)
    return found


async def story(world: Any) -> list[Seen]:
    """The script: every outcome that a request can have."""
    ask, up, clock = world.ask, world.upstream, world.clock
    seen = [await ask(taken()), await ask(taken()), await ask(taken(stream=True)), await ask(taken(stream=True))]
    seen.append(await ask(taken((b"cache-control", b"no-cache"))))
    seen.append(await ask(taken((b"x-openrouter-cache-clear", b"true"))))
    seen.append(await ask(taken((b"cache-control", b"only-if-cached"), top_p=1)))
    seen.append(await ask(taken((b"cache-control", b"only-if-cached"))))
    clock.advance(3000)
    seen.append(await ask(taken((b"cache-control", b"max-age=10"))))
    clock.advance(3605)
    seen.append(await ask(taken((b"cache-control", b"stale-while-revalidate=60"))))
    seen.append(await ask(taken()))
    clock.advance(3605)
    up.next = [Said(status=500)]
    seen.append(await ask(taken((b"cache-control", b"stale-if-error=60"))))
    up.next = [Said(fault=why.UPSTREAM_REFUSED)]
    seen.append(await ask(taken((b"cache-control", b"stale-if-error=60"))))
    up.next = [Said(fault=why.UPSTREAM_SLOW), Said(status=429), Said(cut=why.UPSTREAM_CUT), Said(cut=why.UPSTREAM_CUT)]
    seen += [await ask(taken(seed=1)), await ask(taken(seed=2)), await ask(taken(seed=3))]
    seen.append(await ask(taken(seed=4, stream=True)))
    up.next = [Said(chunks=(b'{"error":', b'{"code":502}}')), Said(chunks=(b"",)), Said(chunks=(b"data: {}\n\n",))]
    seen += [await ask(taken(seed=5)), await ask(taken(seed=6)), await ask(taken(seed=7, stream=True))]
    world.tiers.keeper.raise_epoch("all")
    world.tiers.refresh()
    seen.append(await ask(taken(stream=True)))
    world.tower.max_flights = 0
    seen.append(await ask(taken(seed=8)))
    world.tower.max_flights = 4
    seen.append(await ask(taken((b"x-openrouter-cache-ttl", b"5"), seed=8)))
    return seen


class Faulty(MemoryStore):
    """A store behind whose reads fail or come late, by the clock of the test."""

    slow = True

    def get(self, slot: bytes) -> bytes | None:
        raise StoreError("no such disk")


@pytest.mark.parametrize("behind", [False, True])
async def test_both_players_tell_the_same_receipts(behind: bool) -> None:
    runs = []
    for kind, script in ((Threads, SyncScript), (Tasks, AsyncScript), (Pushed, AsyncScript)):
        store = Faulty(1 << 20) if behind else None
        async with kind(script(), store) as world:
            seen = await story(world)
            runs.append((seen, world.listener.landings, len(world.upstream.calls), dict(world.tiers.dropped)))
    threads, tasks, pushed = runs
    for number, (one, other, third) in enumerate(zip(threads[0], tasks[0], pushed[0], strict=True)):
        assert one == other, number
        assert one[:5] == third[:5], number
        assert (one[5] == "complete") == (third[5] == "complete"), number
    assert threads[1:] == tasks[1:] == pushed[1:]
    if not behind:
        assert {outcome for outcome, *_ in threads[0]} == {"hit", "miss", "stale", "refused", "bypass"}


async def test_an_answer_past_the_cap_goes_through_and_is_not_kept() -> None:
    runs = []
    for kind, script in ((Threads, SyncScript), (Tasks, AsyncScript)):
        async with kind(script(), max_tape=64) as world:
            runs.append([await world.ask(taken()), await world.ask(taken(stream=True))])
            assert [landing for landing, _ in world.listener.landings] == ["too-large", "too-large"]
    assert runs[0] == runs[1]
    assert runs[0][0][4] == b"".join(whole(1))


def test_both_players_perform_every_effect() -> None:
    known = {
        kind
        for _, kind in inspect.getmembers(do, inspect.isclass)
        if issubclass(kind, do.Effect) and kind is not do.Effect
    }
    tables = [set(aio._SYNC) | set(aio._ASYNC), set(aio_flights._AT_ONCE) | set(aio_flights._AWAITED)]
    assert not set(aio._SYNC) & set(aio._ASYNC)
    assert not set(aio_flights._AT_ONCE) & set(aio_flights._AWAITED)
    assert known == tables[0] | tables[1]
    assert tables == [set(sync._HOW) | set(ANSWERS), set(sync_flights._HOW)]
    assert not set(sync._HOW) & set(ANSWERS)


def test_a_turn_is_ended_once() -> None:
    listener = Listening()

    def told() -> do.Story[Receipt]:
        yield from do.Refuse(why.ONLY_IF_CACHED, Label(Outcome.REFUSED, why.ONLY_IF_CACHED))
        return Receipt(Outcome.REFUSED, why.ONLY_IF_CACHED)

    turn = Turn(told(), Call("", "POST", "", b"", (), b""), listener, lambda: 0.0, 0.0)
    assert turn.ask(None) is None
    assert turn.end(None) is not None
    assert turn.end(None) is None
    assert len(listener.receipts) == 1


def test_a_story_may_not_go_on_after_its_answer() -> None:
    def told() -> do.Story[Receipt]:
        yield from do.Pass(Call("", "POST", "", b"", (), b""), Label(Outcome.BYPASS))
        yield from do.Now()
        return Receipt(Outcome.BYPASS)

    turn = Turn(told(), Call("", "POST", "", b"", (), b""), Listening(), lambda: 0.0, 0.0)
    turn.ask(None)
    with pytest.raises(RuntimeError, match="went on"):
        turn.end(None)


def test_entries_of_either_player_are_the_same(tmp_path: Any) -> None:
    entries = []
    for kind, script in ((Threads, SyncScript), (Tasks, AsyncScript)):

        async def one(kind: Any = kind, script: Any = script) -> Entry:
            async with kind(script()) as world:
                await world.ask(taken())
                hit = world.tiers.look(taken().ask)
                assert isinstance(hit, Entry)
                return hit

        entries.append(asyncio.run(one()))
    assert entries[0] == entries[1]
