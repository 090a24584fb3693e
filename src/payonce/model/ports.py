"""What the house asks of its guests: stores, dialects, upstreams, clocks. The one door to the rooms where they stand.

Whoever implements a port, or uses one, imports it from here. This room must never define anything.
"""

from __future__ import annotations

from payonce.model.abilities import (
    Asking,
    AsyncReading,
    Bulk,
    BulkRaising,
    Choosy,
    Chronicle,
    Declining,
    Distant,
    Explaining,
    Glance,
    Glancing,
    HandyReading,
    Later,
    Notebook,
    Patience,
    Rationing,
    Recorder,
    Recording,
    Sieving,
    Spread,
)
from payonce.model.dialect import BatchDialect, Dialect, Division, Piece
from payonce.model.store import About, Clock, Row, Store, Volume
from payonce.model.upstream import Answer, Head, Upstream, UpstreamFault

__all__ = [
    "About",
    "Answer",
    "Asking",
    "AsyncReading",
    "BatchDialect",
    "Bulk",
    "BulkRaising",
    "Choosy",
    "Chronicle",
    "Clock",
    "Declining",
    "Dialect",
    "Distant",
    "Division",
    "Explaining",
    "Glance",
    "Glancing",
    "HandyReading",
    "Head",
    "Later",
    "Notebook",
    "Patience",
    "Piece",
    "Rationing",
    "Recorder",
    "Recording",
    "Row",
    "Sieving",
    "Spread",
    "Store",
    "Upstream",
    "UpstreamFault",
    "Volume",
]
