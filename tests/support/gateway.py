"""Gateways to test over real sockets: in a thread under uvicorn, or as a process; and raw ends of both wires.

`running_gateway` gives one with its `Gateway` object at hand, `GatewayChild` a real `payonce serve`. `Wire` is a client
that sees every byte, `RawUpstream` an upstream that sends any.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import uvicorn

from payonce.config import Settings
from payonce.gateway import server as server_room
from payonce.gateway.app import Gateway
from payonce.model.ports import Clock

PATH = "/api/v1/chat/completions"
KEY = "sk-or-test"
DEAD = "http://127.0.0.1:9/api/v1"
"""An upstream that nothing listens at."""
PATIENCE = 10.0
"""Seconds that a lookup of these gateways may take, unless a test says otherwise: a core that is busy with something
else for the usual twentieth of a second makes no miss of a hit."""
AT_LAST = 30.0
"""Seconds in which what happens sooner or later has happened, on a busy machine too; never for how fast it is."""


# ------------------------------------------------------------------------------------------ a gateway in a thread


class RunningGateway:
    """A gateway that answers on `port`; its loop is another thread's, so reach into it by `run` and `soon` only."""

    def __init__(self, gateway: Gateway, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.gateway = gateway
        self.port = port
        self.loop = loop

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, call: Callable[[], Any]) -> Any:
        """What `call` returns, called on the gateway's loop."""

        async def on_loop() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(on_loop(), self.loop).result(AT_LAST)

    def until(self, true: Callable[[], bool], seconds: float = AT_LAST) -> bool:
        """Whether `true` (asked on the gateway's loop) comes to hold."""
        return until(lambda: self.run(true), seconds)

    def fast_hits(self) -> int:
        """How many answers the fast lane gave, noted ones included."""

        def count() -> int:
            gateway = self.gateway
            assert gateway.shelf is not None
            gateway.shelf.settle(gateway.world.ledger)
            return gateway.world.ledger.now.counts["requests.fast_lane"]

        return int(self.run(count))

    def wire(self, timeout: float = AT_LAST) -> Wire:
        return Wire(self.port, timeout)

    def talk(self, *pieces: bytes, timeout: float = AT_LAST, eof: bool = False) -> bytes:
        """Everything that comes back for these writes until the gateway closes the connection."""
        with self.wire(timeout) as wire:
            for piece in pieces:
                wire.send(piece)
            if eof:
                wire.sock.shutdown(socket.SHUT_WR)
            return wire.rest()

    def post(self, body: bytes | Mapping[str, Any], path: str = PATH, **fields: str) -> Reply:
        """One POST on a connection of its own; `fields` with `_` for `-`."""
        with self.wire() as wire:
            wire.send(post(body, path, self.host, fields))
            return wire.reply()


@contextlib.contextmanager
def running_gateway(
    upstream: str | tuple[tuple[str, str], ...] = DEAD, *, clock: Clock = time.time, **options: Any
) -> Iterator[RunningGateway]:
    """A gateway under uvicorn on a free loopback port, with these settings; caching all that may be, in memory."""
    chosen: dict[str, Any] = {"store": "memory:", "cache": "all", "ttl_jitter": 0.0, "drain_timeout": 1.0}
    chosen["read_budget"] = PATIENCE
    upstreams = (("", upstream),) if isinstance(upstream, str) else upstream
    chosen |= {"upstream": upstreams, "port": 0} | options
    if "secret_file" not in chosen and chosen["store"] == "memory:":
        chosen["secret_file"] = str(_secret())
    with mock.patch.object(server_room, "log_config", lambda level: None):  # the test process's own logging stays
        config = server_room.server_config(Settings(**chosen))
    listener = server_room.bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    config.load()
    gateway: Gateway = config.loaded_app  # type: ignore[assignment]
    gateway.clock = clock
    server = uvicorn.Server(config)
    loops: list[asyncio.AbstractEventLoop] = []
    start = gateway.start

    async def started() -> None:
        loops.append(asyncio.get_running_loop())
        await start()

    gateway.start = started  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="gateway", daemon=True)
    thread.start()
    try:
        assert until(lambda: server.started or not thread.is_alive(), 30)
        assert server.started
        yield RunningGateway(gateway, port, loops[0])
    finally:
        server.should_exit = True
        thread.join(AT_LAST)
        listener.close()
        assert not thread.is_alive()


def _secret() -> Path:
    """One secret for all gateways of a test process that keep nothing; never in the user's own directory."""
    import atexit
    import shutil
    import tempfile

    global _secret_folder
    if _secret_folder is None:
        _secret_folder = Path(tempfile.mkdtemp(prefix="payonce-test-"))
        atexit.register(shutil.rmtree, _secret_folder, ignore_errors=True)
    return _secret_folder / "secret"


