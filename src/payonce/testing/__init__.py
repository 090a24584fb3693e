"""What Payonce ships for tests, its own and those of guests: contracts and a clock that a test moves.

This room must never import pytest: contracts are plain classes that pytest happens to collect.
"""

from payonce.testing.clock import FakeClock
from payonce.testing.contract import StoreContract

__all__ = ["FakeClock", "StoreContract"]
