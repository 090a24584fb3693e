"""What answers teach about models: tokens for a character, the least that is cached, who refuses markers.

Each figure starts from the bundled tables and moves with what usage shows. Bounded: the least recently used model goes
first. This room must never know a conversation.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from payonce.optimise.accounts import Account

_PRIOR_CHARACTERS = 4000.0
_PRIOR_TOKENS = 1000.0
"""Four characters a token, believed as firmly as one prompt of a thousand tokens."""
_FADE = 0.98
_NEARLY = 0.8
"""A marker that turns out to be under the minimum costs nothing: from this share of it on, one is tried."""
_FAR = 4
"""A prompt this many times longer than the minimum that isn't cached says something else: the host doesn't cache."""
_STANDS_DOWN = 86_400.0


@dataclass(slots=True)
class _Limit:
    """The least prompt that was seen to be cached, and the greatest that was seen not to be."""

    written: float = float("inf")
    not_written: float = 0.0


@dataclass(slots=True)
class Model:
    """What is known of one model."""

    tokens: float = _PRIOR_TOKENS
    characters: float = _PRIOR_CHARACTERS
    limits: dict[str, _Limit] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    """Until when its markers are left out, by host ("" for any)."""
    reads_short: float = 0.65
    """How far a marker of an hour is believed to read a live entry of five minutes."""
    latency: float = 4.0
    """How long an answer takes, in seconds, on average."""
    account: Account = field(default_factory=Account)
    """Of all tenants together."""

    def per_character(self) -> float:
        return self.tokens / self.characters

    def measured(self, tokens: float, characters: float) -> None:
        """A prompt of so many characters was billed as so many tokens."""
        if tokens > 0 and characters > 0 and 0.02 < tokens / characters < 5:
            self.tokens = self.tokens * _FADE + tokens
            self.characters = self.characters * _FADE + characters

    def minimum(self, stated: int, host: str) -> float:
        """The least number of tokens that is cached, as far as we know."""
        limit = self.limits.get(host)
        if limit is None:
            return stated
        if limit.written < stated:
            return limit.written
        return max(float(stated), limit.not_written + 1) if limit.not_written >= stated else stated

    def tried_from(self, stated: int, host: str) -> float:
        """From how many tokens on a marker is tried: nearly the minimum, but more than was seen not to be cached."""
        limit = self.limits.get(host)
        return max(self.minimum(stated, host) * _NEARLY, limit.not_written + 1 if limit is not None else 0.0)

    def was_written(self, host: str, tokens: float) -> None:
        limit = self._limit(host)
        limit.written = min(limit.written, tokens)
        if limit.not_written >= limit.written:
            limit.not_written = 0.0

    def was_not_written(self, host: str, tokens: float, stated: int) -> None:
        limit = self._limit(host)
        if tokens < min(limit.written, stated * _FAR):
            limit.not_written = max(limit.not_written, tokens)

    def answered(self, seconds: float) -> None:
        """An answer took so long."""
        self.latency += 0.1 * (min(max(seconds, 0.0), 120.0) - self.latency)

    def _limit(self, host: str) -> _Limit:
        if len(self.limits) > 32:
            self.limits.clear()
        return self.limits.setdefault(host, _Limit())

    def stand_down(self, host: str, now: float) -> None:
        """Markers were refused: leave them out for a day."""
        if len(self.refused) > 32:
            self.refused.clear()
        self.refused[host] = now + _STANDS_DOWN

    def stands_down(self, host: str, now: float) -> bool:
        """Whether this host refused them, or any did where the host isn't known."""
        if not self.refused:
            return False
        if not host:
            return max(self.refused.values()) > now
        return max(self.refused.get(host, 0.0), self.refused.get("", 0.0)) > now

    def reading(self, short_was_read: bool) -> None:
        """A marker of an hour met a live entry of five minutes, and read it or not."""
        self.reads_short = 0.2 * self.reads_short + (0.8 if short_was_read else 0.0)


class Models:
    """All models, at most `most`."""

    def __init__(self, most: int = 512) -> None:
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._most = most

    def of(self, name: str) -> Model:
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = Model()
            if len(self._models) > self._most:
                self._models.popitem(last=False)
        else:
            self._models.move_to_end(name)
        return model
