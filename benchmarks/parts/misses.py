"""Misses that are stored: every request is new, every answer goes to the disk cache of its server."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import bodies, gateway, nginx
from benchmarks.client import Client
from benchmarks.gateway import Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.nginx import Origin, Peer
from benchmarks.parts import Bench
from benchmarks.process import Server
from benchmarks.rounds import Arm, Row, interleaved, throughput_row
from benchmarks.wrk import Load, LoadError, Run
from payonce.stores.registry import open_store

_APART = 100_000_000
"""The numbers of two turns never meet."""
_SAMPLED = 200
_ENOUGH = 0.95
_SHM = Path("/dev/shm")
_SHM_BYTES = 8 * 1024**3
_ENV = {"PAYONCE_MAX_BYTES": str(64 * 1024**3)}


class Misses:
    """The load of one arm; it checks that the upstream was asked each time, and that a sample was stored."""

    def __init__(self, bench: Bench, origin: Origin, server: Server, header: str) -> None:
        self._template = bench.template()
        self._origin, self._server, self._header = origin, server, header
        self._first = 0
        self._asked = 0
        self.misses = 0

    def load(self, number: int) -> Load:
        """Requests with numbers that were never used before."""
        self._first = (number + 1) * _APART
        self._asked = self._origin.asked()
        return Load("count", str(self._first), self._template)

    def check(self, run: Run) -> None:
        """As many upstream calls as requests, and the sampled ones are hits now."""
        calls = self._origin.asked() - self._asked
        if calls < run.requests:
            raise LoadError(f"{self._server.name}: {run.requests} misses, but only {calls} upstream calls")
        self.misses += run.requests
        template = bodies.request_template()
        # wrk makes one request to look at it before it starts: the first number is never sent.
        sampled = range(1, run.requests, max(1, run.requests // _SAMPLED))
        hits = 0
        with Client(self._server.port) as client:
            for i in sampled:
                body = bodies.numbered(template, self._first + i)
                reply = client.ask("POST", bodies.PATH, body, bodies.HEADERS)
                hits += reply.headers.get(self._header.lower()) == "HIT"
        share = hits / len(sampled)
        if share < _ENOUGH:
            raise LoadError(f"{self._server.name} stored only {share:.0%} of what was asked")


def _on_disk(store: Path) -> int:
    """How many answers the closed store of the gateway holds."""
    kept = open_store(f"sqlite:{store}")
    try:
        return kept.volume().entries
    finally:
        kept.close()


def _measured(bench: Bench, where: str) -> Row:
    """The row for one place; each arm's writing is counted, and what it wrote is looked for on the medium."""
    with (
        Origin(bench.home / "origin", LOAD_CORE) as origin,
        Peer(bench.home / "peer", origin.port, SERVER_CORE) as peer,
    ):
        with Gateway(bench.home / "gateway", origin.base, SERVER_CORE, env=_ENV) as ours:
            mine, theirs = (
                Misses(bench, origin, ours, gateway.HIT_HEADER),
                Misses(bench, origin, peer, nginx.HIT_HEADER),
            )
            arms = Arm(ours, mine.load, check=mine.check), Arm(peer, theirs.load, check=theirs.check)
            pairs = list(interleaved(*arms, bench.rounds, bench.seconds, bench.say))
        shares = _on_disk(ours.store) / mine.misses, peer.stored() / theirs.misses
    if min(shares) < _ENOUGH:
        raise LoadError(f"stored of what was asked: payonce {shares[0]:.0%}, nginx {shares[1]:.0%}")
    row = throughput_row("misses", f"miss, stored {where}", pairs, "nginx proxy_cache", 0.5)
    row.detail["stored"] = [round(share, 3) for share in shares]
    return row


def measure(bench: Bench) -> list[Row]:
    """Two rows: requests per CPU-second of misses on disk, and in memory, where no file system's state weighs in."""
    rows = [_measured(bench, "on disk")]
    if _SHM.is_dir() and shutil.disk_usage(_SHM).free >= _SHM_BYTES:
        with tempfile.TemporaryDirectory(prefix="payonce-bench-", dir=_SHM, ignore_cleanup_errors=True) as home:
            rows.append(_measured(replace(bench, home=Path(home)), "in tmpfs"))
    else:
        bench.say(f"no row for tmpfs: {_SHM} is too small")
    return rows
