"""One request to the simulated provider as it arrived, and what is read of it before anything is decided.

This room must never know what is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from payonce.testing.sim_ask import AskError
from payonce.testing.sim_reply import Receive, Send

_LONGEST_JUMP: Final = 366 * 86400.0


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
        return joined(self.raw_headers)

    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)


def joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name in lower case; repeated ones are joined by a comma."""
    found: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def api_key(headers: Mapping[str, str], *, native: bool = False) -> str:
    """The key of `Authorization: Bearer KEY`, or to Anthropic itself of `x-api-key: KEY`; AskError 401 without one."""
    if native and headers.get("x-api-key"):
        return headers["x-api-key"]
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    raise AskError(401, "x-api-key header is required" if native else "Missing Authentication header")


def jump(query: bytes) -> float:
    """How far `advance=SECONDS` of a query says that the clock is to jump; AskError 400 where it doesn't."""
    text = parse_qs(query.decode("latin-1")).get("advance", [""])[0]
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_JUMP:
        raise AskError(400, "Say how far: /_sim/clock?advance=SECONDS")
    return seconds


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
