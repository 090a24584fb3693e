"""When to stop asking a server that does not answer, and when to try again. Pure: clock and dice are arguments.

Closed, everything may pass. After `limit` failures within `window` seconds, or in a row, it opens: nothing passes, and
after a pause one probe may be made (half-open). A probe that works closes it; one that fails doubles the pause, up to
`longest`. This room must never do I/O; whoever uses it holds a lock if several threads do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Breaker:
    """One server's breaker. Times in seconds on the clock `now`; `jitter` gives numbers from 0 to 1."""

    def __init__(
        self,
        now: Callable[[], float],
        jitter: Callable[[], float],
        *,
        limit: int = 5,
        window: float = 1.0,
        pause: float = 0.1,
        longest: float = 2.0,
    ) -> None:
        self._now, self._jitter = now, jitter
        self._window, self._first, self._longest = window, pause, longest
        self._failures: deque[float] = deque(maxlen=limit)
        self._row = 0
        self._pause = 0.0
        self._probe_at = 0.0
        self.open = False
        """Whether nothing may pass."""
        self.because = ""
        """The last failure, in words."""
        self.opened = 0
        """How often it has opened."""

    def failed(self, because: str) -> None:
        """Something that was let through, or a probe, got no answer."""
        now = self._now()
        self.because = because
        self._failures.append(now)
        self._row += 1
        if not self.open:
            limit = self._failures.maxlen or 1
            soon = len(self._failures) == limit and now - self._failures[0] <= self._window
            if not soon and self._row < limit:
                return
            self.open = True
            self.opened += 1
            self._pause = self._first
        elif now < self._probe_at:
            return  # one of those that were under way when it opened
        else:
            self._pause = min(2 * self._pause, self._longest)
        self._probe_at = now + self._pause * (0.75 + 0.5 * self._jitter())

    def worked(self) -> None:
        """A probe was answered in time, or something that was let through: that ends a row, and excuses no failure."""
        self._row = 0
        if self.open and self._now() >= self._probe_at:  # else it was under way when it opened: too early to tell
            self.open = False
            self._failures.clear()

    def due(self) -> bool:
        """Whether it is time for a probe."""
        return self.open and self._now() >= self._probe_at
