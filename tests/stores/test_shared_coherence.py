"""The memory in front of a shared store shows no purged answer for more than a second, whatever a server does."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway import PATIENCE, GatewayChild, RunningGateway, ask, running_gateway, until
from tests.support.servers import RedisServer
from tests.support.words import ask as ask_for
from tests.support.words import entry

from payonce.drive.tiers import Tiers
from payonce.errors import StoreError
from payonce.model import reason as why
from payonce.model.entry import Entry
from payonce.model.scopes import of_key, of_model
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store
from payonce.testing import FakeClock
from payonce.testing.sim import SimulatedProvider


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    with fault_proxy(server.port) as running:
        yield running


@pytest.fixture
def budget() -> float:
    """Seconds that a lookup of the gateways may take."""
    return PATIENCE


@pytest.fixture
def gateways(
    sim: SimulatedProvider, server: RedisServer, proxy: FaultProxy, tmp_path: Path, budget: float
) -> Iterator[list[RunningGateway]]:
    """Three, with memory and fast lane; the last one talks to the server through the proxy."""
    chosen = {"secret_file": str(tmp_path / "secret"), "read_budget": budget}
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_gateway(sim.base_url, store=f"redis://127.0.0.1:{port}", **chosen))
            for port in (server.port, server.port, proxy.port)
        ]


def is_hot(gateway: RunningGateway, text: str) -> bool:
    """Asks until the fast lane answers."""

    def fast() -> bool:
        before = gateway.fast_hits()
        assert gateway.post(ask(text)).status == 200
        return gateway.fast_hits() > before

    return until(fast)


def test_what_one_gateway_has_paid_for_all_have(gateways: list[RunningGateway]) -> None:
    assert not gateways[0].post(ask("shared")).hit
    assert gateways[0].gateway.world.tiers.behind.flush(30)
    for gateway in gateways:
        assert gateway.post(ask("shared")).hit


def answer_id(gateway: RunningGateway, text: str) -> str:
    """Which of the upstream's answers this is."""
    reply = gateway.post(ask(text))
    assert reply.status == 200
    return str(json.loads(reply.body)["id"])


def last_shown(gateway: RunningGateway, text: str, old: str) -> float:
    """When it was last asked for what it answered with `old`; not before it answers with something else."""
    last = 0.0

    def is_new() -> bool:
        nonlocal last
        asked = time.monotonic()
        new = answer_id(gateway, text) != old
        last = last if new else asked
        return new

    assert until(is_new)
    return last


@pytest.mark.parametrize("scope", ["model", "key", "all", "header"])
def test_a_purge_reaches_every_gateway_within_a_second(
    scope: str, gateways: list[RunningGateway], server: RedisServer
) -> None:
    gateways[0].post(ask("purged"))
    assert gateways[0].gateway.world.tiers.behind.flush(30)
    assert all(is_hot(gateway, "purged") for gateway in gateways)
    [old] = {answer_id(gateway, "purged") for gateway in gateways}
    if scope == "header":
        assert not gateways[1].post(ask("purged"), X_OpenRouter_Cache_Clear="true").hit
    else:
        with closing(open_store(server.url)) as operator:
            [row] = operator.rows()
            named = {"model": of_model("sim/small"), "key": of_key(row.slot[:-1]), "all": "all"}
            operator.raise_epoch(named[scope])
    done = time.monotonic()
    for gateway in gateways:
        assert last_shown(gateway, "purged", old) <= done + 1.0
    for gateway in gateways:
        assert answer_id(gateway, "purged") != old


@pytest.mark.parametrize("budget", [0.05])  # the server is silent for a while
def test_a_gateway_that_lost_the_server_serves_nothing_after_a_second_and_no_purged_answer_after_that(
    gateways: list[RunningGateway], proxy: FaultProxy, server: RedisServer
) -> None:
    lonely = gateways[2]
    lonely.post(ask("lonely"))
    assert is_hot(lonely, "lonely")
    old = answer_id(lonely, "lonely")
    proxy.hole = True
    lost = time.monotonic()
    assert last_shown(lonely, "lonely", old) <= lost + 1.0
    for _ in range(5):
        assert not lonely.post(ask("lonely")).hit
    with closing(open_store(server.url)) as operator:
        operator.raise_epoch(of_model("sim/small"))
    proxy.heal()
    proxy.cut()
    assert until(lambda: lonely.post(ask("lonely")).hit), "it is stored anew and found"
    assert answer_id(lonely, "lonely") != old


