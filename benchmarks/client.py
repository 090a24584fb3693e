"""A small keep-alive HTTP/1.1 client on a plain socket, for checks and for timing a first byte.

It understands what the servers here send: Content-Length and chunked bodies.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `first` and `whole` are the seconds from sending until the first and the last byte of the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    first: float
    whole: float


class Client:
    """One connection to one loopback port."""

    def __init__(self, port: int, timeout: float = 30.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"127.0.0.1:{port}"
        self._held = b""

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply:
        """Send one request and read its whole answer."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}"]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        message = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        started = time.perf_counter()
        self._socket.sendall(message)
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if fields.get("transfer-encoding", "").lower() == "chunked":
            content, first = self._chunks()
        else:
            length = int(fields.get("content-length", "0"))
            if length and not self._held:
                self._more()
            first = time.perf_counter()
            content = self._exactly(length)
        whole = time.perf_counter()
        return Reply(int(head[0].split()[1]), fields, content, first - started, whole - started)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        self._held += data

    def _until(self, end: bytes) -> bytes:
        while end not in self._held:
            self._more()
        taken, _, self._held = self._held.partition(end)
        return taken

    def _exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def _chunks(self) -> tuple[bytes, float]:
        parts: list[bytes] = []
        first = 0.0
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            if not first:
                if not self._held:
                    self._more()
                first = time.perf_counter()
            parts.append(self._exactly(size))
            self._until(b"\r\n")
        self._until(b"\r\n")
        return b"".join(parts), first


def chat(port: int, path: str, body: bytes, headers: dict[str, str]) -> Reply:
    """POST one body on a connection of its own; raises where the answer is not a 200 with JSON."""
    with Client(port) as client:
        reply = client.ask("POST", path, body, headers)
    if reply.status != 200:
        raise RuntimeError(f"port {port} answered {reply.status}: {reply.body[:300]!r}")
    json.loads(reply.body)
    return reply
