"""What an answer says of its own price, picked up while it passes: its usage, its host, its identity.

An ear is fed the chunks as they come and holds as little of them as it can: of a stream the lines that speak of usage,
of a whole answer the body up to a limit. What it can't read it leaves out. This room must never judge an answer, nor
hold its text for longer than it arrives.
"""

from __future__ import annotations

from typing import Any

import msgspec

from payonce.model.call import Headers

LINE_BYTES = 4 << 20
"""The longest line of a stream that is looked at: `/responses` ends with the whole answer in one."""

_DIAGNOSES = ("diagnostics", "prompt_cache_diagnostics")


class _Event(msgspec.Struct, gc=False):
    """What is looked at in an answer or in an event of its stream; all else is skipped."""

    id: Any = None
    model: Any = None
    provider: Any = None
    usage: Any = None
    message: Any = None
    response: Any = None
    diagnostics: Any = msgspec.UNSET
    prompt_cache_diagnostics: Any = msgspec.UNSET


_READER = msgspec.json.Decoder(_Event)
_NAMES = ("id", "model", "provider")
_FIELDS = (*_NAMES, *_DIAGNOSES)


class Heard(msgspec.Struct, frozen=True):
    """What an answer said. `usage` is its last usage object, with what earlier ones of a stream said besides;
    `diagnosis` is what the provider itself says of its cache."""

    usage: dict[str, Any] | None = None
    id: str = ""
    model: str = ""
    provider: str = ""
    diagnosis: dict[str, Any] = {}


class Ear:
    """Listens to one answer with these headers; `limit` bytes of a whole answer at most."""

    def __init__(self, headers: Headers, limit: int) -> None:
        self._limit = limit
        self._stream = False
        self._deaf = False
        self._chunks: list[bytes] = []
        self.size = 0
        """How many bytes are held."""
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
        self._chunks, self.size = [chunk[cut:]], len(chunk) - cut
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
        self.size += len(chunk)
        self._chunks.append(chunk)
        if self.size > limit:
            self._deaf = True
            self._chunks = []

    def _read(self, text: bytes) -> None:
        try:
            event = _READER.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return
        for inner in (event.message, event.response):
            if isinstance(inner, dict):
                self._take(inner, inner.get("usage"))
        self._take({name: getattr(event, name) for name in _FIELDS}, event.usage)

    def _take(self, told: dict[str, Any], usage: object) -> None:
        for name in _NAMES:
            if isinstance(value := told.get(name), str):
                self._told[name] = value
        for name in _DIAGNOSES:
            if (value := told.get(name, msgspec.UNSET)) is not msgspec.UNSET:
                self._told[name] = value
        if isinstance(usage, dict):
            said = {name: value for name, value in usage.items() if value is not None}
            self._usage = {**self._usage, **said} if self._usage else said


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