def test_a_gateway_that_stood_still_learns_what_was_purged_before_it_serves(
    sim: SimulatedProvider, server: RedisServer, tmp_path: Path
) -> None:
    options = ("--store", server.url, "--upstream", sim.base_url, "--cache", "all", "--port", "0")
    with GatewayChild(tmp_path, *options) as child:
        assert until(lambda: child.post(ask("still")).hit and child.post(ask("still")).hit), "it is in memory"
        child.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        with closing(open_store(server.url)) as operator:
            operator.raise_epoch("all")
        assert until(lambda: time.monotonic() - stopped > 1.2)
        child.process.send_signal(signal.SIGCONT)
        assert not child.post(ask("still")).hit


# -------------------------------------------------------------------------------------------- tiers, by a fake clock


class _Far(MemoryStore):
    """A distant store that fails when a test says so."""

    slow = True
    trust = 1.0
    fails = False

    def trouble(self, slot: bytes | None = None) -> str:
        return ""

    def pace(self, read_budget: float) -> None:
        pass

    def epochs(self) -> Mapping[str, int]:
        if self.fails:
            raise StoreError("gone")
        return super().epochs()


class _Rig:
    """Tiers in front of a distant store, both on clocks in hand."""

    def __init__(self) -> None:
        self.clock, self.ticks = FakeClock(), FakeClock()
        self.far = _Far(1 << 20, self.clock)
        self.tiers = Tiers(MemoryStore(1 << 20, self.clock), self.far, b"s" * 32, self.ticks)
        self.asked = ask_for()
        self.tiers.refresh()

    def keep(self) -> Entry:
        kept = entry(
            ttl=10 * 86400,
            stored_at=self.clock(),
            scopes=self.asked.scopes,
            epochs=self.tiers.epochs(self.asked.scopes),
            tenant=self.asked.tenant,
        )
        self.tiers.put(self.asked, kept)
        blob = self.tiers.read_behind(self.asked.key.slot)
        assert blob is not None
        self.tiers.promote(self.asked, blob, kept)
        return kept


def test_the_front_serves_only_while_the_epochs_are_fresh() -> None:
    rig = _Rig()
    kept = rig.keep()
    assert rig.tiers.look(rig.asked) == kept
    rig.far.fails = True
    rig.ticks.advance(0.9)
    assert not rig.tiers.refresh()
    assert rig.tiers.look(rig.asked) == kept
    rig.ticks.advance(0.2)
    assert not rig.tiers.trusted
    assert rig.tiers.look(rig.asked) is None, "it is for the store behind to say"
    with pytest.raises(StoreError):
        rig.tiers.read_behind(rig.asked.key.slot)
    with pytest.raises(StoreError):
        rig.tiers.read_many([rig.asked.key.slot])
    rig.far.fails = False
    assert rig.tiers.read_behind(rig.asked.key.slot) is not None, "a read learns what was purged, then reads"
    assert rig.tiers.trusted
    assert rig.tiers.look(rig.asked) == kept


def test_a_purge_that_was_missed_is_learnt_before_anything_is_read() -> None:
    rig = _Rig()
    rig.keep()
    rig.ticks.advance(5)
    rig.far.raise_epoch("all")
    blob = rig.tiers.read_behind(rig.asked.key.slot)
    assert blob is not None
    assert rig.tiers.prove(rig.asked, blob) == why.PURGED
    assert rig.tiers.look(rig.asked) == why.PURGED


def test_a_single_key_that_was_purged_elsewhere_is_gone_in_front_even_when_its_epoch_is_forgotten() -> None:
    rig = _Rig()
    rig.keep()
    rig.far.raise_epoch(of_key(rig.asked.key.digest))
    rig.far.delete(rig.asked.key.slot)
    assert rig.tiers.refresh()
    rig.clock.advance(3 * 86400)
    rig.far.raise_epoch("tag:other")
    rig.tiers.refresh()
    assert of_key(rig.asked.key.digest) not in rig.far.epochs()
    assert rig.tiers.front.get(rig.asked.key.slot) is None
    assert rig.tiers.look(rig.asked) is None
    assert rig.tiers.read_behind(rig.asked.key.slot) is None
