"""The first byte of a stream: through the gateway beside straight from the upstream, pair by pair on open connections.

Every request is new, so through the gateway each one is a miss that is recorded while it passes.
"""

from __future__ import annotations

import statistics
import sys

from benchmarks import bodies
from benchmarks.client import Client, Reply
from benchmarks.gateway import Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.parts import Bench
from benchmarks.process import Server, free_port
from benchmarks.rounds import Row
from benchmarks.sse import EVENTS, PAUSE
from benchmarks.wrk import LoadError

_WARM = 50
_STREAM_SECONDS = EVENTS * PAUSE


def _checked(reply: Reply, whose: str) -> float:
    """Milliseconds until the first byte of a stream that arrived whole."""
    if reply.status != 200 or b"[DONE]" not in reply.body:
        raise LoadError(f"the stream {whose} did not arrive whole: {reply.status} {reply.body[:200]!r}")
    return reply.first * 1e3


def measure(bench: Bench) -> list[Row]:
    """One row per cache mode: how many milliseconds later the first byte is."""
    rows = []
    template = bodies.request_template(stream=True)
    port = free_port()
    upstream = Server(
        "stream", [sys.executable, "-m", "benchmarks.sse", str(port)], port, LOAD_CORE, log=bench.home / "sse.log"
    )
    pairs = max(20, round(bench.seconds / (2 * _STREAM_SECONDS)))
    with upstream:
        for mode in ("all", "off"):
            home = bench.home / f"gateway-{mode}"
            with (
                Gateway(home, f"http://127.0.0.1:{port}/api/v1", SERVER_CORE, cache=mode) as ours,
                Client(ours.port) as through,
                Client(port) as straight,
            ):
                mine: list[float] = []
                theirs: list[float] = []
                number = 0
                for turn in range(bench.rounds + 1):
                    here: list[float] = []
                    there: list[float] = []
                    for i in range(pairs if turn else _WARM):
                        number += 1
                        body = bodies.numbered(template, number)
                        order = [(through, here, "through the gateway"), (straight, there, "of the upstream")]
                        for client, times, whose in order if i % 2 else order[::-1]:
                            times.append(_checked(client.ask("POST", bodies.PATH, body, bodies.HEADERS), whose))
                    if turn:
                        mine.append(statistics.median(here))
                        theirs.append(statistics.median(there))
                        bench.say(f"round {turn}/{bench.rounds}: {mine[-1]:.3f} ms, direct {theirs[-1]:.3f} ms")
            what = f"first byte of a stream, cache {mode}"
            rows.append(Row("first-byte", what, "ms later", mine, theirs, "direct", 1.0, at_most=True, difference=True))
    return rows
