"""What the planner did to a request and why: values for receipts, the doctor and people.

Every decision has one, also that nothing was done. This room must never decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Act(StrEnum):
    """What was done, or left."""

    MARK = "mark"
    """A prefix is kept from here on, or longer."""
    READ = "read"
    """A marker that only reads what is kept already."""
    LEAVE = "leave"
    """Nothing is marked, and why."""
    STAND_DOWN = "stand-down"
    """The client marked itself, or asked to be left alone, or the provider refused markers."""
    SWITCH_OFF = "switch-off"
    """Writes that the provider would make and charge by itself are switched off."""
    STICK = "stick"
    """The conversation is named, so that it reaches the same host."""
    PIN = "pin"
    """The host that served is asked for by name."""
    DROP = "drop"
    """A header that does nothing, and that some hosts refuse, is left out."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One decision. `where` names the block ("tools", "system", "messages:4"), `ttl` how long it is kept ("5m", "1h",
    "" where that has no meaning), `tokens` how long the prefix is, as estimated, and `chance` how likely it is used
    again within that time. `saving` is what the decision is expected to save, in tokens at the plain input price; it
    may be 0 where a decision only guards."""

    act: Act
    why: str
    where: str = ""
    ttl: str = ""
    tokens: int = 0
    chance: float = 0.0
    saving: int = 0
