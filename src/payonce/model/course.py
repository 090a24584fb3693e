"""What the players ask of whoever steers calls on their way out. Protocols only.

A navigator may change how a call goes upstream, never what it asks; it listens to the answer and never touches it. This
room must never know a provider.
"""

from __future__ import annotations

from typing import Protocol

from payonce.model.call import Call
from payonce.model.ports import Head


class Course(Protocol):
    """One call on its way out, and what is learned from its answer. None of its methods raises or waits."""

    call: Call
    """The call as it goes upstream."""
    changed: bool
    """Whether that differs from what the client sent."""
    keen: bool
    """Whether the answer is worth being asked for without encoding, so that it can be heard."""

    def refused(self, status: int, body: bytes) -> bool:
        """Whether this answer rejects what was changed, so that the client's own call has to be sent instead."""
        ...

    def bare(self) -> Course:
        """After `refused` and `over`: the course of the client's own call, which changes nothing and listens."""
        ...

    def begun(self, head: Head) -> None:
        """The answer begins."""
        ...

    def heard(self, chunk: bytes) -> None:
        """A part of the answer's body, as it came."""
        ...

    def over(self, *, whole: bool) -> None:
        """No more of the answer will come. Only the first call counts."""
        ...


class Navigator(Protocol):
    """Who steers: for threads and for event loops alike."""

    def course(self, call: Call) -> Course | None:
        """How `call` goes upstream; None where it goes as it is and nobody listens. Never raises or waits."""
        ...
