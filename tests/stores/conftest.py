"""What the tests of stores share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.gateway import PATIENCE
from tests.support.servers import RedisServer, redis_server

from payonce.stores import memcached_scan, redis_map, redis_scan, shared, shared_keeper, shared_leases
from payonce.stores.shared import SharedStore
from payonce.stores.sqlite import SqliteStore
from payonce.testing.sim import SimulatedProvider, running_sim


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    """One provider for all tests of a file."""
    with running_sim() as running:
        yield running


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared stores that are opened here wait for a busy machine, as whoever asks what they do, not how fast, has to:
    ten seconds for what usually has a twentieth of one, a quarter, one or two; and a minute for a flush."""
    usual = SharedStore.__init__

    def opened(store: SharedStore, *arguments: object, **options: object) -> None:
        usual(store, *arguments, **options)  # type: ignore[arg-type]
        store.pace(PATIENCE)

    monkeypatch.setattr(SharedStore, "__init__", opened)
    for room, name in (
        *((shared, "_POLL_SECONDS"), (shared, "_CALL_SECONDS"), (shared_keeper, "WRITE_SECONDS")),
        *((memcached_scan, "_CALL_SECONDS"), (redis_scan, "_LIST_SECONDS"), (redis_map, "LOOK_SECONDS")),
        (shared_leases, "_TURN_SECONDS"),
    ):
        monkeypatch.setattr(room, name, PATIENCE)
    for store in (SharedStore, SqliteStore):
        monkeypatch.setattr(store.flush, "__defaults__", (6 * PATIENCE,))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server of the test's own."""
    with redis_server(tmp_path) as running:
        yield running
