"""One request to the simulated provider as it arrived, and what is read of it before anything is decided.

This room must never know what is answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from payonce.testing.sim_answer import AskError
from payonce.testing.sim_reply import Receive, Send


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived. `number` is the one that its answer names."""

    number: int
    method: str
    path: str
    query: str
    raw_headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; repeated ones are joined by a comma."""
        joined: dict[str, str] = {}
        for name, value in self.raw_headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            joined[key] = f"{joined[key]}, {text}" if key in joined else text
        return joined

    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)


def api_key(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key of `Authorization: Bearer KEY`; AskError 401 without one."""
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer " and value[7:].strip():
            return value[7:].strip().decode("latin-1")
    raise AskError(401, "Missing Authentication header")


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body; None when the client left before its end."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message["type"] == "http.request":
        if not message.get("more_body"):
            return body
        message = await receive()
        body += message.get("body", b"")
    return None


async def lifespan(receive: Receive, send: Send) -> None:
    """Agrees to whatever the server announces."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
