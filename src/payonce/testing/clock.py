"""A clock that stands still until a test moves it. This room must never read the real time."""

from __future__ import annotations


class FakeClock:
    """Seconds since the Unix epoch, as a callable that a test holds in its hand."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """What time it is."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds
