"""The simulated provider: OpenRouter without a model, for tests, benchmarks and the demo.

An ASGI app that answers `POST /api/v1/chat/completions`, `/messages`, `/responses` and `/embeddings`, `GET
/api/v1/models` and `/generation?id=` as OpenRouter does on the wire, and `POST /anthropic/v1/messages` as Anthropic
itself; keeps a bill, remembers what it was asked, and fails on request. Every answer names the number of its call, so
that a test can prove which call produced it; an embedding depends on model and input alone. A `Meter` (sim_meter.py)
says what of the input came from a prompt cache.

A fault is chosen by the request header `X-Sim-Fault: NAME[=ARG]`, by a model name such as `sim/fault-429` or
`sim/small:fault-cut=100`, or beforehand by `fault_next`; the table is in sim_faults.py. `GET /_sim/bill`,
`POST /_sim/clock?advance=SECONDS` and `POST /_sim/reset` are for clients in other processes.

This room must never know Payonce: it stands for the other side.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypedDict, Unpack

from payonce.testing.sim_bill import Bill, tenant_of
from payonce.testing.sim_cache import CacheMeter
from payonce.testing.sim_call import Call
from payonce.testing.sim_meter import Meter
from payonce.testing.sim_provider import SimulatedProvider
from payonce.testing.sim_server import listening, serving

__all__ = ["Bill", "CacheMeter", "Call", "SimOptions", "SimulatedProvider", "running_sim", "tenant_of"]


class SimOptions(TypedDict, total=False):
    """The options of `SimulatedProvider`, each as described there."""

    seed: int
    first_token: float
    tokens_per_second: float
    answer_tokens: int
    comments: int
    record: bool
    clock: Callable[[], float]
    meter: Meter


@contextlib.contextmanager
def running_sim(
    *, host: str = "127.0.0.1", port: int = 0, **options: Unpack[SimOptions]
) -> Iterator[SimulatedProvider]:
    """A provider that listens while the block runs; port 0 is a free one. An OSError says that the port is taken."""
    sim = SimulatedProvider(**options)
    with listening(host, port) as sock, serving(sim, sock):
        own_host, own_port = sock.getsockname()[:2]
        sim.base_url = f"http://{f'[{own_host}]' if ':' in own_host else own_host}:{own_port}/api/v1"
        yield sim
