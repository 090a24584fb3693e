"""`payonce probe MODEL`: asks the provider whether its prompt cache works, after saying what that will cost.

This room must never show the API key, nor spend anything before it was agreed to.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter

from payonce.cli.flags import AsJson, ConfigFile, Switch
from payonce.cli.keys import key_fields, one_upstream
from payonce.cli.output import complain, print_json
from payonce.cli.probe_report import print_probe, probe_json
from payonce.cli.progress import Gauge, progress
from payonce.config import Settings, load
from payonce.doctor.excerpts import redacted
from payonce.doctor.models import Marking, habit_of
from payonce.errors import PayonceError, SettingsError
from payonce.ledger.prices import Prices
from payonce.model.call import Call, Headers
from payonce.model.ports import Answer, Upstream, UpstreamFault
from payonce.probing import CALLS, Answered, Endpoint, Plan, Step, conclude, probe
from payonce.wording import money

_MOST = 32 << 20
"""Bytes of an answer that are read at most."""
_CATALOGUE_SECONDS = 20.0


def probe_model(
    model: str,
    /,
    *,
    yes: Annotated[bool, Switch, Parameter(help="Spend what it costs without asking.")] = False,
    endpoint: Annotated[
        Literal["chat/completions", "messages"] | None,
        Parameter(help="The endpoint to ask; without it messages for Anthropic's own API, else chat/completions."),
    ] = None,
    pause: Annotated[float, Parameter(help="Seconds between a prefix's first time and its second.")] = 1.0,
    key_env: Annotated[
        str | None, Parameter(help="The environment variable that holds the API key; '' sends none.")
    ] = None,
    key_header: Annotated[str | None, Parameter(help="The header in which the upstream takes the key.")] = None,
    upstream: Annotated[
        list[str] | None, Parameter(help="The upstream, as for serve: URL.", negative="", consume_multiple=False)
    ] = None,
    json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Ask a provider whether its prompt cache works: reads, writes, hosts, prices and the shortest prefix that counts.

    Six small calls. It says first what they will cost. Exit code 0: a prefix was read; 1: none was.

    Parameters
    ----------
    model
        The model, as the upstream calls it: anthropic/claude-sonnet-4.5
    """
    if not 0 <= pause <= 60:
        raise SettingsError("--pause: write a number of seconds from 0 to 60")
    settings = load({"upstream": upstream or None}, os.environ, config).settings
    url = dict(settings.upstream)[one_upstream(settings)]
    native = "anthropic.com" in url
    fields = key_fields(
        ("ANTHROPIC_API_KEY" if native else "OPENROUTER_API_KEY") if key_env is None else key_env,
        ("x-api-key" if native else "authorization") if key_header is None else key_header,
    )
    asked: Endpoint = endpoint or ("messages" if native else "chat/completions")
    run = _Run(settings, url, (*fields, *_HEADERS[asked]), pause)
    try:
        plan = asyncio.run(run.plan(model, asked))
        if not _agreed(plan, url, yes=yes):
            complain("nothing was asked, nothing was spent")
            return 1
        steps = asyncio.run(run.steps(plan))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    verdict = conclude(plan, steps)
    if json:
        print_json(probe_json(plan, steps, verdict, url))
    else:
        print_probe(plan, steps, verdict)
    if steps[-1].status != 200:
        return 2 if len(steps) == 1 else 1
    return 0 if verdict.works else 1


def _agreed(plan: Plan, url: str, *, yes: bool) -> bool:
    """Say what it will cost, and ask whether to go on."""
    estimate = plan.estimate()
    cost = "at a price that is not known"
    if estimate is not None:
        cost = f"for about {money(estimate[0])} (an estimate; at most {money(estimate[1])})"
    minimum = f"{plan.minimum:,}" if plan.minimum else f"unknown, taken for {plan.around:,}"
    text = (
        f"payonce probe asks {redacted(url)} for {plan.model}: {CALLS} calls of up to {plan.long:,} words, {cost}. "
        f"The documented minimum is {minimum} tokens."
    )
    print(text, file=sys.stderr, flush=True)
    if yes:
        return True
    if not sys.stdin.isatty():
        raise SettingsError("this costs money, and nobody is there to agree: run it again with --yes")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


