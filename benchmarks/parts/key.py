"""The key alone: what the gateway's intake costs for a body, beside the usual SHA-256 of sorted standard-library JSON.

The usual way loses what the canonical form keeps (the spelling of numbers, duplicate members); it is a yardstick only.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable

from benchmarks import bodies
from benchmarks.parts import Bench
from benchmarks.rounds import Row
from benchmarks.wrk import LoadError
from payonce.config import load
from payonce.intake import Admitted, Intake

_SIZES = (2048, 100 * 1024)
_TURN_SECONDS = 0.2


def _microseconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    calls = 0
    started = time.process_time()
    while (used := time.process_time() - started) < _TURN_SECONDS:
        for _ in range(20):
            work()
        calls += 20
    return used / calls * 1e6


def _usual(body: bytes) -> str:
    return hashlib.sha256(json.dumps(json.loads(body), sort_keys=True).encode()).hexdigest()


def measure(bench: Bench) -> list[Row]:
    """One row a size: microseconds a key, everything included that stands between a body and its key."""
    settings = load({"cache": "all", "store": "memory:"}, os.environ, None).settings
    intake = Intake(settings, secrets.token_bytes(32))
    upstream = settings.upstream[0][0]
    asked = tuple((name.lower().encode(), value.encode()) for name, value in bodies.HEADERS.items())
    rows = []
    for size in _SIZES:
        body = bodies.numbered(bodies.request_template(size), 1)

        def ours(body: bytes = body) -> object:
            return intake.admit(upstream, "chat/completions", b"", asked, body)

        def usual(body: bytes = body) -> object:
            return _usual(body)

        if not isinstance(ours(), Admitted):
            raise LoadError("the benchmark's request has no key")
        pairs = [(_microseconds(ours), _microseconds(usual)) for _ in range(bench.rounds)]
        bench.say(f"{size // 1024} KB: {pairs[-1][0]:.1f} us beside {pairs[-1][1]:.1f} us")
        mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        what = f"key of a body of {size // 1024} KB"
        rows.append(Row("key", what, "CPU us", mine, theirs, "sorted JSON, SHA-256", at_most=True))
    return rows
