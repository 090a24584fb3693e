"""Warming: what is warm here is warm for the gateway, nothing is paid for twice or in vain, and no key is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from payonce.cli import main
from payonce.model.reason import STORE_READ_ONLY
from payonce.stores.sqlite import SqliteStore
from payonce.testing.sim import SimulatedProvider, running_sim
from payonce.warming import LONGEST_WAIT, Done, Request, Sent, Summary, Unread, Warmth, read_line, warm
from payonce.warming.sender import _said
from tests.support.gateway import DEAD, running_gateway, until
from tests.support.library import held_upstream
from tests.support.servers import free_ports, redis_server

KEY = "sk-or-warming"


@pytest.fixture(autouse=True)
def _key(own_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.setenv("PAYONCE_READ_BUDGET", "20")  # what was kept is found, however busy the machine is


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        monkeypatch.setenv("PAYONCE_UPSTREAM", running.base_url)
        yield running


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "sim/small", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


def file(*lines: object) -> str:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    Path("requests.jsonl").write_text(text)
    return "requests.jsonl"


def told(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = main(["warm", *line, "--json"])
    captured = capsys.readouterr()
    assert KEY not in captured.out + captured.err
    return code, json.loads(captured.out), captured.err


# The command


def test_what_is_warm_is_a_hit_for_an_sdk_behind_the_gateway(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    requests = [ask("one"), ask("two"), ask("2", stream=True), ask("one")]
    line = file(*requests, {"body": ask("three"), "endpoint": "/v1/chat/completions"})
    code, figures, _ = told(capsys, line)
    assert (code, figures["failing"], figures["complete"]) == (0, [], True)
    assert figures["hit"] + figures["kept"] == 5
    assert sim.bill.calls == 4
    assert float(figures["dollars"]) == pytest.approx(float(sim.bill.cost), abs=1e-8) != 0
    code, figures, _ = told(capsys, line)
    assert (code, figures["hit"], figures["kept"], figures["dollars"]) == (0, 5, 0, "0")
    assert sim.bill.calls == 4
    store = f"sqlite:{tmp_path}/cache.db"
    with (
        running_gateway(sim.base_url, store=store, cache="deterministic") as gateway,
        openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client,
    ):
        for request in [*requests, ask("three")]:
            response = client.chat.completions.with_raw_response.create(**request)
            assert response.headers["x-openrouter-cache-status"] == "HIT"
        fresh = client.chat.completions.with_raw_response.create(**ask("four"))
        assert fresh.headers["x-openrouter-cache-status"] == "MISS"
    assert sim.bill.calls == 5
    assert main(["stats", "--json"]) == 0


def test_a_namespace_and_a_lines_own_headers_are_part_of_the_key(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"body": ask("one"), "headers": {"X-Payonce-Namespace": "own", "X-Payonce-Tags": "red", "x-beta": "1"}}
    assert told(capsys, file(ask("one"), own), "--namespace", "night")[0] == 0
    assert sim.bill.calls == 2
    assert main(["ls", "--json"]) == 0
    found = {(entry["namespace"], *entry["tags"]) for entry in json.loads(capsys.readouterr().out)}
    assert found == {("night",), ("own", "red")}
    assert sorted(call.headers.get("x-beta", "") for call in sim.calls) == ["", "1"]
    assert told(capsys, file(ask("one")))[1]["kept"] == 1


def test_what_would_not_be_kept_is_not_sent(sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]) -> None:
    lines = file(
        ask("fine"),
        {"model": "sim/small", "messages": []},
        "nonsense",
        "",
        {"body": ask("x"), "headers": {"Authorization": f"Bearer {KEY}"}},
        {"body": ask("x"), "endpoint": "models"},
        {"body": ask("x"), "headers": {"X-Payonce-Namespace": "a b"}},
        {"body": ask("x"), "surplus": 1},
    )
    code, figures, err = told(capsys, lines)
    assert (code, figures["kept"], figures["failed"]) == (1, 1, 6)
    failing = {entry["line"]: entry["because"] for entry in figures["failing"]}
    assert list(failing) == [2, 3, 5, 6, 7, 8]
    for number, said in (
        (2, "temperature 0"),
        (3, "JSON"),
        (5, "environment"),
        (6, "'models'"),
        (7, "Namespace"),
        (8, "surplus"),
    ):
        assert said in failing[number]
        assert f"line {number}: " in err
    assert sim.bill.calls == 1


def test_later_is_tried_again_and_an_error_is_not(sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]) -> None:
    sim.script(["429=0", "503=0", None, "500", "cut=20", "refusal"])
    code, figures, _ = told(capsys, file(*[ask(name) for name in "abcd"]), "--concurrency", "1")
    assert (code, figures["kept"]) == (1, 1)
    failing = {entry["line"]: entry["because"] for entry in figures["failing"]}
    assert "500" in failing[2]
    assert "Internal Server Error" in failing[2]
    assert "ended before" in failing[3]
    assert "refused" in failing[4]
    assert figures["calls_without_price"] == 2
    assert len(sim.calls) == 6
    code, figures, _ = told(capsys, "requests.jsonl")
    assert (code, figures["hit"], figures["kept"]) == (0, 1, 3)


def test_an_upstream_that_is_not_there_costs_nothing_but_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, figures, err = told(capsys, file(ask("a")), "--upstream", DEAD)
    assert (code, figures["failed"], figures["calls_without_price"]) == (1, 1, 0)
    assert "no connection to the upstream" in err


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "memcached"])
def test_nothing_is_sent_where_the_servers_of_the_store_are_away(
    scheme: str, sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    [port] = free_ports(1)
    assert main(["warm", file(ask("one"), ask("two")), "--store", f"{scheme}://127.0.0.1:{port}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith("payonce: nothing was sent, as nothing would be kept: the store ")
    assert f"{scheme}://127.0.0.1:{port} could not be used (" in last and "start its server" in last
    assert sim.bill.calls == 0


FULL = ("CONFIG", "SET", "maxmemory", "1")
READ_ONLY = ("REPLICAOF", "127.0.0.1", "9")


@pytest.mark.parametrize(
    ("ill", "said"), [(FULL, "the disk, or the store's server, is full"), (READ_ONLY, "the store can't be written")]
)
def test_a_store_that_keeps_nothing_ends_it_after_the_first_answers(
    ill: tuple[str, ...], said: str, sim: SimulatedProvider, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with redis_server(tmp_path) as server:
        store = ("--store", server.url, "--concurrency", "2")
        assert told(capsys, file(ask("before")), *store)[0] == 0
        server.say(*ill)
        sim.reset()
        sim.script(["slow-first-byte=0.05"] * 200)
        lines = file(*[ask(str(number)) for number in range(200)])
        code, figures, err = told(capsys, lines, *store)
        assert (code, figures["complete"]) == (1, False)
        assert figures["stopped_because"].startswith(said)
        assert 0 < sim.bill.calls < 100
        assert 0 < figures["lost"] <= sim.bill.calls
        assert "stopped, as the store does not keep what is paid for: " + said in err
        assert "run this again: what is warm costs nothing" in err
        server.say("CONFIG", "SET", "maxmemory", "0")
        server.say("REPLICAOF", "NO", "ONE")
        sim.reset()
        code, figures, _ = told(capsys, lines, *store)
        assert (code, figures["lost"], figures["stopped_because"]) == (0, 0, None), "a control: it goes on from there"


def test_nothing_is_sent_where_the_store_is_known_to_take_nothing(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = file(ask("one"))
    monkeypatch.setattr(SqliteStore, "declines", lambda *_: STORE_READ_ONLY)
    assert main(["warm", lines]) == 2
    said = capsys.readouterr().err
    assert "nothing was sent, as nothing would be kept: the store can't be written; check the permissions" in said
    assert sim.bill.calls == 0


def test_a_file_without_requests_is_said_to_be_one(sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]) -> None:
    code, figures, err = told(capsys, file("", ""))
    assert (code, figures["complete"]) == (0, True)
    assert "requests.jsonl holds no requests; write one request a line as JSON" in err
    assert "holds no requests" not in told(capsys, file(ask("one")))[2], "a control"


def test_people_see_what_it_cost(sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm", file(ask("a"), ask("b"), "x")]) == 1
    out = capsys.readouterr().out
    assert "0 hits, 2 new, $0.0" in out
    assert "not warm: lines 3" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gone.jsonl", "can't be read"),
        ("requests.jsonl --store memory:", "sqlite:PATH"),
        ("requests.jsonl --endpoint models", "endpoint"),
        ("requests.jsonl --key-env NOT_THERE", "NOT_THERE is not set"),
        ("requests.jsonl --key-env BAD_KEY", "BAD_KEY does not hold"),
        ("requests.jsonl --key-header cookie", "x-api-key"),
        ("requests.jsonl --namespace a/b", "Namespace"),
        ("requests.jsonl --concurrency 0", "1 to 1000"),
        ("requests.jsonl --upstream a=http://x --upstream b=http://y", "several"),
        ("requests.jsonl --store sqlite:/dev/null/x.db", "nothing was sent"),
    ],
)
def test_what_can_not_be_done_is_one_sentence(
    line: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAD_KEY", "sk or")
    file(ask("a"))
    assert main(["warm", *line.split()]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_another_header_for_the_key_is_another_tenant(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, file(ask("a")))[1]["kept"] == 1
    code, figures, err = told(capsys, "requests.jsonl", "--key-header", "x-api-key")
    assert (code, figures["hit"], figures["failed"]) == (1, 0, 1)
    assert "401 (Missing Authentication header)" in err
    assert sim.calls[-1].headers["x-api-key"] == KEY
    assert "authorization" not in sim.calls[-1].headers


@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_ends_cleanly_and_the_paid_call_is_kept(interrupts: int, tmp_path: Path) -> None:
    go = threading.Event()
    with held_upstream(go) as slow:
        file(*[ask(str(number)) for number in range(20)])
        process = subprocess.Popen(
            [sys.executable, "-m", "payonce", "warm", "requests.jsonl", "--concurrency", "2", "--json"],
            env=dict(os.environ) | {"PAYONCE_UPSTREAM": slow.base_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert until(lambda: len(slow.requests) == 2)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"stopping" in process.stderr.readline()
        if interrupts == 2:
            process.send_signal(signal.SIGINT)
        else:
            go.set()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Traceback" not in err
        assert len(slow.requests) == 2
        if interrupts == 1:
            figures = json.loads(out)
            assert (figures["kept"], figures["complete"]) == (2, False)


async def test_an_answer_past_its_ttl_is_renewed_and_one_that_can_not_be_is_not_warm(tmp_path: Path) -> None:
    from payonce.assembly import World
    from payonce.config import Settings
    from payonce.gateway.upstream import HttpUpstream
    from payonce.testing.clock import FakeClock
    from payonce.warming import Sender

    with running_sim() as running:
        own = Settings(
            store="memory:", secret_file=str(tmp_path / "secret"), upstream=(("", running.base_url),),
            stale_while_revalidate=3600, stale_if_error=3600, ttl=60,
        )  # fmt: skip
        clock = FakeClock()
        world = World(own, {"": HttpUpstream(running.base_url, own)}, clock)
        fields = ((b"content-type", b"application/json"), (b"authorization", b"Bearer x"))
        asked = Request(1, "chat/completions", fields, json.dumps(ask("a")).encode())
        try:
            sender = Sender(world)
            assert [(await sender(asked)).warmth for _ in range(2)] == [Warmth.KEPT, Warmth.HIT]
            clock.advance(100)
            assert (await sender(asked)).warmth is Warmth.KEPT
            assert (await sender(asked)).warmth is Warmth.HIT
            assert running.bill.calls == 2
            clock.advance(100)
            running.fault_next("429=3", times=1)
            sent = await sender(asked)
            assert (sent.warmth, sent.status, sent.later) == (Warmth.FAILED, 429, 3.0), "it was asked for once"
        finally:
            await world.stop()


# The pure part


class Slept:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now = max(self.now, self.now + seconds)


def request(number: int) -> Request:
    return Request(number, "chat/completions", (), b"{}")


KEPT = Sent(Warmth.KEPT, status=200, cost=5, paid=True)


def later(seconds: float | None, status: int = 429) -> Sent:
    return Sent(Warmth.FAILED, "busy", status, later=seconds, paid=True)


async def run(*answers: Sent, tries: int = 6, count: int = 1) -> tuple[Summary, list[float], list[Done]]:
    slept, left, seen = Slept(), list(answers), []

    async def send(_request: Request) -> Sent:
        return left.pop(0)

    summary = await warm(
        [request(number) for number in range(1, count + 1)], send, clock=slept, sleep=slept.sleep, tries=tries,
        concurrency=1, on_done=lambda done, _summary: seen.append(done),
    )  # fmt: skip
    assert left == []
    return summary, slept.waits, seen


async def test_it_waits_as_long_as_it_is_told() -> None:
    summary, waits, seen = await run(later(7.0), later(0.5, 503), KEPT)
    assert waits == [7.0, 0.5]
    assert (summary.warm, summary.cost, seen[0].tries) == (True, 5, 3)


async def test_without_a_time_it_waits_longer_each_time_and_not_for_ever() -> None:
    summary, waits, _ = await run(*[later(None, 529)] * 4, tries=4)
    assert waits == [1.0, 2.0, 4.0]
    assert summary.failed == [(1, "busy; still so after 4 tries")]


async def test_too_long_a_wait_is_a_failure_at_once() -> None:
    summary, waits, _ = await run(later(LONGEST_WAIT + 1), KEPT, count=2)
    assert waits == []
    assert not summary.warm
    assert "601 s" in summary.failed[0][1]


async def test_what_may_have_been_paid_for_is_not_repeated() -> None:
    summary, waits, _ = await run(Sent(Warmth.FAILED, "cut", 200, paid=True), later(None, 500), count=2)
    assert (waits, len(summary.failed), summary.unpriced) == ([], 2, 1)


async def test_at_most_so_many_are_under_way_and_all_wait_when_one_is_told_to() -> None:
    slept, under_way, most, sent_at = Slept(), 0, 0, []
    told_to_wait = [later(30.0)]

    async def send(asked: Request) -> Sent:
        nonlocal under_way, most
        sent_at.append((asked.number, slept.now))
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        under_way -= 1
        return told_to_wait.pop() if told_to_wait else KEPT

    summary = await warm(map(request, range(12)), send, clock=slept, sleep=slept.sleep, concurrency=4)
    assert (summary.warm, summary.counts[Warmth.KEPT], most) == (True, 12, 4)
    assert all(now >= 130.0 for _, now in sent_at[4:])


async def test_trouble_sends_nothing_more_and_is_part_of_the_sum() -> None:
    numbers: list[int] = []

    async def send(asked: Request) -> Sent:
        numbers.append(asked.number)
        return KEPT

    def trouble() -> str:
        return "it is full" if len(numbers) >= 3 else ""

    summary = await warm(map(request, range(1, 9)), send, clock=Slept(), concurrency=1, trouble=trouble)
    assert (numbers, summary.because, summary.complete, summary.warm) == ([1, 2, 3], "it is full", False, False)
    numbers.clear()
    summary = await warm(map(request, range(1, 4)), send, clock=Slept(), concurrency=1, trouble=trouble)
    assert (numbers, summary.complete, summary.warm) == ([1, 2, 3], True, False), "all were sent, and not all are there"


async def test_a_stop_sends_nothing_more_not_even_after_a_wait() -> None:
    stop, slept = asyncio.Event(), Slept()
    numbers = []

    async def send(asked: Request) -> Sent:
        numbers.append(asked.number)
        if asked.number == 2:
            asyncio.get_running_loop().call_soon(stop.set)
            return later(500.0)
        return KEPT

    async def for_ever(_seconds: float) -> None:
        await asyncio.Event().wait()

    summary = await warm(map(request, range(1, 9)), send, clock=slept, sleep=for_ever, concurrency=1, stop=stop)
    assert numbers == [1, 2]
    assert (summary.warm, summary.complete, summary.failed) == (False, False, [])


def test_a_line_keeps_its_bytes() -> None:
    found = read_line(1, b' {"seed": 18446744073709551617, "temperature":1e0}\n', "chat/completions", ())
    assert isinstance(found, Request)
    assert found.body == b'{"seed": 18446744073709551617, "temperature":1e0}'
    found = read_line(2, b'{"body": {"temperature": 1e0 }, "endpoint": "/api/v1/messages"}', "x", ((b"b", b"2"),))
    assert isinstance(found, Request)
    assert (found.body, found.endpoint) == (b'{"temperature": 1e0 }', "messages")
    assert found.headers == ((b"content-type", b"application/json"), (b"b", b"2"))
    found = read_line(3, b'{"body": "{\\"a\\":1}", "headers": {"B": "3"}}', "x", ((b"b", b"2"),))
    assert isinstance(found, Request)
    assert (found.body, found.headers[-1]) == (b'{"a":1}', (b"b", b"3"))
    assert isinstance(read_line(4, b"[]", "x", ()), Unread)


def test_an_error_that_repeats_the_key_is_told_without_it() -> None:
    body = json.dumps({"error": {"message": f"no such key:\n{KEY}", "code": 401}}).encode()
    assert _said(body, ((b"authorization", f"Bearer {KEY}".encode()),)) == " (no such key: ***)"
    assert _said(b"<html>", ()) == _said(None, ()) == ""
