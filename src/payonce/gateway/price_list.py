"""An upstream's own list of prices, asked for once a day where calls go to it: `GET /models`.

The list is public at OpenRouter, so no credential goes with the question; an upstream that wants one is not asked again
that day. This room must never hold a call up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import orjson

from payonce.model.call import Call
from payonce.model.ports import Clock, Upstream, UpstreamFault
from payonce.navigator import PrefixNavigator

log = logging.getLogger("payonce.gateway")

LOOK_SECONDS = 5.0
LIST_BYTES = 32 << 20
WAIT_SECONDS = 60.0


async def keep_prices(navigator: PrefixNavigator, upstreams: Mapping[str, Upstream], clock: Clock) -> None:
    """Ask whenever a list is due, for as long as this is let run."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for name, base in navigator.unpriced(clock()):
            count = await learn_prices(navigator, upstreams[name], name, base)
            log.debug("%s publishes prices of %d models", base, count)


async def learn_prices(navigator: PrefixNavigator, upstream: Upstream, name: str, base: str) -> int:
    """Ask one upstream; how many models it publishes a price of, 0 where it can't be asked."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            document = await _listed(
                upstream, Call(name, "GET", "models", b"", ((b"accept", b"application/json"),), b"")
            )
    except (UpstreamFault, TimeoutError, orjson.JSONDecodeError):
        return 0
    return navigator.published(base, document)


async def _listed(upstream: Upstream, call: Call) -> object:
    answer = await upstream.open(call)
    try:
        if answer.head.status != 200:
            return None
        parts: list[bytes] = []
        size = 0
        async for chunk in answer.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > LIST_BYTES:
                return None
    finally:
        answer.close()
    return await asyncio.get_running_loop().run_in_executor(None, orjson.loads, b"".join(parts))
