"""What a token costs: the upstream's own /models prices where it publishes them, else genai-prices, else unknown.

(An answer's own `cost` stands above both: `payonce.ledger.money`.) Prices come from `learn_models` and from the extra
`prices`; without either every price is unknown, which is counted and never guessed. This room must never do I/O.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from payonce.ledger.genai_table import Finder, genai_finder
from payonce.ledger.price_rows import KINDS, Era, Rates, Row, rows_of

__all__ = ["MISSING_EXTRA", "Prices", "Rates", "model_names"]

MISSING_EXTRA: Final = "prices are unknown where the upstream publishes none; run pip install 'payonce[prices]'"
_MEMO: Final = 4096
_UPSTREAMS: Final = 64
_SAME_PRICE: Final = frozenset({"nitro", "floor", "exacto", "online", "thinking", "beta"})
"""OpenRouter's variants that choose a host or add a tool: tokens have the model's own price. (`batch` and `extended`
have prices of their own.)"""
_FREE: Final = Row("models", (Era(dict.fromkeys(KINDS, Decimal(0))),))
_DATED: Final = re.compile(r"-(?:20\d{6}|20\d\d-\d\d-\d\d)$")


class Prices:
    """Prices by model. Thread safe; holds at most a few thousand rows.

    `clock` gives Unix seconds, for prices that change by date or time of day. `table` finds what no upstream
    published; by default it is genai-prices where that is installed.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, table: Callable[[], Finder | None] = genai_finder
    ) -> None:
        self._clock = clock
        self._open = table
        self._lock = threading.Lock()
        self._loading: threading.Thread | None = None
        self._find: Finder | None = None
        self._loaded = False
        self._published: dict[str, dict[str, Row]] = {}
        self._memo: dict[tuple[str, str], Row | None] = {}
        self._recent: dict[tuple[str, str | None], Row | None] = {}
        """What was asked for since anything was learned."""
        self.unknown = 0
        """How often nothing was known."""
        self.learned = 0
        """How often prices came to be known."""

    def rates(
        self, model: str, *, provider: str | None = None, prompt_tokens: int = 0, at: float | None = None
    ) -> Rates | None:
        """The prices of `model` for a prompt of that length at a time (Unix seconds, default now), or None.

        `provider` is who sends the bill: the upstream's base URL, or an id of genai-prices ("anthropic"). A URL that
        nobody has prices for has none. Without it, "author/name" is OpenRouter's, any other id its maker's. Never
        raises; the first call imports genai-prices unless `load` did.
        """
        row = self._recalled(model, provider)
        if row is None:
            self.unknown += 1
            return None
        return row.rates(prompt_tokens, self._clock() if at is None else at)

    def learn_models(self, document: object, *, provider: str | None = None) -> int:
        """Take the prices of an upstream's GET /models answer (decoded JSON), in place of what it said before; how many
        ids got one. A document without any changes nothing."""
        rows = dict(rows_of(document))
        if rows:
            with self._lock:
                biller = _biller(provider)
                if biller not in self._published and len(self._published) >= _UPSTREAMS:
                    return 0
                self._published[biller] = rows
                self._recent = {}
                self.learned += 1
        return len(rows)

    def load(self) -> bool:
        """Import genai-prices now (0.2 to 0.6 s: call it in a thread before serving); whether it is there."""
        with self._lock:
            if not self._loaded:
                self._find = self._open()
                self._loaded = True
                self._recent = {}
                self.learned += 1
        return self._find is not None

    def ready(self) -> bool:
        """Whether prices can be asked for without waiting. Where the table was not loaded yet, a thread begins to."""
        if not self._loaded and self._loading is None:
            self._loading = threading.Thread(target=self.load, name="payonce-prices", daemon=True)
            self._loading.start()
        return self._loaded

    def wait(self, seconds: float) -> None:
        """Wait until they are `ready`, for so many seconds at most."""
        if not self.ready() and self._loading is not None:
            self._loading.join(seconds)

    def now(self) -> float:
        """The time at which prices hold that are asked for now, in Unix seconds."""
        return self._clock()

    def sole_biller(self, model: str) -> str | None:
        """The upstream that publishes a price of this model, if it is the only one that does."""
        names = list(model_names(model))
        found = [biller for biller, rows in self._published.items() if any(name in rows for name in names)]
        return found[0] if len(found) == 1 else None

    @property
    def missing(self) -> str:
        """What to install, if the table is not there."""
        return "" if self.load() else MISSING_EXTRA

    def _recalled(self, model: str, provider: str | None) -> Row | None:
        recent, place = self._recent, (model, provider)
        if place in recent:
            return recent[place]
        row = self._row(model, _biller(provider))
        if len(recent) >= _MEMO:
            recent.clear()
        recent[place] = row
        return row

    def _row(self, model: str, biller: str) -> Row | None:
        names = list(model_names(model))
        places = (biller,) if biller else ("", "openrouter")
        for name in names:
            for place in places:
                row = self._published.get(place, {}).get(name)
                if row is not None:
                    return row
        if names and names[0].endswith(":free") and biller in {"", "openrouter"}:
            return _FREE
        if not self._loaded:
            self.load()
        return None if self._find is None else self._tabled(names, biller, self._find)

    def _tabled(self, names: list[str], biller: str, find: Finder) -> Row | None:
        if not names:
            return None
        place = (names[0], biller)
        if place not in self._memo:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            found = (find(name, biller or None) for name in names)
            self._memo[place] = next((row for row in found if row is not None), None)
        return self._memo[place]


def model_names(model: object) -> Iterator[str]:
    """The names under which a model's prices may stand, the most telling first: the id as it is (lower case), then
    without a preset, without a variant that leaves the price alone, without a date."""
    if not isinstance(model, str) or not 0 < len(model) <= 200:
        return
    name = model.lower()
    yield name
    plain = name.partition("@preset/")[0]
    if not plain:
        return
    base, _, variant = plain.rpartition(":")
    if base and "/" in base and variant in _SAME_PRICE:
        plain = base
    if plain != name:
        yield plain
    undated = _DATED.sub("", plain)
    if undated != plain:
        yield undated


def _biller(provider: str | None) -> str:
    """One name for one biller: its URL without a trailing slash, or its id; "" for nobody in particular."""
    if provider is None:
        return ""
    name = provider.strip().rstrip("/").lower()
    if "://" in name and re.match(r"https://(?:[a-z0-9-]+\.)*openrouter\.ai(?:[/:]|$)", name):
        return "openrouter"
    return name
