"""Requests by many tasks, of which many are cancelled at random moments; and a server that sometimes lies.

Nothing here knows what is asked, and nothing but Python is needed.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable

WORKERS = 40
LONGEST = 0.004
"""Seconds after which a request is cancelled at the latest."""
SHARE = 0.36
"""Of requests that are to be cancelled: some of these are done before."""

Request = Callable[[random.Random, "Counter[str]"], Awaitable[None]]
"""One request: it draws what to ask for, and counts `right`, `wrong` or what else has become of it."""


async def storm(
    request: Request, requests: int, seed: int, beside: Callable[[int], None] | None = None
) -> Counter[str]:
    """What has become of so many requests. `beside` is called with the number of each."""
    seen: Counter[str] = Counter()
    numbers = iter(range(requests))
    loop = asyncio.get_running_loop()

    async def work(dice: random.Random) -> None:
        for number in numbers:
            if beside is not None:
                beside(number)
            task = asyncio.ensure_future(request(dice, seen))
            axe = loop.call_later(dice.uniform(0, LONGEST), task.cancel) if dice.random() < SHARE else None
            await asyncio.wait({task})
            if axe is not None:
                axe.cancel()
            seen["requests"] += 1
            if task.cancelled():
                seen["cancelled"] += 1
            elif (error := task.exception()) is not None:
                seen["errors"] += 1
                seen[f"error: {type(error).__name__}"] += 1

    await asyncio.gather(*(work(random.Random(f"{seed} {worker}")) for worker in range(WORKERS)))
    return seen


class Liar:
    """Makes a server answer for another name than the one that was asked for: its value is valid, and not ours.

    `twist` is what becomes of a question on its way; names of all sorts are remembered by their length.
    """

    _GET = re.compile(rb"(GET\r\n\$\d+\r\n|\bmg )([^\r\n ]+)")

    def __init__(self, share: float, seed: int = 1) -> None:
        self._share, self._dice = share, random.Random(seed)
        self._names: dict[int, list[bytes]] = {}
        self.lies = 0

    def twist(self, data: bytes) -> bytes:
        return self._GET.sub(self._other, data)

    def _other(self, found: re.Match[bytes]) -> bytes:
        name = found[2]
        known = self._names.setdefault(len(name), [])
        if name not in known and len(known) < 1000:
            known.append(name)
        other = self._dice.choice(known)
        if self._dice.random() >= self._share or other == name:
            return found[0]
        self.lies += 1
        return found[1] + other


async def settled(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it holds within that time."""
    for _ in range(int(seconds * 100)):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return False
