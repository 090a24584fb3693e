"""The pytest plugin: a fixture whose HTTP clients record and replay, a flag for the mode, and a report at the end.

Recordings stand in `cassettes/MODULE/` beside the test file, one directory a test module. The plugin is loaded in every
run of pytest where Payonce is installed, so it imports nothing of it before the fixture is asked for. This room must
never decide what is recorded or replayed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

from payonce.pytest_books import INI, Books, relative

MODES: Final = ("replay", "record", "refresh", "off")
VARIABLE: Final = "PAYONCE_MODE"
_PACKAGES: Final = ("httpx2", "httpx")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--payonce=MODE`, and where recordings are kept."""
    group = parser.getgroup("payonce", "recorded answers of language models")
    group.addoption(
        "--payonce",
        choices=MODES,
        default=None,
        metavar="MODE",
        help=f"replay: call nobody (default); record: what is missing; refresh: all anew; off. Else ${VARIABLE}.",
    )
    parser.addini(
        INI,
        "the directory of recordings beside each test file; an absolute path: one tree for all",
        default="cassettes",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker, and keep the books of this run."""
    config.addinivalue_line(
        "markers",
        "payonce(mode=None, cassette=None, **options): for this test, another mode, directory of recordings, "
        "or further arguments of its clients",
    )
    config.pluginmanager.register(Books(config), "payonce-books")


@pytest.fixture
def payonce(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """The recordings of this test module: `payonce.client()` and `payonce.async_client()` are HTTP clients for SDKs."""
    books: Books = request.config.pluginmanager.get_plugin("payonce-books")  # type: ignore[assignment]
    cassette = _cassette(request, books)
    try:
        yield cassette
    finally:
        cassette.close()


class Cassette:
    """What the fixture gives. `mode` is the mode that holds, `directory` has the recordings, `options` are the
    arguments by which clients and transports of `payonce.httpx` and `payonce.httpx2` use them."""

    def __init__(self, directory: Path, mode: str, options: dict[str, Any], remedy: str, books: Books) -> None:
        self.directory = directory
        self.mode = mode
        self.options: dict[str, Any] = {"store": f"cassette:{directory}", "mode": mode, "remedy": remedy, **options}
        self._books = books
        self._open: list[Any] = []

    def client(self, http: str = "", **arguments: Any) -> Any:
        """A `Client` on httpx2, or on the HTTP package that `http` names; closed at the end of the test."""
        face = _face(http)
        return self._kept(face.Client(**self._arguments(arguments, self._books.answered)))

    def async_client(self, http: str = "", **arguments: Any) -> Any:
        """An `AsyncClient`, likewise. It keeps no idle connection, as it may outlive the event loop of its test."""
        face = _face(http)

        async def answered(response: Any) -> None:
            self._books.answered(response)

        arguments.setdefault("limits", face.mod.Limits(max_connections=1000, max_keepalive_connections=0))
        return self._kept(face.AsyncClient(**self._arguments(arguments, answered)))

    def close(self) -> None:
        """Let go of every client that was made here."""
        while self._open:
            client = self._open.pop()
            if hasattr(client, "aclose"):  # its event loop may be gone: only the store is let go
                for way in (client._transport, *client._mounts.values()):  # noqa: SLF001 - our own client
                    if way is not None:
                        way.desk.lease.close()
            else:
                client.close()

    def _arguments(self, given: dict[str, Any], answered: Any) -> dict[str, Any]:
        """A client's arguments; where it records, the books are told of every answer."""
        if self.mode not in ("record", "refresh"):
            return {**self.options, **given}
        hooks = dict(given.get("event_hooks") or {})
        hooks["response"] = [*hooks.get("response", ()), answered]
        return {**self.options, **given, "event_hooks": hooks}

    def _kept(self, client: Any) -> Any:
        self._open.append(client)
        return client


def _face(http: str) -> Any:
    """`payonce.httpx2` or `payonce.httpx`."""
    if http and http not in _PACKAGES:
        raise pytest.UsageError(f"payonce: {http!r} is not an HTTP package; use one of {', '.join(_PACKAGES)}")
    there = [name for name in _PACKAGES if find_spec(name) is not None]
    return import_module(f"payonce.{http or (there or _PACKAGES)[0]}")  # says what to install where it is missing


def _cassette(request: pytest.FixtureRequest, books: Books) -> Cassette:
    config, node = request.config, request.node
    marker = node.get_closest_marker("payonce")
    said = dict(marker.kwargs) if marker is not None else {}
    if marker is not None and marker.args:
        raise pytest.UsageError(f'{node.nodeid}: the marker payonce takes names only, such as payonce(mode="off")')
    mode = said.pop("mode", None) or config.getoption("--payonce") or os.environ.get(VARIABLE) or MODES[0]
    if mode not in MODES:
        raise pytest.UsageError(f"payonce: {mode!r} is not a mode; use one of {', '.join(MODES)}")
    module: Path = request.path
    named = said.pop("cassette", None)
    directory = recordings_of(config, module, named)
    books.used(directory, relative(config, module), shared=named is not None)
    remedy = f"run  pytest --payonce=record {shlex.quote(node.nodeid)}"
    return Cassette(directory, mode, said, remedy, books)


def recordings_of(config: pytest.Config, module: Path, named: str | None = None) -> Path:
    """Where the recordings of a test module are, or those that a marker has `named` beside them."""
    root = Path(config.getini(INI))
    if root.is_absolute():
        root /= Path(relative(config, module)).parent
    else:
        root = module.parent / root
    return root / (named or module.stem)
