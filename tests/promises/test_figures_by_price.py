"""What an upstream says no cost of is worth, when it is avoided, what it was when it was paid: one price table values
both, in the tally and in the books, in gateway and library, at once or when the table comes later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.books.clerk import Clerk
from payonce.books.file import BooksFile
from payonce.books.journal import Journal
from payonce.books.reader import Reader
from payonce.books.words import Figures, Filed
from payonce.cli import main
from payonce.config import Settings
from payonce.dialects.usage import read_message_tokens, read_response_tokens, read_tokens
from payonce.httpx2 import Client
from payonce.ledger.accounts import Accounts
from payonce.ledger.genai_table import Finder, genai_finder
from payonce.ledger.ledger import Ledger
from payonce.ledger.money import nano_dollars
from payonce.ledger.prices import Prices
from payonce.ledger.tally import summary
from payonce.ledger.worth import Owed, Worth
from payonce.model import reason as why
from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.receipt import Hits, Landing, Outcome, Receipt
from payonce.testing.sim import CacheMeter, running_sim
from tests.books.test_books import NOON, ask_for
from tests.support.gateway import PATIENCE, GatewayChild, until

NANO = 1_000_000_000
SONNET = "claude-sonnet-4-5"
HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01", "content-type": "application/json"}


def question(number: int, *, stream: bool = False, long: str = "") -> dict[str, Any]:
    system = {"system": [{"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}]} if long else {}
    say = [{"role": "user", "content": f"question {number}"}]
    return {"model": SONNET, "max_tokens": 64, "temperature": 0, "messages": say, "stream": stream, **system}


def figures(path: Path, clock: Callable[[], float] = time.time) -> tuple[Figures, list[Filed]]:
    reader = Reader(BooksFile(path), clock)
    try:
        return reader.total(0), list(reader.recent(limit=1000))
    finally:
        reader.close()


def worth_of(receipts: list[Filed]) -> int:
    return sum((each.avoided_nano or 0) * each.times for each in receipts)


# ------------------------------------------------------------------------------------- gateway and library, in full


def test_a_gateway_before_a_provider_that_says_no_cost_tells_what_was_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"sqlite:{tmp_path / 'c.db'}"
    with running_sim(meter=CacheMeter()) as sim:
        options = ("--port", "0", "--upstream", sim.base_url.replace("/api/v1", "/anthropic/v1"), "--store", store)
        fields = {name.replace("-", "_"): value for name, value in HEADERS.items()}
        with GatewayChild(tmp_path, *options, PAYONCE_CACHE="all") as child:
            for number in range(3):
                body = question(number, stream=number == 1, long="read me " * 3000 if number else "")
                for _ in range(5):
                    assert child.post(body, "/v1/messages", **fields).status == 200
            seen: dict[str, float] = {}

            def caught_up() -> bool:
                lines = child.get("/metrics").body.decode().splitlines()
                seen.update(
                    (name, float(value)) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")
                )
                return seen["payonce_avoided_calls_total"] == 12 and seen["payonce_avoided_estimated_dollars_total"] > 0

            assert until(caught_up, 30), seen
            assert child.stop() == 0, child.err.decode()
        assert main(["stats", "--json", "--store", store]) == 0
        stats = orjson.loads(capsys.readouterr().out)
        total, receipts = figures(tmp_path / "c.db.ledger")
        bill = round(sim.bill.cost * NANO)
    assert (total.hits, total.misses, total.avoided_calls, total.avoided_unpriced) == (12, 3, 12, 0)
    assert total.paid_nano == total.estimated_nano == bill
    assert total.read_tokens > 0  # of which an answer avoided what it cost, not the plain price
    assert total.avoided_nano == total.avoided_estimated == 4 * bill
    assert worth_of(receipts) == total.avoided_nano
    assert all(each.avoided_estimated for each in receipts if each.outcome == "hit")
    for said in ("dollars", "estimated_dollars"):
        assert Decimal(stats["avoided"][said]) * NANO == total.avoided_nano
    assert stats["avoided"]["calls_without_price"] == 0
    for name in ("payonce_avoided_cost_dollars_total", "payonce_avoided_estimated_dollars_total"):
        assert round(seen[name] * NANO) == total.avoided_nano


def test_a_run_of_the_library_that_only_hits_tells_what_it_saved(tmp_path: Path) -> None:
    with running_sim() as sim:
        url = sim.base_url.replace("/api/v1", "/anthropic/v1/messages")
        for _ in range(2):  # two runs
            with Client(
                store=f"sqlite:{tmp_path / 'c.db'}", cache="all", settings=Settings(read_budget=PATIENCE)
            ) as client:
                for _ in range(3):
                    reply: httpx2.Response = client.post(url, json=question(1), headers=HEADERS)
                    assert reply.status_code == 200
        total, receipts = figures(tmp_path / "c.db.ledger")
        bill = round(sim.bill.cost * NANO)
    assert (total.hits, total.misses) == (5, 1)
    assert (total.paid_nano, total.avoided_nano, total.avoided_estimated) == (bill, 5 * bill, 5 * bill)
    assert worth_of(receipts) == 5 * bill


# ------------------------------------------------------------------------------------------- one value for both

COUNT = st.integers(0, 300_000)
SAID: dict[str, tuple[Callable[[dict[str, Any]], Tokens], st.SearchStrategy[dict[str, Any]]]] = {
    "messages": (
        read_message_tokens,
        st.fixed_dictionaries(
            {"input_tokens": COUNT, "output_tokens": COUNT},
            optional={
                "cache_read_input_tokens": COUNT,
                "cache_creation_input_tokens": COUNT,
            },
        ),
    ),
    "chat": (
        read_tokens,
        st.tuples(COUNT, COUNT, COUNT).map(
            lambda n: {
                "prompt_tokens": n[0] + n[1],
                "completion_tokens": n[2],
                "prompt_tokens_details": {"cached_tokens": n[1]},
            }
        ),
    ),
    "responses": (
        read_response_tokens,
        st.tuples(COUNT, COUNT, COUNT).map(
            lambda n: {
                "input_tokens": n[0] + n[1],
                "output_tokens": n[2],
                "input_tokens_details": {"cached_tokens": n[1]},
            }
        ),
    ),
}
MODELS = (SONNET, "gpt-5-mini", "gemini-2.5-pro", "anthropic/claude-sonnet-4.5", "nobody-knows-this-1")
PRICES = Prices(clock=lambda: NOON)


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    assert PRICES.load()


@given(st.data(), st.sampled_from(sorted(SAID)), st.sampled_from(MODELS))
@settings(max_examples=300)
def test_an_answer_is_worth_what_its_bill_says(data: st.DataObject, dialect: str, model: str) -> None:
    read, usages = SAID[dialect]
    usage = data.draw(usages)
    bills = Accounts(Ledger("w", 0), PRICES).answered(usage, dialect=dialect, asked=model)
    found = Worth(PRICES).of(Owed(model, "", read(usage)))
    assert found == (None if bills[0].cost is None else nano_dollars(bills[0].cost))


# ------------------------------------------------------------------------------------------- the table comes late


class Late:
    """A table of prices that is being loaded until it is `let` be."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self) -> Finder | None:
        assert self.gate.wait(30)
        return genai_finder()

    def let(self, prices: Prices) -> None:
        self.gate.set()
        prices.wait(30)


