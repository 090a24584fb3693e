"""The shapes of usage objects: which fields of which provider hold what, and how one convention is read.

Field names are the providers' own (sources: docs/ledger.md). Figures that two fields give must agree. This room must
never know a price, nor where a usage object came from.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

LIMIT: Final = 1 << 53
"""No answer uses that many tokens, and JSON readers keep whole numbers exact only below it."""

_READ: Final = ("cache_read_input_tokens", "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
_READ_INSIDE: Final = ("cached_tokens", "cache_read_tokens")
_WRITTEN: Final = ("cache_creation_input_tokens", "cache_write_tokens", "cache_write_input_tokens")
_WRITTEN_INSIDE: Final = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")


class Reading:
    """One usage object while it is read: the figures found so far, what was inferred, what does not add up."""

    __slots__ = (
        *("anomalies", "byok", "convention", "cost", "gemini", "inferred", "input_cost", "output", "plain", "read"),
        *("reasoning", "total", "ttl", "upstream_cost", "usage", "write_1h", "write_5m"),
    )

    def __init__(self, usage: dict[str, Any], *, gemini: bool, ttl: str | None) -> None:
        self.usage = usage
        self.gemini = gemini
        self.ttl = ttl
        self.anomalies: list[str] = []
        self.inferred: list[str] = []
        self.convention = "none"
        self.plain: int | None = None
        self.read: int | None = None
        self.write_5m: int | None = None
        self.write_1h: int | None = None
        self.output: int | None = None
        self.total: int | None = None
        self.reasoning: int | None = None
        self.cost: Decimal | None = None
        self.input_cost: Decimal | None = None
        self.upstream_cost: Decimal | None = None
        self.byok: bool | None = None

    def count(self, source: dict[str, Any], *names: str) -> int | None:
        """The token count under `names`, of which all that are given must agree; the first counts."""
        found: int | None = None
        for name in names:
            value = source.get(name)
            if value is None:
                continue
            if type(value) is not int or not 0 <= value < LIMIT:
                self.anomalies.append(f"{name} is not a token count")
            elif found is None:
                found = value
            elif found != value:
                self.anomalies.append(f"{name} says {value}, another field {found}")
        return found

    def inside(self, *names: str) -> dict[str, Any]:
        """The first object under `names`, or an empty one."""
        for name in names:
            value = self.usage.get(name)
            if isinstance(value, dict):
                return value
            if value is not None:
                self.anomalies.append(f"{name} is not an object")
        return {}

    def agree(self, what: str, one: int | None, other: int | None) -> int | None:
        """Two reports of one figure: the first that is given, with an anomaly where they differ."""
        if one is not None and other is not None and one != other:
            self.anomalies.append(f"{what} is given as {one} and as {other}")
        return other if one is None else one

    def written(self, whole: int | None, split: object) -> None:
        """Writes, `whole` and by time to live (`split`: Anthropic's object, or Bedrock's list)."""
        short, long = self._split(split)
        if short is None and long is None:
            self._unsplit(whole)
            return
        if whole is None:
            self.write_5m, self.write_1h = short, long
            return
        rest = whole - (short or 0) - (long or 0)
        if short is None or long is None:  # one part and the whole give the other
            missing = "write_5m" if short is None else "write_1h"
            self.write_5m, self.write_1h = short, long
            if rest >= 0:
                setattr(self, missing, rest)
                self.inferred.append("cache_" + missing)
                return
        elif rest > 0:  # a stream's first split and last sum: what server tools wrote since lives 5 minutes
            self.write_5m, self.write_1h = short + rest, long
            self.inferred.append("cache_write_5m")
            return
        else:
            self.write_5m, self.write_1h = short, long
        if rest:
            self.anomalies.append(f"writes by time to live add up to {(short or 0) + (long or 0)}, not {whole}")

    def _unsplit(self, whole: int | None) -> None:
        if whole is None:
            return
        self.write_5m, self.write_1h = (0, whole) if self.ttl == "1h" else (whole, 0)
        if whole and self.ttl not in {"5m", "1h"}:
            self.inferred += ["cache_write_5m", "cache_write_1h"]

    def _split(self, split: object) -> tuple[int | None, int | None]:
        if isinstance(split, dict):
            if other := self.count(split, "ephemeral_24h_input_tokens"):
                self.anomalies.append(f"{other} tokens were written for 24h, which has no figure here")
            return self.count(split, "ephemeral_5m_input_tokens"), self.count(split, "ephemeral_1h_input_tokens")
        short = long = None
        for part in split[:100] if isinstance(split, list) else ():
            if isinstance(part, dict) and (size := self.count(part, "inputTokens", "input_tokens")) is not None:
                if part.get("ttl") == "1h":
                    long = (long or 0) + size
                else:
                    short = (short or 0) + size
        return short, long


def reader_of(usage: dict[str, Any], dialect: str) -> str:
    """How the object is to be read: "exclusive", "inclusive" or "gemini". The dialect decides where names are shared:
    `input_tokens` is what is left on `/messages` and the whole prompt on `/responses`."""
    if usage.get("promptTokenCount") is not None or usage.get("totalTokenCount") is not None:
        return "gemini"
    if usage.get("inputTokens") is not None:
        return "exclusive"
    if dialect == "messages":
        return "exclusive" if usage.get("prompt_tokens") is None else "inclusive"
    if usage.get("prompt_tokens") is not None or "input_tokens_details" in usage:
        return "inclusive"
    anthropic = usage.get("cache_read_input_tokens") is not None or usage.get("cache_creation_input_tokens") is not None
    return "exclusive" if anthropic and usage.get("input_tokens") is not None else "inclusive"


def read_exclusive(reading: Reading) -> None:
    """Anthropic's and Bedrock's: input figure + reads + writes are the whole prompt."""
    usage = reading.usage
    reading.convention = "exclusive"
    reading.plain = reading.count(usage, "input_tokens", "inputTokens")
    reading.read = reading.count(usage, "cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount")
    whole = reading.count(usage, "cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    reading.written(whole, usage.get("cache_creation", usage.get("cacheDetails")))
    reading.output = reading.count(usage, "output_tokens", "outputTokens")
    reading.reasoning = reading.count(reading.inside("output_tokens_details"), "thinking_tokens", "reasoning_tokens")
    parts = (reading.plain, reading.read, reading.write_5m, reading.write_1h)
    if None not in parts:
        reading.total = sum(part or 0 for part in parts)
    _check_total(reading, reading.count(usage, "totalTokens", "total_tokens"), reading.total)


def read_inclusive(reading: Reading, *, cached: bool) -> None:
    """OpenAI's and nearly everybody's: the input figure is the whole prompt. `cached` says that this endpoint has a
    prompt cache at all."""
    usage = reading.usage
    reading.convention = "inclusive"
    clear = len(reading.anomalies)
    native = reading.inside("tokens") if "billed_units" in usage else {}  # Cohere's own
    inside = reading.inside("prompt_tokens_details", "input_tokens_details", "input_token_details")
    after = reading.inside("completion_tokens_details", "output_tokens_details", "output_token_details")
    reading.total = reading.count(native or usage, "prompt_tokens", "input_tokens", "total_input_tokens")
    precise = reading.count(inside, "cache_read_input_tokens")  # beside it, cached_tokens may hold writes too
    reading.read = precise
    if precise is None:
        reading.read = reading.agree(
            "the cached input",
            reading.count(inside, *_READ_INSIDE),
            reading.count(usage, *_READ, "total_cached_tokens"),
        )
    whole = reading.agree("the written input", reading.count(inside, *_WRITTEN_INSIDE), reading.count(usage, *_WRITTEN))
    reading.written(whole, inside.get("cache_creation", usage.get("cache_creation")))
    hidden = len(reading.anomalies) > clear and None in {reading.read, reading.write_5m}
    reading.output = reading.count(native or usage, "completion_tokens", "output_tokens", "total_output_tokens")
    reading.reasoning = reading.agree(
        "the reasoning",
        reading.count(after, "reasoning_tokens"),
        reading.count(usage, "reasoning_tokens", "total_thought_tokens"),
    )
    said = reading.count(usage, "total_tokens")
    if reading.total is None and not cached:
        reading.total = said  # Voyage says no more than that
    if not hidden:  # else a figure is there that can't be read, and what is left of the prompt can't be told
        _divide(reading, cached=cached)
    _check_total(reading, said, reading.total)


def _divide(reading: Reading, *, cached: bool) -> None:
    """What of the prompt was neither read nor written."""
    whole, miss = reading.total, reading.count(reading.usage, "prompt_cache_miss_tokens")
    if whole is None:
        reading.plain = miss
        if miss is not None and reading.read is not None:
            reading.total = miss + reading.read
        return
    read, written = reading.read or 0, (reading.write_5m or 0) + (reading.write_1h or 0)
    plain = whole - read - written
    if read and written and max(read, written) <= whole and (reading.gemini or (plain < 0 and read == written)):
        reading.convention = "overlapping"
        plain = whole - max(read, written)
    if plain < 0:
        reading.anomalies.append(f"{read} read and {written} written are more than the prompt's {whole}")
        return
    reading.plain = reading.agree("the uncached input", miss, plain)
    if cached and miss is None and (reading.read is None or reading.write_5m is None):
        reading.inferred.append("input_uncached")  # as if what is not reported were nothing


def read_gemini(reading: Reading) -> None:
    """Google's own: the cached content lies inside the prompt, thoughts beside the candidates."""
    usage = reading.usage
    reading.convention = "inclusive"
    prompt = reading.count(usage, "promptTokenCount")
    tools = reading.count(usage, "toolUsePromptTokenCount")
    said = reading.count(usage, "totalTokenCount")
    reading.read = reading.count(usage, "cachedContentTokenCount")
    reading.reasoning = reading.count(usage, "thoughtsTokenCount")
    shown = reading.count(usage, "candidatesTokenCount", "responseTokenCount")
    if shown is not None or reading.reasoning is not None:
        reading.output = (shown or 0) + (reading.reasoning or 0)
    if prompt is None:
        return
    reading.total = prompt + (tools or 0)
    if (reading.read or 0) > prompt:
        reading.anomalies.append(f"{reading.read} cached are more than the prompt's {prompt}")
    else:
        reading.plain = reading.total - (reading.read or 0)
        reading.inferred.append("input_uncached")
    _check_total(reading, said, reading.total)


def _check_total(reading: Reading, said: int | None, whole: int | None) -> None:
    """Input and output against the answer's own total; xAI and others count reasoning beside the output."""
    if said is None or whole is None:
        return
    output = reading.output or 0
    if said == whole + output:
        return
    apart = reading.reasoning or 0
    if reading.output is not None and apart and said == whole + output + apart:
        reading.output = output + apart
    else:
        reading.anomalies.append(f"the total of {said} is not {whole} in and {output} out")
