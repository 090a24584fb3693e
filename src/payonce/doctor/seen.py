"""What the doctor is shown: one exchange with a provider, after it has ended; and what it keeps of it.

A `Turn` holds digests and figures, never text. This room must never decide anything.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from payonce.doctor.blocks import Chain
from payonce.ledger.usage import Usage


@dataclass(frozen=True, slots=True)
class Seen:
    """One exchange. `body` is the request as it was sent, parsed; `dialect` is `messages`, `chat` or `responses`.

    Times are in seconds on one clock; `first_byte` and `ended` are None where they are not known. `headers` are the
    client's, names in lower case, without credentials. `host` is who served, where the answer says so. `diagnostics`
    is the provider's own account of a cache miss: Anthropic's `diagnostics`, or OpenAI's `prompt_cache_diagnostics`.
    Exchanges are compared within one `tenant` and `upstream`; `session` names a conversation where the client does.
    `number` is how a finding refers to it.
    """

    body: Mapping[str, Any]
    dialect: str
    started: float
    usage: Usage | None = None
    tenant: str = ""
    upstream: str = ""
    model: str = ""
    session: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    first_byte: float | None = None
    ended: float | None = None
    diagnostics: Mapping[str, Any] | None = None
    status: int = 200
    number: int = 0


@dataclass(slots=True)
class Turn:
    """What is kept of an exchange to hold the next one against it.

    `read` and `written` are tokens, None where unknown; `held` is what the cache held of it when it had ended, `total`
    all its input tokens, estimated where its usage does not say. `ready` is when what it wrote could be read. `marks`
    are (block, ttl in seconds), in wire order.
    """

    digests: array[int]
    sizes: array[int]
    tools: int
    static: int
    names: tuple[str, ...]
    marks: tuple[tuple[int, int], ...]
    salts: dict[str, str]
    model: str
    host: str
    started: float
    ready: float
    read: int | None
    written_5m: int | None
    written_1h: int | None
    held: int | None
    total: int
    number: int
    points: tuple[tuple[int, int], ...] = ()
    """What this conversation has written and can be read: (block, tokens up to its end)."""

    @property
    def written(self) -> int | None:
        """Tokens written to the cache."""
        if self.written_5m is None and self.written_1h is None:
            return None
        return (self.written_5m or 0) + (self.written_1h or 0)

    @property
    def deepest(self) -> tuple[int, int] | None:
        """The last marker."""
        return self.marks[-1] if self.marks else None

    def tokens_to(self, block: int) -> int:
        """Tokens of the prefix that ends with `block`, by its share of the characters."""
        whole = sum(self.sizes)
        return self.total * sum(self.sizes[: block + 1]) // whole if whole else 0


def take(seen: Seen, chain: Chain) -> Turn:
    """What is kept of `seen`."""
    usage = seen.usage or _NOTHING
    total = usage.input_total if usage.input_total is not None else sum(chain.sizes) // 4
    held = None if usage.cache_read is None else usage.cache_read + (0 if usage.overlapping else usage.cache_write or 0)
    ready = seen.first_byte if seen.first_byte is not None else seen.ended
    marks = sorted({(mark.block, mark.ttl) for mark in chain.marks})
    return Turn(
        digests=chain.digests,
        sizes=chain.sizes,
        tools=chain.tools,
        static=chain.static,
        names=chain.names,
        marks=tuple(marks),
        salts=salts(seen),
        model=seen.model or str(seen.body.get("model") or ""),
        host=seen.host,
        started=seen.started,
        ready=seen.started if ready is None else ready,
        read=usage.cache_read,
        written_5m=usage.cache_write_5m,
        written_1h=usage.cache_write_1h,
        held=held,
        total=total,
        number=seen.number,
    )


_NOTHING = Usage()
_PARAMETERS = (
    *("tool_choice", "parallel_tool_calls", "thinking", "reasoning", "reasoning_effort", "output_config"),
    *("response_format", "text", "verbosity", "service_tier", "speed", "context_management", "prompt_cache_key"),
    *("prompt_cache_options",),
)
"""Members of a body that are part of the cached prefix, or choose the machine (facts: what invalidates what)."""


def salts(seen: Seen) -> dict[str, str]:
    """The parameters of a request that a cache keys by, as text; what is not given is left out."""
    found = {}
    for name in _PARAMETERS:
        value = seen.body.get(name)
        if value is not None:
            found[name] = value[:200] if isinstance(value, str) else orjson.dumps(value).decode()[:400]
    betas = seen.headers.get("anthropic-beta") or seen.headers.get("x-anthropic-beta")
    if betas:
        found["headers.anthropic-beta"] = ", ".join(sorted({beta.strip() for beta in betas.split(",")} - {""}))[:400]
    return found
