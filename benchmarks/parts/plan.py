"""The planner alone: what planning a request costs, and that it grows with the body and not faster.

A conversation of many messages in the middle of its life, so that the planner knows it: the usual case, and the one
with most to decide. Absolute time is the promise here, so the first row stands beside a millisecond.
"""

from __future__ import annotations

import random
import time
from typing import Any

from benchmarks.parts import Bench
from benchmarks.rounds import Row
from payonce.optimise import Planner

_MODEL = "anthropic/claude-sonnet-4.5"
_CALLS = 60


def _conversation(messages: int) -> dict[str, Any]:
    """A body of so many messages of 1,000 characters each."""
    dice = random.Random(messages)
    said = [
        {"role": ("user", "assistant")[place % 2], "content": f"{dice.getrandbits(64):x} " + "word " * 197}
        for place in range(messages - 1)
    ]
    return {"model": _MODEL, "max_tokens": 256, "system": "Be brief. " * 50, "messages": said}


def _microseconds(messages: int) -> float:
    """CPU time of one plan, on average over the turns of a conversation."""
    planner, body = Planner(), _conversation(messages)
    used = 0.0
    for turn in range(_CALLS):
        asked = {**body, "messages": [*body["messages"], {"role": "user", "content": f"turn {turn}"}]}
        started = time.process_time()
        plan = planner.plan(asked, dialect="messages", model=_MODEL, tenant="t", now=turn * 20.0)
        used += time.process_time() - started
        planner.observe(plan, {"input_tokens": 20, "cache_read_input_tokens": 250 * messages}, now=turn * 20.0 + 4)
    return used / _CALLS * 1e6


def measure(bench: Bench) -> list[Row]:
    """Two rows: 100 messages of 1 KB beside a millisecond, and a message among 400 beside one among 100."""
    pairs = [(_microseconds(100), _microseconds(400)) for _ in range(bench.rounds)]
    small, large = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    bench.say(f"100 messages: {small[-1]:.0f} us, 400: {large[-1]:.0f} us")
    one = [value / 100 for value in small]
    each = [value / 400 for value in large]
    return [
        Row(
            "plan", "a plan of 100 messages, 100 KB", "CPU us", small, [1000.0] * len(small), "1 ms", 1.0, at_most=True
        ),
        Row("plan", "a message among 400", "CPU us", each, one, "among 100", 1.2, at_most=True),
    ]
