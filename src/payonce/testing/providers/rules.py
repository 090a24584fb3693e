"""The words of the provider models: prices, the rules of a cache, what a request is split into, and a refusal.

Every number is given by the caller or stands in catalogue.py; no number of a provider stands in logic. This room must
never know a body or the planner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import inf
from typing import Literal

SHORT = "5m"
LONG = "1h"


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in US dollars a token. `tiers` replace all of them for prompts longer than so many tokens."""

    input: Decimal
    output: Decimal
    read: Decimal
    write: Decimal
    write_1h: Decimal
    tiers: tuple[tuple[int, Rates], ...] = ()

    @classmethod
    def times(cls, million: str, *, output: str, read: str, write: str, write_1h: str | None = None) -> Rates:
        """Dollars for a million input tokens, and the other prices as multiples of it."""
        base = Decimal(million) / 1_000_000
        long = Decimal(write if write_1h is None else write_1h)
        return cls(base, base * Decimal(output), base * Decimal(read), base * Decimal(write), base * long)

    def at(self, prompt_tokens: int) -> Rates:
        """The prices of a prompt of this length."""
        chosen = self
        for above, rates in self.tiers:
            if prompt_tokens > above:
                chosen = rates
        return chosen


@dataclass(frozen=True, slots=True)
class Split:
    """Where the tokens of one prompt were billed; each token once. `write` is at the standard lifetime."""

    read: int = 0
    write: int = 0
    write_1h: int = 0
    plain: int = 0

    @property
    def total(self) -> int:
        return self.read + self.write + self.write_1h + self.plain

    def plus(self, other: Split) -> Split:
        """Both together."""
        return Split(
            self.read + other.read,
            self.write + other.write,
            self.write_1h + other.write_1h,
            self.plain + other.plain,
        )

    def cost(self, rates: Rates) -> Decimal:
        """The input cost in US dollars."""
        return (
            self.read * rates.read
            + self.write * rates.write
            + self.write_1h * rates.write_1h
            + self.plain * rates.input
        )


class Ready:
    """When an answer began, so that what its request wrote can be read: a time, or not yet known."""

    __slots__ = ("at",)

    def __init__(self, at: float = inf) -> None:
        self.at = at


class RefusedError(Exception):
    """The provider answers 4xx: `status`, and the message in the provider's own words where they are known."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class BoundaryRules:
    """OpenAI's paid automatic cache (GPT-5.6 and later): exact boundaries, few writes, one sliding lifetime.

    `first` and `latest` explicit breakpoints and `earlier` ends of messages are looked up. Above `per_minute` requests
    of one key and opening (the first so many tokens), traffic goes to a further machine, which knows nothing of the
    first.
    """

    minimum: int
    lifetime: float = 1800.0
    most: int = 4
    first: int = 2
    latest: int = 50
    earlier: int = 20
    per_minute: int = 15
    opening: int = 256


@dataclass(frozen=True, slots=True)
class AutomaticRules:
    """A cache that needs no markers and charges no writes; hits are counted in steps of so many tokens.

    `units` keeps whole units only: up to the end of a message, or up to where two earlier requests parted. `fixed`
    lifetimes are not renewed by reads. `per_minute` None means that traffic never overflows to another machine.
    """

    minimum: int
    step: int
    lifetime: float
    units: bool = False
    fixed: bool = False
    tools_after_system: bool = False
    per_minute: int | None = None
    opening: int = 256


@dataclass(frozen=True, slots=True)
class LastMarkerRules:
    """Gemini behind OpenRouter: only the last marker counts, found again exactly, for a fixed time."""

    minimum: int
    lifetime: float = 300.0
    closing: int = 0


LongReads = Literal["no", "reads", "extends"]


@dataclass(frozen=True, slots=True)
class MarkerRules:
    """A cache that is told by markers what to keep: Anthropic, and Qwen with a single lifetime.

    `linger` is how much longer than promised an entry lives, `eviction` how likely one is gone before its time,
    `closing` the tokens after the last block that no marker covers, by the kind of that block. Without
    `keeps_thinking` a new message of the user drops the thinking before it.

    The last group are the questions that the documentation leaves open, each with both readings: whether a marker of
    1h reads a live entry of 5m (and then makes it last an hour), whether a read refreshes the entries of shorter
    prefixes of the same path, and whether a run of tool calls (or of results) counts as one position of the look-back.
    """

    minimum: int
    lifetimes: Mapping[str, float] = field(default_factory=lambda: {SHORT: 300.0, LONG: 3600.0})
    most: int = 4
    window: int = 20
    linger: float = 0.0
    eviction: float = 0.0
    seed: int = 0
    closing: Mapping[str, int] = field(default_factory=dict)
    keeps_thinking: bool = True
    one_hour_reads_5m: LongReads = "reads"
    reads_refresh_ancestors: bool = True
    collapse_tool_runs: bool = True

    def pessimistic(self) -> MarkerRules:
        """The same cache under the reading of every open question that costs most."""
        return replace(self, one_hour_reads_5m="no", reads_refresh_ancestors=False, collapse_tool_runs=False)
