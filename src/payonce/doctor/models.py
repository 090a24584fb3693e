"""What is known of a model's prompt cache by its name: whether it caches only what is marked, and for how long.

Rules of thumb for explaining, drawn from the providers' documentation (docs/doctor.md); what an exchange reports always
counts for more. Prices and minimums are handed in. This room must never guess a price.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Protocol

from payonce.ledger.money import EXACT
from payonce.ledger.prices import Prices, Rates


class Marking(StrEnum):
    """What markers do for a model."""

    NEEDED = "needed"
    """Nothing is cached without one."""
    USED = "used"
    """They are read, and something is cached without them too."""
    UNUSED = "unused"
    """They change nothing."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Habit:
    """How a model's prompt cache behaves. `ttl` is the usual lifetime in seconds where no marker says it; `limit` is
    how many markers it takes (0: any number); `step` is how coarsely it counts, in tokens."""

    marking: Marking
    ttl: float
    limit: int = 0
    step: int = 1


_CLAUDE = Habit(Marking.NEEDED, 300.0, limit=4)
_UNKNOWN = Habit(Marking.UNKNOWN, 300.0, step=256)

_HABITS: tuple[tuple[re.Pattern[str], Habit], ...] = tuple(
    (re.compile(pattern), habit)
    for pattern, habit in (
        (r"claude|fable|mythos", _CLAUDE),
        (r"\bnova-", Habit(Marking.NEEDED, 300.0, limit=4)),
        (r"qwen(3-max|-plus|3\.6-plus|3-coder-(plus|flash))", Habit(Marking.NEEDED, 300.0, limit=4)),
        (r"qwen", Habit(Marking.UNKNOWN, 300.0, step=256)),
        (r"gemini", Habit(Marking.USED, 300.0, step=256)),
        (r"minimax", Habit(Marking.USED, 300.0, limit=4, step=256)),
        (r"gpt-5\.([6-9]|\d\d)|gpt-([6-9]|\d\d)", Habit(Marking.USED, 1800.0, step=128)),
        (r"kimi-k([3-9]|\d\d)", Habit(Marking.USED, 300.0, step=256)),
        (r"gpt|\bo[134]\b|o[134]-|chatgpt|codex", Habit(Marking.UNUSED, 600.0, step=128)),
        (r"deepseek", Habit(Marking.UNUSED, 7200.0, step=256)),
        (r"grok", Habit(Marking.UNUSED, 600.0, step=128)),
        (r"mistral|codestral|devstral|magistral|glm|kimi|llama", Habit(Marking.UNUSED, 600.0, step=256)),
    )
)


def habit_of(model: str, dialect: str) -> Habit:
    """What to expect of a model; `messages` is Anthropic's dialect, so markers are needed unless the name says else."""
    name = model.lower()
    for pattern, habit in _HABITS:
        if pattern.search(name):
            return habit
    return _CLAUDE if dialect == "messages" else _UNKNOWN


class PriceOf(Protocol):
    """Where prices come from."""

    def __call__(self, model: str, upstream: str, tokens: int, at: float, /) -> Rates | None:
        """The rates of a request of so many input tokens at a time; None where they are not known."""
        ...


MinimumOf = Callable[[str], int | None]
"""The shortest prefix that a model caches, in tokens; None where it is not known."""


def lost(rates: Rates | None, plain: int, written_5m: int, written_1h: int) -> Decimal | None:
    """What it cost, in US dollars, that so many tokens were not read but paid for as plain input or written anew; None
    where no price is known."""
    if rates is None or rates.input is None or rates.cache_read is None:
        return None
    write_5m = rates.input if rates.cache_write_5m is None else rates.cache_write_5m
    write_1h = write_5m if rates.cache_write_1h is None else rates.cache_write_1h
    with localcontext(EXACT):
        paid = plain * rates.input + written_5m * write_5m + written_1h * write_1h
        return max(Decimal(0), paid - (plain + written_5m + written_1h) * rates.cache_read)


def rates_from(prices: Prices) -> PriceOf:
    """The rates of a price list, by the upstream's URL where there is one (else by the model's own name). A time that
    is no Unix time counts as now."""

    def price_of(model: str, upstream: str, tokens: int, at: float, /) -> Rates | None:
        return prices.rates(model, provider=upstream or None, prompt_tokens=tokens, at=at if at > 1e9 else None)

    return price_of


def no_price(_model: str, _upstream: str, _tokens: int, _at: float, /) -> Rates | None:
    """Knows no price."""
    return None


def no_minimum(_model: str) -> int | None:
    """Knows no minimum."""
    return None
