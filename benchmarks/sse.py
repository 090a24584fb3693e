"""The streaming upstream: the first event at once, the others two milliseconds apart. `python -m benchmarks.sse PORT`.

The pause tells a proxy that passes the first event on from one that waits for more.
"""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks import bodies

EVENTS = 4
PAUSE = 0.002
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def _event(text: str, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
    chunk = {
        "id": "gen-bench-0000000002",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": bodies.MODEL,
        "choices": [choice],
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_PARTS = [_chunk(_event(f"word {i} ", None)) for i in range(EVENTS - 1)] + [
    _chunk(_event("end", "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n"
]


class _Stream(asyncio.Protocol):
    """Reads requests with a Content-Length, answers each with the stream."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, end, rest = self._held.partition(b"\r\n\r\n")
        if not end:
            return
        lines = [line.lower().split(b":") for line in head.split(b"\r\n")[1:]]
        length = next((int(line[1]) for line in lines if line[0] == b"content-length"), 0)
        if len(rest) >= length:
            self._held = rest[length:]
            self._transport.write(_HEAD + _PARTS[0])
            asyncio.get_running_loop().call_later(PAUSE, self._go_on, 1)

    def _go_on(self, part: int) -> None:
        self._transport.write(_PARTS[part])
        if part + 1 < len(_PARTS):
            asyncio.get_running_loop().call_later(PAUSE, self._go_on, part + 1)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Stream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
