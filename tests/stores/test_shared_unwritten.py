"""A server that can be read and not written: full, a replica, or without the right.

Each loss is counted once, under its own reason; what the server has is served; `/readyz` says what is wrong, and the
log says it once a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.gateway import RunningGateway, ask, running_gateway, until
from tests.support.servers import REDIS, RedisServer, redis_server

from payonce.cli import main
from payonce.drive.tiers import SAY_EVERY, Tiers
from payonce.errors import StoreError
from payonce.model import reason as why
from payonce.model.reason import ROUTINE
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store
from payonce.testing import FakeClock
from payonce.testing.contract import slot_of
from payonce.testing.sim import SimulatedProvider

ASKED = 60


def full(server: RedisServer) -> None:
    server.say("CONFIG", "SET", "maxmemory", "1")


def replica(server: RedisServer) -> None:
    server.say("REPLICAOF", "127.0.0.1", "9")


def without_the_right(server: RedisServer) -> None:
    server.say("ACL", "SETUSER", "default", "-set")


def mended(server: RedisServer) -> None:
    server.say("CONFIG", "SET", "maxmemory", "0")
    server.say("REPLICAOF", "NO", "ONE")
    server.say("ACL", "SETUSER", "default", "+set")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path, "--maxmemory-policy", "noeviction", kind=REDIS) as running:
        yield running


def posted(gateway: RunningGateway, *texts: str) -> list[bool]:
    """Which of them are hits; all are answered."""
    replies = [gateway.post(ask(text)) for text in texts]
    assert {reply.status for reply in replies} == {200}
    return [reply.hit for reply in replies]


def notes(gateway: RunningGateway) -> str:
    return "\n".join(gateway.run(gateway.gateway.world.ailments))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(full, why.STORE_FULL), (replica, why.STORE_READ_ONLY), (without_the_right, why.STORE_READ_ONLY)],
)
def test_what_is_not_kept_is_counted_once_and_said_once(
    sim: SimulatedProvider,
    server: RedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[RedisServer], None],
    reason: why.Reason,
) -> None:
    options = {"fast_lane": False, "memory_bytes": 1 << 16, "secret_file": str(tmp_path / "s")}
    with running_gateway(sim.base_url, store=server.url, **options) as gateway:
        kept = [f"kept {number}" for number in range(10)]
        posted(gateway, *kept)
        world = gateway.gateway.world
        assert world.tiers.behind.flush(30)
        fault(server)
        posted(gateway, *(f"lost {number}" for number in range(ASKED)))
        queue = world.tiers.behind._live.queue

        def waiting() -> int:
            return sum(write.value is not None for write in queue.pending.values())

        assert until(lambda: world.dropped()[reason.id] + waiting() == ASKED), world.dropped()
        lost = Counter({name: count for name, count in world.dropped().items() if name not in ROUTINE})
        assert waiting() < ASKED, "what was queued before the first was refused is tried again"
        assert lost == {reason.id: ASKED - waiting()}, "each of them once, and nothing else: every read has worked"
        assert reason.sentence in notes(gateway) and reason.fix in notes(gateway)
        assert all(posted(gateway, *kept)), "what it has is served"
        said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert [line for line in said if "could not be read" in line] == []
        assert len([line for line in said if reason.sentence in line]) == 1, said
        mended(server)
        assert until(lambda: reason.sentence not in notes(gateway))
        again = iter(range(10_000))
        assert until(
            lambda: (posted(gateway, f"new {(number := next(again))}"), posted(gateway, f"new {number}"))[1][0]
        )


def test_a_lease_that_a_full_server_refuses_makes_nobody_wait(server: RedisServer) -> None:
    with closing(open_store(server.url)) as store:
        store.pace(10.0)
        store.epochs()
        full(server)
        claimed = store.leases.claim(slot_of(1))
        assert (claimed.free, claimed.looked, claimed.found) == (True, True, None)


@pytest.mark.parametrize("words", [("--model", "sim/small"), ("--all", "--yes"), ("--tag", "t")])
def test_a_purge_that_a_full_server_refuses_says_so_and_what_to_do_works(
    sim: SimulatedProvider,
    server: RedisServer,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("PAYONCE_SECRET_FILE", str(own_home / "s"))
    options = {"fast_lane": False, "memory_bytes": 1 << 16, "secret_file": str(own_home / "s")}
    with running_gateway(sim.base_url, store=server.url, **options) as gateway:
        tagged = [gateway.post(ask("purged"), x_payonce_tags="t") for _ in range(2)]
        assert [reply.status for reply in tagged] == [200, 200]
        assert gateway.gateway.world.tiers.behind.flush(30)
        full(server)
        assert main(["purge", *words, "--store", server.url]) == 2
        said = capsys.readouterr().err
        assert "nothing was purged, and what is stored is still served: the server is full" in said
        assert "CONFIG SET maxmemory-policy allkeys-lru" in said and "start its server" not in said
        assert gateway.post(ask("purged")).hit
        server.say("CONFIG", "SET", "maxmemory", "100mb")
        server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        assert main(["purge", *words, "--store", server.url]) == 0, "with what the message says to do"
        assert until(lambda: gateway.gateway.world.tiers.current != {})
        assert not gateway.post(ask("purged")).hit


def test_a_fault_is_said_once_a_minute_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    tiers = Tiers(MemoryStore(1 << 20, clock=clock), None, bytes(32), now=clock, clock=clock)
    for expected in (1, 2):
        for _ in range(50):
            tiers.complain(StoreError("gone"))
            tiers.refresh()
        assert len(caplog.records) == expected, "a read that works in between changes nothing"
        clock.advance(SAY_EVERY + 1)
    tiers.complain(StoreError("full"), why.WRITE_FAULT)
    assert [record.getMessage() for record in caplog.records][-1].startswith("the store failed while writing, which")
    assert tiers.dropped == {"store-fault": 100, "write-fault": 1}
