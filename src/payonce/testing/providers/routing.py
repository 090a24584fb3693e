"""OpenRouter in front of several hosts: which one serves a request, and what its bill looks like.

A conversation sticks to a host: known by `session_id`, the header `x-session-id`, `prompt_cache_key`, or the hash of
its opening; forgotten after ten idle minutes; switched off by `provider.order`. With a `session_id` it sticks from any
success, without one only after a hit. Otherwise the choice is drawn, cheap hosts more often, by a seed. Source:
OpenRouter's documentation of provider routing and prompt caching. This room must never know a cache's rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from payonce.testing.providers.provider import Provider, Served
from payonce.testing.providers.render import render
from payonce.testing.providers.rules import Ready, RefusedError
from payonce.testing.providers.usage import openrouter

_MOST_KNOWN = 20_000


@dataclass(frozen=True, slots=True)
class Outage:
    """A host that answers nothing from `start` to `end`."""

    host: str
    start: float
    end: float


class Router:
    """OpenRouter for one model. `overlap` writes usage as Gemini's recording has it: written counts as read too."""

    def __init__(
        self,
        hosts: Sequence[Provider],
        *,
        seed: int = 0,
        sticky_seconds: float = 600.0,
        outages: Sequence[Outage] = (),
        overlap: bool = False,
    ) -> None:
        if not hosts:
            raise ValueError("a router needs at least one host: give it some")
        self.hosts = list(hosts)
        self._seed = seed
        self._sticky = sticky_seconds
        self._outages = outages
        self._overlap = overlap
        self._numbers = 0
        self._known: dict[str, tuple[str, float]] = {}

    def serve(
        self,
        body: Mapping[str, Any],
        *,
        dialect: str,
        now: float,
        tenant: str = "t",
        headers: Mapping[str, str] | None = None,
        first_token_after: float = 1.0,
        output_tokens: int = 0,
        answer_after: float | None = None,
        ready: Ready | None = None,
    ) -> Served:
        """Answer one request that starts at `now`, by the host that its conversation sticks to, or a drawn one.

        `ready`, where it is given, says when the answer began, in place of the two lengths of time."""
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        try:
            asked = render(body, dialect, self.hosts[0].sizes, fields)
            session, key = self._conversation(body, fields, asked.opening, tenant, asked.model)
            host, pinned = self._host(body, key, now)
            split = host.account(asked, tenant, now, ready or host.ready(now, first_token_after, answer_after))
        except RefusedError as error:
            return Served(error.status, error=str(error))
        if not pinned and host.rates.read < host.rates.input and (session or split.read):
            self._stick(key, host.host, now)
        rates = host.rates.at(split.total)
        prompt = split.cost(rates)
        cost = prompt + output_tokens * rates.output
        overlap = split.write if self._overlap else 0
        usage = openrouter(split, output_tokens, dialect, prompt_cost=prompt, cost=cost, overlap=overlap)
        return Served(200, usage, split, prompt, cost, host.host, None, split.total * rates.input - prompt)

    def _conversation(
        self, body: Mapping[str, Any], headers: Mapping[str, str], opening: bytes, tenant: str, model: str
    ) -> tuple[bool, str]:
        """Whether the client named the session, and what the conversation is known by."""
        for named in (body.get("session_id"), headers.get("x-session-id")):
            if isinstance(named, str) and named:
                if len(named) > 256:
                    raise RefusedError("session_id: String must contain at most 256 character(s)")
                return True, f"{tenant}\0{model}\0session\0{named}"
        key = body.get("prompt_cache_key")
        return False, f"{tenant}\0{model}\0key\0{key}" if key else f"{tenant}\0{model}\0opening\0{opening.hex()}"

    def _host(self, body: Mapping[str, Any], key: str, now: float) -> tuple[Provider, bool]:
        """The host, and whether the client's own order chose it."""
        wish = body.get("provider")
        wish = wish if isinstance(wish, dict) else {}
        allowed = [host for host in self.hosts if self._allowed(host.host, wish)]
        up = [host for host in allowed if not self._down(host.host, now)]
        order = [str(name).lower() for name in wish.get("order") or ()]
        self._numbers += 1
        if order:
            first = [host for name in order for host in up if host.host.lower() == name]
            rest = up if wish.get("allow_fallbacks", True) else []
            if not first and not rest:
                raise RefusedError("No allowed providers are available for the selected model.", 404)
            return (first or [self._drawn(rest)])[0], True
        if not up:
            raise RefusedError("No allowed providers are available for the selected model.", 404)
        sticky, until = self._known.get(key, ("", 0.0))
        if now < until:
            for host in up:
                if host.host == sticky:
                    self._stick(key, sticky, now)
                    return host, False
        return self._drawn(up), False

    @staticmethod
    def _allowed(host: str, wish: Mapping[str, Any]) -> bool:
        only = {str(name).lower() for name in wish.get("only") or ()}
        return (not only or host.lower() in only) and host.lower() not in {
            str(n).lower() for n in wish.get("ignore") or ()
        }

    def _down(self, host: str, now: float) -> bool:
        return any(one.host == host and one.start <= now < one.end for one in self._outages)

    def _drawn(self, hosts: Sequence[Provider]) -> Provider:
        """One of the hosts: the inverse square of its price is its weight, as OpenRouter documents."""
        weights = [1 / float(host.rates.input) ** 2 if host.rates.input else 1.0 for host in hosts]
        drawn = hashlib.blake2b(f"{self._seed}\0{self._numbers}".encode(), digest_size=8).digest()
        left = int.from_bytes(drawn, "big") / 2**64 * sum(weights)
        for host, weight in zip(hosts, weights, strict=True):
            left -= weight
            if left < 0:
                return host
        return hosts[-1]

    def _stick(self, key: str, host: str, now: float) -> None:
        if len(self._known) > _MOST_KNOWN:
            self._known = {name: kept for name, kept in self._known.items() if kept[1] > now}
        self._known[key] = (host, now + self._sticky)
