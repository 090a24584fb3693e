"""Commands on a server that is far away: a read may take longer than any request would wait, and few are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway import ask, running_gateway
from tests.support.servers import RedisServer
from tests.support.words import entry

from payonce.errors import StoreError
from payonce.listing import AT_ONCE, Shelf
from payonce.model.about import about_entry
from payonce.model.entry import seal
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store
from payonce.testing.contract import slot_of
from payonce.testing.sim import SimulatedProvider

ENTRIES = 30


@pytest.fixture
def far(server: RedisServer, sim: SimulatedProvider, tmp_path: Path) -> Iterator[FaultProxy]:
    """A store with some entries, 70 ms away."""
    with running_gateway(sim.base_url, store=server.url, secret_file=str(tmp_path / "secret")) as near:
        for number in range(ENTRIES):
            assert near.post(ask(f"{number}")).status == 200
        assert near.gateway.world.tiers.behind.flush(30)
    with fault_proxy(server.port) as proxy:
        proxy.url, proxy.latency = f"redis://127.0.0.1:{proxy.port}", 0.07
        yield proxy


def payonce(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    env |= {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    env |= {"PAYONCE_SECRET_FILE": str(home / "secret")}
    command = [sys.executable, "-m", "payonce", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, cwd=home)


def test_commands_wait_for_a_server_that_is_far_away_and_ask_it_for_many_entries_at_once(
    far: FaultProxy, tmp_path: Path
) -> None:
    with closing(open_store(far.url)) as hasty, pytest.raises(StoreError):
        for _ in range(2):  # the first one connects
            hasty.get(slot_of("nothing"))
    listed = payonce(tmp_path, "ls", "--limit", "0", "--json", "--store", far.url)
    assert listed.returncode == 0, listed.stderr
    [key, *others] = [found["key"] for found in json.loads(listed.stdout)]
    assert len(others) == ENTRIES - 1
    for command in (
        ["ls"],
        ["show", key],
        ["show", key[:9]],
        ["export"],
        ["purge", "--model", "sim/small", "--dry-run"],
    ):
        far.requests = 0
        done = payonce(tmp_path, *command, "--store", far.url)
        assert (done.returncode, bool(done.stdout)) == (0, True), (command, done.stderr)
        assert 0 < far.requests < 15, f"{command}: entries are read together"
    assert f"{ENTRIES} entries would go" in done.stdout


@pytest.mark.parametrize("command", [["ls"], ["stats"], ["purge", "--all", "--yes"]])
def test_a_command_on_a_silent_server_ends_within_its_bounds(
    far: FaultProxy, tmp_path: Path, command: Sequence[str]
) -> None:
    far.hole = True
    begun = time.monotonic()
    done = payonce(tmp_path, *command, "--store", far.url)
    assert done.returncode == 2
    assert "could not be used" in done.stderr or "nothing was purged" in done.stderr
    assert time.monotonic() - begun < 30


# --------------------------------------------------------------------------------------------------- entries together


class _Forgetful(MemoryStore):
    """A store whose batches bring half of what is there, and that does not answer for the other half when told so."""

    asked = 0
    silent = False

    def get_many(self, slots: Sequence[bytes]) -> Sequence[bytes | None]:
        self.asked += 1
        assert len(slots) <= AT_ONCE
        return [super(_Forgetful, self).get(slot) if slot[0] % 2 else None for slot in slots]

    def get(self, slot: bytes) -> bytes | None:
        if self.silent:
            raise StoreError("no answer")
        return super().get(slot)


def test_what_a_batch_does_not_bring_is_asked_for_by_itself_and_never_left_out() -> None:
    store, secret = _Forgetful(1 << 20, time.time), b"s" * 32
    for number in range(AT_ONCE + 50):
        slot = slot_of(number)
        kept = entry(stored_at=time.time(), ttl=1000)
        store.put(slot, seal(kept, slot, secret), about_entry(kept))
    shelf = Shelf(store, secret, time.time)
    assert len(list(shelf.listed())) == AT_ONCE + 50
    assert store.asked == 2
    store.silent = True
    with pytest.raises(StoreError):
        list(shelf.listed())
