"""Pass-through: what the cache does not take part in, beside nginx's plain proxy_pass with upstream keep-alive."""

from __future__ import annotations

from benchmarks import bodies, gateway
from benchmarks.client import Client, chat
from benchmarks.gateway import Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.nginx import Origin, Peer
from benchmarks.parts import Bench
from benchmarks.rounds import Arm, Row, always, interleaved, throughput_row
from benchmarks.wrk import Load, LoadError

_PEER = "nginx proxy_pass"


def _assert_passed(port: int) -> None:
    """Both kinds of request come back as the upstream answers them, and nothing says HIT."""
    body = bodies.numbered(bodies.request_template(), 1)
    for _ in range(2):
        reply = chat(port, bodies.PATH, body, bodies.HEADERS)
        if reply.headers.get(gateway.HIT_HEADER.lower()) == "HIT" or reply.body != bodies.answer().encode():
            raise LoadError(f"port {port} did not pass the chat request through")
    with Client(port) as client:
        reply = client.ask("GET", bodies.MODELS_PATH, headers=bodies.HEADERS)
    if reply.status != 200 or reply.body != bodies.models().encode():
        raise LoadError(f"port {port} did not pass {bodies.MODELS_PATH} through")


def measure(bench: Bench) -> list[Row]:
    """Two rows: a chat request with the cache off, and a path that is never cached."""
    rows = []
    with (
        Origin(bench.home / "origin", LOAD_CORE) as origin,
        Peer(bench.home / "peer", origin.port, SERVER_CORE) as peer,
        Gateway(bench.home / "gateway", origin.base, SERVER_CORE, cache="off") as ours,
    ):
        for port in (ours.port, peer.plain_port):
            _assert_passed(port)
        chats = Load("fixed", "1", bench.template())
        lists = Load("fixed", "1", None, "GET", bodies.MODELS_PATH)
        for what, load in (("chat completion, cache off", chats), ("GET /models", lists)):
            asked = origin.asked()
            arms = Arm(ours, always(load)), Arm(peer, always(load), peer.plain_port)
            pairs = list(interleaved(*arms, bench.rounds, bench.seconds, bench.say))
            if origin.asked() - asked < sum(mine.requests + theirs.requests for mine, theirs in pairs):
                raise LoadError("the upstream was asked less often than the proxies were")
            rows.append(throughput_row("pass", f"pass-through, {what}", pairs, _PEER, 0.1))
    return rows
