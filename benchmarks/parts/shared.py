"""A store on servers: what a hit costs in memory in front of Redis, what a read of Redis costs beside redis-py's own
GET, and what a Redis that swallows everything adds to an answer.

Redis stands on the core of the load, as every server that is not measured. The bare client gets a value of the size
that the server keeps for an answer of ours, in the same process conditions, in turns.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import redis
from tests.support.fault_proxy import fault_proxy
from tests.support.servers import RedisServer, redis_server

from benchmarks import bodies, wrk
from benchmarks.client import Client, Reply
from benchmarks.gateway import HIT_HEADER, Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.nginx import Origin
from benchmarks.parts import Bench
from benchmarks.parts.hits import DIFFERENT, NUMBER, assert_hit, fill
from benchmarks.rounds import Arm, Row, Sample, always, interleaved
from benchmarks.wrk import Load, LoadError

_ROOT = Path(__file__).parents[2]
_TURN_SECONDS = 1.0
_READS = (
    ("a hit's read from Redis, on the loop", "read_async", "bare_async", 0.5),
    ("the same, 32 at once", "read_async@32", "bare_async@32", 0.5),
    ("a hit's read from Redis, in a thread", "read_sync", "bare_sync", 0.5),
    ("whole hit from Redis, async transport, 32 at once", "hit_async@32", "bare_async@32", 0.5),
    ("whole hit from Redis, sync transport", "hit_sync", "bare_sync", 0.5),
    ("whole hit from Redis, gateway, 32 connections", "gateway", "bare_async@32", 0.5),
)
_LITTLE = 8192
_CYCLES = 12
"""So often the server falls silent in a round, and is asked `_SILENT` times before and `_LATER` after the breaker."""
_SILENT, _LATER = 5, 100


def measure(bench: Bench) -> list[Row]:
    """Rows for memory in front, for reads, and for a silent server."""
    with redis_server(bench.home) as server:
        return [*_in_front(bench, server), *_reads(bench, server), *_silent(bench, server)]


# ------------------------------------------------------------------------------------------------- memory in front


def _in_front(bench: Bench, server: RedisServer) -> list[Row]:
    loads = {
        "hit in memory, Redis behind: every byte repeated": Load("fixed", str(NUMBER), bench.template()),
        "hit in memory, Redis behind: new X-Request-Id": Load("traced", str(NUMBER), bench.template()),
    }
    rows = []
    with (
        Origin(bench.home / "origin", LOAD_CORE) as origin,
        Gateway(bench.home / "redis", origin.base, SERVER_CORE, url=server.url) as ours,
        Gateway(bench.home / "sqlite", origin.base, SERVER_CORE) as local,
    ):
        for gateway in (ours, local):
            assert_hit(gateway.port, HIT_HEADER)
        for what, load in loads.items():
            arms = [Arm(gateway, always(load)) for gateway in (ours, local)]
            pairs = list(interleaved(arms[0], arms[1], bench.rounds, bench.seconds, bench.say))
            rows.append(_cost(what, pairs))
    return rows


def _cost(what: str, pairs: list[tuple[Sample, Sample]]) -> Row:
    mine, theirs = ([1e6 / sample.per_cpu for sample in samples] for samples in zip(*pairs, strict=True))
    return Row("shared", what, "CPU us", mine, theirs, "the same, SQLite behind", 1.1, at_most=True)


# ------------------------------------------------------------------------------------------------------------- reads


class _Front:
    """The gateway as an arm: its memory holds next to nothing, so that each answer comes from Redis."""

    arm = "gateway"

    def __init__(self, bench: Bench, server: RedisServer, stack: ExitStack) -> None:
        numbers = bench.home / "front-numbers"
        numbers.write_text("".join(f"{number}\n" for number in range(DIFFERENT)))
        self._load = Load("cycle", str(numbers), bench.template(), connections=32, hit_header=HIT_HEADER)
        self._server = server
        env = {"PAYONCE_MEMORY_BYTES": str(_LITTLE), "PAYONCE_READ_BUDGET": "1"}
        origin = stack.enter_context(Origin(bench.home / "behind", LOAD_CORE))
        home, url = bench.home / "front", f"{server.url}/1"
        self._gateway = stack.enter_context(Gateway(home, origin.base, SERVER_CORE, url=url, env=env))
        fill(self._gateway.port, HIT_HEADER)

    def turn(self) -> tuple[float, float]:
        """Hits per second, and CPU microseconds of one."""
        gets, used = self._gets(), self._gateway.cpu()
        run = wrk.run(self._load, self._gateway.port, round(_TURN_SECONDS), LOAD_CORE)
        used = self._gateway.cpu() - used
        if run.others or self._gets() - gets < 0.9 * run.requests:
            raise LoadError(f"of {run.requests} answers {run.others} were no hits, or memory gave them")
        return run.requests / run.seconds, used / run.requests * 1e6

    def _gets(self) -> int:
        client = redis.Redis.from_url(self._server.url)
        calls: int = client.info("commandstats")["cmdstat_get"]["calls"]
        client.close()
        return calls


class _Worker:
    """One arm of `benchmarks.shared_worker`."""

    def __init__(self, arm: str, url: str, home: Path) -> None:
        home.mkdir(exist_ok=True)
        self.arm = arm
        self._errors = (home / "log").open("w+")
        command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "benchmarks.shared_worker", arm, url]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*command, str(home)], cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=self._errors, text=True
        )

    def turn(self) -> tuple[float, float]:
        """Calls per second, and CPU microseconds of one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{_TURN_SECONDS}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().split()
        if len(said) != 2:
            self._errors.seek(0)
            raise LoadError(f"{self.arm}: {self._errors.read().strip()[-300:]}")
        return float(said[0]), float(said[1])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()


