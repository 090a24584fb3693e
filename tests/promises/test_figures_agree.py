"""After a day of mixed traffic, `payonce stats`, /metrics, the dashboard, the books and the provider's own bill say the
same, to the billionth of a dollar, with one worker and with two; and what hits spared is what their answers say they
had cost."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from payonce.books.file import BooksFile
from payonce.books.reader import Reader
from payonce.books.words import BY, Figures
from payonce.cli import main
from payonce.testing.sim import CacheMeter, SimulatedProvider, running_sim
from tests.support.gateway import GatewayChild, until

NANO = 1_000_000_000
CHAT, MESSAGES, RESPONSES, EMBEDDINGS = (
    f"/api/v1/{name}" for name in ("chat/completions", "messages", "responses", "embeddings")
)
MODELS = ("sim/small", "anthropic/claude-sonnet-4.5", "openai/gpt-5-mini", "sim/thinker")
FAULTS = ("429", "500", "200-error", "empty", "html", "content-filter", "refusal", "length", "choice-error", "no-done")

Step = tuple[str, dict[str, Any], dict[str, str]]
"""Path, body, header fields."""


@dataclass
class Day:
    """What the client saw of it."""

    requests: int = 0
    served: int = 0
    spared: int = 0
    """What the answers that came from the cache, or from another's call, say they had cost, in billionths. Not of
    embeddings: parts of a batch can be spared, and the answer does not tell their cost."""

    free_input: int = 0
    free_output: int = 0
    """Tokens of answers that cost nothing, because something was wrong with them: they are not on the bill."""

    def saw(self, path: str, status: str, body: bytes) -> None:
        self.requests += 1
        self.served += "; hit" in status or "collapsed" in status
        if path != EMBEDDINGS and ("; hit" in status or "collapsed" in status):
            used = used_in(body)
            self.spared += used[0] if used is not None else 0
        elif (used := used_in(body)) is not None and not used[0]:
            self.free_input, self.free_output = self.free_input + used[1], self.free_output + used[2]


def used_in(body: bytes) -> tuple[int, int, int] | None:
    """Cost in billionths of a dollar, input and output tokens, as an answer says them, whole or streamed."""
    if body.startswith(b"{"):
        documents = [orjson.loads(body)]
    else:
        lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
        documents = [orjson.loads(line) for line in lines if line.startswith(b"{")]
    found = None
    for document in documents:
        for holder in (document, document.get("response") or {}, document.get("message") or {}):
            usage = holder.get("usage")
            if isinstance(usage, dict) and usage.get("cost") is not None:
                first, second = (usage.get("prompt_tokens"), usage.get("completion_tokens", 0))
                if first is None:
                    first, second = usage["input_tokens"], usage["output_tokens"]
                found = round(Decimal(str(usage["cost"])) * NANO), int(first), int(second)
    return found


def script(seed: int) -> Iterator[list[Step]]:
    """The day: steps that are taken at once, in order."""
    rng = random.Random(seed)
    long = {name: f"{name} " * 3000 for name in ("alpha", "beta")}
    talks: dict[str, list[dict[str, str]]] = {name: [{"role": "user", "content": "begin"}] for name in long}
    for turn in range(120):
        model = rng.choice(MODELS)
        say = f"question {rng.randrange(3)}"
        chat = {"model": model, "messages": [{"role": "user", "content": say}], "temperature": 0}
        stream = {"stream": True} if rng.random() < 0.4 else {}
        kind = turn % 10
        fields: dict[str, str] = {}
        if kind in {0, 1}:
            yield [(CHAT, chat | stream, fields)]
        elif kind == 2:
            yield [(MESSAGES, chat | stream | {"max_tokens": 64}, fields)]
        elif kind == 3:
            yield [(RESPONSES, {"model": model, "input": say, "temperature": 0} | stream, fields)]
        elif kind == 4:
            inputs = [f"word {rng.randrange(20)}" for _ in range(rng.randrange(1, 5))]
            yield [(EMBEDDINGS, {"model": "openai/text-embedding-3-small", "input": inputs}, fields)]
        elif kind == 5:
            body = chat | stream | {"messages": [{"role": "user", "content": f"faulty {turn}"}]}
            yield [(CHAT, body, {"X-Sim-Fault": rng.choice(FAULTS)})]
        elif kind == 6:
            passed: list[Step] = [
                (CHAT, chat | {"temperature": 1} | stream, {}),
                (CHAT, chat | stream, {"X-OpenRouter-Cache": "false"}),
                (EMBEDDINGS, {"model": "openai/text-embedding-3-small", "input": say}, {"Cache-Control": "no-store"}),
            ]
            yield [rng.choice(passed)]
        elif kind == 7:
            name = rng.choice(list(long))
            talks[name] += [{"role": "assistant", "content": "I see."}, {"role": "user", "content": f"go on {turn}"}]
            opening = [{"role": "system", "content": long[name]}]
            body = {"model": MODELS[1], "messages": opening + talks[name], "temperature": 0}
            yield [(CHAT, body | stream, {})]
        elif kind == 8:
            body = chat | {"messages": [{"role": "user", "content": f"together {turn}"}]} | stream
            yield [(CHAT, body, {})] * 5
        else:
            yield [(CHAT, {"model": model, "messages": say, "temperature": 0, "n": []}, {})]


def play(child: GatewayChild, day: Day) -> None:
    def ask(step: Step) -> tuple[str, str, bytes]:
        path, body, fields = step
        key = {"Authorization": "Bearer sk-canary-7f3a"}
        reply = child.post(body, path, **{name.replace("-", "_"): value for name, value in (key | fields).items()})
        return path, reply["cache-status"], reply.body

    with ThreadPoolExecutor(5) as threads:
        for together in script(11):
            for path, status, body in threads.map(ask, together):
                day.saw(path, status, body)


def metrics(child: GatewayChild) -> dict[str, float]:
    """/metrics, one value for each family and labels."""
    lines = child.get("/metrics").body.decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def nano(figures: dict[str, float], name: str) -> int:
    return round(figures[name] * NANO)


@pytest.mark.parametrize("workers", [1, 2])
def test_stats_metrics_books_and_the_providers_bill_say_the_same(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, day = f"sqlite:{tmp_path / 'cache.db'}", Day()
    with running_sim(meter=CacheMeter(), first_token=0.02) as sim:
        options = ("--port", "0", "--upstream", sim.base_url, "--store", store, "--workers", str(workers))
        with GatewayChild(tmp_path, *options, PAYONCE_CACHE="deterministic") as child:
            play(child, day)
            seen: dict[str, float] = {}

            def caught_up() -> bool:
                seen.update(metrics(child))
                paid = nano(seen, "payonce_paid_cost_dollars_total") + nano(seen, "payonce_passed_cost_dollars_total")
                told = sum(count for name, count in seen.items() if name.startswith("payonce_requests_total{"))
                return (paid, told) == (round(sim.bill.cost * NANO), day.requests)

            assert until(caught_up, 40), (seen, sim.bill.cost, day.requests)
            panel = dashboard(
                child, sim, int(seen["payonce_upstream_calls_total"] + seen["payonce_passed_calls_total"])
            )
            assert child.stop() == 0, child.err.decode()
        assert main(["stats", "--json", "--store", store]) == 0
        stats = orjson.loads(capsys.readouterr().out)
        assert main(["stats", "--json", "--since", "3h", "--store", store]) == 0
        alike(stats, orjson.loads(capsys.readouterr().out))
        books = Reader(BooksFile(tmp_path / "cache.db.ledger"), time.time)
        total = books.total(0)
        agree(stats, seen, total, sim, day)
        shown_as_booked(panel, total)
        spared = {each.by: each.figures.avoided_nano for each in books.totals(0, by=("endpoint",))}
        assert sum(spared.values()) - spared["embeddings",] == day.spared
        assert (total.requests, total.served) == (day.requests, day.served)
        for by in BY:
            parts = [each.figures for each in books.totals(0, by=(by,))]
            assert (sum(one.paid_nano for one in parts), sum(one.requests for one in parts)) == (
                total.paid_nano,
                total.requests,
            )
        receipts = books.recent(limit=10_000)
        calls = {receipt.call.n: receipt.call for receipt in receipts if receipt.call is not None}
        assert sum(call.cost_nano or 0 for call in calls.values()) == total.paid_nano
        assert sum(receipt.times for receipt in receipts) == day.requests
        assert sum(receipt.times * (receipt.avoided_nano or 0) for receipt in receipts) == total.avoided_nano
        books.close()
    assert min(total.hits, total.misses, total.bypassed, total.collapsed, total.read_tokens, total.premium_nano) > 0
    assert b"sk-canary" not in (tmp_path / "cache.db.ledger").read_bytes()


def dashboard(child: GatewayChild, sim: SimulatedProvider, calls: int) -> dict[str, Any]:
    """The dashboard's overview, when all of the day is in the books."""
    seen: dict[str, Any] = {}

    def caught_up() -> bool:
        seen.update(orjson.loads(child.get("/_payonce/api/overview?span=24h").body))
        return Decimal(seen["total"]["paid_dollars"]) == sim.bill.cost and seen["total"]["calls"] == calls

    assert until(caught_up, 30), (seen["total"], sim.bill.cost)
    return seen


