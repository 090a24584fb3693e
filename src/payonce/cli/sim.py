"""`payonce sim`: the simulated provider alone, to point a client or a gateway at without a key and without cost.

This verb must never know how an answer is made; it starts the provider, says where it is, and waits.
"""

from __future__ import annotations

import errno
import signal
import sys
import threading
from contextlib import ExitStack
from types import FrameType

from payonce.cli.output import complain, say, table
from payonce.config_types import Reader, Wrong, integer, number
from payonce.errors import SettingsError


def sim(*, host: str = "127.0.0.1", port: int = 4242, first_token: float = 0.6, tokens_per_second: float = 60.0) -> int:
    """Run the simulated provider: OpenRouter's wire format without a model, a key or a bill.

    It keeps prompt caches as the providers document theirs, by model name: anthropic/*, openai/*, google/*, deepseek/*
    and more. It runs until Ctrl-C. GET /_sim/bill says what it would have charged; POST /_sim/clock?advance=SECONDS
    lets its clock jump ahead, so that what is cached grows older; POST /_sim/reset starts over.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port to listen on; 0 takes a free one.
    first_token
        Seconds until the first token of an answer.
    tokens_per_second
        How fast an answer is said; 0 says it at once.
    """
    from payonce.testing.sim import CacheMeter, running_sim

    _check("--port", integer(0, 65535), port)
    _check("--first-token", number(0, 3600), first_token)
    _check("--tokens-per-second", number(0, 1e9), tokens_per_second)
    with ExitStack() as stack:
        try:
            provider = stack.enter_context(
                running_sim(
                    host=host,
                    port=port,
                    first_token=first_token,
                    tokens_per_second=tokens_per_second,
                    record=False,
                    meter=CacheMeter(),
                )
            )
        except OSError as error:
            complain(_sentence(error, host, port))
            return 2
        _welcome(provider.base_url)
        _until_stopped()
    return 0


def _check(flag: str, read: Reader, value: float) -> None:
    try:
        read(value)
    except Wrong as wrong:
        raise SettingsError(f"{flag}: {wrong.message}; {wrong.fix}") from None


def _sentence(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use: stop what listens there, or choose another with --port (0: a free one)."
        )
    return f"Can't listen on {host} port {port} ({error.strerror or error}): choose another --host or --port."


def _welcome(base_url: str) -> None:
    from payonce.testing.sim_faults import FAULTS

    say(f"The simulated provider listens. Base URL: {base_url}")
    root = base_url.removesuffix("/api/v1")
    say(f"As Anthropic itself: {root}/anthropic (for SDKs), {root}/anthropic/v1 (as an upstream)")
    say(f"What it would have charged: {root}/_sim/bill")
    say("\nA fault for one request: the header X-Sim-Fault: FAULT, or the model sim/fault-FAULT.\n")
    rows = (
        (f"{row.name}={row.argument}" if row.argument else row.name, row.default, row.sees) for row in FAULTS.values()
    )
    table(["fault", "default", "what the client sees"], rows)
    say("\nCtrl-C stops it.")
    sys.stdout.flush()


def _until_stopped() -> None:
    """Returns on Ctrl-C or SIGTERM."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stopped.wait(3600):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
