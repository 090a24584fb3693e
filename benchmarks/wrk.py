"""The load generator: one pinned wrk process, whose figures are believed only if no answer failed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bodies

SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: see load.lua for the modes. `template` None asks without a body."""

    mode: str
    source: str
    template: Path | None = None
    method: str = "POST"
    path: str = bodies.PATH
    connections: int = 16
    hit_header: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What wrk saw; latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    mean: float
    hits: int
    others: int


class LoadError(Exception):
    """The load did not go through as it must for its figures to mean anything."""


def run(load: Load, port: int, seconds: int, core: int) -> Run:
    """Ask the server on `port` for `seconds`; raises `LoadError` on any socket error or status of 400 or more."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "30s"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}{load.path}", "--"]
    command += [load.method, load.path, bodies.AUTHORIZATION, str(load.template or "-"), load.mode, load.source]
    if load.hit_header:
        command.append(load.hit_header)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 90)
    if done.returncode:
        raise LoadError(f"wrk ended with {done.returncode}: {done.stderr or done.stdout}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    errors = {name: said[name] for name in ("connect", "read", "write", "status", "timeout") if said[name]}
    if errors or not said["requests"]:
        raise LoadError(f"{said['requests']} answers on port {port}, with errors: {errors}")
    return Run(
        requests=said["requests"],
        seconds=said["microseconds"] / 1e6,
        p50=said["p50"] / 1e3,
        p99=said["p99"] / 1e3,
        mean=said["mean"] / 1e3,
        hits=said["hits"],
        others=said["others"],
    )
