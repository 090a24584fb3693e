"""The tally keeps the prompt cache's money apart from the response cache's, in whole numbers, and shows both."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from payonce.ledger.ledger import Ledger
from payonce.ledger.money import Bill, nano_dollars, price
from payonce.ledger.price_rows import Rates
from payonce.ledger.spending import prompt_figures
from payonce.ledger.tally import Tally, add_up, summary
from payonce.ledger.unread import Expired
from payonce.ledger.usage import Usage
from payonce.model.call import Steering
from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.ports import Notebook
from payonce.model.receipt import Landing, Outcome, Receipt
from tests.support import words

RATES = Rates(Decimal("3e-6"), Decimal("15e-6"), Decimal("3e-7"), Decimal("3.75e-6"), Decimal("6e-6"))
HIT = Usage(100, 9000, 0, 0, 50, 9100, convention="exclusive")
WRITE = Usage(100, 0, 9000, 0, 50, 9100, convention="exclusive")


STEERED = words.ask(
    call=structs.replace(words.ask().call, steering=Steering("a/x", "t", "https://openrouter.ai/api/v1"))
)


def ledger() -> Ledger:
    return Ledger("w", 0)


def shown(one: Ledger) -> dict[str, Any]:
    leaf = one.leaf(0.0)
    assert leaf is not None
    return summary(add_up(dict([leaf])))


def stored(cost: int | None) -> Entry:
    facts = Facts("gen-1", "a/x", "always", Tokens(9100, 50, cost))
    return Entry(
        *(0.0, 60, 0, 0, (), (), 200, (), b"{}"),
        facts=facts,
        tenant="t",
        namespace="",
        tags=(),
        endpoint="chat",
        model="a/x",
        took=1.0,
    )


def test_a_bill_is_entered_as_whole_billionths_and_shown_as_exact_decimals() -> None:
    one = ledger()
    one.spent(price(WRITE, RATES, Decimal("0.03"), ours=True))
    one.spent(price(HIT, RATES, Decimal("0.003"), ours=True))
    figures = shown(one)["prompt_cache"]
    assert figures["calls"] == 2
    assert (figures["read_tokens"], figures["written_tokens"], figures["plain_tokens"]) == (9000, 9000, 200)
    assert figures["read_share"] == round(9000 / 18200, 4)
    assert (figures["read_saving"], figures["write_premium"]) == ("0.0243", "0.00675")
    assert figures["net"] == figures["claimed"] == "0.01755"
    assert figures["unaided"] == "0"


def test_a_write_that_did_not_pay_shows_as_a_loss() -> None:
    one = ledger()
    one.spent(price(WRITE, RATES, Decimal("0.03"), ours=True))
    assert shown(one)["prompt_cache"]["net"] == "-0.00675"


def test_what_the_provider_gives_anyway_is_not_claimed() -> None:
    one = ledger()
    one.spent(price(HIT, RATES, Decimal("0.003")))
    one.spent(price(HIT, RATES, Decimal("0.003"), ours=True))
    figures = shown(one)["prompt_cache"]
    assert (figures["net"], figures["unaided"], figures["claimed"]) == ("0.0486", "0.0243", "0.0243")


def test_a_hit_of_the_response_cache_counts_no_discount_again() -> None:
    """What a hit avoids is what the stored answer was charged, discount taken off; the discount stays counted once."""
    one = ledger()
    charged = Decimal("0.003")
    one.landed(Landing(stored(nano_dollars(charged)).facts, None, 1.0), 0, STEERED)
    one.spent(price(HIT, RATES, charged, ours=True))
    before = shown(one)["prompt_cache"]
    for _ in range(3):
        one.exchanged(Receipt(Outcome.HIT, entry=stored(nano_dollars(charged))), 0.001)
    after = shown(one)
    assert after["prompt_cache"] == before
    assert after["avoided"]["dollars"] == "0.009"
    assert after["paid"]["dollars"] == "0.003"


def test_an_answer_without_a_cost_is_paid_by_price_and_marked_as_estimated() -> None:
    one = ledger()
    one.landed(Landing(stored(None).facts, None, 1.0), 0, STEERED)
    one.spent(price(HIT, RATES))
    paid = shown(one)["paid"]
    by_price = 100 * Decimal("3e-6") + 9000 * Decimal("3e-7") + 50 * Decimal("15e-6")
    assert Decimal(paid["dollars"]) == Decimal(paid["estimated_dollars"]) == by_price
    assert paid["estimated_calls"] == 1


def test_a_cost_that_the_answer_named_is_paid_once_and_never_estimated() -> None:
    one = ledger()
    one.landed(Landing(stored(3_000_000).facts, None, 1.0), 0, STEERED)
    one.spent(price(replace(HIT, cost=Decimal("0.003")), RATES))
    paid = shown(one)["paid"]
    assert (paid["dollars"], paid["estimated_dollars"], paid["estimated_calls"]) == ("0.003", "0", 0)


def test_a_call_past_the_cache_is_paid_apart() -> None:
    one = ledger()
    one.spent(price(HIT, RATES, Decimal("0.003")), cacheable=False)
    figures = shown(one)
    assert figures["paid"]["dollars"] == "0"
    assert (figures["passed"]["dollars"], figures["passed"]["calls"]) == ("0.003", 1)
    assert figures["prompt_cache"]["calls"] == 1


def test_a_call_that_nobody_steers_is_paid_when_it_lands() -> None:
    one = ledger()
    unsteered = structs.replace(STEERED, call=structs.replace(STEERED.call, steering=None))
    one.landed(Landing(stored(3_000_000).facts, None, 1.0), 0, unsteered)
    assert shown(one)["paid"]["dollars"] == "0.003"


def test_unknown_usage_prices_and_anomalies_are_counted() -> None:
    one = ledger()
    one.spent(price(Usage(anomaly="x"), RATES))
    one.spent(price(HIT, None))
    figures = shown(one)["prompt_cache"]
    assert (figures["unknown_usage"], figures["unknown_price"], figures["anomalies"]) == (1, 1, 1)
    assert figures["net"] == "0"


def test_unread_writes_and_avoidable_misses_are_counted() -> None:
    one = ledger()
    one.unread(Expired(2, 9000, Decimal("0.00675")))
    one.missed(500, Decimal("0.00135"))
    one.missed(7, None)
    figures = shown(one)["prompt_cache"]
    assert (figures["unread"], figures["unread_tokens"]) == ("0.00675", 9000)
    assert (figures["missed"], figures["missed_tokens"]) == ("0.00135", 507)


AMOUNT = st.decimals(min_value=-1, max_value=1, places=15)


@given(st.lists(st.tuples(AMOUNT, AMOUNT, st.booleans()), max_size=20), st.integers(1, 4))
def test_sums_over_workers_are_exact(rows: list[tuple[Decimal, Decimal, bool]], workers: int) -> None:
    books = [Ledger(f"w{number}", 0) for number in range(workers)]
    for place, (saving, premium, ours) in enumerate(rows):
        books[place % workers].spent(Bill(HIT, read_saving=saving, write_premium=premium, ours=ours))
    notes = dict(leaf for book in books if (leaf := book.leaf(0.0)) is not None)
    figures = prompt_figures(add_up(notes).counts)
    assert figures["net_nano"] == sum(nano_dollars(a) - nano_dollars(b) for a, b, _ in rows)
    assert figures["claimed_nano"] == sum(nano_dollars(a) - nano_dollars(b) for a, b, ours in rows if ours)


def test_a_tally_noted_before_there_was_a_prompt_cache_still_adds_up() -> None:
    old = b'{"counts":{"requests.hit":1},"latency":{},"seconds":{},"models":{}}'
    figures = summary(add_up({"tally/0/w": old}))
    assert figures["prompt_cache"]["read_share"] is None
    assert figures["paid"]["estimated_calls"] == 0


# faces


def test_metrics_show_the_prompt_cache_under_closed_labels() -> None:
    from payonce.gateway.metrics import Figures, render

    one = ledger()
    one.spent(price(HIT, RATES, ours=True))
    one.spent(price(WRITE, None))
    page = render(Figures(one.so_far(), {}, "0")).decode()
    assert 'payonce_prompt_tokens_total{kind="read"} 9000.0' in page
    assert 'payonce_prompt_tokens_total{kind="written"} 9000.0' in page
    assert 'payonce_prompt_unknown_total{reason="price"} 1.0' in page
    assert "payonce_prompt_read_saving_dollars 0.0243" in page
    assert "# TYPE payonce_prompt_unaided_dollars gauge" in page
    documented = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    for line in page.splitlines():
        if line.startswith("# TYPE payonce_prompt"):
            metric = line.split()[2].removesuffix("_total")
            assert metric in documented, metric


def test_stats_print_the_prompt_cache_only_where_there_was_one(
    own_store: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from payonce.cli import main
    from payonce.stores.registry import open_store

    url = f"sqlite:{tmp_path}/cache.db"

    def note(one: Ledger) -> None:
        store = open_store(url, clock=time.time, max_bytes=1 << 20)
        leaf = one.leaf(0.0)
        assert leaf is not None
        assert isinstance(store, Notebook)
        store.note(*leaf)
        assert store.flush()
        store.close()

    hour = int(time.time()) // 3600 * 3600
    plain = Ledger("a", hour)
    plain.now.request("miss", "absent", 0.5)
    plain.fresh = True
    note(plain)
    assert main(["stats"]) == 0
    assert "prompt cache" not in capsys.readouterr().out
    one = Ledger("b", hour)
    one.spent(price(HIT, RATES, ours=True))
    one.spent(price(WRITE, RATES))
    one.spent(price(WRITE, None))
    note(one)
    assert main(["stats"]) == 0
    out = capsys.readouterr().out
    assert "prompt cache" in out
    assert "$0.0176, -$0.006750 of it without Payonce" in out
    assert "33.0% of 27,300 input tokens" in out
    assert "1 of 3 calls" in out
    assert ("payonce[prices]" in out) == (find_spec("genai_prices") is None)
    assert "estimated" in out
    assert main(["stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt_cache"]["claimed"] == "0.0243"


def test_an_empty_tally_shows_nothing_but_zeros() -> None:
    figures = summary(Tally())["prompt_cache"]
    assert {value for value in figures.values() if value is not None} == {0, "0"}
