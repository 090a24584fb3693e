"""The dashboard behind the gateway's own paths: a bounded number of its pages is made at once, on threads of its own.

A page that waits for the store, or works hard, holds up no call; more visitors than there is room for are asked to come
again. This room must never decide what a page shows or who may see it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import unquote

import payonce
from payonce.assembly import World
from payonce.dashboard.asking import Request, fields_of
from payonce.dashboard.backstage import Backstage
from payonce.dashboard.door import Door
from payonce.dashboard.html import ROOT
from payonce.dashboard.panel import Panel
from payonce.dashboard.tokens import tokens_path
from payonce.errors import SettingsError
from payonce.gateway.face import AsgiFace, Receive, Scope
from payonce.gateway.upstream import HttpUpstream
from payonce.listing import Shelf
from payonce.model import reason as why
from payonce.model.key import Key
from payonce.model.ports import Head, Notebook
from payonce.purging import Selection, purge
from payonce.secret import SECRET_BYTES, load_secret, secret_path
from payonce.stores.redacted import redact

PATH: Final = ROOT.encode()
THREADS: Final = 2
WAITING: Final = 16
"""Requests that wait for a thread, or have one."""
MOST_FORM: Final = 16 << 10
PATIENCE: Final = 10.0
"""Seconds in which a form has to arrive."""


class Admin:
    """See the room's first paragraph."""

    def __init__(self, world: World, connections: Sized, shelf: Sized, upstreams: Mapping[str, HttpUpstream]) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="payonce-dashboard")
        self._under_way = 0
        self._panel = Panel(_backstage(world, _State(world, connections, shelf, upstreams)), _door(world))

    async def serve(self, scope: Scope, receive: Receive, face: AsgiFace) -> None:
        """Answer one request to `/_payonce` or a path under it."""
        if scope["path"] == ROOT.rstrip("/"):
            await face.start(Head(308, ((b"location", PATH),)), (), b"")
            return
        if self._under_way >= WAITING:
            await face.refuse(why.BUSY)
            return
        self._under_way += 1
        try:
            body = b"" if scope["method"] in ("GET", "HEAD") else await _form(receive)
            if body is None:
                await face.refuse(why.BODY_TOO_LARGE)
                return
            asked = request_of(scope, body)
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._panel.answer, asked)
            await face.start(Head(answer.status, answer.headers()), (), answer.body)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Let no page begin any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def request_of(scope: Scope, body: bytes) -> Request:
    """What the dashboard is asked."""
    headers: dict[str, str] = {}
    twice = set()
    for name, value in scope["headers"]:
        written = name.decode("latin-1")
        if written in headers:
            twice.add(written)
        headers[written] = value.decode("latin-1")
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").removeprefix(ROOT)
    client = scope.get("client")
    return Request(
        method=scope["method"],
        path=unquote(path),
        query=fields_of(scope["query_string"].decode("latin-1")),
        headers={name: value for name, value in headers.items() if name not in twice},
        form=fields_of(body.decode("latin-1")),
        peer=client[0] if client else "",
    )


async def _form(receive: Receive) -> bytes | None:
    """The body; None where it is too large, too slow, or its sender has left."""
    body = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while len(body) <= MOST_FORM:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    return body if len(body) <= MOST_FORM else None
    except TimeoutError:
        pass
    return None


def _door(world: World) -> Door:
    settings = world.settings
    return Door(settings, _own_secret(world) if settings.portable else world.secret, tokens_path(settings), world.clock)


def _own_secret(world: World) -> bytes:
    """A secret for the sessions where that of the store is everybody's."""
    try:
        return load_secret(dataclasses.replace(world.settings, store="memory:", workers=1))
    except (OSError, SettingsError):
        return secrets.token_bytes(SECRET_BYTES)  # sessions then end with this worker


def _backstage(world: World, state: _State) -> Backstage:
    """What the pages of this gateway are made from."""
    keeper = world.tiers.keeper

    def carry_out(selection: Selection) -> None:
        if selection.digest:
            world.tiers.drop([Key(selection.digest, stream=False)])
        else:
            purge(shelf, selection)
            world.tiers.refresh()

    shelf = Shelf(keeper, world.tiers.secret, world.clock)
    return Backstage(
        settings=world.settings,
        clock=world.clock,
        shelf=shelf,
        reader=world.books.reader if world.books is not None else None,
        volume=keeper.volume,
        notes=keeper.notes if isinstance(keeper, Notebook) else dict,
        purge=carry_out,
        state=state,
    )


class _State:
    """How this worker is, by numbers that may be read from any thread."""

    def __init__(self, world: World, connections: Sized, shelf: Sized, upstreams: Mapping[str, HttpUpstream]) -> None:
        self._world, self._connections, self._shelf, self._upstreams = world, connections, shelf, upstreams
        self._started = world.clock()

    def __call__(self) -> dict[str, Any]:
        world = self._world
        settings = world.settings
        return {
            "notes": world.ailments(),
            "store": {
                "url": redact(settings.store),
                "tiered": world.tiers.behind is not None,
                "trouble": world.trouble() or world.missing(),
                "purges": world.tiers.purges,
                "secret_file": str(secret_path(settings)),
            },
            "ledger": {"trouble": world.books.clerk.fault if world.books is not None else ""},
            "upstreams": [
                {"name": name, "url": redact(url), **self._upstreams[name].state()} for name, url in settings.upstream
            ],
            "worker": {
                "name": world.ledger.worker,
                "version": payonce.__version__,
                "started": self._started,
                "flights": len(world.tower),
                "connections": len(self._connections),
                "shelf": len(self._shelf),
            },
            "dropped": dict(world.dropped()),
        }
