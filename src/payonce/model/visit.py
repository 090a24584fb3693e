"""One request as it may be told to logs and traces: who, what, how it was answered, what it used and cost.

Whatever is said of a request outside of Payonce is said from this word, so no prompt, answer or credential can be. This
room must never hold one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_PATH: Final = 256
"""Characters of a path that are told."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What the client's connection saw. `path` is without its query; sizes are those of bodies, in bytes; `first` is
    when the head was sent, in seconds from the start, None where none was."""

    method: str
    path: str
    status: int
    received: int
    sent: int
    first: float | None


@dataclass(frozen=True, slots=True)
class Spent:
    """What an upstream's answer used and cost, None where it is not known: tokens, and billionths of a dollar."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cost: int | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. `at` in Unix seconds, `took` in seconds until it was answered in full; `tenant` is a digest.

    `outcome` is one of `Outcome`, or `pass` for what the cache never takes part in and `own` for the gateway's own
    pages. `spent` is what this request made the upstream charge; `avoided` what an answer that was not asked for again
    had used and cost. `request` is the id under which its receipt is filed, empty where none is. `traceparent` is the
    client's own, as it came; `context` is whatever a tracer wanted to remember of the moment.
    """

    at: float
    took: float
    outcome: str
    reason: str = ""
    unkept: str = ""
    request: str = ""
    endpoint: str = ""
    upstream: str = ""
    model: str = ""
    answered_by: str = ""
    answer_id: str = ""
    tenant: str = ""
    namespace: str = ""
    stream: bool = False
    converted: bool = False
    spent: Spent | None = None
    avoided: Spent | None = None
    wire: Wire | None = None
    traceparent: str = ""
    tracestate: str = ""
    context: object = None
