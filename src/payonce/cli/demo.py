"""`payonce demo`: the gateway in front of the simulated provider, driven by a real SDK, and what that saved.

This file starts the two and takes them away again on every exit; the tour itself is in demo_tour.py. It must never
reach the network beyond this machine, nor read the user's settings or cache.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Protocol

from payonce.cli.output import complain
from payonce.errors import MissingExtraError, PayonceError

_READY_WITHIN = 30.0


class Waits(Protocol):
    """What can show that something takes its time."""

    def waiting(self, what: str) -> contextlib.AbstractContextManager[object]: ...


class DemoError(PayonceError):
    """The demo could not be shown. The message says why."""


def demo() -> int:
    """See Payonce work: no API key, no cost, about ten seconds.

    Starts the gateway on a temporary store in front of the simulated provider, sends requests with the OpenAI SDK, and
    shows what was answered from the cache, what was not kept, and what that saved. Every claim is checked: the exit
    code is 1 when one does not hold.
    """
    _needs()
    from payonce.cli.demo_tour import Tour
    from payonce.testing.sim import running_sim

    try:
        with (
            _sigterm_as_interrupt(),
            running_sim(first_token=0.5, tokens_per_second=60.0, answer_tokens=40) as provider,
            tempfile.TemporaryDirectory(prefix="payonce-demo-", ignore_cleanup_errors=True) as folder,
        ):
            tour = Tour(provider)
            with _gateway(Path(folder), provider.base_url, tour) as base_url:
                return tour.run(base_url)
    except KeyboardInterrupt:
        complain("stopped")
        return 130
    except DemoError as error:
        complain(str(error))
        return 1


def _needs() -> None:
    """Says what is missing before anything is started."""
    try:
        import rich  # noqa: F401
    except ImportError:
        raise MissingExtraError("payonce demo", "gateway") from None
    try:
        import openai  # noqa: F401
    except ImportError:
        raise DemoError(
            "payonce demo drives the gateway with the OpenAI SDK, which is not installed: run  pip install openai"
        ) from None


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------------------------------------- the gateway


@contextlib.contextmanager
def _gateway(folder: Path, upstream: str, tour: Waits) -> Iterator[str]:
    """`payonce serve` as a process of its own, from the moment it is ready; gives its base URL."""
    port = _free_port()
    store = f"sqlite:{folder / 'demo.db'}"
    command = [sys.executable, "-m", "payonce", "serve", "--port", str(port), "--upstream", upstream, "--store", store]
    own = {name: value for name, value in os.environ.items() if not name.upper().startswith("PAYONCE_")}
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command, cwd=folder, env=own, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            with tour.waiting("starting the gateway"):
                _wait_until_ready(process, port, log)
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _READY_WITHIN
    while not _ready(port):
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(0.1)
            raise DemoError(f"The gateway ended with code {code} before it was ready. It said:\n{_tail(log)}")
        if time.monotonic() > end:
            raise DemoError(f"The gateway was not ready after {_READY_WITHIN:.0f} s. It said:\n{_tail(log)}")


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:]) or "(nothing)"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Asks the process to end, and after five seconds makes it; a second Ctrl-C makes it at once."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(5)
    except BaseException as error:
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
