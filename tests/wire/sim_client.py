"""A client on a bare socket for the simulated provider's tests: it says how a body ended, not only what it held."""

from __future__ import annotations

import json
import socket
from typing import Any

from payonce.testing.sim import SimulatedProvider

PATH = "/api/v1/chat/completions"
PATIENCE = 20.0
"""Seconds for what comes sooner or later."""


def ask(text: str = "hello there", **more: Any) -> dict[str, Any]:
    return {"model": "sim/small", "messages": [{"role": "user", "content": text}], **more}


class Raw:
    """What came over a socket: the end is FIN, RST or QUIET (still open); `whole` is what the framing says."""

    def __init__(self, data: bytes, end: str) -> None:
        head, _, coded = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1]) if head else 0
        self.headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        self.end = end
        if "transfer-encoding" in self.headers:
            self.body, self.whole = _unchunked(coded)
        else:
            self.body, self.whole = coded, len(coded) == int(self.headers.get("content-length", -1))

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        return [json.loads(line[6:]) for line in self.body.split(b"\n") if line.startswith(b"data: {")]


def _unchunked(coded: bytes) -> tuple[bytes, bool]:
    body = b""
    while coded:
        size, _, coded = coded.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body, coded == b"\r\n"
        assert len(coded) >= length + 2, "a chunk itself is never torn"
        body, coded = body + coded[:length], coded[length + 2 :]
    return body, False


def raw(
    sim: SimulatedProvider,
    body: Any,
    *,
    path: str = PATH,
    fault: str = "",
    quiet: float = PATIENCE,
    enough: int = 0,
    auth: str = "Bearer sk-or-a",
    more: tuple[str, ...] = (),
) -> Raw:
    """One POST on a connection of its own; `more` are header lines. It is left where nothing comes for `quiet` seconds,
    but not before there are `enough` bytes of a body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", *more, "Host: sim", "Connection: close", "Accept-Encoding: identity"]
    head += [f"Content-Length: {len(content)}"] + [f"Authorization: {auth}"] * bool(auth)
    head += [f"X-Sim-Fault: {fault}"] * bool(fault)
    host, port = sim.base_url.split("/")[2].split(":")
    data, end = b"", "FIN"
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as sock:
        sock.sendall("\r\n".join([*head, "", ""]).encode() + content)
        try:
            sock.settimeout(PATIENCE if enough else quiet)
            while piece := sock.recv(65536):
                data += piece
                sock.settimeout(PATIENCE if len(data.partition(b"\r\n\r\n")[2]) < enough else quiet)
        except TimeoutError:
            end = "QUIET"
        except ConnectionResetError:
            end = "RST"
    return Raw(data, end)
