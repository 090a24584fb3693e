"""Strict, deterministic models of the prompt caches that providers run, and of the routing in front of them.

They answer one question: what would this request, at this time, after those others, have been billed? They follow what
the providers document; where the documentation is silent, a switch offers both readings. They share no code with the
planner, so that one can prove the other wrong. This room must never do I/O or read a clock.
"""

from payonce.testing.providers.automatic import AutomaticCache
from payonce.testing.providers.blocks import Sizes
from payonce.testing.providers.boundary import BoundaryCache
from payonce.testing.providers.catalogue import Family, family_of
from payonce.testing.providers.diagnosis import Diagnoses
from payonce.testing.providers.last_marker import LastMarkerCache
from payonce.testing.providers.marked import MarkedCache
from payonce.testing.providers.provider import Provider, Served
from payonce.testing.providers.routing import Outage, Router
from payonce.testing.providers.rules import (
    AutomaticRules,
    BoundaryRules,
    LastMarkerRules,
    MarkerRules,
    Rates,
    Ready,
    RefusedError,
    Split,
)

__all__ = [
    "AutomaticCache",
    "AutomaticRules",
    "BoundaryCache",
    "BoundaryRules",
    "Diagnoses",
    "Family",
    "LastMarkerCache",
    "LastMarkerRules",
    "MarkedCache",
    "MarkerRules",
    "Outage",
    "Provider",
    "Rates",
    "Ready",
    "RefusedError",
    "Router",
    "Served",
    "Sizes",
    "Split",
    "family_of",
]
