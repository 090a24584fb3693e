"""What all tests share. Also puts the repository on the path, for `tests.support`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from payonce.testing.sim import SimulatedProvider, running_sim

# How long an example takes says more about the machine than about the code: speed is the benchmarks' business. This is
# the one profile: a test that chooses settings of its own inherits from it.
settings.register_profile("payonce", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("payonce")
pytest.register_assert_rewrite("tests.support")  # what the tests of several rooms share says what it found, as they do


@pytest.fixture
def sim() -> Iterator[SimulatedProvider]:
    """A provider of the test's own; a room or file whose tests can share one overrides it with a wider scope."""
    with running_sim() as running:
        yield running


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared stores that are opened here wait for a busy machine (tests/support/patience.py)."""
    from tests.support.patience import wait_longer

    wait_longer(monkeypatch)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, which is also the user's home: for commands, as a user types them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.fixture
def own_store(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, and a store in it that the environment names."""
    monkeypatch.setenv("PAYONCE_STORE", f"sqlite:{own_home}/cache.db")


@pytest.fixture
def closed_worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The library's files are the test's own, and no world is open when it ends."""
    from payonce.library import open_worlds

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield
    assert open_worlds() == 0
