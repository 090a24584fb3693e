"""Bugs to plant in what is tested: the control that shows a test can fail.

In the process of a test: `BUGS[name](monkeypatch.setattr)`; for a gateway of its own: `python seeded.py BUG serve …`,
where `none` plants nothing.
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
from payonce.drive import aio_flights, tower
from payonce.model.entry import Facts, Tokens

Put = Callable[[object, str, object], None]
"""`setattr`, or monkeypatch's."""


def tenant_left_out(put: Put) -> None:
    """Everybody is the same tenant."""
    put(intake, "tenant_id", lambda *_: "0" * 64)


def prompt_cut(put: Put) -> None:
    """Only the beginning of the body is keyed."""
    read = ChatDialect.read

    def cut(self: ChatDialect, body: bytes) -> Any:
        intent = read(self, body)
        return structs.replace(intent, canonical=intent.canonical[:20]) if hasattr(intent, "canonical") else intent

    put(ChatDialect, "read", cut)


def commit_early(put: Put) -> None:
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

    put(aio_flights, "flight", flight)
    put(ChatDialect, "judge", lambda *_: Facts("", "", "always", Tokens()))


def late_reader(put: Put) -> None:
    """A follower starts where the flight is, not at its beginning."""
    start = Reader.__init__

    def late(self: Reader, tape: Any) -> None:
        start(self, tape)
        self.place = tape.base + len(tape.chunks)

    put(Reader, "__init__", late)


def gate_too_wide(put: Put) -> None:
    """Flights are told apart by their framing alone."""
    put(tower, "_gate", lambda ask: (ask.key.slot[-1:], False))


BUGS: dict[str, Callable[[Put], None]] = {
    "none": lambda put: None,
    "tenant-left-out": tenant_left_out,
    "prompt-cut": prompt_cut,
    "commit-early": commit_early,
    "late-reader": late_reader,
    "gate-too-wide": gate_too_wide,
}

if __name__ == "__main__":
    BUGS[sys.argv[1]](setattr)
    from payonce.cli import main

    sys.exit(main(sys.argv[2:]))
