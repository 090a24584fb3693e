"""The client room: a simulated provider and, in front of it, `payonce serve` as a process, one pair for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from payonce.testing.sim import SimulatedProvider, running_sim
from tests.clients.driving import ROOT, Place
from tests.support.gateway import GatewayChild


@pytest.fixture(scope="module")
def provider() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(provider: SimulatedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The gateway with its default settings, but for the port, the store and a second upstream."""
    home = tmp_path_factory.mktemp("gateway")
    root = provider.base_url.removesuffix("/api/v1")
    upstreams = ("--upstream", provider.base_url, "--upstream", f"anthropic={root}/anthropic/v1")
    ours = str(ROOT / "src")  # the gateway of this checkout, whatever is installed
    with GatewayChild(home, "--port", "0", "--store", "memory:", *upstreams, PYTHONPATH=ours) as child:
        yield Place(f"http://127.0.0.1:{child.port}", provider, home)


@pytest.fixture
def in_process(provider: SimulatedProvider, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """No gateway: Payonce's HTTP client in the client's own process, with a store of its own."""
    home = tmp_path_factory.mktemp("library")
    return Place(provider.base_url.removesuffix("/api/v1"), provider, home, store=f"sqlite:{home}/cache.db")
