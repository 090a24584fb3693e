"""A gateway as a process: how it starts when something is in the way, how it ends, and that it never tells a secret."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payonce.testing.sim import SimulatedProvider, running_sim
from tests.support.gateway import (
    DEAD,
    PATH,
    STREAM_HEAD,
    CutError,
    GatewayChild,
    Request,
    ask,
    chunk,
    good_stream,
    post,
    raw_upstream,
    until,
)


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


def child(home: Path, upstream: str, *more: str, store: str = "", **environ: str) -> GatewayChild:
    arguments = ("--port", "0", "--upstream", upstream, "--cache", "all", "--store", store or f"sqlite:{home}/cache.db")
    return GatewayChild(home, *arguments, *more, **environ)


class Held:
    """A stream that waits in its middle until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, conn: socket.socket, request: Request) -> None:
        first, *rest = good_stream("held")
        conn.sendall(STREAM_HEAD + chunk(first))
        if self.go.wait(200):
            conn.sendall(b"".join(map(chunk, rest)) + b"0\r\n\r\n")


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    except OSError:  # neither taken nor refused
        return False
    return False


def test_a_stream_under_way_is_finished_kept_and_the_exit_is_0(tmp_path: Path) -> None:
    held = Held()
    whole = b"".join(good_stream("held"))
    with raw_upstream(held) as upstream:
        with child(tmp_path, upstream.base_url) as gateway, gateway.wire() as wire, gateway.wire() as idle:
            idle.send(b"GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % gateway.host.encode())
            assert idle.reply("GET").status == 200
            wire.send(post(ask("held", stream=True), PATH, gateway.host))
            assert wire.head().status == 200
            body = wire.chunk()
            gateway.process.terminate()
            assert until(lambda: refuses(gateway.port))
            assert idle.closed()
            assert gateway.process.poll() is None
            held.go.set()
            while data := wire.chunk():
                body += data
            assert body == whole
            assert wire.closed()
            assert gateway.end() == 0
            assert gateway.err == b""
        with child(tmp_path, upstream.base_url) as again:
            reply = again.post(ask("held", stream=True))
            assert (reply.hit, reply.body) == (True, whole)
            assert again.stop() == 0
    assert len(upstream.requests) == 1


def test_a_call_whose_client_has_left_is_finished_before_the_end(tmp_path: Path) -> None:
    held = Held()
    with raw_upstream(held) as upstream:
        with child(tmp_path, upstream.base_url) as gateway:
            with gateway.wire() as wire:
                wire.send(post(ask("left", stream=True), PATH, gateway.host))
                assert wire.head().status == 200
            gateway.process.terminate()
            assert until(lambda: refuses(gateway.port))
            held.go.set()
            assert gateway.end() == 0
            assert gateway.err == b""
        with child(tmp_path, upstream.base_url) as again:
            assert again.post(ask("left", stream=True)).hit


def test_a_request_that_is_still_arriving_is_still_answered(tmp_path: Path, sim: SimulatedProvider) -> None:
    with child(tmp_path, sim.base_url) as gateway, gateway.wire() as lane, gateway.wire() as story:
        data = post(ask("arriving"), PATH, gateway.host)
        lane.send(data[:-5])
        story.send(post(ask("arriving"), PATH, gateway.host, {"Expect": "100-continue"})[:-5])
        assert story.line() == b"HTTP/1.1 100 Continue"
        assert story.line() == b""
        gateway.process.terminate()
        assert until(lambda: refuses(gateway.port))
        lane.send(data[-5:])
        story.send(data[-5:])
        for wire in (lane, story):
            reply = wire.reply()
            assert (reply.status, reply["connection"]) == (200, "close")
        assert gateway.end() == 0
        assert gateway.err == b""


@pytest.mark.parametrize("lane", ["true", "false"], ids=["lane", "story"])
@pytest.mark.parametrize("cached", ["true", "false"], ids=["cached", "bypassed"])
def test_what_outlasts_the_drain_is_cut_off_for_the_client_to_see(tmp_path: Path, cached: str, lane: str) -> None:
    held = Held()
    with raw_upstream(held) as upstream:
        environ = {"PAYONCE_DRAIN_TIMEOUT": "0.5", "PAYONCE_FAST_LANE": lane}
        with child(tmp_path, upstream.base_url, **environ) as gateway, gateway.wire() as wire:
            wire.send(post(ask("endless", stream=True), PATH, gateway.host, {"X-OpenRouter-Cache": cached}))
            assert wire.head().status == 200
            assert wire.chunk()
            gateway.process.terminate()
            with pytest.raises(EOFError):
                wire.chunk()
            assert gateway.end() == 0
            assert b"Traceback" not in gateway.err, gateway.err.decode()
            assert gateway.err.count(b"\n") <= 2
        held.go.set()


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path, sim: SimulatedProvider) -> None:
    with child(tmp_path, sim.base_url) as gateway:
        gateway.post(ask("interrupted"))
        gateway.process.send_signal(2)
        assert gateway.end() in (0, 130)
        assert b"Traceback" not in gateway.err
    with child(tmp_path, sim.base_url) as gateway:
        assert gateway.post(ask("interrupted")).hit