def _reads(bench: Bench, server: RedisServer) -> list[Row]:
    figures: dict[str, list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        workers: list[_Front | _Worker] = [_Front(bench, server, stack)]
        for arm in dict.fromkeys(arm for _, ours, bare, _ in _READS for arm in (ours, bare) if arm != _Front.arm):
            made = _Worker(arm, f"{server.url}/0", bench.home / arm)
            stack.callback(made.close)
            workers.append(made)
        for worker in workers:
            worker.turn()
        for number in range(bench.rounds):
            for worker in workers:
                figures.setdefault(worker.arm, []).append(worker.turn())
            workers.reverse()
            last = ", ".join(f"{arm} {found[-1][0]:,.0f}" for arm, found in figures.items())
            bench.say(f"round {number + 1}/{bench.rounds}, calls per second: {last}")
    rows = []
    for what, ours, bare, target in _READS:
        mine, theirs = ([rate for rate, _ in figures[arm]] for arm in (ours, bare))
        cpu = {arm: round(sorted(us for _, us in figures[arm])[bench.rounds // 2], 1) for arm in (ours, bare)}
        rows.append(
            Row("shared", what, "per second", mine, theirs, "redis-py GET", target, detail={"CPU us of one": cpu})
        )
    return rows


# --------------------------------------------------------------------------------------------------- a silent server


def _silent(bench: Bench, server: RedisServer) -> list[Row]:
    """Misses of a gateway whose Redis swallows everything, beside misses of one that has none."""
    rounds: list[list[list[float]]] = []
    with (
        Origin(bench.home / "upstream", LOAD_CORE) as origin,
        fault_proxy(server.port) as proxy,
        Gateway(bench.home / "silent", origin.base, SERVER_CORE, url=f"redis://127.0.0.1:{proxy.port}") as ours,
        Gateway(bench.home / "calm", origin.base, SERVER_CORE, url="memory:") as calm,
        Client(ours.port) as one,
        Client(calm.port) as two,
    ):
        ask = _Misses(one, two)
        for number in range(bench.rounds):
            seen: list[list[float]] = [[], [], [], []]
            for _ in range(_CYCLES):
                ask.until_hits()
                proxy.hole = True
                ask.times(_SILENT, seen[0], seen[1])
                ask.until_refused(ours)
                ask.times(_LATER, seen[2], seen[3])
                proxy.heal()
                proxy.cut()
            rounds.append(seen)
            told = ", ".join(f"{_at(times, 99):.2f}" for times in seen)
            bench.say(f"round {number + 1}/{bench.rounds}: p99 in ms, silent and calm, then not asked and calm: {told}")
    return [
        _added("miss while Redis is silent", [seen[:2] for seen in rounds], 99, 60.0),
        _added("miss once it is not asked", [seen[2:] for seen in rounds], 99, 1.0),
        _added("miss once it is not asked", [seen[2:] for seen in rounds], 50, 1.0),
    ]


def _added(what: str, pairs: list[list[list[float]]], percent: int, target: float) -> Row:
    mine, theirs = ([_at(pair[side], percent) for pair in pairs] for side in (0, 1))
    return Row("shared", f"{what}, p{percent}", "ms", mine, theirs, "no Redis", target, at_most=True, difference=True)


class _Misses:
    """New requests, of both gateways in turn."""

    def __init__(self, ours: Client, calm: Client) -> None:
        self._ours, self._calm = ours, calm
        self._number = 0
        self._template = bodies.request_template()

    def times(self, count: int, ours: list[float], calm: list[float]) -> None:
        """How many milliseconds each answer took."""
        for _ in range(count):
            self._number += 1
            for client, kept in ((self._ours, ours), (self._calm, calm)):
                reply = self._ask(client, self._number)
                kept.append(1000 * reply.whole)

    def until_hits(self) -> None:
        """Until an answer is kept by the server, and found there."""
        for _ in range(600):
            self._number += 1
            self._ask(self._ours, self._number)
            if self._ask(self._ours, self._number, 0.05).headers.get(HIT_HEADER.lower()) == "HIT":
                return
        raise LoadError("the server is not used again")

    def until_refused(self, ours: Gateway) -> None:
        """Until the gateway asks the server no more."""
        for _ in range(200):
            with Client(ours.port) as other:
                if b"does not answer" in other.ask("GET", "/readyz").body:
                    return
            self._number += 1
            self._ask(self._ours, self._number)
        raise LoadError("the breaker does not open")

    def _ask(self, client: Client, number: int, pause: float = 0.0) -> Reply:
        time.sleep(pause)
        reply = client.ask("POST", bodies.PATH, bodies.numbered(self._template, number), bodies.HEADERS)
        if reply.status != 200:
            raise LoadError(f"a silent server made a {reply.status} of an answer")
        return reply


def _at(times: list[float], percent: int) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]
