"""How a model's provider caches prompts, read from the bundled tables: kind, multipliers, minimum.

Nothing about a provider is written in code: `data/providers.json` and `data/minimums.json` say it, with their sources.
A model's name is read as words and a version, so that `anthropic/claude-sonnet-4.5`, `claude-4.5-sonnet-20250929` and
`us.anthropic.claude-sonnet-4-5-20250929-v1:0` are one model. This room must never know a body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson

Kind = Literal["marker", "paid-auto", "auto-key", "auto", "none", "unknown"]
"""`marker`: caches what is marked. `paid-auto`: caches by itself and charges for it. The other two cache for nothing,
with a key that steers (`auto-key`) or without."""

_TAIL = re.compile(r"[:@].*$|-v\d+(?::\d+)?$")
_PART = re.compile(r"[a-z]+|\d+")
_LONGEST_VERSION_PART = 4
"""Longer runs of digits in a model's name are dates."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What planning needs to know of a model. Multipliers are of the plain input price; `minimum` is in tokens.
    `write_1h` is None where only one lifetime is sold."""

    kind: Kind
    slots: int
    lookback: int
    write_5m: float
    write_1h: float | None
    read: float
    minimum: int
    key: bool = False
    conversation_header: str = ""


class Rates(Protocol):
    """Dollars for a token, as `payonce.ledger.prices` tells them."""

    @property
    def input(self) -> Any: ...
    @property
    def cache_read(self) -> Any: ...
    @property
    def cache_write_5m(self) -> Any: ...
    @property
    def cache_write_1h(self) -> Any: ...


class PriceList(Protocol):
    """Where rates come from, if not from the bundled multipliers."""

    def rates(self, model: str) -> Rates | None: ...


UNKNOWN = Traits("unknown", 0, 0, 1.0, None, 1.0, 0)


def name_parts(model: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The words and the version in a model's name, without vendor, variant and date."""
    name = _TAIL.sub("", _TAIL.sub("", model.lower().rsplit("/", 1)[-1]))
    parts = _PART.findall(name)
    words = tuple(part for part in parts if not part.isdigit())
    version = tuple(int(part) for part in parts if part.isdigit() and len(part) <= _LONGEST_VERSION_PART)
    return words, version


@lru_cache(maxsize=1)
def tables() -> dict[str, Any]:
    """The bundled tables, read once."""
    data = Path(__file__).parent / "data"
    providers: dict[str, Any] = orjson.loads((data / "providers.json").read_bytes())
    providers["minimums"] = orjson.loads((data / "minimums.json").read_bytes())["minimums"]
    return providers


class Catalogue:
    """The traits of every model asked for, each worked out once. At most `most` models are remembered."""

    def __init__(
        self, prices: PriceList | None = None, minimums: Mapping[str, float] | None = None, most: int = 512
    ) -> None:
        self._prices = prices
        self._most = most
        self._known: dict[str, Traits] = {}
        self._minimums: dict[tuple[frozenset[str], tuple[int, ...]], int] = {}
        for source in (tables()["minimums"], minimums or {}):
            for model, tokens in source.items():
                words, version = name_parts(model)
                self._minimums[frozenset(_family(words)), version] = int(tokens)

    def traits(self, model: str) -> Traits:
        """How the provider of `model` caches prompts; kind `unknown` where the tables don't say."""
        known = self._known.get(model)
        if known is None:
            if len(self._known) >= self._most:
                self._known.clear()
            known, settled = self._read(model)
            if settled:
                self._known[model] = known
        return known

    def _read(self, model: str) -> tuple[Traits, bool]:
        """The traits, and whether they are worth keeping: where prices are expected and not known yet, they aren't."""
        words, version = name_parts(model)
        table = tables()
        for row in table["models"]:
            if not set(row["words"]) <= set(words) or not _within(version, row):
                continue
            facts = {**table["kinds"][row["kind"]], **{k: v for k, v in row.items() if k in _OWN}}
            traits = Traits(row["kind"], **facts)
            minimum = self._minimum(words, version)
            return self._priced(model, replace(traits, minimum=traits.minimum if minimum is None else minimum))
        return UNKNOWN, True

    def _minimum(self, words: tuple[str, ...], version: tuple[int, ...]) -> int | None:
        """The row of the same version whose words are all in the name; the one with most words where several are."""
        given = set(words)
        fits = [(len(row), tokens) for (row, of), tokens in self._minimums.items() if of == version and row <= given]
        return max(fits)[1] if fits else None

    def _priced(self, model: str, traits: Traits) -> tuple[Traits, bool]:
        if self._prices is None:
            return traits, True
        rates = self._prices.rates(model)
        if rates is None or not rates.input:
            return traits, False

        def times(rate: Any, otherwise: float) -> float:
            return otherwise if rate is None else float(rate / rates.input)

        long = traits.write_1h
        priced = replace(
            traits,
            read=times(rates.cache_read, traits.read),
            write_5m=times(rates.cache_write_5m, traits.write_5m),
            write_1h=None if long is None else times(rates.cache_write_1h, long),
        )
        return priced, True


_OWN = frozenset(("slots", "lookback", "write_5m", "write_1h", "read", "minimum", "key", "conversation_header"))


def _family(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words from the model's own name on: platforms put theirs before it."""
    return words[words.index("claude") :] if "claude" in words else words


def _within(version: tuple[int, ...], row: Mapping[str, Any]) -> bool:
    return version >= tuple(row.get("from", ())) and ("below" not in row or version < tuple(row["below"]))
