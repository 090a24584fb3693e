"""What an answer to a batch of embeddings cost is in the figures, whatever is wrong with the answer."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from payonce.books.file import BooksFile
from payonce.books.reader import Reader
from payonce.config import Settings
from payonce.httpx2 import Client
from payonce.ledger.tally import summary
from payonce.testing.sim import running_sim
from tests.support.batches import Bench
from tests.support.gateway import PATIENCE


@pytest.mark.parametrize("fault", ["wrong-count", "twice", ""])
def test_the_books_say_what_the_bill_says(tmp_path: Path, fault: str) -> None:
    inputs = {"model": "openai/text-embedding-3-small", "input": ["a", "b", "c"]}
    fields = {"authorization": "Bearer k"} | ({"x-sim-fault": fault} if fault else {})
    with running_sim() as sim:
        with Client(store=f"sqlite:{tmp_path / 'c.db'}", settings=Settings(read_budget=PATIENCE)) as client:
            reply: httpx2.Response = client.post(f"{sim.base_url}/embeddings", json=inputs, headers=fields)
            assert reply.status_code == 200
            assert ("wrong-count" in reply.headers["cache-status"]) == bool(fault)
        books = Reader(BooksFile(tmp_path / "c.db.ledger"), time.time)
        total, (call,) = books.total(0), books.calls()
        books.close()
        assert total.paid_nano == call.cost_nano == round(sim.bill.cost * 10**9) > 0
        assert total.input_tokens == sim.bill.prompt_tokens
        assert (total.kept, call.unkept) == (int(not fault), fault and "wrong-count")


def short(_: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    page = orjson.loads(body)
    return 200, orjson.dumps(page | {"data": page["data"][:1]})


def empty(_: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    return 200, orjson.dumps(orjson.loads(body) | {"data": []})


def verbose(_: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    return 200, orjson.dumps(orjson.loads(body) | {"beside": "x" * 20_000})


@pytest.mark.parametrize(("bend", "unkept"), [(short, "wrong-count"), (empty, "empty"), (verbose, "too-large")])
async def test_an_answer_that_is_not_kept_is_paid_for(bend: Any, unkept: str) -> None:
    bench = Bench()
    bench.upstream.bend = [bend]
    reply = await bench.ask(["a", "b"])
    await bench.settle()
    figures = summary(bench.ledger.now)
    assert figures["unkept"] == {unkept: 1}
    assert Decimal(figures["paid"]["dollars"]) == round(reply.usage["cost"], 9) > 0
    assert figures["paid"]["input_tokens"] == reply.usage["prompt_tokens"]
    assert (await bench.ask(["a", "b"])).said.endswith("stored")  # nothing of it was kept