_JSON = ((b"content-type", b"application/json"), (b"accept", b"application/json"))
_HEADERS: dict[Endpoint, Headers] = {
    "chat/completions": _JSON,
    "messages": (*_JSON, (b"anthropic-version", b"2023-06-01")),
}


class _Run:
    """One run of the command: two short lives of an event loop, since nothing runs while somebody is asked."""

    def __init__(self, settings: Settings, url: str, headers: Headers, pause: float) -> None:
        self._settings = settings
        self._url = url
        self._headers = headers
        self._pause = pause

    async def plan(self, model: str, endpoint: Endpoint) -> Plan:
        """What to ask, with the upstream's own prices where it lists them."""
        async with self._open() as client:
            return await self._plan(client, model, endpoint)

    async def steps(self, plan: Plan) -> list[Step]:
        """Every call, as it was answered."""
        session = b"payonce-probe-" + plan.nonce.encode()
        async with self._open() as client:
            ask = partial(self._ask, client, plan.endpoint, (*self._headers, (b"x-session-id", session)))
            with progress("probing", CALLS) as gauge:
                return await self._steps(plan, ask, gauge)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Upstream]:
        from payonce.gateway.deadlines import keep_deadlines
        from payonce.gateway.upstream import HttpUpstream

        client = HttpUpstream(self._url, self._settings)
        keeper = asyncio.get_running_loop().create_task(keep_deadlines((), (client,), self._settings))
        try:
            yield client
        finally:
            keeper.cancel()
            client.close()

    async def _plan(self, client: Upstream, model: str, endpoint: Endpoint) -> Plan:
        from payonce.optimise.traits import Catalogue

        prices = Prices()
        if endpoint != "messages" or "anthropic.com" not in self._url:
            try:
                async with asyncio.timeout(_CATALOGUE_SECONDS):
                    listed = await self._ask(client, "models", self._headers, b"", method="GET")
                prices.learn_models(listed.body, provider=self._url)
            except (TimeoutError, PayonceError):
                pass  # a table may know the price
        minimum = Catalogue().traits(model).minimum or None
        guess = 3000
        rates = prices.rates(model, provider=self._url, prompt_tokens=guess) or prices.rates(model, prompt_tokens=guess)
        return Plan(
            model,
            endpoint,
            secrets.token_hex(6),
            minimum,
            habit_of(model, "").marking is not Marking.UNUSED and "openai.com" not in self._url,
            rates,
        )

    async def _steps(self, plan: Plan, ask: Callable[[bytes], Awaitable[Answered]], gauge: Gauge) -> list[Step]:
        steps: list[Step] = []

        async def send(body: bytes) -> Answered:
            try:
                return await ask(body)
            except PayonceError as error:  # what was spent before is still to be told
                if not steps:
                    raise
                return Answered(0, {"error": str(error)})

        async for step in probe(plan, send, partial(asyncio.sleep, self._pause)):
            steps.append(step)
            spent = conclude(plan, steps).cost
            gauge.show(len(steps), "" if spent is None else f"{money(spent)} spent")
        return steps

    async def _ask(
        self, client: Upstream, endpoint: str, headers: Headers, body: bytes, *, method: str = "POST"
    ) -> Answered:
        """One call, read whole. A way that fails is told in one sentence."""
        began = asyncio.get_running_loop().time()
        call = Call("", method, endpoint, b"", headers, body)
        try:
            async with asyncio.timeout(self._settings.total_timeout):
                answer = await client.open(call)
                try:
                    read = await _whole(answer)
                finally:
                    answer.close()
        except UpstreamFault as fault:
            raise PayonceError(f"{self._url}: {fault.reason.sentence}; {fault.reason.fix}") from None
        except TimeoutError:
            raise PayonceError(f"{self._url}: it took too long; try again, or raise total_timeout") from None
        try:
            document: Any = orjson.loads(read)
        except orjson.JSONDecodeError:
            document = None
        taken = asyncio.get_running_loop().time() - began
        return Answered(answer.head.status, document if isinstance(document, dict) else {}, taken)


async def _whole(answer: Answer) -> bytes:
    pieces, length = [], 0
    async for chunk in answer.chunks():
        pieces.append(chunk)
        length += len(chunk)
        if length > _MOST:
            raise PayonceError("the upstream's answer is larger than any answer to a probe; check --upstream")
    return b"".join(pieces)
