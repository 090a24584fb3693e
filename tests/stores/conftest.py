"""What the tests of stores share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.servers import RedisServer, redis_server

from payonce.testing.sim import SimulatedProvider, running_sim


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    """One provider for all tests of a file."""
    with running_sim() as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server of the test's own."""
    with redis_server(tmp_path) as running:
        yield running
