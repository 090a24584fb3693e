"""Bills agree with what providers really charged, their sums are exact, and nothing is claimed that is not ours."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce.ledger.inferring import infer_writes
from payonce.ledger.money import Bill, avoidable, nano_dollars, price
from payonce.ledger.price_rows import Rates
from payonce.ledger.unread import Expired, PrefixId, Unread
from payonce.ledger.usage import Usage, parse

RECORDED = json.loads((Path(__file__).parent / "recorded_usage.json").read_text())


def mega(*prices: str | None) -> Rates:
    """Prices in dollars a million: input, output, read, 5m write, 1h write."""
    return Rates(*(None if each is None else Decimal(each) / 1_000_000 for each in prices))  # type: ignore[arg-type]


SONNET = mega("3", "15", "0.3", "3.75", "6")
GPT = mega("5", "30", "0.5", "6.25")
GEMINI = replace(mega("0.3", "2.5", "0.03"), cache_write_5m=Decimal(5) / 60 / 1_000_000)
MINI = mega("0.15", "0.6", "0.075")
# What the bills of the recordings show was charged (dollars a million tokens): facts, by model.
CHARGED = {
    "anthropic/claude-sonnet-4.6": SONNET,
    "openai/gpt-5.6-sol": GPT,
    "google/gemini-2.5-flash": GEMINI,
    "openai/gpt-4o-mini": MINI,
    "anthropic/claude-haiku-4.5": mega("1", "5", "0.1", "1.25", "2"),
}
BILLED = [
    row
    for row in RECORDED
    if row["provider"] == "openrouter"
    and row["model"] in CHARGED
    and row["usage"].get("cost")
    and "advisor" not in row["source"]
]


def read(row: dict[str, Any]) -> Usage:
    return parse(row["usage"], dialect=row["dialect"], model=row["model"])


def name(row: dict[str, Any]) -> str:
    return f"{row['model']}-{row['usage']['cost']}"


# recordings with their bills


@pytest.mark.parametrize("row", BILLED, ids=name)
def test_a_recorded_answer_costs_what_was_charged(row: dict[str, Any]) -> None:
    usage, rates = read(row), CHARGED[row["model"]]
    bill = price(usage, rates)
    assert usage.input_cost is not None
    assert bill.input_cost is not None
    assert abs(bill.input_cost - usage.input_cost) < Decimal("1e-15")
    assert (bill.cost, bill.estimated, bill.scale) == (usage.cost, False, 1)
    assert bill.saving is not None
    assert bill.uncached_cost is not None
    assert abs(bill.saving - (bill.uncached_cost - bill.input_cost)) < Decimal("1e-15")
    uncharged = price(replace(usage, cost=None, input_cost=None), rates)
    assert uncharged.estimated
    assert uncharged.cost is not None
    assert usage.cost is not None
    assert abs(uncharged.cost - usage.cost) < Decimal("1e-15")


def test_the_recorded_bills_are_enough_to_mean_something() -> None:
    assert len(BILLED) >= 9
    assert {row["model"] for row in BILLED} == CHARGED.keys()


def test_the_facts_pages_vectors_come_out_exactly() -> None:
    found = [price(read(row), SONNET) for row in BILLED if "cache_all_settings" in row["source"]]
    known = {Decimal(text) for text in (".00964275", ".00106995", ".00191475")}
    assert {bill.input_cost for bill in found} >= known
    first = next(bill for bill in found if bill.input_cost == Decimal(".00964275"))
    assert first.read_saving == 0
    assert first.write_premium == 2569 * Decimal("0.75") / 1_000_000
    assert first.saving == -first.write_premium  # a write alone is a loss, and shown as one


@pytest.mark.parametrize("row", [row for row in BILLED if row["model"] != "google/gemini-2.5-flash"], ids=name)
def test_an_inferred_write_equals_the_reported_one(row: dict[str, Any]) -> None:
    usage, rates = read(row), CHARGED[row["model"]]
    hidden = json.loads(json.dumps(row["usage"]))
    for inside in ("prompt_tokens_details", "input_tokens_details"):
        hidden.get(inside, {}).pop("cache_write_tokens", None)
    blind = parse(hidden, dialect=row["dialect"], model=row["model"])
    if row["dialect"] == "messages" or rates.cache_write_5m is None:
        assert infer_writes(blind, rates) == blind  # nothing to infer, or no price to infer by
        return
    assert blind.cache_write is None
    for without_parts in (False, True):  # from the prompt's part of the charge, and from the whole charge
        known = replace(blind, input_cost=None) if without_parts else blind
        found = infer_writes(known, rates)
        assert found.cache_write_5m == (usage.cache_write or 0)
        assert found.input_uncached == usage.input_uncached
        assert {"cache_write_5m", "input_uncached"} <= set(found.inferred)


# inference refuses


def blind(**changes: Any) -> Usage:
    """Prompt 2572 of which 2569 were written at Sonnet's prices, unreported."""
    usage = Usage(input_uncached=2572, cache_read=0, output=63, input_total=2572, convention="inclusive")
    return replace(usage, **{"cost": Decimal("0.01058775"), **changes})


