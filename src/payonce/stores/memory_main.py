"""The main region of a memory store: moka's TinyLFU, made ready to judge from the first entry on.

This room must never keep an entry: what moka holds is what the store has in its dict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from moka_py import Moka

from payonce.model.ports import About

_USUAL_WEIGHT = 2000


class Kept(NamedTuple):
    """An entry; `weight` is what it takes of the store's bytes."""

    value: bytes
    expires_at: float
    weight: int
    about: About


def main_region(limit: int, left: Callable[[bytes, Kept, str], None]) -> Moka[bytes, Kept]:
    """A region of `limit` bytes; `left` is told, inside a call to it, what has to go and why."""
    main: Moka[bytes, Kept] = Moka(limit, weigher=_weigh, eviction_listener=left)
    _wake_sketch(main, limit)
    return main


def _weigh(_slot: bytes, kept: Kept) -> int:
    return kept.weight


def _wake_sketch(main: Moka[bytes, Kept], limit: int) -> None:
    # moka counts no use before a region was half full once, so a scan that came early would flush what was already hot.
    # Stand-ins of a usual entry's weight fill it half for a moment; their number also sizes the sketch.
    count = max(64, min(limit // 2 // _USUAL_WEIGHT, 50_000))
    stand_in = Kept(b"", 0.0, limit // 2 // count + 1, About(0.0, 0.0, "", "", "", ""))
    for number in range(count):
        main.set(number.to_bytes(8, "big"), stand_in)
    main.run_pending_tasks()
    main.clear()
    main.run_pending_tasks()
