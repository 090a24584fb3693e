"""`payonce warm FILE`: every request of a file is asked once, so that its answer is in the cache.

This room must never show the API key, nor take it from the command line.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from cyclopts import Parameter

from payonce.cli.flags import AsJson, ConfigFile, SecretFile, StoreUrl
from payonce.cli.keys import key_fields, one_upstream
from payonce.cli.output import complain, print_json, say
from payonce.cli.progress import Gauge, progress
from payonce.config import Settings, load
from payonce.config_options import ENDPOINTS
from payonce.config_types import did_you_mean
from payonce.core.directives import read_directives
from payonce.errors import PayonceError, SettingsError
from payonce.ledger.tally import dollars
from payonce.model.call import Headers
from payonce.model.reason import Reason
from payonce.warming import Done, Request, Summary, Unread, Warmth, read_line
from payonce.wording import money

_FLUSH_SECONDS = 30.0


def warm(
    file: Path,
    /,
    *,
    concurrency: Annotated[int, Parameter(help="How many requests are under way at once.")] = 8,
    endpoint: Annotated[str, Parameter(help="The endpoint of lines that name none.")] = "chat/completions",
    namespace: Annotated[str | None, Parameter(help="The namespace, as in X-Payonce-Namespace.")] = None,
    key_env: Annotated[
        str, Parameter(help="The environment variable that holds the API key; '' sends none.")
    ] = "OPENROUTER_API_KEY",
    key_header: Annotated[
        str, Parameter(help="The header in which clients send the key: authorization, x-api-key …")
    ] = "authorization",
    upstream: Annotated[
        list[str] | None, Parameter(help="The upstream, as for serve: URL.", negative="", consume_multiple=False)
    ] = None,
    json: AsJson = False,
    store: StoreUrl = None,
    secret_file: SecretFile = None,
    config: ConfigFile = None,
) -> int:
    """Ask every request of a file once, so that its answer is in the cache. Exit code 0: all of them are.

    What is in the cache already costs nothing, so it can be run again until all is warm. Requests that would not be
    cached are not sent. Rules, lifetimes and keys are those of the gateway with the same settings.

    Parameters
    ----------
    file
        One request body in JSON a line, {"body": {…}, "headers": {…}, "endpoint": "…"}, or an OpenAI batch line.
    """
    if not 1 <= concurrency <= 1000:
        raise SettingsError("--concurrency: write a whole number from 1 to 1000")
    flags = {"upstream": upstream or None, "store": store, "secret_file": secret_file}
    settings = load(flags, os.environ, config).settings
    if settings.store.startswith("memory:"):
        raise SettingsError("store: what is warmed in memory: is gone at the end; name a store, such as sqlite:PATH")
    fields = _fields(key_env, key_header, namespace)
    name = one_upstream(settings)
    default = _endpoint(endpoint)
    with _opened(file) as lines:
        total = os.fstat(lines.fileno()).st_size
        with progress("warming", total) as gauge:
            run = _Run(settings, name, concurrency, gauge)
            try:
                summary = asyncio.run(run.all(_requests(lines, default, fields, run)))
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
    if summary.complete and not summary.counts:
        complain(f"{file} holds no requests; write one request a line as JSON")
    return _report(summary, run.lost, as_json=json)


class _Run:
    """One run of the command, on its own loop."""

    def __init__(self, settings: Settings, upstream: str, concurrency: int, gauge: Gauge) -> None:
        self.settings = settings
        self.upstream = upstream
        self.concurrency = min(concurrency, settings.max_flights)
        self.place = 0
        self.lost = 0
        self._gauge = gauge

    async def all(self, requests: Iterator[Request | Unread]) -> Summary:
        """Open the world, warm, and close it, whatever happens."""
        from payonce.assembly import World
        from payonce.gateway.deadlines import keep_deadlines
        from payonce.gateway.upstream import HttpUpstream
        from payonce.warming import Sender, Watch, await_store
        from payonce.warming import warm as warm_all

        loop, settings = asyncio.get_running_loop(), self.settings
        upstreams = {name: HttpUpstream(url, settings) for name, url in settings.upstream}
        world = await loop.run_in_executor(None, World, settings, upstreams)
        keeper = loop.create_task(keep_deadlines((), upstreams.values(), settings))
        try:
            if world.warnings:
                raise PayonceError(f"nothing was sent, as nothing would be kept: {world.warnings[0]}")
            await loop.run_in_executor(None, await_store, settings.store, world.tiers.keeper)
            await world.start()
            stop = asyncio.Event()
            _on_interrupt(loop, partial(self._interrupted, stop, asyncio.current_task()))
            sender, watch = Sender(world, self.upstream), Watch(world.tiers.keeper)
            summary = await warm_all(
                requests,
                sender,
                clock=loop.time,
                concurrency=self.concurrency,
                on_done=self._done,
                stop=stop,
                trouble=watch.trouble,
            )
            flushed = await loop.run_in_executor(None, world.tiers.keeper.flush, _FLUSH_SECONDS)
            self.lost = sum(watch.lost().values()) or int(not flushed)
            return summary
        except asyncio.CancelledError:
            await world.player.drain(0.0, lambda _flight: True)
            raise
        finally:
            keeper.cancel()
            await world.stop()
            for opened in upstreams.values():
                opened.close()

    def _done(self, done: Done, summary: Summary) -> None:
        if done.sent.warmth is Warmth.FAILED:
            complain(f"line {done.number}: {done.sent.because}")
        self._gauge.show(self.place, _figures(summary))

    @staticmethod
    def _interrupted(stop: asyncio.Event, task: asyncio.Task[Any] | None) -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        elif not stop.is_set():
            complain(
                "stopping: calls under way are finished and kept, as they are paid for; Ctrl-C again gives them up"
            )
        stop.set()


def _on_interrupt(loop: asyncio.AbstractEventLoop, call: Any) -> None:
    with suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread: there is no signal to catch
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, call)


def _requests(lines: BinaryIO, endpoint: str, fields: Headers, run: _Run) -> Iterator[Request | Unread]:
    for number, line in enumerate(lines, start=1):
        run.place += len(line)
        if not line.strip():
            continue
        request = read_line(number, line, endpoint, fields)
        if isinstance(request, Request) and request.endpoint not in ENDPOINTS:
            yield Unread(number, f"{request.endpoint!r} is not an endpoint that is cached")
        else:
            yield request


def _figures(summary: Summary) -> str:
    counts = summary.counts
    failed = f", {counts[Warmth.FAILED]} failed" if counts[Warmth.FAILED] else ""
    return f"{counts[Warmth.HIT]} hits, {counts[Warmth.KEPT]} new, {money(summary.cost)} spent{failed}"


def _report(summary: Summary, lost: int, *, as_json: bool) -> int:
    if as_json:
        print_json(
            {warmth.value: summary.counts[warmth] for warmth in Warmth}
            | {
                "dollars": dollars(summary.cost),
                "calls_without_price": summary.unpriced,
                "lost": lost,
                "complete": summary.complete,
                "stopped_because": summary.because or None,
                "failing": [{"line": number, "because": because} for number, because in summary.failed],
            }
        )
    else:
        say(_figures(summary))
        if summary.unpriced:
            say(f"of unknown price: {summary.unpriced} {'call' if summary.unpriced == 1 else 'calls'}")
        if summary.failed:
            numbers = [str(number) for number, _ in summary.failed]
            say(f"not warm: lines {', '.join(numbers[:50])}{' …' if len(numbers) > 50 else ''}")
    if summary.because:
        complain(f"stopped, as the store does not keep what is paid for: {summary.because}")
        what = "1 answer" if lost == 1 else f"{lost} answers"
        complain(f"it lost {what}; mend it and run this again: what is warm costs nothing")
        return 1
    if lost:
        complain("the store lost some answers while it wrote: see that its disk has room, and run this again")
    if not summary.complete:
        complain("stopped; run it again to go on, what is warm costs nothing")
        return 130
    return 0 if summary.warm and not lost else 1


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise PayonceError(f"{file} can't be read ({error.strerror}); name a file with one request a line") from None


def _endpoint(text: str) -> str:
    endpoint = text.strip("/").removeprefix("api/").removeprefix("v1/")
    if endpoint not in ENDPOINTS:
        hint = did_you_mean(endpoint, ENDPOINTS) or f"use one of {', '.join(ENDPOINTS)}"
        raise SettingsError(f"--endpoint: {text!r} is not an endpoint that is cached; {hint}")
    return endpoint


def _fields(key_env: str, key_header: str, namespace: str | None) -> Headers:
    """The header fields of every request: who asks, and in which namespace."""
    fields = key_fields(key_env, key_header)
    if namespace:
        fields = (*fields, (b"x-payonce-namespace", namespace.encode("utf-8", "replace")))
        refused = read_directives(fields)
        if isinstance(refused, Reason):
            raise SettingsError(f"--namespace: {refused.sentence}; correct it")
    return fields