def test_writes_are_inferred_only_under_the_stated_conditions() -> None:
    assert infer_writes(blind(), SONNET).cache_write_5m == 2569
    refused = {
        "a price of another host": (blind(cost=Decimal("0.0100")), SONNET),
        "more than the prompt": (blind(cost=Decimal("0.2")), SONNET),
        "less than nothing": (blind(cost=Decimal("0.001")), SONNET),
        "a key of one's own": (blind(byok=True), SONNET),
        "figures that don't add up": (blind(anomaly="x"), SONNET),
        "another tier": (blind(), replace(SONNET, until=2571)),
        "the tier below": (blind(), replace(SONNET, above=2572)),
        "no cost": (replace(blind(), cost=None), SONNET),
        "no output": (blind(output=None), SONNET),
        "no write price": (blind(), mega("3", "15", "0.3")),
        "a write price that tells nothing": (blind(), mega("3", "15", "0.3", "3")),
        "no prices": (blind(), None),
    }
    for why, (usage, rates) in refused.items():
        assert infer_writes(usage, rates) == usage, why
    found = infer_writes(replace(blind(), cost=Decimal("0.016368")), SONNET, ttl="1h")
    assert (found.cache_write_5m, found.cache_write_1h) == (0, 2569)


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 900))
def test_reported_writes_divide_into_five_minutes_and_an_hour_by_the_charge(
    plain: int, read_: int, short: int, long: int, out: int
) -> None:
    said = {
        "prompt_tokens": plain + read_ + short + long,
        "completion_tokens": out,
        "prompt_tokens_details": {"cached_tokens": read_, "cache_write_tokens": short + long},
    }
    usage = parse(said, dialect="chat", model="anthropic/x")
    truth = replace(usage, cache_write_5m=short, cache_write_1h=long)
    if usage.overlapping or usage.anomaly:
        return
    charged = price(truth, SONNET).cost
    found = infer_writes(replace(usage, cost=charged), SONNET)
    assert (found.cache_write_5m, found.cache_write_1h) == (short, long)


# identities

COUNT = st.integers(0, 1 << 50)
PRICE = st.decimals(min_value=0, max_value="0.001", places=12)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    plain, read_, short, long, out = (draw(COUNT) for _ in range(5))
    return Usage(plain, read_, short, long, out, plain + read_ + short + long, convention="exclusive")


RATES = st.builds(Rates, PRICE, PRICE, PRICE, PRICE, PRICE)


