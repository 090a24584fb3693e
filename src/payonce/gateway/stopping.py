"""Running until SIGINT (Ctrl-C) or SIGTERM says stop, at whatever moment: none is missed, none prints a traceback.

uvicorn listens to signals only while it serves. Before and after that, handlers of our own do; and workers begin with
SIGINT blocked, because a terminal sends it to all of them, also while their interpreters are still importing. This
room must never know what is served.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

INTERRUPTED: Final = 130
"""The exit status after a SIGINT, as shells have it; after a SIGTERM it is 0."""


def run_alone(config: uvicorn.Config, listener: socket.socket) -> int:
    """Serve in this process; the exit status. To be called on the main thread."""
    server = uvicorn.Server(config)
    heard: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        """Before uvicorn listens; and after its end, when it raises again what it has heard."""
        heard.append(number)
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run(sockets=[listener])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is written: whoever is impatient now loses nothing
    if signal.SIGINT in heard:
        return INTERRUPTED
    return 0 if server.started else 2


def run_workers(config: uvicorn.Config, listener: socket.socket) -> int:
    """Serve in as many processes as `config` says; the exit status. To be called on the main thread."""
    workers = _Workers(config, [listener])
    workers.run()
    return INTERRUPTED if workers.interrupted else 0


def let_in() -> None:
    """A worker listens to signals now, so SIGINT may reach it. One that has waited is the supervisor's to answer, which
    says SIGTERM; here it would be taken for the second of two."""
    if signal.SIGINT in signal.sigpending():
        signal.sigwait({signal.SIGINT})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class _Workers(Multiprocess):
    """uvicorn's supervisor, which looks at signals between these steps; a worker inherits what is blocked in them."""

    interrupted = False

    def init_processes(self) -> None:
        resource_tracker.ensure_running()  # which would unblock SIGINT, if it began with the first worker
        with _blocked():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        with _blocked():
            super().keep_subprocess_alive()

    def handle_signals(self) -> None:
        with _blocked():
            super().handle_signals()

    def terminate_all(self) -> None:
        for listener in self.sockets:  # else new clients would wait in it for workers that take nobody in any more
            listener.close()
        super().terminate_all()

    def handle_int(self) -> None:
        self.interrupted = True
        super().handle_int()


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
