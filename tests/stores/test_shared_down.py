"""A server that is down, and what is said of it: each lookup and each lost answer has one reason, and header, /metrics,
/readyz and `payonce stats` count it once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.support.fault_proxy import fault_proxy
from tests.support.gateway import PATH, GatewayChild, ask, post, until
from tests.support.servers import Server, memcached, redis_server

from payonce.config import Settings
from payonce.drive import leases
from payonce.httpx2 import AsyncClient, Client
from payonce.stores.shared_leases import SharedLeases
from payonce.testing.sim import SimulatedProvider

QUESTIONS = 40
BUDGET = 0.4
"""Seconds for a lookup: less than twice what a question about purges has, so that one that fails of that has waited."""
UNKEPT = "payonce; fwd=miss; detail=store-down"


@pytest.fixture(params=[redis_server, memcached], ids=["redis", "memcached"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with request.param(tmp_path) as running:
        yield running


@pytest.fixture
def gateway(server: Server, sim: SimulatedProvider, tmp_path: Path) -> Iterator[GatewayChild]:
    arguments = ("--port", "0", "--cache", "all", "--upstream", sim.base_url, "--store", server.url)
    with GatewayChild(tmp_path, *arguments, PAYONCE_READ_BUDGET="2") as running:  # what is lost is asked, not how fast
        yield running


def asked(gateway: GatewayChild, name: str, *, stream: bool = False) -> list[str]:
    """The `Cache-Status` of each of the answers, all of which must be whole."""
    said = []
    with gateway.wire() as wire:
        for number in range(QUESTIONS):
            wire.send(post(ask(f"{name} {number}", stream=stream), PATH, gateway.host))
            reply = wire.reply()
            assert reply.status == 200
            assert reply.body.endswith(b"data: [DONE]\n\n") if stream else reply.json()["choices"]
            said.append(re.sub(r"; ttl=\d+", "", reply["cache-status"]))
    return said


def counted(gateway: GatewayChild, family: str) -> dict[str, float]:
    """What /metrics says of it, by reason."""
    found = re.findall(
        rf'^payonce_{family}_total{{reason="(.+)"}} (.+)$', gateway.get("/metrics").body.decode(), re.MULTILINE
    )
    return {reason: float(count) for reason, count in found if float(count)}


def change(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}


def ready(gateway: GatewayChild) -> Any:
    return gateway.get("/readyz").json()


def stats(server: Server, home: Path) -> Any:
    """What `payonce stats` says in a process of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-m", "payonce", "stats", "--json", "--store", server.url]
    run = subprocess.run(command, capture_output=True, env=kept | {"HOME": str(home)}, check=True)
    return json.loads(run.stdout)


def stored(server: Server, home: Path, count: int) -> bool:
    return bool(stats(server, home)["store"]["entries"] >= count)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "well"])
async def test_a_silent_server_costs_a_client_one_budget_and_not_another_for_the_lease(
    silent: bool,
    asynchronous: bool,
    server: Server,
    sim: SimulatedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, headers = f"{sim.base_url}/chat/completions", {"authorization": "Bearer k"}
    took: list[float] = []
    claims: list[bytes] = []
    claim = SharedLeases.claim
    monkeypatch.setattr(leases, "SHY_SECONDS", 0.0)  # however long a busy machine takes between lookup and claim
    monkeypatch.setattr(SharedLeases, "claim", lambda ours, slot: claims.append(slot) or claim(ours, slot))
    with fault_proxy(server.port) as proxy:
        store = server.url.replace(str(server.port), str(proxy.port))
        settings = Settings(store=store, secret_file=str(tmp_path / "secret"), read_budget=BUDGET, ledger="off")
        async with AsyncExitStack() as stack:
            if asynchronous:
                client = await stack.enter_async_context(AsyncClient(cache="all", settings=settings))
            else:
                here = stack.enter_context(Client(cache="all", settings=settings))
            for number in range(8):
                if number == 5:
                    proxy.hole = silent
                    claims.clear()
                started = time.monotonic()
                page = ask(f"silent {number}")
                answer = (
                    await client.post(url, json=page, headers=headers)
                    if asynchronous
                    else await asyncio.to_thread(here.post, url, json=page, headers=headers)
                )
                assert answer.status_code == 200
                took.append(time.monotonic() - started)
            proxy.hole = False
            proxy.cut()
    assert (sorted(took[5:])[-1 if silent else 1] > BUDGET / 2) is silent, took
    assert len(claims) == (0 if silent else 3)


def test_a_control_with_a_server_nothing_is_lost(gateway: GatewayChild, server: Server, tmp_path: Path) -> None:
    assert set(asked(gateway, "control")) == {"payonce; fwd=miss; stored"}
    assert until(lambda: stored(server, tmp_path, QUESTIONS), 30)
    assert set(asked(gateway, "control")) == {"payonce; hit"}
    assert (ready(gateway)["status"], ready(gateway)["dropped"]) == ("ok", {})
    assert counted(gateway, "dropped") == counted(gateway, "unkept") == {}


def test_a_stream_is_said_to_be_stored_only_where_there_is_a_server_to_store_it(
    gateway: GatewayChild, server: Server
) -> None:
    assert set(asked(gateway, "before", stream=True)) == {"payonce; fwd=miss; stored"}
    server.kill()
    assert until(lambda: any("does not answer" in note for note in ready(gateway)["notes"]), 30)
    assert set(asked(gateway, "down", stream=True)) == {UNKEPT}
    server.start()
    later = count()
    assert until(lambda: asked(gateway, f"after {next(later)}", stream=True)[-1] == "payonce; fwd=miss; stored", 30)


def test_while_the_server_is_down_each_answer_is_lost_once_under_its_reason(
    gateway: GatewayChild, server: Server, tmp_path: Path
) -> None:
    asked(gateway, "before")
    assert until(lambda: stored(server, tmp_path, QUESTIONS), 30)
    server.kill()
    assert until(lambda: any("does not answer" in note for note in ready(gateway)["notes"]), 30)
    before = {family: counted(gateway, family) for family in ("reasons", "unkept", "dropped")}
    assert set(asked(gateway, "down")) == {UNKEPT}
    lost_already = before["dropped"].get("store-down", 0)
    assert until(lambda: counted(gateway, "dropped").get("store-down", 0) >= lost_already + QUESTIONS)
    for family, counts in before.items():
        lost = change(counts, counted(gateway, family))
        if family == "dropped":  # the poll that was under way when the server died may say so only now
            assert lost.pop("store-fault", 0) <= 1
        assert lost == {"store-down": QUESTIONS}, family
    page = ready(gateway)
    assert page["status"] == "degraded"
    assert page["dropped"]["store-down"] == QUESTIONS
    assert "queue-full" not in page["dropped"]

    server.start()
    assert until(lambda: ready(gateway)["notes"] != page["notes"], 30), "it is found again"
    assert until(lambda: stats(server, tmp_path)["dropped"] == ready(gateway)["dropped"], 30)
    told = stats(server, tmp_path)
    assert told["dropped"]["store-down"] == told["unkept"]["store-down"] == told["reasons"]["store-down"] == QUESTIONS
    assert set(asked(gateway, "after")) <= {"payonce; fwd=miss; stored", UNKEPT}
    assert counted(gateway, "dropped")["store-down"] < 2 * QUESTIONS, "and what comes now is kept"
