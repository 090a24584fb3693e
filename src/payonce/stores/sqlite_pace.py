"""When the writer's next round begins: at once, or a little later so that more is written in one transaction.

Only the writer's thread may use a `Rhythm`. This room must never know what is written, nor where.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from payonce.stores.write_queue import WriteQueue


@dataclass(frozen=True, slots=True)
class Pace:
    """How the writer works; times in seconds."""

    max_bytes: int
    gather: float = 0.05
    """For how long writes are collected into one transaction, when they come fast."""
    busy_rows: int = 4
    """They come fast when so many came within the last `gather` seconds."""
    sweep_every: float = 30.0
    retry_after: float = 0.25
    """The first pause after a fault; it doubles up to twenty times as much."""


class Rhythm:
    """Waits for what comes into `queue`, at the pace that is given."""

    def __init__(self, queue: WriteQueue, pace: Pace) -> None:
        self._queue, self._pace = queue, pace
        self._paused = 0.0
        self._recent: deque[tuple[float, int]] = deque()

    def wait(self) -> None:
        """Until the next round: something came, a pause is over, or it is time to sweep."""
        queue = self._queue
        if self._paused:
            queue.hurry.wait(self._paused)
        elif queue.wake.wait(self._pace.sweep_every) and self._is_busy():
            queue.hurry.wait(self._pace.gather)
        queue.wake.clear()
        queue.hurry.clear()

    def came(self, count: int) -> None:
        """So many writes were taken for this round."""
        self._recent.append((time.monotonic(), count))

    def pause(self) -> None:
        """After a fault: longer each time."""
        first = self._pace.retry_after
        self._paused = min(max(first, 2 * self._paused), 20 * first)

    def resume(self) -> None:
        """Writing works again."""
        self._paused = 0.0

    def _is_busy(self) -> bool:
        """Whether more is likely to come within a batch's time; else it is written at once, for others to see."""
        now = time.monotonic()
        while self._recent and now - self._recent[0][0] > self._pace.gather:
            self._recent.popleft()
        return sum(count for _, count in self._recent) >= self._pace.busy_rows
