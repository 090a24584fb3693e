"""Styles, scripts and pictures of the dashboard, from this package alone; htmx and uPlot with their licences.

Each is named with a digest of its content, so that browsers may keep it for good. This room must never serve a file
that is not in its table.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from blake3 import blake3

from payonce.dashboard.html import ROOT

_KINDS: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
NAMES: Final = frozenset(("dashboard.css", "dashboard.js", "htmx.js", "icon.svg", "uplot.css", "uplot.js"))
FOR_GOOD: Final = "private, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is and packed."""

    kind: str
    body: bytes
    packed: bytes
    digest: str


@cache
def read(name: str) -> Asset | None:
    """The file of that name; None where there is none."""
    if name not in NAMES:
        return None
    path = Path(__file__).with_name(name)
    body = path.read_bytes()
    return Asset(_KINDS[path.suffix], body, gzip.compress(body, 9, mtime=0), blake3(body).hexdigest()[:12])


def asset(name: str) -> str:
    """The address of a file. Raises KeyError where there is none."""
    found = read(name)
    if found is None:
        raise KeyError(name)
    return f"{ROOT}assets/{name}?v={found.digest}"