_secret_folder: Path | None = None


def until(true: Callable[[], bool], seconds: float = AT_LAST) -> bool:
    """Whether `true` comes to hold within that time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


# ------------------------------------------------------------------------------------------ a gateway as a process


class GatewayChild:
    """`payonce serve` in a process of its own, in an empty home; leaving the block stops it."""

    def __init__(self, home: Path, *arguments: str, **environ: str) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        ours = {"HOME": str(home), "PYTHONUNBUFFERED": "1", "PAYONCE_READ_BUDGET": f"{PATIENCE}"}
        env = kept | ours | environ
        self.process = subprocess.Popen(
            [sys.executable, "-m", "payonce", "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env=env,
        )
        self.port = 0
        self.out = b""
        self.err = b""

    def __enter__(self) -> GatewayChild:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            self.end()
            raise AssertionError((line + self.err).decode())
        self.port = int(found[1])
        assert until(self._answers, 60), self.end()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.stop()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self, timeout: float = 60) -> int:
        """Wait for it to end; its output is then in `out` and `err`."""
        try:
            self.out, self.err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.out, self.err = self.process.communicate()
            raise
        return self.process.returncode

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    def wire(self, timeout: float = AT_LAST) -> Wire:
        return Wire(self.port, timeout)

    def post(self, body: bytes | Mapping[str, Any], path: str = PATH, **fields: str) -> Reply:
        with self.wire() as wire:
            wire.send(post(body, path, self.host, fields))
            return wire.reply()

    def get(self, path: str) -> Reply:
        with self.wire() as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
            return wire.reply()

    def _answers(self) -> bool:
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return self.process.poll() is not None


# ------------------------------------------------------------------------------------------ the client's end


class CutError(Exception):
    """The connection ended before the answer was whole; `reply` is what came of it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.status}, {len(reply.body)} bytes of the body, then the end")
        self.reply = reply


@dataclass
class Reply:
    """One answer; `chunked` says how it was framed."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    chunked: bool = False

    def __getitem__(self, name: str) -> str:
        """The value of a header field, empty if there is none; repeated ones are joined."""
        return ", ".join(value for known, value in self.fields if known == name)

    @property
    def hit(self) -> bool:
        return self["x-openrouter-cache-status"] == "HIT"

    @property
    def error(self) -> str:
        return self["x-payonce-error"]

    def json(self) -> Any:
        return json.loads(self.body)

    def settled(self) -> dict[str, list[str]]:
        """Its fields but those that tell the time or name the request, in lists by name."""
        moving = (
            "date",
            "x-payonce-request-id",
            "age",
            "x-openrouter-cache-age",
            "x-openrouter-cache-ttl",
            "cache-status",
        )
        found: dict[str, list[str]] = {}
        for name, value in self.fields:
            text = re.sub(r"ttl=\d+", "ttl=N", value) if name == "cache-status" else value
            found.setdefault(name, []).append("T" if name in moving[:-1] else text)
        return found


class Wire:
    """A client connection of which every byte counts."""

    def __init__(self, port: int, timeout: float = AT_LAST, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(timeout)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it; what a gateway that has refused no longer takes is let go."""
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def more(self) -> bool:
        """Read what is there; False at the end of the connection."""
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionError:
            return False
        self.held += data
        return bool(data)

    def rest(self) -> bytes:
        """Everything until the connection is closed; TimeoutError if it is not."""
        while self.more():
            pass
        data, self.held = self.held, b""
        return data

    def closed(self) -> bool:
        """Whether the gateway closes the connection now, without another byte."""
        return not self.more() and not self.held

    def line(self) -> bytes:
        while b"\r\n" not in self.held:
            if not self.more():
                raise EOFError(self.held)
        line, _, self.held = self.held.partition(b"\r\n")
        return line

    def head(self) -> Reply:
        """Status and fields of the next answer."""
        status = self.line()
        assert re.fullmatch(rb"HTTP/1\.1 \d{3} .*", status), status
        fields = []
        while line := self.line():
            name, mark, value = line.decode("latin-1").partition(": ")
            assert mark, line
            fields.append((name, value))
        return Reply(int(status[9:12]), fields, b"")

    def chunk(self) -> bytes:
        """The next chunk of a chunked answer; empty at its end."""
        data = self._exactly(int(self.line(), 16))
        assert self._exactly(2) == b"\r\n"
        return data

    def reply(self, method: str = "POST") -> Reply:
        """The next answer, whole. Raises CutError where it is not, EOFError where there is none."""
        reply = self.head()
        while reply.status < 200:
            reply = self.head()
        if method == "HEAD" or reply.status in (204, 304):
            return reply
        try:
            if reply["transfer-encoding"] == "chunked":
                assert not reply["content-length"]
                reply.chunked = True
                while data := self.chunk():
                    reply.body += data
            elif reply["content-length"]:
                wanted = int(reply["content-length"])
                while len(reply.body) < wanted:
                    reply.body += self._some(wanted - len(reply.body))
            else:
                reply.body = self.rest()
        except EOFError:
            raise CutError(reply) from None
        return reply

    def _some(self, most: int) -> bytes:
        if not self.held and not self.more():
            raise EOFError
        data, self.held = self.held[:most], self.held[most:]
        return data

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._some(size - len(data))
        return data


