"""Hits that are told without a task: none is made for them, and whatever goes wrong still reaches the client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payonce.drive.aio_reads import AsyncReads
from payonce.gateway.cycle import LaneAnswer
from payonce.gateway.shelf import Shelf
from payonce.model.entry import Entry
from payonce.testing.sim import SimulatedProvider, running_sim
from tests.support.gateway import PATH, RunningGateway, ask, post, running_gateway, until
from tests.support.servers import redis_server


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


@pytest.fixture(params=["memory", "redis"])
def gateway(
    request: pytest.FixtureRequest, sim: SimulatedProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[RunningGateway]:
    """One whose shelf stays empty; what Redis has stands nowhere else."""
    monkeypatch.setattr(Shelf, "put", lambda *_: None)
    if request.param == "memory":
        with running_gateway(sim.base_url) as running:
            yield running
        return
    with (
        redis_server(tmp_path) as server,
        running_gateway(
            sim.base_url, store=server.url, memory_bytes=1 << 13, secret_file=str(tmp_path / "secret")
        ) as running,
    ):
        assert until(lambda: _by_loop(running)), "the loop has its connection"
        yield running


def _by_loop(gateway: RunningGateway) -> bool:
    gateway.post(ask("first"))
    tiers = gateway.gateway.world.tiers
    tiers.behind.flush(1.0)
    return gateway.post(ask("first")).hit and bool(gateway.run(lambda: tiers.behind.ask_for(b"-" * 33) is not None))


def warmed(gateway: RunningGateway, text: str) -> dict[str, Any]:
    body = ask(text)
    gateway.post(body)
    behind = gateway.gateway.world.tiers.behind
    if behind is not None:
        assert behind.flush(30)
    return body


def tasks_of(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The coroutines of tasks that the gateway's loop makes from now on for requests."""
    made: list[str] = []
    create = gateway.loop.create_task

    def created(work: Any) -> None:
        made.append(work.__qualname__)
        create(work)

    for connection in tuple(gateway.gateway.connections):
        monkeypatch.setattr(connection, "_take_longer", created)
    return made


def test_neither_a_hit_makes_a_task_nor_a_miss_that_is_answered_whole(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [warmed(gateway, f"without {number}") for number in range(5)]
    with gateway.wire() as wire:
        wire.send(post(bodies[0], PATH, gateway.host))
        assert wire.reply().hit
        made = tasks_of(gateway, monkeypatch)
        for body in bodies:
            wire.send(post(body, PATH, gateway.host))
            assert wire.reply().hit
        assert made == []
        wire.send(post(ask("something new"), PATH, gateway.host))
        assert not wire.reply().hit
        assert made == []
        wire.send(post(ask("kept nowhere"), PATH, gateway.host, {"Cache-Control": "no-store"}))
        assert not wire.reply().hit
        assert made == ["Answering._decline"], "the control: what would have been a task is seen"


@pytest.mark.parametrize(
    ("gateway", "where"),
    [("memory", "begin"), ("memory", "give"), ("redis", "begin"), ("redis", "end"), ("redis", "give")],
    indirect=["gateway"],
)
def test_a_mistake_of_ours_is_answered_and_counted(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = warmed(gateway, f"broken {where}")

    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(*((LaneAnswer, "give") if where == "give" else (AsyncReads, where)), broken)
        reply = gateway.post(body)
        assert (reply.status, reply.error) == (500, "internal")
    assert until(lambda: "planted" in caplog.text)
    assert gateway.run(lambda: gateway.gateway.world.ledger.now.counts["reasons.internal"]) == 1
    assert gateway.post(body).hit


def test_a_client_whose_buffer_is_full_gets_the_rest_by_a_task(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = warmed(gateway, "full")
    monkeypatch.setattr(LaneAnswer, "ready", False)
    assert gateway.post(body).hit


def test_a_mistake_after_the_answer_is_logged_without_the_answer(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    body = warmed(gateway, "after")

    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(Shelf, "put", broken)
        reply = gateway.post(body)
        assert reply.hit
    assert until(lambda: "planted" in caplog.text)
    said = reply.json()["choices"][0]["message"]["content"]
    assert said
    assert said not in caplog.text
    assert "Receipt" not in caplog.text
    assert gateway.post(body).hit


@pytest.mark.parametrize("gateway", ["redis"], indirect=True)
def test_once_the_player_is_closing_nothing_takes_off_for_a_client_that_has_left(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = gateway.gateway.world.player
    flights: list[Any] = []
    begin, end, board = AsyncReads.begin, AsyncReads.end, player.flights.board
    asked: list[Any] = []

    def begun(reads: AsyncReads, sought: Any) -> Any:
        asked.append(sought)
        monkeypatch.setattr(player, "closing", True)  # the server stops while the store is asked
        return begin(reads, sought)

    monkeypatch.setattr(player.flights, "board", lambda *effect: (flights.append(effect), board(*effect))[1])
    monkeypatch.setattr(AsyncReads, "end", lambda *given: (asked.append("end"), end(*given))[1])
    with gateway.wire() as wire, monkeypatch.context() as stopping:
        stopping.setattr(AsyncReads, "begin", begun)
        wire.send(post(ask("gone"), PATH, gateway.host))
        assert gateway.until(lambda: bool(asked))
        [node] = gateway.gateway.world.tiers.behind._live.medium.wire.nodes(0.0)
        assert gateway.until(lambda: node.lanes.counts[0] == 0), "it has answered"
        for _ in range(3):
            gateway.run(lambda: None)  # turns of the loop
    assert (flights, "end" in asked) == ([], False)
    monkeypatch.setattr(player, "closing", False)
    assert gateway.post(ask("not gone")).status == 200
    assert flights, "the control"


@pytest.mark.parametrize("gateway", ["redis"], indirect=True)
def test_a_client_that_leaves_while_redis_is_asked_is_given_nothing(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = warmed(gateway, "left")
    given: list[bool] = []
    begin, give = AsyncReads.begin, LaneAnswer.give

    def left(reads: AsyncReads, sought: Any) -> Any:
        for connection in tuple(gateway.gateway.connections):
            connection.transport.abort()
        return begin(reads, sought)

    monkeypatch.setattr(LaneAnswer, "give", lambda face, *answer: (give(face, *answer), given.append(face.gone)))
    monkeypatch.setattr(AsyncReads, "begin", left)
    with gateway.wire() as wire:
        wire.send(post(body, PATH, gateway.host))
        assert wire.closed()
    assert gateway.until(lambda: given == [True])


def test_what_is_found_is_an_entry_that_was_proven(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the two above: what `begin` or `end` gives is what is served."""
    body = warmed(gateway, "control")
    seen: list[Any] = []
    where = "begin" if gateway.gateway.world.tiers.behind is None else "end"
    real = getattr(AsyncReads, where)
    monkeypatch.setattr(AsyncReads, where, lambda *given: (seen.append(real(*given)), seen[-1])[1])
    assert gateway.post(body).hit
    assert isinstance(seen[-1], Entry)
