"""A small HTTP/1.1 client over a raw socket: it says exactly how an answer ended, which real clients smooth over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Seen:
    """One answer: `whole` says that its framing was complete."""

    status: int
    fields: dict[str, str]
    body: bytes
    whole: bool

    def content(self) -> str:
        """The text of the first choice, of a whole answer or of a stream; raises ValueError if it has no proper end."""
        if not self.fields.get("content-type", "").startswith("text/event-stream"):
            page = json.loads(self.body)
            if "error" in page or page["choices"][0]["finish_reason"] != "stop":
                raise ValueError("not a proper answer")
            return str(page["choices"][0]["message"]["content"])
        events = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        if not events or events[-1] != "[DONE]":
            raise ValueError("no terminal event")
        pages = [json.loads(event) for event in events[:-1]]
        if any("error" in page for page in pages):
            raise ValueError("an error inside")
        return "".join(page["choices"][0]["delta"].get("content", "") for page in pages)


class RawClient:
    """One connection to the gateway, opened again when it was closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes, fields: Mapping[str, str]) -> Seen:
        """Send a POST and read its answer to whatever end it comes."""
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self._reader is not None
        head = [f"POST {path} HTTP/1.1", f"host: 127.0.0.1:{self.port}", "content-type: application/json"]
        head += [f"{name}: {value}" for name, value in fields.items()]
        head.append(f"content-length: {len(body)}")
        self._writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        seen = await self._answer(self._reader)
        if not seen.whole or seen.fields.get("connection") == "close":
            self.leave()
        return seen

    @property
    def served_by(self) -> set[int]:
        """The ids of the processes that hold the other end of this connection (Linux)."""
        assert self._writer is not None
        mine = self._writer.get_extra_info("sockname")[1]
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ends = f"{self.port:04X}", f"{mine:04X}"
        inodes = {f"socket:[{row[9]}]" for row in rows if (row[1][-4:], row[2][-4:]) == ends}
        return {int(process.name) for process in Path("/proc").glob("[0-9]*") if inodes & _held_by(process)}

    def leave(self) -> None:
        """Break the connection off."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _answer(self, reader: asyncio.StreamReader) -> Seen:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        if "content-length" in fields:
            length = int(fields["content-length"])
            try:
                return Seen(status, fields, await reader.readexactly(length), whole=True)
            except asyncio.IncompleteReadError as error:
                return Seen(status, fields, error.partial, whole=False)
        body = b""
        try:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return Seen(status, fields, body, whole=False)
        return Seen(status, fields, body, whole=True)


def _held_by(process: Path) -> set[str]:
    """Where its open files lead. Processes come and go: one that is gone by now, or another's, holds nothing."""
    held = set()
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                held.add(str(link.readlink()))
    return held
