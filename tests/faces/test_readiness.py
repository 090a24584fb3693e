"""/readyz and the dashboard's health page say what is wrong while it is, by its reason, and stop when it is over."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payonce import ground
from payonce.assembly import World
from payonce.config import Settings
from payonce.errors import StoreError
from payonce.model import reason as why
from payonce.testing import FakeClock
from payonce.testing.sim import SimulatedProvider
from tests.support.gateway import RunningGateway, ask, running_gateway, until
from tests.support.servers import Memcached, RedisServer, memcached, redis_server


@pytest.fixture(params=["redis", "memcached"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | Memcached]:
    with redis_server(tmp_path) if request.param == "redis" else memcached(tmp_path) as running:
        yield running


def page(gateway: RunningGateway, path: str = "readyz") -> Any:
    with urllib.request.urlopen(f"http://{gateway.host}/{path}", timeout=10) as answer:
        assert answer.status == 200
        return json.load(answer)


def test_a_server_that_is_down_at_the_start_is_named_before_any_request_and_well_again_when_it_is_there(
    sim: SimulatedProvider, server: RedisServer | Memcached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground, "LOSSES_TELL", 1.0)
    server.kill()  # nobody else gets its port meanwhile
    with running_gateway(sim.base_url, store=server.url, cache="all") as gateway:
        first = page(gateway)
        assert first["status"] == "degraded"
        assert any("refused" in note for note in first["notes"]), first
        assert gateway.post(ask("while it is down")).status == 200
        assert until(lambda: any("server does not answer" in note for note in page(gateway)["notes"]))
        assert any("server does not answer" in note for note in page(gateway, "_payonce/api/health")["notes"])
        server.start()
        last: dict[str, Any] = {}

        def well() -> bool:
            last.update(page(gateway))
            return bool(last["status"] == "ok")

        assert until(well)
        assert last["notes"] == []
        assert last["dropped"]["store-fault"] > 0, "what was lost is still told"
        assert page(gateway, "_payonce/api/health")["status"] == "ok"


def test_a_loss_degrades_for_a_minute_and_is_counted_for_good() -> None:
    clock = FakeClock(1e9)
    world = World(Settings(store="memory:", ledger="off"), {}, clock)
    world.settle()
    assert world.ailments() == []
    world.tiers.complain(StoreError("the disk is gone"))
    world.settle()
    assert world.ailments() == [
        "entries were lost or could not be read within the last minute; payonce stats says how many"
    ]
    clock.advance(ground.LOSSES_TELL + 1)
    world.settle()
    assert world.ailments() == []
    assert world.dropped()["store-fault"] == 1
    world.tiers.dropped[why.EVICTED.id] += 1
    world.settle()
    assert world.ailments() == [], "a store within its bounds has such losses every day"
    asyncio.run(world.stop())
