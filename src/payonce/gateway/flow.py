"""How far a client's connection is read ahead of its answers: only so many requests may wait for their turn.

This room must never know what is read.
"""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl

MOST_PIPELINED = 16
SLICE_BYTES = 4 << 10
"""What is parsed in one go, but for a body: it holds some 150 requests at most."""


class Flow(FlowControl):
    """uvicorn's, which reads on whenever a request is waited for or answered; not here while it is `full`."""

    full = False

    def fill(self) -> None:
        """So many requests wait that no more may come."""
        self.pause_reading()
        self.full = True

    def resume_reading(self) -> None:
        if self.read_paused and not self.full:
            super().resume_reading()
