"""What a fault puts in the place of any answer of the simulated provider: an error status, a page, nothing at all.

This room must never know how an answer is made, nor what a fault does inside one.
"""

from __future__ import annotations

from typing import Final

from payonce.testing import sim_wire as wire
from payonce.testing.sim_faults import Fault
from payonce.testing.sim_reply import Header, Reply
from payonce.testing.sim_tongues import Tongue

_STATUSES: Final = {
    "429": "Rate limit exceeded",
    "500": "Internal Server Error",
    "502": "Provider returned error",
    "503": "No instances available",
    "529": "Provider overloaded",
}


async def answer_instead(
    fault: Fault, tongue: Tongue, reply: Reply, *, stream: bool, now: float, first_token: float
) -> bool:
    """Sends what takes the place of the answer; False where the answer itself is still to be sent."""
    if fault.name in _STATUSES:
        status = int(fault.name)
        await reply.json(status, tongue.error(status, _STATUSES[fault.name], reply.id), *_limits(fault, now))
    elif fault.name == "html":
        await reply.whole(200, [wire.HTML], (b"content-type", b"text/html; charset=utf-8"))
    elif fault.name == "empty-body":
        await reply.whole(200, [b""], wire.SSE_TYPE if stream else wire.JSON_TYPE)
    elif fault.name == "redirect":
        await reply.whole(307, [b""], (b"location", fault.argument.encode()))
    elif fault.name == "comments-only":
        if stream:
            comment = tongue.comment or b":\n\n"
            await reply.stream((first_token / 2 * bool(n), comment) for n in range(fault.number))
        else:
            await reply.whole(200, [b"\n"] * fault.number, wire.JSON_TYPE)
    else:
        if fault.name == "slow-first-byte":
            await reply.pause(fault.seconds)
        return False
    return True


def _limits(fault: Fault, now: float) -> list[Header]:
    if fault.name not in {"429", "503"}:
        return []
    headers = [(b"retry-after", fault.argument.encode())]
    if fault.name == "429":
        reset = int((now + fault.seconds) * 1000)
        headers += [
            (b"x-ratelimit-limit", b"20"),
            (b"x-ratelimit-remaining", b"0"),
            (b"x-ratelimit-reset", b"%d" % reset),
        ]
    return headers