def replies(data: bytes) -> list[int]:
    """The status codes of all answers in `data`, as they stand in their status lines."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


def ask(text: str = "hello", **more: Any) -> dict[str, Any]:
    """A chat request that may be cached."""
    return {"model": "sim/small", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def post(body: bytes | Mapping[str, Any], path: str, host: str, fields: Mapping[str, str] | None = None) -> bytes:
    """A POST as bytes; a field of the value `-` is left out."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    chosen = {"Host": host, "Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    given = {name.replace("_", "-").title(): value for name, value in (fields or {}).items()}
    chosen |= given
    if "Transfer-Encoding" not in chosen:
        chosen.setdefault("Content-Length", str(len(data)))
    lines = [f"{name}: {value}" for name, value in chosen.items() if value != "-"]
    return f"POST {path} HTTP/1.1\r\n".encode() + "\r\n".join([*lines, "", ""]).encode("latin-1") + data


# ------------------------------------------------------------------------------------------ the upstream's end


@dataclass
class Request:
    """One request as the upstream got it."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return ", ".join(value for known, value in self.fields if known.lower() == name)

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.fields}


Behaviour = Callable[[socket.socket, Request], None]


@dataclass
class RawUpstream:
    """An upstream of raw sockets: `behave` gets the connection and the request, and writes what it likes.

    The connection is closed when `behave` returns.
    """

    behave: Behaviour
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    gone: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"


@contextlib.contextmanager
def raw_upstream(behave: Behaviour, port: int = 0) -> Iterator[RawUpstream]:
    """`behave` on a loopback port while the block runs."""
    upstream = RawUpstream(behave)
    threads: list[threading.Thread] = []
    open_ones: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port)) as listener:
        upstream.port = listener.getsockname()[1]

        def serve(conn: socket.socket) -> None:
            with conn:
                conn.settimeout(AT_LAST)
                with contextlib.suppress(OSError, EOFError):
                    request = _read_request(conn)
                    upstream.requests.append(request)
                    upstream.behave(conn, request)
                with contextlib.suppress(OSError):
                    conn.shutdown(socket.SHUT_WR)

        def accept() -> None:
            while True:
                try:
                    conn, _ = listener.accept()
                except OSError:
                    return
                upstream.connections += 1
                open_ones.append(conn)
                thread = threading.Thread(target=serve, args=(conn,), daemon=True)
                threads.append(thread)
                thread.start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield upstream
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(5)
            for conn in open_ones:
                with contextlib.suppress(OSError):
                    conn.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)


def _read_request(conn: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        more = conn.recv(1 << 16)
        if not more:
            raise EOFError
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (text.partition(":") for text in lines)]
    request = Request(line, fields, b"")
    length = int(request["content-length"] or 0)
    while len(body) < length:
        more = conn.recv(1 << 16)
        if not more:
            raise EOFError
        body += more
    request.body = body
    return request


def until_gone(conn: socket.socket, upstream_gone: threading.Event, seconds: float = AT_LAST) -> None:
    """Wait until the gateway hangs up, and say so."""
    conn.settimeout(seconds)
    try:
        while conn.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return
    upstream_gone.set()


def whole(body: bytes, status: str = "200 OK", *fields: str, kind: str = "application/json") -> bytes:
    """An answer with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def good(text: str = "fine", **more: Any) -> bytes:
    """The body of an answer that may be kept."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "cost": 0.001}
    return json.dumps({"id": "gen-1", "model": "m", "choices": [choice], "usage": usage, **more}).encode()


def event(page: Mapping[str, Any] | str) -> bytes:
    text = page if isinstance(page, str) else json.dumps(page)
    return b"data: " + text.encode() + b"\n\n"


def good_stream(text: str = "fine") -> list[bytes]:
    """The events of a stream that may be kept."""
    part = {"id": "gen-2", "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]}
    last = {"id": "gen-2", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [b": OPENROUTER PROCESSING\n\n", event(part), event(last), event("[DONE]")]


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answers(body: bytes | None = None, *fields: str, status: str = "200 OK") -> Behaviour:
    """Always the same whole answer; a good one unless said otherwise."""
    data = whole(good() if body is None else body, status, *fields)

    def behave(conn: socket.socket, request: Request) -> None:
        conn.sendall(data)

    return behave