@given(usages(), RATES)
def test_the_saving_is_what_the_same_prompt_would_have_cost_less_what_it_cost(usage: Usage, rates: Rates) -> None:
    bill = price(usage, rates)
    parts = (usage.input_uncached, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h)
    prices = (rates.input, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h)
    with_cache = sum(exact(count) * exact(each) for count, each in zip(parts, prices, strict=True))
    without = sum(map(exact, parts)) * exact(rates.input)
    assert exact(bill.input_cost) == with_cache
    assert exact(bill.uncached_cost) == without
    assert exact(bill.saving) == without - with_cache
    assert (bill.claimed, bill.unaided) == (0, bill.saving)


def exact(value: Decimal | int | None) -> Fraction:
    """Without any rounding of the test's own."""
    assert value is not None
    return Fraction(value)


@given(st.lists(st.tuples(usages(), RATES), max_size=6), st.randoms())
def test_sums_over_answers_are_the_same_in_any_order(answers: list[tuple[Usage, Rates]], rng: Any) -> None:
    bills = [price(usage, rates) for usage, rates in answers]
    nanos = [nano_dollars(bill.saving) for bill in bills]
    shuffled = list(bills)
    rng.shuffle(shuffled)
    assert sum(nano_dollars(bill.saving) for bill in shuffled) == sum(nanos)
    total = sum(exact(bill.saving) for bill in bills)
    assert sum(exact(bill.read_saving) for bill in bills) - sum(exact(bill.write_premium) for bill in bills) == total


# what is ours, what is charged, what is unknown


def spent(**changes: Any) -> Usage:
    return replace(Usage(100, 900, 0, 0, 10, 1000, convention="inclusive"), **changes)


def test_nothing_is_claimed_of_what_a_provider_gives_unaided() -> None:
    automatic = price(spent(), GPT)
    assert automatic.saving == automatic.unaided == 900 * Decimal("4.5") / 1_000_000
    assert automatic.claimed == 0
    ours = price(spent(), GPT, ours=True)
    assert (ours.claimed, ours.unaided) == (automatic.saving, 0)


def test_where_the_host_charges_another_price_the_saving_follows_the_charge() -> None:
    half = price(spent(cost=Decimal("0.001"), input_cost=Decimal("0.000475")), GPT)
    whole = price(spent(), GPT)
    assert whole.input_cost == Decimal("0.00095")
    assert half.scale == Decimal("0.5")
    assert half.saving == (whole.saving or 0) / 2
    assert half.input_cost == Decimal("0.000475")
    assert (half.uncached_cost or 0) - (half.saving or 0) == half.input_cost


def test_where_nothing_is_charged_nothing_is_saved() -> None:
    bill = price(spent(cost=Decimal(0)), GPT, ours=True)
    assert (bill.cost, bill.saving, bill.uncached_cost) == (0, 0, 0)


def test_with_a_key_of_ones_own_the_fee_and_the_hosts_charge_are_paid() -> None:
    own = spent(byok=True, cost=Decimal("0.00005"), upstream_cost=Decimal("0.001"), input_cost=Decimal(0))
    bill = price(own, GPT)
    assert bill.cost == Decimal("0.00105")
    assert bill.saving == 900 * Decimal("4.5") / 1_000_000


def test_a_charge_named_by_the_caller_stands_above_the_answers_own() -> None:
    assert price(spent(cost=Decimal("0.5")), GPT, Decimal("0.25")).cost == Decimal("0.25")


def test_unknown_usage_and_unknown_prices_are_told_apart_and_give_no_saving() -> None:
    assert price(Usage(), GPT).unknown == "usage"
    assert price(Usage(cost=Decimal("0.5")), GPT).cost == Decimal("0.5")
    assert price(spent(), None).unknown == "price"
    assert price(spent(), mega("5", "30")).unknown == "price"
    assert price(spent(cache_read=0, input_uncached=1000), mega("5", "30")).unknown == ""
    assert price(spent(cache_write_1h=5, input_total=1005), GPT).unknown == "price"
    for bill in (price(Usage(), GPT), price(spent(), None)):
        assert bill.saving is None
        assert bill.claimed == bill.unaided == 0


