"""The gateway without a server: requests go into the ASGI app as they are, the clock and the upstream are the test's.

For what depends on time: nothing here waits for a clock.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from payonce import Settings
from payonce.gateway.app import Gateway
from payonce.model import ports
from payonce.model.call import Call
from payonce.model.ports import Head, UpstreamFault
from payonce.model.reason import Reason
from payonce.testing.clock import FakeClock

JSON = ((b"content-type", b"application/json"),)


def answer(number: int, status: int = 200) -> tuple[int, bytes]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"answer {number}"}}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.001}
    page = {"id": f"gen-{number}", "model": "m-1", "choices": [choice], "usage": usage}
    return status, json.dumps(page if status == 200 else {"error": {"code": status, "message": "no"}}).encode()


@dataclass
class ScriptedAnswer(ports.Answer):
    head: Head
    body: bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body

    def close(self) -> None:
        pass


@dataclass
class ScriptedUpstream:
    """Gives numbered answers; `fail` makes the next ones fail with a status or a reason."""

    calls: list[Call] = field(default_factory=list)
    fail: int | Reason | None = None

    async def open(self, call: Call) -> ScriptedAnswer:
        self.calls.append(call)
        await asyncio.sleep(0)
        if isinstance(self.fail, Reason):
            raise UpstreamFault(self.fail)
        status, body = answer(len(self.calls), self.fail or 200)
        return ScriptedAnswer(Head(status, JSON), body)


@dataclass
class Reply:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return str(json.loads(self.body)["choices"][0]["message"]["content"])

    @property
    def said(self) -> str:
        return self.fields["cache-status"]


@dataclass
class World:
    gateway: Gateway
    clock: FakeClock
    upstream: ScriptedUpstream

    async def ask(self, prompt: str = "q", *, temperature: float | None = 0, **fields: str) -> Reply:
        """POST a chat completion; header names with `_` for `-`."""
        page: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
        if temperature is not None:
            page["temperature"] = temperature
        return await self.post(json.dumps(page).encode(), **fields)

    async def post(self, body: bytes, path: str = "/api/v1/chat/completions", **fields: str) -> Reply:
        named = {"host": "127.0.0.1", "content-type": "application/json", "authorization": "Bearer k"}
        named |= {name.replace("_", "-"): value for name, value in fields.items()}
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }
        sent: list[dict[str, Any]] = []
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await self.gateway(scope, receive, send)
        head = sent[0]
        fields_seen = {name.decode(): value.decode() for name, value in head["headers"]}
        return Reply(head["status"], fields_seen, b"".join(part.get("body", b"") for part in sent[1:]))

    async def settle(self) -> None:
        """Let flights that nobody waits for land."""
        flights = self.gateway.world.player.flights.tasks
        await asyncio.gather(*flights)


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[World]:
    """A gateway on a store in memory, with a fake clock and a scripted upstream."""
    clock, upstream = FakeClock(1_800_000_000.0), ScriptedUpstream()
    settings = {"store": "memory:", "secret_file": str(folder / "secret"), "ttl_jitter": 0.0, "ttl": 100, **settings}
    gateway = Gateway(Settings(**settings))
    gateway.clock = clock
    await gateway.start()
    gateway.world.player.flights.upstreams = dict.fromkeys(gateway.world.player.flights.upstreams, upstream)
    try:
        yield World(gateway, clock, upstream)
    finally:
        await gateway.stop()
