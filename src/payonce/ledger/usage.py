"""What an answer used, read from its usage object: input that was read from the provider's prompt cache, written to it
and neither, and output.

Three conventions count the same tokens differently: *exclusive* (Anthropic, Bedrock: the input figure leaves out what
was read or written), *inclusive* (OpenAI and nearly everybody: it is the whole prompt) and *overlapping* (Gemini
through OpenRouter: what is written is read at once, so that both figures cover the same tokens). docs/ledger.md has the
table and the sources. An absent field is unknown, never 0. This room must never know prices, and never raise.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from payonce.ledger.charged import read_money
from payonce.ledger.folding import fold
from payonce.ledger.shapes import Reading, read_exclusive, read_gemini, read_inclusive, reader_of

__all__ = ["FIGURES", "Usage", "fold", "parse"]

FIGURES: Final = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")
"""The five figures of every dialect, in tokens."""


class Usage(msgspec.Struct, frozen=True):
    """What one answer used. Figures are tokens, None where the answer does not say; money is US dollars.

    `input_total` is the whole prompt, `reasoning` a part of `output`. `cost` is what the provider says it charged;
    `input_cost` its part for the prompt, `upstream_cost` what the host charged OpenRouter, or the user's own key where
    `byok` is true (`cost` is then OpenRouter's fee alone). `inferred` names the figures that follow from a rule and not
    from a field of their own; `anomaly` says why the figures don't add up, and is empty where they do. `elsewhere` is
    what calls to other models inside this one used (Anthropic's advisor tool), by model, in none of the figures.
    """

    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    input_total: int | None = None
    cost: Decimal | None = None
    input_cost: Decimal | None = None
    upstream_cost: Decimal | None = None
    byok: bool | None = None
    reasoning: int | None = None
    anomaly: str = ""
    inferred: tuple[str, ...] = ()
    convention: str = "none"
    elsewhere: tuple[tuple[str, Usage], ...] = ()

    @property
    def cache_write(self) -> int | None:
        """Tokens written for any time to live; None where that is unknown."""
        if self.cache_write_5m is None and self.cache_write_1h is None:
            return None
        return (self.cache_write_5m or 0) + (self.cache_write_1h or 0)

    @property
    def overlapping(self) -> bool:
        """True where the tokens written were read too, and are billed as both."""
        return self.convention == "overlapping"


def parse(
    usage: object, *, dialect: str, model: str | None = None, provider: str | None = None, ttl: str | None = None
) -> Usage:
    """The figures of a usage object, as the answer of `dialect` ("chat", "messages", "responses" or "embeddings")
    carried it; a stream's usage is first put together by `fold`.

    `model` and `provider` tell what can't be seen in the object (Gemini's overlap). `ttl` ("5m" or "1h") is the time to
    live of all the request's markers, for hosts that report writes without it; else such writes count as 5m, the
    default, and are named in `inferred`. What is no token count (a boolean, a float, a text, a negative or a giant)
    becomes None with an anomaly. Never raises.
    """
    if not isinstance(usage, dict):
        return Usage(anomaly="" if usage is None else "the usage is not an object")
    kind = reader_of(usage, dialect)
    reading = Reading(usage, gemini=_is_gemini(model, provider), ttl=ttl)
    if kind == "exclusive":
        read_exclusive(reading)
    elif kind == "gemini":
        read_gemini(reading)
    else:
        read_inclusive(reading, cached=dialect != "embeddings")
    read_money(reading)
    found = _settled(reading)
    return _with_iterations(found, usage, model) if kind == "exclusive" and usage.get("iterations") else found


def _settled(reading: Reading) -> Usage:
    return Usage(
        reading.plain,
        reading.read,
        reading.write_5m,
        reading.write_1h,
        reading.output,
        reading.total,
        reading.cost,
        reading.input_cost,
        reading.upstream_cost,
        reading.byok,
        reading.reasoning,
        "; ".join(reading.anomalies),
        tuple(reading.inferred),
        reading.convention,
    )


def _is_gemini(model: str | None, provider: str | None) -> bool:
    return "gemini" in (model or "").lower() or (provider or "").lower().startswith(("google", "gemini"))


def _with_iterations(found: Usage, usage: dict[str, Any], model: str | None) -> Usage:
    """`found` with the sampling steps inside the call that its figures leave out.

    Anthropic counts steps of type "message" at the top level and leaves out the others: a compaction is billed at the
    model's own prices and joins the figures, an advisor at its model's and is held apart. (Recorded: pydantic-ai's
    test_anthropic_compaction_end_to_end and test_anthropic_advisor_tool.)
    """
    steps = usage["iterations"]
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return _blamed(found, "iterations is not a list of objects")
    read = [(step, parse({**step, "iterations": None}, dialect="messages")) for step in steps[:1000]]
    inside = [one for step, one in read if step.get("type") == "message"]
    others = [(step, one) for step, one in read if step.get("type") != "message"]
    if not _adds_up(found, inside):
        if others and _adds_up(found, [one for _, one in read]):
            return found
        return _blamed(found, "the iterations do not add up to the figures")
    elsewhere = []
    for step, one in others:
        named = step.get("model")
        if isinstance(named, str) and named and named != model:
            elsewhere.append((named, one))
        else:
            found = _joined(found, one)
    return replace(found, elsewhere=tuple(elsewhere))


def _adds_up(found: Usage, parts: list[Usage]) -> bool:
    return all(
        getattr(found, name) is None or sum(getattr(one, name) or 0 for one in parts) == getattr(found, name)
        for name in FIGURES
    )


def _joined(one: Usage, other: Usage) -> Usage:
    return replace(
        one,
        input_uncached=_plus(one.input_uncached, other.input_uncached),
        cache_read=_plus(one.cache_read, other.cache_read),
        cache_write_5m=_plus(one.cache_write_5m, other.cache_write_5m),
        cache_write_1h=_plus(one.cache_write_1h, other.cache_write_1h),
        output=_plus(one.output, other.output),
        input_total=_plus(one.input_total, other.input_total),
        reasoning=_plus(one.reasoning, other.reasoning),
    )


def _plus(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else one + other


def _blamed(found: Usage, anomaly: str) -> Usage:
    return replace(found, anomaly="; ".join(filter(None, (found.anomaly, anomaly))))