def test_what_is_not_reported_counts_as_nothing_saved() -> None:
    bill = price(Usage(input_uncached=50, output=5, input_total=50), GPT)
    assert (bill.saving, bill.estimated, bill.cost) == (0, True, 50 * Decimal("5e-6") + 5 * Decimal("30e-6"))


# avoidable misses


def test_an_avoidable_miss_costs_the_difference_to_a_read() -> None:
    usage = Usage(1000, 0, 0, 0, 1, 1000)
    assert avoidable(usage, 900, SONNET) == (900, 900 * Decimal("2.7e-6"))
    rewritten = Usage(100, 0, 900, 0, 1, 1000)
    assert avoidable(rewritten, 900, SONNET) == (900, 900 * Decimal("3.45e-6"))
    assert avoidable(replace(usage, cache_read=900), 900, SONNET) == (0, 0)
    assert avoidable(replace(usage, cache_read=950), 900, SONNET) == (0, 0)
    assert avoidable(usage, 900, None) == (900, None)


# unread writes

A, B = PrefixId("t1", "m", "a"), PrefixId("t2", "m", "a")


def test_a_write_that_is_read_in_time_has_paid() -> None:
    waiting = Unread()
    assert waiting.wrote(A, 5000, Decimal("0.01"), 0.0) == Expired()
    assert waiting.read(A, 299.9)
    assert waiting.expire(1e9) == Expired()


def test_a_write_that_nobody_reads_in_time_is_lost_with_its_premium() -> None:
    waiting = Unread()
    waiting.wrote(A, 5000, Decimal("0.01"), 0.0)
    waiting.wrote(B, 7, Decimal("0.5"), 0.0, ttl="1h")
    assert waiting.expire(299.9) == Expired()
    assert not waiting.read(A, 300.0)
    assert waiting.expire(300.0) == Expired(1, 5000, Decimal("0.01"))
    assert waiting.expire(3600.0) == Expired(1, 7, Decimal("0.5"))
    assert len(waiting) == 0


def test_a_prefix_written_anew_before_it_was_read_lost_its_first_write() -> None:
    waiting = Unread()
    waiting.wrote(A, 10, Decimal(1), 0.0)
    assert waiting.wrote(A, 12, Decimal(2), 100.0) == Expired(1, 10, Decimal(1))
    assert waiting.expire(1e9) == Expired(1, 12, Decimal(2))


def test_tenants_do_not_read_each_others_prefixes() -> None:
    waiting = Unread()
    waiting.wrote(A, 10, Decimal(1), 0.0)
    assert not waiting.read(B, 1.0)
    assert waiting.read(A, 1.0)


def test_what_is_too_much_is_forgotten_and_never_called_unread() -> None:
    waiting = Unread(limit=3)
    for number in range(5):
        waiting.wrote(PrefixId("t", "m", str(number)), 1, Decimal(1), 0.0)
    assert (len(waiting), waiting.forgotten) == (3, 2)
    assert waiting.expire(1e9).writes == 3


@given(st.lists(st.tuples(st.sampled_from("wr"), st.integers(0, 3), st.floats(0, 500)), max_size=40))
def test_every_write_is_read_lost_or_waiting_once(steps: list[tuple[str, int, float]]) -> None:
    waiting, now, written, paid, lost = Unread(limit=100), 0.0, 0, 0, 0
    for what, number, gap in steps:
        now += gap
        key = PrefixId("t", "m", str(number))
        if what == "w":
            written += 1
            lost += waiting.wrote(key, 1, Decimal(1), now).writes
        else:
            paid += waiting.read(key, now)
        lost += waiting.expire(now).writes
    assert written == paid + lost + len(waiting)


def test_a_bill_is_a_value() -> None:
    assert price(spent(), GPT) == price(spent(), GPT)
    assert isinstance(hash(Bill(Usage())), int)
