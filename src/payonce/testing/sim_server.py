"""Serves the simulated provider in a thread, on its own event loop, under uvicorn's HTTP protocol.

The provider's app decides; this room hands it the connection's transport, so that it can see a client leave and break
a connection in the middle of a body. It never touches the process's logging or signals, and leaves nothing open.
This room must never know what is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

from payonce.errors import MissingExtraError
from payonce.testing.sim_reply import EXTENSION

_BACKLOG = 4096


@contextlib.contextmanager
def serving(app: Any, sock: socket.socket) -> Iterator[None]:
    """Serves an ASGI app on a listening socket, from a thread, until the block ends; then closes every connection."""
    loop, protocol_factory, state = _parts(app)
    stop = asyncio.Event()

    async def serve() -> None:
        server = await loop.create_server(protocol_factory, sock=sock, backlog=_BACKLOG)
        dating = loop.create_task(_date_headers(state))
        try:
            await stop.wait()
        finally:
            dating.cancel()
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
            await asyncio.gather(dating, *state.tasks, return_exceptions=True)

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(serve())
            loop.run_until_complete(loop.shutdown_asyncgens())

    thread = threading.Thread(target=run, name="payonce-sim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: serving ended by itself, with a traceback
            loop.call_soon_threadsafe(stop.set)
        thread.join()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; an OSError says why it can't."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


async def _date_headers(state: Any) -> None:
    while True:
        state.default_headers = [(b"date", formatdate(usegmt=True).encode()), (b"server", b"payonce-sim")]
        await asyncio.sleep(1.0)


def _parts(app: Any) -> tuple[asyncio.AbstractEventLoop, Callable[[], asyncio.BaseProtocol], Any]:
    """An event loop, what makes a protocol for each connection, and the state that the protocols share."""
    try:
        from uvicorn.config import Config  # noqa: PLC0415
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415
        from uvicorn.server import ServerState  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("The simulated provider's server", "gateway") from None
    try:
        import uvloop  # noqa: PLC0415

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    except ImportError:  # where uvloop does not exist, asyncio's own loop does
        loop = asyncio.new_event_loop()
    silent = logging.Logger("payonce.sim", logging.CRITICAL + 1)  # noqa: LOG001 - ours alone: a body that is cut is no error here

    class Protocol(HttpToolsProtocol):
        """Uvicorn's protocol without logs, whose requests carry the transport."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.logger, self.access_log = silent, False

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["extensions"] = {EXTENSION: {"transport": self.transport}}

    config = Config(app, log_config=None, lifespan="off", interface="asgi3", ws="none", timeout_keep_alive=75)
    config.load()
    state = ServerState()
    return loop, lambda: Protocol(config=config, server_state=state, app_state={}, _loop=loop), state
