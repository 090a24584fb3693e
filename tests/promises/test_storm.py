"""A storm of cancellations: no wrong answer, no error, no connection lost, whatever the engine and the way of reading;
and the storm can tell, as redis-py 4.5.1 and 4.5.3 and a server that lies show. `make storm` is the same with 100,000
requests each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from payonce.drive import tiers
from tests.storm.run import naive, old_python, ours
from tests.storm.weather import Liar

REQUESTS = 1500


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("engine", ["redis", "memcached"])
async def test_cancelled_requests_leave_nothing_behind_that_another_could_get(
    engine: str, threads: bool, tmp_path: Path
) -> None:
    report = await ours(tmp_path, REQUESTS, engine=engine, threads=threads)
    assert report.sound(REQUESTS), report
    assert report.seen["hit"] > REQUESTS // 8
    for kind in ("exchange", "batch", "drop", "poll", "note", "list", "raised"):
        assert report.seen[f"asked: {kind}"] > 0, "every command of a store"


@pytest.mark.parametrize("engine", ["redis", "memcached"])
async def test_a_server_that_answers_for_another_name_costs_misses(engine: str, tmp_path: Path) -> None:
    report = await ours(tmp_path, REQUESTS, engine=engine, lying=True)
    assert report.sound(REQUESTS), report
    assert report.lies > 50
    assert report.seen["damaged"] > 10


@pytest.mark.parametrize("version", ["4.5.1", "4.5.3"])
def test_a_control_the_storm_is_felt_by_the_clients_that_leaked(version: str, tmp_path: Path) -> None:
    report = naive(tmp_path, REQUESTS, old_python(version))
    assert version in report.subject
    assert report.seen["wrong"] > REQUESTS // 20, report


def test_a_control_a_client_that_believes_what_it_reads_is_lied_to(tmp_path: Path) -> None:
    assert naive(tmp_path / "true", REQUESTS, sys.executable).seen["wrong"] == 0
    report = naive(tmp_path / "lying", REQUESTS, sys.executable, lying=True)
    assert report.seen["wrong"] > REQUESTS // 50, report


async def test_a_control_answers_that_prove_nothing_would_be_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, sealed = tiers.unseal, tiers.seal
    slots: dict[bytes, bytes] = {}

    def believed(blob: bytes, slot: bytes, secret: bytes) -> object:
        return true(blob, slots.get(blob, slot), secret)

    def remembered(entry: object, slot: bytes, secret: bytes) -> bytes:
        blob = sealed(entry, slot, secret)  # type: ignore[arg-type]
        slots[blob] = slot
        return blob

    monkeypatch.setattr(tiers, "seal", remembered)
    monkeypatch.setattr(tiers, "unseal", believed)
    report = await ours(tmp_path, REQUESTS, lying=True)
    assert report.seen["wrong"] > 20, report


def test_a_liar_asks_for_another_name_of_the_same_sort() -> None:
    liar = Liar(1.0)
    ask = b"*2\r\n$3\r\nGET\r\n$3\r\n%s\r\n"
    assert liar.twist(ask % b"a:1") == ask % b"a:1", "it knows no other yet"
    assert ask % b"a:1" in {liar.twist(ask % b"a:2") for _ in range(20)}
    assert liar.twist(b"*2\r\n$3\r\nGET\r\n$4\r\nbook\r\n") == b"*2\r\n$3\r\nGET\r\n$4\r\nbook\r\n"
    assert liar.twist(b"mg a:1 v O7\r\nmg a:2 v O8\r\n").count(b" v O") == 2
