"""The tour of `payonce demo`: six things shown with the OpenAI SDK against a running gateway, each one checked.

This file must never start or stop anything, nor know how the gateway works: it sees what any client sees, and the
simulated provider's bill beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from decimal import Decimal

import openai
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from payonce.cli.demo_ask import Seen, ask_for, failing, plain, plain_async, streamed, tool_call
from payonce.model.reason import CUT, STATUS
from payonce.testing.sim import SimulatedProvider
from payonce.wording import money

_CROWD = 50
_KEY = "sk-or-demo"
_WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


class Tour:
    """Shows, checks, and remembers what did not hold."""

    def __init__(self, sim: SimulatedProvider) -> None:
        self._sim = sim
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = 110
        self._failed: list[str] = []
        self._seen: list[Seen] = []
        self._pairs: list[tuple[Seen, Seen]] = []

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A sign of life while something takes its time; nothing where there is no terminal."""
        with self._console.status(f"{what} …"):
            yield

    def run(self, base_url: str) -> int:
        """The whole tour; 0 when everything held, else 1."""
        self._console.print(
            f"Gateway  {base_url}\nProvider {self._sim.base_url} (simulated: no key, no cost)", soft_wrap=True
        )
        asked = len(self._sim.calls)
        http_client = openai.DefaultHttpxClient(trust_env=False)
        with openai.OpenAI(
            base_url=base_url, api_key=_KEY, max_retries=0, timeout=20, http_client=http_client
        ) as client:
            self._same_again(client)
            self._stream_again(client)
            asyncio.run(self._crowd(base_url))
            self._tools_again(client)
            before = self._sim.bill
            upstream = len(self._sim.calls) - asked
            self._not_kept(client)
        self._totals(before.calls, before.cost, upstream)
        return self._verdict()

    # ------------------------------------------------------------------------------------ the steps

    def _same_again(self, client: openai.OpenAI) -> None:
        ask = ask_for("Why is the sky blue?")
        with self.waiting("asking, and asking again"):
            miss, hit = plain(client, "first time", ask), plain(client, "again", ask)
        self._show("1  The same request twice", miss, hit)
        self._check_replay(miss, hit, "the answer")

    def _stream_again(self, client: openai.OpenAI) -> None:
        ask = ask_for("Tell me about rivers.")
        with self.waiting("streaming, and streaming again"):
            miss, hit = streamed(client, "streamed", ask), streamed(client, "replayed", ask)
        self._show("2  A stream and its replay", miss, hit)
        self._check_replay(miss, hit, "the stream")
        comments = miss.said.count(b": OPENROUTER PROCESSING")
        self._say(
            f"{len(miss.said)} bytes, comment lines ({comments}) included: byte-identical = {miss.said == hit.said}"
        )

    async def _crowd(self, base_url: str) -> None:
        before = self._sim.bill
        http_client = openai.DefaultAsyncHttpxClient(trust_env=False)
        ask = ask_for("What does everybody ask at nine o'clock?")
        async with openai.AsyncOpenAI(
            base_url=base_url, api_key=_KEY, max_retries=0, timeout=20, http_client=http_client
        ) as client:
            with self.waiting(f"asking {_CROWD} times at once"):
                seen = await asyncio.gather(*(plain_async(client, f"client {n + 1}", ask) for n in range(_CROWD)))
        after = self._sim.bill
        calls, cost = after.calls - before.calls, after.cost - before.cost
        self._seen += seen
        self._heading(f"3  {_CROWD} identical requests at the same moment")
        table = _table("clients", "different answers", "calls billed", "cost of one", "cost billed", "slowest")
        slowest = max(one.seconds for one in seen)
        answers = len({one.said for one in seen})
        table.add_row(str(_CROWD), str(answers), str(calls), money(seen[0].cost), money(cost), _ms(slowest))
        self._console.print(table)
        self._check(calls == 1, f"{_CROWD} identical requests were billed {calls} times, not once")
        self._check(answers == 1, f"{_CROWD} identical requests got {answers} different answers")

    def _tools_again(self, client: openai.OpenAI) -> None:
        ask = ask_for("Use the tool for Lisbon.", tools=[_WEATHER], tool_choice="required")
        with self.waiting("streaming a tool call, and again"):
            miss, hit = tool_call(client, "streamed", ask), tool_call(client, "replayed", ask)
        self._show("4  A streamed tool call, put together by the SDK", miss, hit)
        self._check_replay(miss, hit, "the tool call")
        self._say(f"the call, both times: {miss.said}")

    def _not_kept(self, client: openai.OpenAI) -> None:
        self._heading("5  What is not kept")
        table = _table("upstream", "the client saw", "Cache-Status", "asked again", "calls upstream")
        why = []
        with self.waiting("having the provider fail"):
            for name, model, stream, reason in (
                ("429", "sim/fault-429", False, STATUS),
                ("stream cut after 900 bytes", "sim/fault-cut=900", True, CUT),
            ):
                before = len(self._sim.calls)
                first, status, detail = failing(client, model, stream=stream)
                _, again, _ = failing(client, model, stream=stream)
                calls = len(self._sim.calls) - before
                table.add_row(name, first, escape(detail), again or "-", str(calls))
                why.append(f"{name}: {reason.id}, {reason.sentence}")
                self._check(bool(first), f"the client did not notice that the provider failed ({name})")
                self._check("HIT" not in {status, again} and calls >= 2, f"an answer that failed was kept ({name})")
        self._console.print(table)
        for line in why:
            self._say(line)

    def _totals(self, billed: int, cost: Decimal, upstream: int) -> None:
        """What steps 1 to 4 cost, by the `usage.cost` of the answers and by the provider's own bill."""
        worth = sum((one.cost for one in self._seen), Decimal(0))
        distinct = sum({one.id: one.cost for one in self._seen}.values(), Decimal(0))
        saved_time = sum(miss.seconds - hit.seconds for miss, hit in self._pairs)
        self._heading("6  What it came to (steps 1 to 4)")
        table = _table("", "without", "with Payonce", "saved")
        count = len(self._seen)
        table.add_row("calls", str(count), f"{billed} billed", f"{count - billed} ({(count - billed) / count:.0%})")
        table.add_row("money", money(worth), money(cost), money(worth - cost))
        table.add_row("waiting for repeats", "", "", f"{saved_time:.1f} s")
        self._console.print(table)
        self._say(
            f"The provider's own bill: {billed} calls, {money(cost)}; usage.cost of the answers: {money(distinct)}"
        )
        self._check(billed == upstream, f"the provider saw {upstream} calls and billed {billed}")
        self._check(distinct == cost, f"the answers' usage.cost ({distinct}) is not what was billed ({cost})")
        self._check(worth > cost, "nothing was saved")

    # ------------------------------------------------------------------------------------ showing and checking

    def _heading(self, text: str) -> None:
        self._console.print(f"\n[bold]{escape(text)}[/]")

    def _say(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)

    def _show(self, title: str, miss: Seen, hit: Seen) -> None:
        self._seen += [miss, hit]
        self._pairs.append((miss, hit))
        self._heading(title)
        table = _table("", "first byte", "whole", "usage.cost", "X-OpenRouter-Cache-Status", "Cache-Status")
        for one in (miss, hit):
            table.add_row(
                one.what,
                _ms(one.first),
                _ms(one.seconds),
                money(one.cost),
                one.status or "-",
                escape(one.detail) or "-",
            )
        self._console.print(table)

    def _check_replay(self, miss: Seen, hit: Seen, what: str) -> None:
        self._check(miss.status == "MISS", f"{what} was {miss.status or 'not looked up'} at first, not MISS")
        self._check(hit.hit, f"{what} was {hit.status or 'not looked up'} the second time, not HIT ({hit.detail})")
        self._check(hit.said == miss.said, f"{what} was not the same the second time")

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self._failed.append(otherwise)
            self._console.print(f"[bold red]does not hold:[/] {escape(otherwise)}", soft_wrap=True)

    def _verdict(self) -> int:
        if self._failed:
            self._console.print(f"\n[bold red]{len(self._failed)} of the demo's own checks failed.[/]")
            return 1
        self._console.print("\n[bold green]Everything above was checked.[/] For real use:\n")
        self._console.print(
            "  payonce serve\n  export OPENAI_BASE_URL=http://127.0.0.1:4141/api/v1   # or base_url= of any SDK",
            soft_wrap=True,
        )
        return 0


def _table(*columns: str) -> Table:
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"
