"""What an answer says of its own price, picked up while it passes: its usage, its host, its identity.

An ear is fed the chunks as they come and holds as little of them as it can: of a stream the lines that speak of usage,
of a whole answer the body up to a limit. What it can't read it leaves out. This room must never judge an answer, nor
hold its text for longer than it arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from payonce.model.call import Headers

LINE_BYTES = 4 << 20
"""The longest line of a stream that is looked at: `/responses` ends with the whole answer in one."""

_DIAGNOSES = ("diagnostics", "prompt_cache_diagnostics")


@dataclass(frozen=True, slots=True)
class Heard:
    """What an answer said. `usage` is its last usage object, with what earlier ones of a stream said besides;
    `diagnosis` is what the provider itself says of its cache."""

    usage: dict[str, Any] | None = None
    id: str = ""
    model: str = ""
    provider: str = ""
    diagnosis: dict[str, Any] = field(default_factory=dict)


class Ear:
    """Listens to one answer with these headers; `limit` bytes of a whole answer at most."""

    def __init__(self, headers: Headers, limit: int) -> None:
        self._limit = limit
        self._stream = False
        self._deaf = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._told: dict[str, Any] = {}
        self._usage: dict[str, Any] | None = None
        for name, value in headers:
            if name == b"content-type":
                self._stream = value.lstrip().lower().startswith(b"text/event-stream")
            elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                self._deaf = True

    def feed(self, chunk: bytes) -> None:
        """A part of the body, as it came."""
        if self._deaf or not chunk:
            return
        if not self._stream:
            self._keep(chunk, self._limit)
            return
        cut = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not cut:
            self._keep(chunk, LINE_BYTES)
            return
        lines = b"".join((*self._chunks, chunk[:cut]))
        self._chunks, self._size = [chunk[cut:]], len(chunk) - cut
        if b'"usage"' in lines:
            for line in lines.splitlines():
                if line.startswith(b"data:") and b'"usage"' in line:
                    self._read(line[5:])

    def told(self) -> Heard:
        """All that was heard; to be asked once the answer has ended."""
        if not self._stream and not self._deaf:
            self._read(b"".join(self._chunks))
        self._chunks = []
        return Heard(
            usage=self._usage,
            id=_text(self._told.get("id")),
            model=_text(self._told.get("model")),
            provider=_text(self._told.get("provider")),
            diagnosis={name: self._told[name] for name in _DIAGNOSES if name in self._told},
        )

    def _keep(self, chunk: bytes, limit: int) -> None:
        self._size += len(chunk)
        self._chunks.append(chunk)
        if self._size > limit:
            self._deaf = True
            self._chunks = []

    def _read(self, text: bytes) -> None:
        try:
            event = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        if not isinstance(event, dict):
            return
        for told in (event.get("message"), event.get("response"), event):
            if isinstance(told, dict):
                self._told.update((name, value) for name, value in told.items() if _is_told(name, value))
                usage = told.get("usage")
                if isinstance(usage, dict):
                    said = {name: value for name, value in usage.items() if value is not None}
                    self._usage = {**(self._usage or {}), **said}


def _is_told(name: str, value: object) -> bool:
    return (name in ("id", "model", "provider") and isinstance(value, str)) or name in _DIAGNOSES


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
