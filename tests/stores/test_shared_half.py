"""One of several memcached servers is down: the others' share is served, counted and listed; the lost one is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.gateway import RunningGateway, ask, running_gateway, until
from tests.support.servers import Memcached, memcached

from payonce.cli import main
from payonce.testing.sim import SimulatedProvider

TEXTS = [f"half {number}" for number in range(24)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Memcached]]:
    with ExitStack() as stack:
        yield [stack.enter_context(memcached(tmp_path)) for _ in range(2)]


def url_of(pair: list[Memcached]) -> str:
    return "memcached://" + ",".join(f"127.0.0.1:{server.port}" for server in pair)


@pytest.fixture
def gateway(
    sim: SimulatedProvider, pair: list[Memcached], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    """All of TEXTS are in the store, on both servers; the gateway remembers none of them."""
    monkeypatch.setenv("PAYONCE_SECRET_FILE", str(own_home / "s"))
    options = {"fast_lane": False, "memory_bytes": 1 << 16, "secret_file": str(own_home / "s")}
    with running_gateway(sim.base_url, store=url_of(pair), **options) as running:
        for text in TEXTS:
            assert running.post(ask(text)).status == 200
        assert running.gateway.world.tiers.behind.flush(30)
        assert page(running, "/readyz")["store"]["entries"] == len(TEXTS)
        yield running


def page(gateway: RunningGateway, path: str) -> dict:
    return json.loads(got(gateway, path))


def got(gateway: RunningGateway, path: str) -> bytes:
    with gateway.wire() as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode())
        return wire.reply().body


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], pair: list[Memcached]) -> Callable[..., tuple[int, str, str]]:
    def ran(*words: str) -> tuple[int, str, str]:
        status = main([*words, "--store", url_of(pair)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return ran


def test_a_gateway_names_the_server_that_is_down_and_counts_and_serves_the_rest(
    gateway: RunningGateway, pair: list[Memcached]
) -> None:
    assert page(gateway, "/readyz")["notes"] == []
    lost = f"127.0.0.1:{pair[1].port}"
    pair[1].kill()
    said = page(gateway, "/readyz")
    [note] = [note for note in said["notes"] if lost in note]
    assert said["status"] == "degraded" and "some of the store's servers do not answer" in note, "at the first look"
    there = said["store"]["entries"]
    assert 0 < there < len(TEXTS) and said["store"]["bytes"] > 0
    hits = [reply.hit for reply in (gateway.post(ask(text)) for text in TEXTS)]
    assert sum(hits) == there, "what was counted is what is served"
    assert b"\npayonce_store_trouble 1" in got(gateway, "/metrics")
    health = page(gateway, "/_payonce/api/health")
    assert lost in health["store"]["trouble"] and any(lost in note for note in health["notes"])
    pair[1].start()
    assert until(lambda: not any(lost in note for note in page(gateway, "/readyz")["notes"]))
    assert until(lambda: b"\npayonce_store_trouble 0" in got(gateway, "/metrics"))


def test_commands_show_what_the_servers_that_answer_have_and_name_the_one_that_does_not(
    gateway: RunningGateway, pair: list[Memcached], run: Callable[..., tuple[int, str, str]]
) -> None:
    server, other = pair
    there = {}
    server.kill()
    for words in (["ls", "--json"], ["ls", "--limit", "0", "--json"], ["stats", "--json"]):
        status, out, err = run(*words)
        assert status == 0, err
        found = json.loads(out)
        there[" ".join(words)] = found["store"]["entries"] if words[0] == "stats" else len(found)
        assert f"127.0.0.1:{server.port}" in err and "is not in this" in err
        assert f"127.0.0.1:{other.port}" not in err
    assert len({*there.values()}) == 1 and 0 < there["stats --json"] < len(TEXTS), there
    server.start()
    assert run("ls")[2] == ""
    for server in pair:
        server.kill()
    assert run("ls")[0] == run("stats")[0] == 2
