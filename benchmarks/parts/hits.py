"""Hits: the gateway beside nginx's proxy_cache, in three kinds of repetition.

The gateway answers a request whose every byte it has seen, head included, without parsing it; clients that write an id
or a trace into the head never send such a request. So the body alone is repeated in a row of its own.
"""

from __future__ import annotations

from benchmarks import bodies, gateway, nginx
from benchmarks.client import Client, chat
from benchmarks.gateway import Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.nginx import Origin, Peer
from benchmarks.parts import Bench
from benchmarks.rounds import Arm, Row, always, interleaved, throughput_row
from benchmarks.wrk import Load, LoadError, Run

NUMBER = 1
DIFFERENT = 1000


def assert_hit(port: int, header: str, path: str = bodies.PATH) -> None:
    """Ask three times: the first answer fills the cache, the third must say HIT and be the very same bytes."""
    body = bodies.numbered(bodies.request_template(), NUMBER)
    replies = [chat(port, path, body, bodies.HEADERS) for _ in range(3)]
    if replies[2].headers.get(header.lower()) != "HIT":
        raise LoadError(f"port {port} says {header}: {replies[2].headers.get(header.lower())}, not HIT")
    if any(reply.body != bodies.answer().encode() for reply in replies):
        raise LoadError(f"port {port} did not answer what the upstream sends")


def fill(port: int, header: str) -> None:
    """Have each of the different requests answered and stored, then see that the first is a hit."""
    template = bodies.request_template()
    with Client(port) as client:
        for number in (*range(DIFFERENT), 0):
            reply = client.ask("POST", bodies.PATH, bodies.numbered(template, number), bodies.HEADERS)
            if reply.status != 200:
                raise LoadError(f"port {port} answered {reply.status}")
    if reply.headers.get(header.lower()) != "HIT":
        raise LoadError(f"port {port} did not keep the different requests")


def measure(bench: Bench) -> list[Row]:
    """Three rows: requests per CPU-second of hits."""
    numbers = bench.home / "numbers"
    numbers.write_text("".join(f"{number}\n" for number in range(DIFFERENT)))
    rows = []
    with (
        Origin(bench.home / "origin", LOAD_CORE) as origin,
        Peer(bench.home / "peer", origin.port, SERVER_CORE) as peer,
        Gateway(bench.home / "gateway", origin.base, SERVER_CORE) as ours,
    ):
        for server, header in ((ours, gateway.HIT_HEADER), (peer, nginx.HIT_HEADER)):
            assert_hit(server.port, header)
            fill(server.port, header)
        asked = origin.asked()

        def untouched(_: Run) -> None:
            if origin.asked() != asked:
                raise LoadError("the upstream was asked while hits were measured")

        loads = {
            "hit, every byte repeated, head included": Load("fixed", str(NUMBER), bench.template()),
            "hit, body repeated, new X-Request-Id": Load("traced", str(NUMBER), bench.template()),
            f"hit, {DIFFERENT:,} requests, each byte for byte": Load("cycle", str(numbers), bench.template()),
        }
        for what, load in loads.items():
            arms = [Arm(server, always(load), check=untouched) for server in (ours, peer)]
            pairs = list(interleaved(arms[0], arms[1], bench.rounds, bench.seconds, bench.say))
            rows.append(throughput_row("hits", what, pairs, "nginx proxy_cache", 1.0))
    return rows