@pytest.fixture
def late() -> Iterator[Late]:
    found = Late()
    yield found
    found.gate.set()


def entry_of(model: str = SONNET, tokens: Tokens | None = None) -> Entry:
    facts = Facts("gen-1", model, "none", tokens or Tokens(1000, 100, None, (900, 0, 0)))
    return Entry(NOON, 60, 0, 0, (), (), 200, (), b"{}", facts, "tenant", "ns", (), "chat/completions", model, 1.5)


def serve(ledger: Ledger, entry: Entry, others: int = 1) -> int:
    """A hit, one of the fast lane three times, a stale answer, and `others` that followed a call; how many in all."""
    ledger.exchanged(Receipt(Outcome.HIT, entry=entry), 0.1, ask_for(1, model=entry.model))
    ledger.fast_hits([Hits(entry, b"k" * 32 + b"w", 3, False)], [3, *[0] * 20], 3000)
    ledger.exchanged(Receipt(Outcome.STALE, why.EXPIRED, entry=entry), 0.1, ask_for(2, model=entry.model))
    ledger.landed(Landing(entry.facts, None, 1.5), others, ask_for(3, model=entry.model))
    return 5 + others


def test_what_is_avoided_before_the_table_is_there_is_valued_when_it_is(late: Late) -> None:
    prices = Prices(clock=lambda: NOON, table=late)
    ledger, known = Ledger("w", 0, clock=lambda: NOON, worth=Worth(prices)), Ledger("w", 0, worth=Worth(PRICES))
    served = serve(ledger, entry_of())
    said = summary(ledger.now)["avoided"]  # which waits for nothing
    assert (said["calls"], said["dollars"], said["calls_without_price"], ledger.owing) == (served, "0", 0, True)
    late.let(prices)
    serve(known, entry_of())
    for _ in range(2):  # once
        assert summary(ledger.now)["avoided"] == summary(known.now)["avoided"]
    cost = Worth(PRICES).of(Owed(SONNET, SONNET, entry_of().facts.tokens))
    assert cost
    assert (
        ledger.now.counts["avoided.nano_dollars"]
        == served * cost
        == ledger.now.counts["avoided.estimated_nano_dollars"]
    )
    assert not ledger.owing


