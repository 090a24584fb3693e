"""One call enters an answer: read, priced by whoever bills it, its writes inferred where they are not reported."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given

from payonce.ledger.accounts import Accounts
from payonce.ledger.ledger import Ledger
from payonce.ledger.money import Bill
from payonce.ledger.price_rows import Era, Row
from payonce.ledger.prices import Prices
from payonce.ledger.tally import summary
from payonce.library import Locked
from tests.ledger.test_usage import DIALECTS, HOSTILE, JUNK, RECORDED

OPENROUTER = "https://openrouter.ai/api/v1"
PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"


def sonnet() -> Row:
    prices = {
        "input": "3e-6",
        "output": "15e-6",
        "cache_read": "3e-7",
        "cache_write_5m": "3.75e-6",
        "cache_write_1h": "6e-6",
    }
    return Row("genai-prices", (Era({kind: Decimal(price) for kind, price in prices.items()}),))


def accounts(*known: str) -> tuple[Accounts, Ledger]:
    ledger = Ledger("w", 0)
    table = Prices(clock=lambda: 0.0, table=lambda: lambda model, _: sonnet() if model in known else None)
    return Accounts(ledger, table), ledger


def recorded(part: str) -> dict[str, Any]:
    return next(row for row in RECORDED if part in row["source"])["usage"]


def test_an_answer_is_entered_with_the_prices_of_the_model_that_answered() -> None:
    books, ledger = accounts("anthropic/claude-sonnet-4.6")
    usage = recorded("cache_all_settings")
    for model in ("anthropic/claude-4.6-sonnet-20260217", "anthropic/claude-sonnet-4.6", ""):
        bill, *_ = books.answered(
            usage, dialect="chat", asked="anthropic/claude-sonnet-4.6", model=model, upstream=OPENROUTER, ours=True
        )
        assert (bill.unknown, bill.scale, bill.cost) == ("", 1, Decimal(str(usage["cost"])))
    assert summary(ledger.now)["prompt_cache"]["calls"] == 3
    assert books.prices.unknown == 1  # the canonical name, before the asked one was tried


def test_writes_that_a_host_does_not_report_are_worked_out() -> None:
    books, ledger = accounts("anthropic/claude-sonnet-4.6")
    usage = {"prompt_tokens": 2572, "completion_tokens": 63, "cost": 0.01058775}
    usage |= {"prompt_tokens_details": {"cached_tokens": 0}}
    bill, *_ = books.answered(usage, dialect="chat", asked="anthropic/claude-sonnet-4.6", upstream=OPENROUTER)
    assert bill.usage.cache_write_5m == 2569
    assert bill.saving == -2569 * Decimal("0.75e-6")
    assert summary(ledger.now)["prompt_cache"]["written_tokens"] == 2569


def test_an_advisors_tokens_are_billed_at_its_own_prices_where_nothing_was_charged() -> None:
    books, ledger = accounts("claude-sonnet-5", "claude-opus-4-8")
    books.answered(recorded("test_anthropic_advisor_tool.yaml"), dialect="messages", asked="claude-sonnet-5")
    figures = summary(ledger.now)
    assert figures["prompt_cache"]["calls"] == 2
    assert figures["prompt_cache"]["plain_tokens"] == 2390 + 2518
    assert figures["paid"]["estimated_calls"] == 2


def test_an_upstream_that_publishes_its_prices_is_billed_by_them() -> None:
    books, _ = accounts("a/x")
    here = "http://127.0.0.1:8000/api/v1"
    document = {"data": [{"id": "a/x", "pricing": {"prompt": "0.000001", "completion": "0"}}]}
    books.prices.learn_models(document, provider=here)
    usage = {"prompt_tokens": 10, "completion_tokens": 1}
    assert books.answered(usage, dialect="chat", asked="a/x", upstream=here)[0].cost == Decimal("0.00001")
    assert books.answered(usage, dialect="chat", asked="a/x")[0].cost == Decimal("0.000045")


@given(HOSTILE | JUNK, DIALECTS)
def test_no_usage_object_makes_an_entry_fail(usage: object, dialect: str) -> None:
    books, ledger = accounts("a/x")
    bill, *_ = books.answered(usage, dialect=dialect, asked="a/x", model="b/y")
    assert isinstance(bill, Bill)
    leaf = ledger.leaf(0.0)
    assert leaf is not None
    summary(ledger.now)


def test_the_librarys_ledger_takes_bills_from_any_thread() -> None:
    ledger = Ledger("w", 0)
    books = Accounts(Locked(ledger), Prices(clock=lambda: 0.0, table=lambda: lambda model, _: sonnet()))
    said = {"input_tokens": 1, "output_tokens": 1}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: books.answered(said, dialect="messages", asked="a/x", cacheable=False), range(400)))
    figures = summary(ledger.now)
    assert figures["prompt_cache"]["calls"] == 400
    assert figures["paid"]["dollars"] == "0"


def test_the_example_of_the_page_runs() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(example, "docs/ledger.md", "exec"), {})


def test_the_page_counts_the_recordings_right() -> None:
    import json

    streams = json.loads((Path(__file__).parent / "recorded_streams.json").read_text())
    assert f"{len(RECORDED)} usage objects and {len(streams)} streams" in PAGE.read_text()
