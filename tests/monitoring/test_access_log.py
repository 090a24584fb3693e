"""The access log has one line of JSON for each request, waits for nobody, and follows a file that is moved away."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from payonce.cli import main
from payonce.gateway.access_log import AccessLog, line
from payonce.model.visit import Spent, Visit, Wire
from payonce.telling import WAITING, Teller
from payonce.testing.sim import SimulatedProvider, running_sim
from tests.faces.test_shutdown import Held
from tests.support.gateway import PATH, GatewayChild, RunningGateway, ask, post, raw_upstream, running_gateway, until


def lines(path: Path) -> list[dict[str, Any]]:
    """Those that are whole: the last may be half written."""
    return [json.loads(text) for text in path.read_text().split("\n")[:-1]] if path.exists() else []


def logged(path: Path, count: int) -> list[dict[str, Any]]:
    assert until(lambda: len(lines(path)) >= count, 30), lines(path)
    return sorted(lines(path), key=lambda each: each["time"])


def test_every_kind_of_request_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with running_sim() as sim, running_gateway(sim.base_url, access_log=str(path)) as gateway:
        asked: list[Callable[[], Any]] = [
            lambda: gateway.post(ask("one")),
            lambda: gateway.post(ask("one"), traceparent="00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"),
            lambda: gateway.post(ask("one", stream=True)),
            lambda: gateway.post(ask("one"), X_OpenRouter_Cache="false", X_Payonce_Namespace="n"),
            lambda: gateway.post(ask("one"), X_Payonce_Sample="x"),
            lambda: gateway.post(ask("one", model="sim/fault-500")),
            lambda: gateway.post({"model": "sim/embed", "input": ["a", "b"]}, "/api/v1/embeddings"),
            lambda: gateway.post(ask("one"), "/api/v1/completions?key=hidden"),
            lambda: gateway.post(ask("one"), host="elsewhere.example"),
        ]
        replies = [call() for call in asked]
        found = logged(path, len(asked))
        assert len(found) == len(asked)
        assert [each["outcome"] for each in found] == [
            *("miss", "hit", "hit", "bypass", "refused", "miss", "miss", "pass", "refused")
        ]
        assert [each["status"] for each in found] == [reply.status for reply in replies]
        assert [each["bytes_out"] for each in found] == [len(reply.body) for reply in replies]
        miss, hit, converted, bypassed, refused, failed, _, passed, guarded = found
        assert Decimal(miss["spent"]["dollars"]) == Decimal(hit["avoided"]["dollars"]) > 0
        assert "avoided" not in miss
        assert "spent" not in hit
        assert miss["spent"]["input_tokens"] > 0
        assert hit["trace"].startswith("00-abab")
        assert converted["converted"] is True
        assert bypassed["reason"] == "client-off"
        assert (refused["reason"], guarded["reason"]) == ("bad-sample", "bad-host")
        assert failed["unkept"] == "status"
        assert "?" not in passed["path"]
        assert len(miss["tenant"]) == 16
        for each in found:
            assert each["time"].endswith("Z")
            assert 0 <= each.get("first_ms", 0) <= each["ms"] < 20_000
        assert sim.bill.calls > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_names_the_receipt_of_its_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, store = tmp_path / "access.log", f"sqlite:{tmp_path}/cache.db"
    embed = {"model": "sim/embed", "input": ["a", "b"]}
    with running_sim() as sim, running_gateway(sim.base_url, access_log=str(path), store=store) as gateway:
        replies = [
            *[gateway.post(ask("one"), **fields) for fields in ({}, {}, {"X_OpenRouter_Cache": "false"})],
            gateway.post(ask("two", stream=True)),
            *[gateway.post(embed, "/api/v1/embeddings") for _ in range(2)],
            gateway.post(b"no request"),
            gateway.post(ask("one"), X_Payonce_Sample="x"),
            gateway.post(ask("one"), "/api/v1/completions"),
        ]
        found = logged(path, len(replies))
        assert gateway.gateway.world.books is not None
        gateway.gateway.world.books.clerk.flush()
        for each, reply in zip(found[:7], replies, strict=False):
            assert each["request"] == reply["x-payonce-request-id"] != ""
            main(["why", each["request"], "--store", store, "--json"])
            why = json.loads(capsys.readouterr().out)
            assert (why["id"], why["outcome"]) == (each["request"], each["outcome"])
        assert not any("request" in each for each in found[7:])


def test_without_a_ledger_a_line_names_no_receipt(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with running_sim() as sim, running_gateway(sim.base_url, access_log=str(path), ledger="off") as gateway:
        assert not gateway.post(ask("one"))["x-payonce-request-id"]
        assert "request" not in logged(path, 1)[0]


def test_a_moved_file_is_left_alone_and_a_new_one_begun(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(str(path))
    log.tell([Visit(at=1.0, took=0.5, outcome="hit")])
    path.rename(old)
    log.tell([Visit(at=2.0, took=0.5, outcome="miss"), Visit(at=3.0, took=0.5, outcome="hit")])
    assert [each["outcome"] for each in lines(old)] == ["hit"]
    assert [each["outcome"] for each in lines(path)] == ["miss", "hit"]
    path.unlink()
    log.tell([Visit(at=4.0, took=0.5, outcome="stale")])
    assert [each["outcome"] for each in lines(path)] == ["stale"]
    assert log.dropped == 0


def test_what_can_not_be_written_is_counted_said_once_and_written_again_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "not-yet"
    log = AccessLog(str(folder / "access.log"))
    log.start()
    said = f"access_log: {folder}/access.log can't be written (No such file or directory): lines are dropped"
    assert [record.getMessage() for record in caplog.records] == [f"{said} and counted until it can"]
    log.tell([Visit(at=1.0, took=0.1, outcome="hit")] * 3)
    assert (log.dropped, len(caplog.records)) == (3, 1)
    folder.mkdir()
    log.tell([Visit(at=2.0, took=0.1, outcome="hit")])
    assert (log.dropped, len(lines(folder / "access.log"))) == (3, 1)
    (folder / "access.log").unlink()
    folder.rmdir()
    log.tell([Visit(at=3.0, took=0.1, outcome="hit")])
    assert len(caplog.records) == 2, "trouble that begins anew is said anew"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "access.log").symlink_to(tmp_path / "elsewhere")
    log = AccessLog(str(tmp_path / "access.log"))
    log.tell([Visit(at=1.0, took=0.1, outcome="hit")])
    assert log.dropped == 1
    assert not (tmp_path / "elsewhere").exists()


class Sink:
    dropped = 0

    def __init__(self) -> None:
        self.told: list[Visit] = []

    def tell(self, visits: Any) -> None:
        self.told += visits


def test_the_queue_is_bounded_and_what_finds_no_room_is_counted() -> None:
    sink = Sink()
    teller = Teller([sink], lambda: 0.0, whole=False)
    for _ in range(WAITING + 7):
        teller.visited(0.1, None, None, kind="own")
    assert teller.dropped == 7
    teller.flush()
    assert len(sink.told) == WAITING


def test_a_sink_that_fails_costs_lines_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Sink):
        def tell(self, visits: Any) -> None:
            raise RuntimeError("no")

    broken, sound = Broken(), Sink()
    teller = Teller([broken, sound], lambda: 0.0, whole=False)
    teller.visited(0.1, None, None, kind="own")
    teller.flush()
    assert (broken.dropped, len(sound.told)) == (1, 1)
    assert "calls go on" in caplog.text


def test_money_is_written_exactly() -> None:
    told = line(Visit(at=0.0, took=1.0, outcome="miss", spent=Spent(input=1, output=2, cost=1)))
    assert told["spent"] == {"input_tokens": 1, "output_tokens": 2, "dollars": "0.000000001"}


@pytest.fixture
def world() -> Any:
    with running_sim() as sim, running_gateway(sim.base_url) as gateway:
        yield gateway, sim


def test_without_a_log_nobody_watches_and_the_lane_is_open(world: tuple[RunningGateway, SimulatedProvider]) -> None:
    gateway, _ = world
    assert gateway.gateway.world.teller is None
    for _ in range(4):
        gateway.post(ask("quick"))
    assert gateway.fast_hits() == 2


def test_standard_output_and_the_last_lines_of_a_gateway_that_stops(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--cache", "all")
    with running_sim() as sim:
        child = GatewayChild(tmp_path, *arguments, "--upstream", sim.base_url, PAYONCE_ACCESS_LOG="-")
        with child as gateway:
            gateway.post(ask("last"))
            assert gateway.stop() == 0
    found = [json.loads(text) for text in child.out.splitlines() if text.startswith(b"{")]
    assert [each["outcome"] for each in found if each["outcome"] != "own"] == ["miss"]
    assert os.name == "posix"


def test_who_is_turned_away_before_a_request_is_whole_has_a_line_too(tmp_path: Path) -> None:
    begun = b"POST /api/v1/chat/completions?key=canary HTTP/1.1\r\n"
    target = begun + b"Host: 127.0.0.1\r\n"
    slow = {
        ("head-slow", 408, ""): begun + b"Auth",
        ("body-slow", 408, "POST"): target + b"Content-Length: 9\r\n\r\n{}",
    }
    at_once = {
        ("head-too-large", 431, ""): target + b"X: " + b"x" * (80 << 10),
        ("body-too-large", 413, "POST"): target + b"Content-Length: 9999\r\n\r\n",
        ("bad-request", 400, "POST"): target + b"Host: twice\r\n\r\n",
        ("bad-request", 400, "GET"): b"GET http://user:canary@elsewhere/ HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    found = turned_away(slow, tmp_path / "slow.log", header_timeout=0.3, body_timeout=0.3)
    found += turned_away(at_once, tmp_path / "access.log", max_body_bytes=1024)
    for each in found[:-1]:
        assert (each["outcome"], each["path"]) == ("refused", "/api/v1/chat/completions")
    assert "path" not in found[-1]
    for each in found:
        assert each["bytes_out"] > 50
        assert 0 <= each.get("first_ms", 0) <= each.get("ms", 0) < 20_000
    assert found[1]["bytes_in"] == 2


def turned_away(sent: Mapping[tuple[str, int, str], bytes], path: Path, **options: Any) -> list[dict[str, Any]]:
    """The lines about these, which must be so."""
    with running_gateway(access_log=str(path), **options) as gateway:
        for data in sent.values():
            with gateway.wire(20) as wire:
                wire.send(data)
                assert wire.rest().startswith(b"HTTP/1.1 4")
        assert len(logged(path, len(sent))) == len(sent)
    found = lines(path)  # as they ended: within a millisecond, when they began is not known better
    assert [(each["reason"], each["status"], each.get("method", "")) for each in found] == list(sent)
    assert "canary" not in path.read_text()
    return found


def test_a_connection_too_many_has_a_line_of_what_little_is_known(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with running_gateway(access_log=str(path), max_connections=1) as gateway:
        with gateway.wire() as first:
            first.send(f"GET /healthz HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode())
            assert first.reply().status == 200
            with gateway.wire() as second:
                assert second.rest().startswith(b"HTTP/1.1 503")
        assert len(logged(path, 2)) == 2
        own, busy = lines(path)
        assert own["outcome"] == "own"
        assert {name: busy[name] for name in ("outcome", "reason", "status")} == {
            "outcome": "refused",
            "reason": "busy",
            "status": 503,
        }
        assert not {"method", "path", "bytes_in"} & set(busy)


def test_what_cuts_an_answer_off_has_its_line_without_a_status(tmp_path: Path) -> None:
    path, held = tmp_path / "access.log", Held()
    with raw_upstream(held) as upstream, running_gateway(upstream.base_url, access_log=str(path)) as gateway:
        try:
            with gateway.wire() as wire:
                wire.send(post(ask("held", stream=True), PATH, gateway.host))
                assert wire.head().status == 200
                assert wire.chunk()
                wire.send(b"\x00 garbled\r\n\r\n")
                found = [each for each in logged(path, 1) if each["outcome"] == "refused"]
                assert [(each["reason"], "status" in each) for each in found] == [("bad-request", False)]
        finally:
            held.go.set()


def test_a_flood_of_refused_connections_leaves_room_for_requests() -> None:
    class Slow:
        dropped = 0

        def tell(self, visits: Any) -> None:
            told.extend(visits)

    told: list[Visit] = []
    teller = Teller([Slow()], lambda: 0.0, whole=False)
    wire = Wire("", "", 503, 0, 90, 0.1)
    for _ in range(WAITING):
        teller.turned_away(0.1, "busy", wire)
    assert teller.dropped == WAITING // 2
    for _ in range(WAITING // 2):
        teller.visited(0.1, None, None, kind="pass", wire=wire)
    assert teller.dropped == WAITING // 2
    teller.flush(last=True)
    assert [visit.outcome for visit in told].count("pass") == WAITING // 2