def shown_as_booked(panel: dict[str, Any], total: Figures) -> None:
    """What the dashboard says, in all and step by step, against the books."""
    sums = {
        "paid_dollars": total.paid_nano,
        "avoided_dollars": total.avoided_nano,
        "prompt_net_dollars": total.net_nano,
    }
    counts = {name: getattr(total, name) for name in ("requests", "hits", "collapsed", "misses", "bypassed", "calls")}
    assert {name: Decimal(panel["total"][name]) * NANO for name in sums} == sums
    assert {name: panel["total"][name] for name in counts} == counts
    for name, whole in (sums | counts).items():
        unit = NANO if name in sums else 1
        assert sum(Decimal(step[name]) for step in panel["series"]) * unit == whole
    assert Decimal(panel["saved_dollars"]) * NANO == total.avoided_nano + total.net_nano - total.unaided_nano


def alike(tallies: dict[str, Any], books: dict[str, Any]) -> None:
    """What the workers' tallies say, without `--since`, and the books, with it: the same, one by one."""
    assert (tallies.pop("source"), books.pop("source")) == ("tallies", "ledger")
    del books["ledger"]  # its trend has other steps
    assert {name: found for name, found in books.items() if found != tallies[name]} == {}


def agree(stats: dict[str, Any], seen: dict[str, float], total: Figures, sim: SimulatedProvider, day: Day) -> None:
    """The four accounts."""
    bill = sim.bill
    paid = Decimal(stats["paid"]["dollars"]) + Decimal(stats["passed"]["dollars"])
    assert paid == bill.cost == Decimal(total.paid_nano) / NANO
    used = (("input", bill.prompt_tokens + day.free_input), ("output", bill.completion_tokens + day.free_output))
    for kind, billed in used:
        said = stats["paid"][f"{kind}_tokens"] + stats["passed"][f"{kind}_tokens"]
        assert said == billed == getattr(total, f"{kind}_tokens")
    prompt = stats["prompt_cache"]
    assert prompt["read_tokens"] == bill.cache_read_tokens == total.read_tokens
    assert prompt["written_tokens"] == bill.cache_write_tokens == total.written_tokens
    assert seen['payonce_prompt_tokens_total{kind="read"}'] == bill.cache_read_tokens
    assert Decimal(prompt["net"]) == Decimal(total.net_nano) / NANO
    avoided = nano(seen, "payonce_avoided_cost_dollars_total")
    assert Decimal(stats["avoided"]["dollars"]) * NANO == avoided == total.avoided_nano
    assert stats["requests"] == total.requests
    counts = {"hit": total.hits, "collapsed": total.collapsed, "miss": total.misses, "bypass": total.bypassed}
    assert {name: stats["outcomes"][name] for name in counts} == counts
    assert {name: seen[f'payonce_requests_total{{outcome="{name}"}}'] for name in counts} == counts
    assert seen["payonce_upstream_calls_total"] == stats["upstream_calls"] == total.calls - stats["passed"]["calls"]
