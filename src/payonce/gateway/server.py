"""The gateway as a program: one uvicorn server a worker, with the fast lane as its protocol.

The socket is bound before anything else starts, so a busy port is a sentence and not a traceback; several workers share
it. This room must never know a route or a cache.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import resource
import socket
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from typing import Final

from payonce.bookkeeping import unwritable
from payonce.config import Settings
from payonce.dashboard.door import asks_nobody
from payonce.dashboard.tokens import make_tokens, tokens_path, told
from payonce.errors import MissingExtraError, SettingsError
from payonce.secret import load_secret
from payonce.stores.redacted import redact
from payonce.stores.registry import open_store

try:
    import uvicorn
except ImportError as error:
    raise MissingExtraError("the gateway", "gateway") from error

from payonce.gateway.app import Gateway
from payonce.gateway.fastlane import GatewayProtocol
from payonce.gateway.stopping import let_in, run_alone, run_workers

BACKLOG = 2048
COLLECT_EVERY: Final = 10_000
"""So many more objects than before may be there until unreachable cycles are looked for."""


def serve(settings: Settings, origins: Mapping[str, str] | None = None) -> int:
    """Serve until a signal says stop; the exit status. Raises SettingsError where the port or the secret can't be had,
    StoreError where several workers can't have the store."""
    check_ground(settings)
    _raise_file_limit()
    listener = bind(settings.host, settings.port, (origins or {}).get("port", "port"))
    host, port = listener.getsockname()[:2]
    _greet(settings, f"[{host}]" if ":" in host else host, port)
    if fault := unwritable(settings):
        print(f"payonce: {fault}", file=sys.stderr, flush=True)
    try:
        if settings.workers == 1:
            return run_alone(server_config(settings, alone=True), listener)
        with tempfile.TemporaryDirectory(prefix="payonce-figures-", ignore_cleanup_errors=True) as board:
            return run_workers(server_config(settings, board), listener)
    finally:
        listener.close()


def check_ground(settings: Settings) -> None:
    """Raises what would end the gateway while it starts: a secret that is none, a store that no worker could open. What
    it would do without is not raised: a secret that can't be kept, servers that don't answer, one worker's store."""
    with contextlib.suppress(OSError):
        load_secret(settings)
    if settings.workers > 1:
        open_store(settings.store, max_bytes=settings.max_bytes).close()


def server_config(settings: Settings, board: str = "", *, alone: bool = False) -> uvicorn.Config:
    """How uvicorn runs the gateway; `board` is where several workers share their figures. `alone` says that nothing
    else runs in this process."""
    return uvicorn.Config(
        partial(_worker, settings, board) if board else partial(Gateway, settings, on_start=_settle if alone else None),
        factory=True,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=GatewayProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=log_config(settings.log_level),
        workers=settings.workers,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
    )


def _worker(settings: Settings, board: str) -> Gateway:
    """The gateway in one of several processes; uvicorn asks for it when it listens to signals."""
    let_in()
    return Gateway(settings, board, on_start=_settle)


def _settle() -> None:
    """What stands now stands until the end: the collector of cycles need not look at it again and again, nor look out
    after every few hundred objects, of which a single moment's requests have more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])


def bind(host: str, port: int, origin: str = "port") -> socket.socket:
    """A socket that listens on `host` and `port`. Raises SettingsError with what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            fix = f"something listens there already; stop it, or take another port:  payonce serve --port {port + 1}"
        elif error.errno == errno.EACCES:
            fix = "ports below 1024 are reserved; take a higher one"
        else:
            fix = "check the address:  payonce serve --host 127.0.0.1"
        raise SettingsError(f"{origin}: can't listen on {host}:{port} ({error.strerror}); {fix}") from None
    listener.set_inheritable(True)
    return listener


def _raise_file_limit() -> None:
    """Every connection is a file: take as many as the system grants without asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _greet(settings: Settings, host: str, port: int) -> None:
    upstreams = ", ".join(f"{name}={url}" if name else url for name, url in settings.upstream)
    print(f"payonce answers on http://{host}:{port}/api/v1  (upstream {upstreams})")
    print(f"store {redact(settings.store)}, cache {settings.cache}, ttl {settings.ttl} s; stop with Ctrl-C", flush=True)
    if settings.dashboard != "off":
        print(f"dashboard http://{host}:{port}/_payonce/{_tokens(settings)}", flush=True)


def _tokens(settings: Settings) -> str:
    """What to know about the dashboard's tokens. New ones are shown on a terminal only: elsewhere this is a log."""
    path = tokens_path(settings)
    if asks_nobody(settings):
        return ""
    try:
        if not sys.stdout.isatty():
            return "" if path.exists() else "  (run  payonce tokens  for the tokens that it asks for)"
        made = make_tokens(path, anew=False)
    except OSError as error:
        return f"  (nobody can sign in: {path} can't be written, {error.strerror})"
    return "" if made is None else "\n" + "\n".join(told(made))


def log_config(level: str) -> dict[str, object]:
    """Everything to stderr in one format, by the standard library's logging."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            "uvicorn": {"level": "WARNING" if level == "info" else level.upper()},
        },
    }
