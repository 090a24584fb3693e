"""The simulated provider's prompt cache: a `Meter` that asks the strict models of `payonce.testing.providers`.

Each model has OpenRouter's routing in front of hosts with caches of their own; Anthropic's own endpoint has one host.
`sim/large` and `sim/thinker` follow Claude's rules, `sim/small` those of OpenAI before GPT-5.6. Usage that overlaps, as
recorded of Gemini through OpenRouter, is told without the overlap. This room must never know how an answer is written.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from payonce.testing.providers import Diagnoses, Family, Outage, Ready, Router, Sizes, Split, family_of
from payonce.testing.providers.render import render
from payonce.testing.sim_ask import AskError
from payonce.testing.sim_bill import Input, tenant_of

_DIALECTS: Final = {"chat/completions": "chat", "messages": "messages", "responses": "responses"}
_STANDS_FOR: Final = {
    "sim/large": "anthropic/claude-sonnet-4.5",
    "sim/thinker": "anthropic/claude-sonnet-4.5",
    "sim/small": "openai/gpt-4.1",
}
_MOST: Final = 200
"""Models whose caches are kept at once; the one longest unused goes."""

NATIVE: Final = "x-sim-native"
"""The header that the provider adds for the meter where Anthropic's own endpoint was asked."""


class CacheMeter:
    """Says what of a request's input is read from a prompt cache and written to it.

    `family` finds the kind of cache for a model name, `seed` chooses hosts, `outages` take some away for a while.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        family: Callable[[str], Family] = family_of,
        sizes: Sizes | None = None,
        outages: Sequence[Outage] = (),
    ) -> None:
        self._seed = seed
        self._family = family
        self._sizes = sizes or Sizes()
        self._outages = outages
        self._diagnoses = Diagnoses()
        self._routers: OrderedDict[tuple[str, bool], Router] = OrderedDict()

    def charge(self, endpoint: str, body: Mapping[str, Any], headers: Mapping[str, str], now: float) -> Input:
        """The input of one request; AskError where the provider refuses it."""
        asked = dict(body)
        asked["model"] = body.get("model") or next(iter(body.get("models") or ()), "")
        native = NATIVE in headers
        router = self._router(str(asked["model"]), native)
        tenant = tenant_of(headers.get("x-api-key") or headers.get("authorization", ""))
        ready = Ready()
        try:
            served = router.serve(
                asked, dialect=_DIALECTS[endpoint], now=now, tenant=tenant, headers=headers, ready=ready
            )
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            raise AskError(400, f"Invalid request: {error}") from None
        if served.error is not None:
            raise AskError(served.status, served.error)
        return _input(served.split, served.host, ready)

    def diagnosed(self, given: Input, body: Mapping[str, Any], headers: Mapping[str, str], id: str) -> Input:  # noqa: A002
        """The same input, with Anthropic's own account of how the request parted from the one before, if it is asked
        for; `id` is the answer's."""
        wanted = body.get("diagnostics")
        if NATIVE not in headers or not isinstance(wanted, dict):
            return given
        tenant = tenant_of(headers.get("x-api-key") or headers.get("authorization", ""))
        asked = render(body, "messages", self._sizes, headers)
        found = self._diagnoses.of(asked, wanted, tenant)
        self._diagnoses.remember(id, asked, tenant)
        return replace(given, extra={"diagnostics": found})

    def began(self, given: Input, now: float) -> None:
        """What the request wrote can be read from now on."""
        if isinstance(given.memo, Ready):
            given.memo.at = min(given.memo.at, now)

    def _router(self, model: str, native: bool) -> Router:
        name = model.partition(":")[0]
        router = self._routers.get((name, native))
        if router is None:
            family = self._family(_STANDS_FOR.get(name, name))
            hosts = [family.provider(host=host, sizes=self._sizes) for host in family.hosts[: 1 if native else None]]
            router = Router(hosts, seed=self._seed, outages=self._outages)
            self._routers[name, native] = router
            if len(self._routers) > _MOST:
                self._routers.popitem(last=False)
        self._routers.move_to_end((name, native))
        return router


def _input(split: Split, host: str, ready: Ready) -> Input:
    return Input(split.plain, split.read, split.write, split.write_1h, host, ready)
