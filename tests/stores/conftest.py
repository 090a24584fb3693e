"""What the tests of stores share."""

from collections.abc import Iterator

import pytest

from payonce.testing.sim import SimulatedProvider, running_sim


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    """One provider for all tests of a file."""
    with running_sim() as running:
        yield running
