"""Runs the gateway with one bug planted in it: the control that shows a test can fail.

python seeded.py BUG serve …  (`none` plants nothing)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from msgspec import structs

from payonce import intake
from payonce.core import exchange
from payonce.core.tape import COMPLETE, Reader
from payonce.dialects.chat import ChatDialect
from payonce.drive import tower
from payonce.model.entry import Facts, Tokens


def tenant_left_out() -> None:
    """Everybody is the same tenant."""
    intake.tenant_id = lambda *_: "0" * 64  # type: ignore[attr-defined]


def prompt_cut() -> None:
    """Only the beginning of the body is keyed."""
    read = ChatDialect.read

    def cut(self: ChatDialect, body: bytes) -> Any:
        intent = read(self, body)
        return structs.replace(intent, canonical=intent.canonical[:20]) if hasattr(intent, "canonical") else intent

    ChatDialect.read = cut  # type: ignore[method-assign]


def commit_early() -> None:
    """Whatever has arrived when the call ends is kept, whole or not."""
    told = exchange.flight

    def flight(ask: Any, tape: Any, dialect: Any, *more: float) -> Any:
        story = told(ask, tape, dialect, *more)
        answer = None
        while True:
            try:
                effect = story.send(answer)
            except StopIteration as end:
                return end.value
            answer = yield effect
            if type(effect).__name__ == "Fetch" and tape.head is not None:
                answer = COMPLETE

    from payonce.drive import aio_flights

    aio_flights.flight = flight  # type: ignore[attr-defined]
    ChatDialect.judge = lambda *_: Facts("", "", "always", Tokens())  # type: ignore[method-assign, assignment]


def late_reader() -> None:
    """A follower starts where the flight is, not at its beginning."""
    start = Reader.__init__

    def late(self: Reader, tape: Any) -> None:
        start(self, tape)
        self.place = tape.base + len(tape.chunks)

    Reader.__init__ = late  # type: ignore[method-assign]


def gate_too_wide() -> None:
    """Flights are told apart by their framing alone."""
    tower._gate = lambda ask: (ask.key.slot[-1:], False)  # type: ignore[assignment]


BUGS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "tenant-left-out": tenant_left_out,
    "prompt-cut": prompt_cut,
    "commit-early": commit_early,
    "late-reader": late_reader,
    "gate-too-wide": gate_too_wide,
}

if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    from payonce.cli import main

    sys.exit(main(sys.argv[2:]))
