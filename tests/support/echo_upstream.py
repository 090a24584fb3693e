"""An upstream whose answers say for whom and for what they were made, so that a wrong one gives itself away.

Every answer names the API key and the prompt it answers, the number of the upstream call, and how many parts it has; a
part that is missing, doubled or somebody else's can be told from the body alone. Faults are drawn by a seeded random.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field

PARTS = 6


@dataclass
class EchoUpstream:
    """Serves on `port` of the loopback once started. `faults` is the share of calls that go wrong in some way. With a
    `gate`, an answer is not given, and a stream not gone on with after its first part, before that is set."""

    seed: int = 0
    faults: float = 0.0
    delay: float = 0.002
    calls: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    port: int = 0
    gate: asyncio.Event | None = None
    held: int = 0
    """How many calls wait at the gate."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        request = json.loads(await reader.readexactly(int(fields.get("content-length", "0"))))
        self.calls += 1
        fault = self._random.choice(("cut", "429", "error", "clean-cut")) if self._random.random() < self.faults else ""
        self.kinds[fault] = self.kinds.get(fault, 0) + 1
        prompt = request["messages"][-1]["content"]
        whose = {"who": fields.get("authorization", ""), "prompt": prompt, "call": self.calls}
        await asyncio.sleep(self.delay * self._random.random())
        if not request.get("stream"):
            await self._pass_gate()
        if fault == "429":
            writer.write(_whole(b"429 Too Many Requests", {"error": {"code": 429, "message": "slow down"}}))
        elif request.get("stream"):
            return await self._stream(writer, whose, fault)
        else:
            body = _answer(whose)
            if fault == "error":
                body["choices"][0]["finish_reason"] = "error"
            data = _whole(b"200 OK", body)
            if fault in ("cut", "clean-cut"):
                writer.write(data[: -self._random.randrange(1, 200)])
                await writer.drain()
                return False
            writer.write(data)
        await writer.drain()
        return True

    async def _stream(self, writer: asyncio.StreamWriter, whose: dict[str, object], fault: str) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        last = self._random.randrange(PARTS) if fault else PARTS
        for part in range(PARTS):
            if part == last and fault == "cut":
                return False
            if part == last and fault == "clean-cut":
                break
            extra = {"error": {"code": 502, "message": "gone"}} if part == last and fault == "error" else {}
            delta = {"content": json.dumps({**whose, "part": part, "of": PARTS}) + "\n"}
            writer.write(_chunk({"id": f"gen-{whose['call']}", "choices": [{"index": 0, "delta": delta}], **extra}))
            await writer.drain()
            await asyncio.sleep(self.delay * self._random.random() / 2)
            await self._pass_gate()
        else:
            stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
            writer.write(_chunk({"id": f"gen-{whose['call']}", "choices": [stop], "usage": {"cost": 0.001}}))
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _pass_gate(self) -> None:
        if self.gate is None or self.gate.is_set():
            return
        self.held += 1
        try:
            await self.gate.wait()
        finally:
            self.held -= 1


def _answer(whose: dict[str, object]) -> dict[str, list[dict[str, object]]]:
    parts = "".join(json.dumps({**whose, "part": part, "of": PARTS}) + "\n" for part in range(PARTS))
    message = {"role": "assistant", "content": parts}
    choice: dict[str, object] = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": f"gen-{whose['call']}", "choices": [choice], "usage": {"cost": 0.001}}  # type: ignore[dict-item]


def _whole(status: bytes, page: object) -> bytes:
    body = json.dumps(page).encode()
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def _chunk(page: object) -> bytes:
    data = b"data: " + json.dumps(page).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def misread(content: str, who: str, prompt: str) -> str:
    """What is wrong with an answer that was presented as whole; empty if it is right."""
    lines = content.splitlines()
    try:
        parts = [json.loads(line) for line in lines]
    except ValueError:
        return "garbled"
    if [part["part"] for part in parts] != list(range(PARTS)):
        return f"parts {[part['part'] for part in parts]}"
    if len({part["call"] for part in parts}) != 1:
        return "mixed from several calls"
    if any(part["who"] != who for part in parts):
        return "another tenant's"
    if any(part["prompt"] != prompt for part in parts):
        return "another prompt's"
    return ""