def test_a_value_that_comes_late_is_noted_although_nothing_else_happens(late: Late) -> None:
    prices = Prices(clock=lambda: NOON, table=late)
    ledger = Ledger("w", 0, clock=lambda: NOON, worth=Worth(prices))
    serve(ledger, entry_of())
    assert ledger.leaf(NOON) is not None
    late.let(prices)
    noted = ledger.leaf(NOON)
    assert noted is not None
    assert orjson.loads(noted[1])["counts"]["avoided.nano_dollars"] > 0


@pytest.mark.parametrize("entry", [entry_of("nobody-knows-this-1"), entry_of(tokens=Tokens(None, None, None))])
def test_what_has_no_price_stays_of_unknown_price(entry: Entry, tmp_path: Path) -> None:
    journal = Journal(lambda: NOON, 7)
    ledger = Ledger("w", 0, journal, lambda: NOON, Worth(PRICES))
    served = serve(ledger, entry)
    said = summary(ledger.now)["avoided"]
    assert (said["calls"], said["dollars"], said["calls_without_price"]) == (served, "0", served)
    total, receipts = booked(tmp_path / "books.db", journal, PRICES)
    assert (total.avoided_calls, total.avoided_unpriced, total.avoided_nano) == (served, served, 0)
    assert {each.avoided_nano for each in receipts} == {None}


def booked(path: Path, journal: Journal, prices: Prices) -> tuple[Figures, list[Filed]]:
    clerk = Clerk(journal, BooksFile(path), b"s" * 32, lambda: NOON, worth=Worth(prices))
    clerk.start()
    clerk.stop(30)
    return figures(path, lambda: NOON + 60)


COSTS = st.none() | st.integers(0, 10**7)
SERVED = st.lists(
    st.builds(
        entry_of,
        st.sampled_from(MODELS),
        st.builds(Tokens, st.integers(2000, 9000), st.integers(0, 900), COSTS, st.none() | st.just((900, 100, 0))),
    ),
    max_size=12,
)


@given(SERVED)
@settings(max_examples=30, deadline=None)
def test_tally_books_and_receipts_agree_on_said_and_on_estimated_money(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]
) -> None:
    journal, worth = Journal(lambda: NOON, 7), Worth(PRICES)
    ledger = Ledger("w", 0, journal, lambda: NOON, worth)
    served = sum(serve(ledger, entry, others=0) for entry in entries)
    counts = ledger.now.counts
    total, receipts = booked(tmp_path_factory.mktemp("books") / "b.db", journal, PRICES)
    estimated = [
        worth.of(Owed(one.model, one.model, one.facts.tokens)) for one in entries if one.facts.tokens.cost is None
    ]
    said = sum(one.facts.tokens.cost or 0 for one in entries)
    assert counts["avoided.estimated_nano_dollars"] == 5 * sum(one or 0 for one in estimated) == total.avoided_estimated
    assert (
        counts["avoided.nano_dollars"] == 5 * said + total.avoided_estimated == total.avoided_nano == worth_of(receipts)
    )
    assert counts["avoided.calls_without_price"] == 5 * estimated.count(None) == total.avoided_unpriced
    assert counts["avoided.calls"] == served == total.avoided_calls
