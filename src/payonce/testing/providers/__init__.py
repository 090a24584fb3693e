"""Strict, deterministic models of the prompt caches that providers run, and of the routing in front of them.

They answer one question: what would this request, at this time, after those others, have been billed? They follow what
the providers document; where the documentation is silent, a switch offers both readings. They share no code with the
planner, so that one can prove the other wrong. This room must never do I/O or read a clock.
"""

from payonce.testing.providers.blocks import Sizes
from payonce.testing.providers.marked import MarkedCache
from payonce.testing.providers.provider import Provider, Served
from payonce.testing.providers.rules import MarkerRules, Rates, RefusedError, Split

__all__ = ["MarkedCache", "MarkerRules", "Provider", "Rates", "RefusedError", "Served", "Sizes", "Split"]
