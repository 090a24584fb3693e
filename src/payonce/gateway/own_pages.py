"""The gateway's own pages beside the dashboard: is it alive, is it well, and its figures. No page holds a prompt."""

from __future__ import annotations

import asyncio

import orjson

from payonce.assembly import World
from payonce.gateway.face import AsgiFace
from payonce.gateway.meter import Meter
from payonce.gateway.metrics import CONTENT_TYPE, render
from payonce.model.ports import Head
from payonce.model.reason import ROUTINE

PATHS = frozenset((b"/healthz", b"/readyz", b"/metrics"))


async def answer(path: bytes, face: AsgiFace, world: World, meter: Meter, *, stopping: bool) -> None:
    """Answer a GET of one of `PATHS`."""
    if path == b"/healthz":
        await _json(face, 200, {"status": "ok"})
    elif path == b"/metrics":
        figures = await meter.figures()
        await face.start(Head(200, ((b"content-type", CONTENT_TYPE),)), (), render(figures))
    else:
        await _ready(face, world, stopping=stopping)


async def _ready(face: AsgiFace, world: World, *, stopping: bool) -> None:
    lost = {reason: count for reason, count in world.dropped().items() if reason not in ROUTINE}
    volume = await asyncio.get_running_loop().run_in_executor(None, world.volume)
    ailments = world.ailments()
    page = {
        "status": "stopping" if stopping else "degraded" if ailments else "ok",
        "store": {"entries": volume.entries, "bytes": volume.used_bytes, "limit": volume.limit_bytes},
        "dropped": lost,
        "notes": ailments,
        "flights": len(world.tower),
    }
    await _json(face, 503 if stopping else 200, page)


async def _json(face: AsgiFace, status: int, page: object) -> None:
    fields = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
    await face.start(Head(status, fields), (), orjson.dumps(page))
