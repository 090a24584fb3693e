"""What an upstream is to the house: whoever answers for money, its answer while it arrives, and how it fails.

This room must never know a client or a protocol of the network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from payonce.model.call import Call, Headers
from payonce.model.reason import Reason


class Head(msgspec.Struct, frozen=True):
    """The first part of an answer: its status and end-to-end headers."""

    status: int
    headers: Headers


class Answer(Protocol):
    """An upstream's answer that is still arriving."""

    head: Head

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, undecoded. Raises `UpstreamFault` when it ends before it is whole."""
        ...

    def whole(self) -> bytes | None:
        """The body, where all of it has come by now and nothing of it was taken: `chunks` will not give it again. Who
        can't tell says None, and need not say it."""
        return None

    def close(self) -> None:
        """Give the connection back if the answer was read whole; otherwise destroy it."""
        ...


class Upstream(Protocol):
    """Whoever answers for money."""

    async def open(self, call: Call) -> Answer:
        """Send `call`, wait for the head. Raises `UpstreamFault`."""
        ...


class UpstreamFault(Exception):  # noqa: N818 - a fault is an outcome that the story names, not a mistake of the caller
    """The upstream gave no answer, or not all of it; `reason` says which of the known ways it was."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.id}: {detail}" if detail else reason.id)
        self.reason = reason
        self.detail = detail