def failing(home: Path, *arguments: str, **environ: str) -> GatewayChild:
    one = GatewayChild(home, *arguments, **environ)
    one.end()
    return one


def test_a_busy_port_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = failing(tmp_path, "--port", str(port), "--store", "memory:")
    assert one.process.returncode == 2
    (line,) = one.err.decode().splitlines()
    assert f"can't listen on 127.0.0.1:{port}" in line
    assert f"payonce serve --port {port + 1}" in line
    assert one.out == b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "x"), "port"),
        (("--upstream", "ftp://x"), "upstream"),
        (("--cache", "sometimes"), "cache"),
        (("--host", "not a host"), "host"),
        (("--config", "missing.toml"), "missing.toml"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_exit_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    one = failing(tmp_path, *arguments)
    assert one.process.returncode == 2, one.err.decode()
    assert said in one.err.decode()
    assert b"Traceback" not in one.err


def _directory(home: Path) -> str:
    (home / "store").mkdir()
    return f"sqlite:{home}/store"


def _text(home: Path) -> str:
    path = home / "text.db"
    path.write_text("this is no database, and long enough to be looked at as one\n" * 50)
    path.chmod(0o600)
    return f"sqlite:{path}"


def _symlink(home: Path) -> str:
    (home / "real.db").touch(0o600)
    (home / "link.db").symlink_to(home / "real.db")
    return f"sqlite:{home}/link.db"


def _nowhere(home: Path) -> str:
    (home / "file").write_text("x")
    return f"sqlite:{home}/file/below/cache.db"


@pytest.mark.parametrize("store", [_directory, _symlink, _nowhere])
def test_a_store_that_cannot_be_opened_is_replaced_by_memory_and_said(
    tmp_path: Path, sim: SimulatedProvider, store: Any
) -> None:
    with child(tmp_path, sim.base_url, store=store(tmp_path)) as gateway:
        assert gateway.post(ask(f"no store {store}")).status == 200
        assert gateway.post(ask(f"no store {store}")).hit
        ready = gateway.get("/readyz")
        assert (ready.status, ready.json()["status"]) == (200, "degraded")
        assert any("in memory only" in note for note in ready.json()["notes"])
        assert gateway.get("/healthz").status == 200
        assert gateway.stop() == 0
    assert b"answers are kept in memory only" in gateway.err
    assert b"Traceback" not in gateway.err


def test_a_file_that_is_no_store_is_never_overwritten_in_place(tmp_path: Path, sim: SimulatedProvider) -> None:
    url = _text(tmp_path)
    before = (tmp_path / "text.db").read_bytes()
    with child(tmp_path, sim.base_url, store=url) as gateway:
        assert gateway.post(ask("text")).status == 200
        assert gateway.post(ask("text")).hit
        assert gateway.stop() == 0
    kept = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert before in kept
    assert b"Traceback" not in gateway.err


def test_a_read_only_directory_is_served_from_memory(tmp_path: Path, sim: SimulatedProvider) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(0o500)
    if os.geteuid() == 0:
        locked = Path("/proc/sys")  # where not even root may make a file
    with child(tmp_path, sim.base_url, store=f"sqlite:{locked}/cache.db") as gateway:
        assert gateway.post(ask("locked")).status == 200
        assert gateway.get("/readyz").json()["status"] == "degraded"


def test_no_home_at_all_is_served_from_memory(tmp_path: Path, sim: SimulatedProvider) -> None:
    arguments = ("--port", "0", "--upstream", sim.base_url, "--cache", "all")
    with GatewayChild(tmp_path, *arguments, HOME="/proc/nowhere") as gateway:
        assert gateway.post(ask("homeless")).status == 200
        assert gateway.post(ask("homeless")).hit
        assert gateway.stop() == 0
    assert b"Traceback" not in gateway.err


# ------------------------------------------------------------------------------------------ secrets


CANARY = "sk-or-v1-CANARYcanaryCANARY0123456789"
PROMPT = "the-canary-prompt-that-nobody-may-log"


def test_no_key_and_no_prompt_is_ever_told(tmp_path: Path, sim: SimulatedProvider) -> None:
    """Hits, misses, errors, faults and hostile requests, at the most talkative log level (threat T35)."""
    seen = b""
    environ = {
        "PAYONCE_LOG_LEVEL": "debug",
        "PAYONCE_ACCESS_LOG": "-",
        "PAYONCE_FIRST_BYTE_TIMEOUT": "0.3",
        "PAYONCE_BETWEEN_BYTES_TIMEOUT": "0.3",
        "PAYONCE_MAX_BODY_BYTES": "100000",
    }
    named = ("--upstream", f"dead={DEAD}")
    with child(tmp_path, sim.base_url, *named, **environ) as gateway:
        said: dict[str, str] = {"Authorization": f"Bearer {CANARY}"}
        faults = (
            *("429", "500", "200-error", "choice-error", "cut=100", "reset=100", "stall=100", "clean-cut=100", "html"),
            *("gzip", "redirect", "slow-first-byte=60", "bad-tool-json", "empty-body", "none-such"),
        )
        requests = [(ask(PROMPT), PATH, {})] * 4
        requests += [(ask(PROMPT, stream=True), PATH, {})] * 3
        requests += [
            (ask(PROMPT, model=f"sim/fault-{fault}", stream=n % 2 == 0), PATH, {}) for n, fault in enumerate(faults)
        ]
        requests += [
            (ask(PROMPT), "/dead/v1/chat/completions", {}),
            (ask(PROMPT), "/nowhere", {}),
            (ask(PROMPT), PATH, {"Host": "evil.example"}),
            (ask(PROMPT), PATH, {"Origin": "https://evil.example"}),
            (ask(PROMPT), PATH, {"X-Payonce-Namespace": "!"}),
            (ask(PROMPT), PATH, {"Cache-Control": "only-if-cached", "X-Payonce-Sample": "9"}),
            (ask(PROMPT), PATH, {"X-OpenRouter-Cache-Clear": "true"}),
            (ask(PROMPT), PATH, {"X-Api-Key": CANARY}),
            (PROMPT.encode(), PATH, {}),
            (ask(PROMPT * 4000), PATH, {}),
            (ask(PROMPT), "/api/v1/messages", {}),
        ]
        for body, path, fields in requests:
            with gateway.wire() as wire:
                wire.send(post(body, path, gateway.host, said | fields))
                seen += _tolerant(wire)
        for data in (b"X-A : b", b"Transfer-Encoding: chunked"):
            with gateway.wire() as wire:
                wire.send(
                    post(ask(PROMPT), PATH, gateway.host, said).replace(b"\r\n\r\n", b"\r\n" + data + b"\r\n\r\n", 1)
                )
                seen += wire.rest()
        for path in ("/readyz", "/metrics", "/healthz"):
            seen += gateway.get(path).body
        assert gateway.stop() == 0
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) > 4096
    assert b"payonce_requests_total" in seen
    for place, held in (("answers", seen), ("log", gateway.err + gateway.out), ("files", files)):
        assert CANARY.encode() not in held, place
        assert CANARY[9:].encode() not in held, place
        assert PROMPT.encode() not in held, place
    assert len(gateway.err + gateway.out) > 1000
    assert b"Traceback" not in gateway.err


def _tolerant(wire: Any) -> bytes:
    """One answer as bytes, however it ends."""
    try:
        reply = wire.reply()
    except CutError as cut:
        reply = cut.reply
    return repr(reply.fields).encode() + reply.body


def test_a_store_url_with_a_password_is_never_told(tmp_path: Path, sim: SimulatedProvider) -> None:
    with (
        pytest.raises(AssertionError, match="no store is known") as told,
        child(tmp_path, sim.base_url, store="nosuch://user:CANARYPASS@127.0.0.1:1/0"),
    ):
        pass
    assert "nosuch" in str(told.value)
    assert "CANARYPASS" not in str(told.value)
