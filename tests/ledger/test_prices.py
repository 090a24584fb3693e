"""Prices come from the upstream, else from the table, else from nowhere; long prompts and hours change them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.ledger.genai_table import genai_finder
from payonce.ledger.price_rows import Era, Override, Rates, Row, Window, rows_of
from payonce.ledger.prices import MISSING_EXTRA, Prices, model_names

M = Decimal(1_000_000)
NOVEMBER = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()  # a Saturday
OPENROUTER = "https://openrouter.ai/api/v1"
SONNET = {
    "id": "anthropic/claude-sonnet-4.5",
    "canonical_slug": "anthropic/claude-4.5-sonnet-20250929",
    "pricing": {
        "prompt": "0.000003",
        "completion": "0.000015",
        "input_cache_read": "0.0000003",
        "input_cache_write": "0.00000375",
        "input_cache_write_1h": "0.000006",
        "overrides": [{"min_prompt_tokens": 200000, "prompt": "0.000006", "input_cache_read": "0.0000006"}],
    },
}


def no_table() -> None:
    return None


def prices(*models: dict[str, Any], provider: str | None = None, table: Any = no_table) -> Prices:
    made = Prices(clock=lambda: NOVEMBER, table=table)
    made.learn_models({"data": list(models)}, provider=provider)
    return made


def priced(**pricing: Any) -> dict[str, Any]:
    return {"id": "a/x", "pricing": {"prompt": "0.000001", "completion": "0.000002", **pricing}}


def rates(made: Prices, model: str = "a/x", **how: Any) -> Rates:
    found = made.rates(model, **how)
    assert found is not None
    return found


# what an upstream publishes


def test_published_prices_are_exact_decimals_a_token() -> None:
    assert rates(prices(SONNET), "anthropic/claude-sonnet-4.5") == Rates(
        Decimal("0.000003"),
        Decimal("0.000015"),
        Decimal("0.0000003"),
        Decimal("0.00000375"),
        Decimal("0.000006"),
        "models",
        0,
        200000,
    )


def test_a_longer_prompt_has_other_prices_in_whole_from_the_first_token_above() -> None:
    made = prices(SONNET)
    at = rates(made, "anthropic/claude-sonnet-4.5", prompt_tokens=200_000)
    above = rates(made, "anthropic/claude-sonnet-4.5", prompt_tokens=200_001)
    assert (at.input, at.above, at.until) == (Decimal("0.000003"), 0, 200_000)
    assert (above.input, above.cache_read, above.above, above.until) == (
        Decimal("0.000006"),
        Decimal("0.0000006"),
        200_000,
        None,
    )
    assert above.output == at.output  # keys that an override leaves out stay


def test_the_model_is_found_by_the_name_that_answers_use() -> None:
    made = prices(SONNET)
    for name in (
        "anthropic/claude-sonnet-4.5",
        "Anthropic/Claude-Sonnet-4.5",
        "anthropic/claude-4.5-sonnet-20250929",
        "anthropic/claude-sonnet-4.5-20250929",
        "anthropic/claude-sonnet-4.5:nitro",
        "anthropic/claude-sonnet-4.5@preset/mine",
    ):
        assert rates(made, name).input == Decimal("0.000003"), name
    for name in ("anthropic/claude-sonnet-4.5:batch", "anthropic/claude-sonnet", "@preset/mine", "", "x" * 201):
        assert made.rates(name) is None, name


def test_free_variants_cost_nothing() -> None:
    assert rates(prices(SONNET), "anthropic/claude-sonnet-4.5:free").input == 0
    assert prices(SONNET).rates("a/x:free", provider="http://127.0.0.1:9/v1") is None


def test_an_upstreams_prices_are_not_anothers() -> None:
    made = prices(SONNET, provider="http://127.0.0.1:8080/api/v1/")
    assert rates(made, SONNET["id"], provider="http://127.0.0.1:8080/api/v1").input == Decimal("0.000003")
    assert made.rates(SONNET["id"], provider="http://127.0.0.1:9090/api/v1") is None
    assert made.rates(SONNET["id"]) is None
    assert prices(SONNET).rates(SONNET["id"], provider="http://127.0.0.1:9090/api/v1") is None
    made = prices(SONNET, provider=OPENROUTER)
    assert rates(made, SONNET["id"]).input == Decimal("0.000003")
    assert rates(made, SONNET["id"], provider="openrouter").input == Decimal("0.000003")


def test_hours_and_days_of_the_week_change_prices() -> None:
    end = {"utc_end": 1300}
    night = {"utc_start": 1630, "utc_end": 30, "prompt": "0.0000005"}
    made = prices(priced(overrides=[night]))
    for hour, minute, wanted in (
        (16, 29, "0.000001"),
        (16, 30, "0.0000005"),
        (0, 29, "0.0000005"),
        (0, 30, "0.000001"),
    ):
        at = datetime(2026, 11, 21, hour, minute, tzinfo=UTC).timestamp()
        assert rates(made, at=at).input == Decimal(wanted), (hour, minute)
    made = prices(priced(overrides=[{"utc_days": ["saturday", "sunday"], "prompt": "0.0000005"}]))
    assert rates(made).input == Decimal("0.0000005")
    assert rates(made, at=NOVEMBER + 2 * 86400).input == Decimal("0.000001")
    for day, wanted in enumerate(("0.0000005", "0.000001", "0.000001")):  # Saturday, Sunday, Monday
        made = prices(priced(overrides=[{"utc_days": ["saturday"], "utc_start": 1100, "prompt": "0.0000005"} | end]))
        assert rates(made, at=NOVEMBER + day * 86400).input == Decimal(wanted)


def test_later_overrides_win_key_by_key() -> None:
    first = {"min_prompt_tokens": 100, "prompt": "0.000005", "completion": "0.000009"}
    made = prices(priced(overrides=[first, {"min_prompt_tokens": 50, "prompt": "0.000007"}]))
    found = rates(made, prompt_tokens=101)
    assert (found.input, found.output, found.above) == (Decimal("0.000007"), Decimal("0.000009"), 100)
    assert rates(made, prompt_tokens=60).until == 100


def test_a_discount_is_taken_off_every_price() -> None:
    found = rates(prices(priced(discount=0.25, input_cache_read="0.0000004")))
    assert (found.input, found.cache_read) == (Decimal("0.00000075"), Decimal("0.0000003"))


@pytest.mark.parametrize(
    "pricing",
    [
        {"prompt": "-1"},
        {"prompt": "cheap"},
        {"prompt": True},
        {"prompt": "NaN"},
        {"completion": "Infinity"},
        {"discount": 2},
        {"overrides": [{"min_turns": 3, "prompt": "1"}]},
        {"overrides": [{"utc_days": ["someday"], "prompt": "1"}]},
        {"overrides": [{"utc_start": 100, "prompt": "1"}]},
        {"overrides": [{"utc_start": 170, "utc_end": 200, "prompt": "1"}]},
    ],
)
def test_a_price_that_cannot_be_judged_is_unknown(pricing: dict[str, Any]) -> None:
    made = prices(priced(**pricing), SONNET)
    assert made.rates("a/x") is None
    assert made.rates(SONNET["id"]) is not None


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(), st.lists) | st.none()
)
def test_no_document_makes_learning_raise(junk: object) -> None:
    made = Prices(table=no_table)
    for document in (junk, {"data": junk}, {"data": [junk]}, {"data": [{"id": junk, "pricing": junk}]}):
        assert made.learn_models(document) == 0
    held = {"id": "a", "pricing": {"prompt": "1", "completion": junk, "overrides": junk}}
    made.learn_models({"data": [held, {"id": "b", "pricing": {"prompt": junk, "discount": junk, "overrides": [junk]}}]})
    assert made.rates("zzz") is None


def test_a_document_without_prices_leaves_the_last_one_standing_and_memory_is_bounded() -> None:
    made = prices(SONNET)
    assert made.learn_models({"data": [{"id": "gpt-4o", "object": "model"}]}) == 0
    assert made.rates(SONNET["id"]) is not None
    many = {"data": [{**SONNET, "id": f"a/{number}", "canonical_slug": None} for number in range(30_000)]}
    assert made.learn_models(many) == 20_000
    for number in range(100):
        made.learn_models({"data": [SONNET]}, provider=f"http://host{number}/v1")
    assert len(made._published) == 64


# what is known nowhere


def test_an_unknown_price_is_none_and_counted_never_a_guess() -> None:
    made = prices(SONNET)
    assert made.rates("a/unknown") is None
    assert made.rates("gpt-4o", provider="http://127.0.0.1:11434/v1") is None
    assert made.unknown == 2
    assert made.missing == MISSING_EXTRA
    assert "payonce[prices]" in MISSING_EXTRA


def test_the_table_is_asked_once_for_each_model() -> None:
    asked: list[tuple[str, str | None]] = []
    row = Row("genai-prices", (Era({"input": Decimal(1)}),))

    def find(model: str, provider: str | None) -> Row | None:
        asked.append((model, provider))
        return row if model == "known" else None

    made = Prices(clock=lambda: 0.0, table=lambda: find)
    assert [made.rates("known"), made.rates("known")] == [Rates(Decimal(1), source="genai-prices")] * 2
    assert made.rates("unknown") is made.rates("unknown") is None
    assert asked == [("known", None), ("unknown", None)]
    for number in range(10_000):
        made.rates(f"model-{number}")
    assert len(made._memo) <= 4096


def test_what_the_upstream_publishes_stands_above_the_table() -> None:
    made = prices(SONNET, table=lambda: lambda model, provider: Row("genai-prices", (Era({"input": Decimal(9)}),)))
    assert rates(made, SONNET["id"]).source == "models"
    assert rates(made, "b/y").source == "genai-prices"


def test_without_the_extra_a_call_path_gets_unknown_prices_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    made = Prices()
    assert made.load() is False
    assert made.rates("gpt-4o") is None
    assert made.missing


# rows


@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**6), max_size=5, unique=True))
def test_rates_hold_for_every_length_between_their_bounds(prompt: int, starts: list[int]) -> None:
    overrides = tuple(Override({"input": Decimal(start)}, start) for start in sorted(starts))
    row = Row("models", (Era({"input": Decimal(0)}, overrides),))
    found = row.rates(prompt, 0.0)
    assert found.above < prompt or found.above == 0
    assert found.until is None or prompt <= found.until
    for other in (found.above + 1, found.until or prompt):
        if found.above < other:
            assert row.rates(other, 0.0) == found


def test_the_last_era_that_has_begun_counts_else_the_first() -> None:
    dear, cheap = {"input": Decimal(3)}, {"input": Decimal(2)}
    row = Row("genai-prices", (Era(dear), Era(cheap, since=1000.0)))
    assert [row.rates(0, at).input for at in (0.0, 999.0, 1000.0)] == [3, 3, 2]
    row = Row("genai-prices", (Era(dear, since=500.0), Era(cheap, window=Window(0, 3600))))
    assert [row.rates(0, at).input for at in (7200.0, 3599.0)] == [3, 2]


def test_names_go_from_the_most_telling_to_the_least() -> None:
    assert list(model_names("OpenAI/GPT-4o-2024-08-06:nitro")) == [
        "openai/gpt-4o-2024-08-06:nitro",
        "openai/gpt-4o-2024-08-06",
        "openai/gpt-4o",
    ]
    assert list(model_names("anthropic.claude-x-v1:0")) == ["anthropic.claude-x-v1:0"]
    assert list(model_names(7)) == []


def test_rows_are_read_from_a_bare_list_too() -> None:
    assert [name for name, _ in rows_of([SONNET])] == [SONNET["id"], SONNET["canonical_slug"]]


# genai-prices itself (the extra `prices`)


@pytest.fixture(scope="module")
def real() -> Prices:
    pytest.importorskip("genai_prices", reason="the extra `prices` is not installed")
    assert genai_finder() is not None
    return Prices(clock=lambda: NOVEMBER)


def test_the_bundled_table_knows_tiers_and_hour_long_writes(real: Prices) -> None:
    for model in ("anthropic/claude-haiku-5.5", "claude-haiku-5-5"):
        low, high = (rates(real, model, prompt_tokens=size) for size in (100_000, 100_001))
        assert (low.input, low.cache_write_1h, low.until) == (Decimal("0.1") / M, Decimal("0.2") / M, 100_000)
        assert [high.input, high.output, high.cache_read] == [
            5 * price for price in (low.input, low.output, low.cache_read) if price is not None
        ]


def test_the_bundled_table_follows_dates(real: Prices) -> None:
    before, after = (datetime(2026, 10, day, tzinfo=UTC).timestamp() for day in (18, 19))
    model = "google/gemini-2.5-flash"
    assert rates(real, model, at=before).cache_read == Decimal("0.075") / M
    assert rates(real, model, at=after).cache_read == Decimal("0.03") / M


def test_openrouters_rows_take_the_makers_hour_only_where_all_prices_agree(real: Prices) -> None:
    assert rates(real, "anthropic/claude-sonnet-4.5", provider=OPENROUTER).cache_write_1h == Decimal(6) / M
    assert rates(real, "anthropic/claude-4.6-sonnet-20260217").cache_write_1h == Decimal(6) / M
    assert rates(real, "google/gemini-2.5-flash").cache_write_1h is None


def test_the_bundled_table_prices_only_whom_it_knows(real: Prices) -> None:
    assert rates(real, "gpt-4o-mini-2024-07-18", provider="https://api.openai.com/v1").input == Decimal("0.15") / M
    assert real.rates("gpt-4o-mini", provider="http://127.0.0.1:11434/v1") is None
    assert real.rates("gpt-4o-mini", provider="https://api.openai.com.evil.example/v1") is None
    assert real.rates("sim/small") is None
    assert real.missing == ""


def test_a_flat_row_prices_as_the_package_itself_does(real: Prices) -> None:
    """The oracle is the package's own calculation, tiers and eras included."""
    import genai_prices

    when = datetime.fromtimestamp(NOVEMBER, tz=UTC)
    for model, provider in (
        ("anthropic/claude-sonnet-4.5", "openrouter"),
        ("claude-haiku-5-5", "anthropic"),
        ("gpt-5.6-sol", "openai"),
        ("deepseek-v4-flash", "deepseek"),
        ("gemini-3-flash-preview", "google"),
        ("grok-4", "x-ai"),
    ):
        for size in (1_000, 100_000, 200_001, 300_000):
            usage = genai_prices.Usage(input_tokens=size, cache_read_tokens=400, output_tokens=50)
            theirs = genai_prices.calc_price(usage, model, provider_id=provider, genai_request_timestamp=when)
            ours = rates(real, model, provider=provider, prompt_tokens=size)
            assert ours.input is not None
            assert ours.output is not None
            assert ours.cache_read is not None
            assert (size - 400) * ours.input + 400 * ours.cache_read == theirs.input_price, model
            assert 50 * ours.output == theirs.output_price, model
