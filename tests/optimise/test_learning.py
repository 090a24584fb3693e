"""What answers teach: lengths, minimums, what is there, and that nothing strange is believed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.ledger.price_rows import Rates
from payonce.optimise import Planner
from payonce.optimise.traits import Catalogue, name_parts
from tests.optimise.planning import MODEL, RULES, Table, ask, marks, text

SAME = [
    "anthropic/claude-sonnet-4.5",
    "claude-sonnet-4-5-20250929",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic/claude-4.5-sonnet-20250929",
    "vertex_ai/claude-sonnet-4-5@20250929",
    "anthropic/claude-sonnet-4.5:beta",
]


@pytest.mark.parametrize("name", SAME)
def test_a_model_has_the_same_traits_under_all_its_names(name: str) -> None:
    assert Catalogue().traits(name) == Catalogue().traits(SAME[0])


@pytest.mark.parametrize(
    ("model", "minimum", "read"),
    [
        ("anthropic/claude-opus-4.5", 4096, 0.1),
        ("anthropic/claude-opus-4.7", 2048, 0.1),
        ("anthropic/claude-opus-4.8", 1024, 0.1),
        ("anthropic/claude-opus-5", 512, 0.1),
        ("anthropic/claude-opus-5.5", 512, 0.05),
        ("anthropic/claude-fable-5.1", 512, 0.025),
        ("anthropic/claude-3.5-haiku", 2048, 0.1),
    ],
)
def test_minimums_and_multipliers_come_from_the_tables(model: str, minimum: int, read: float) -> None:
    traits = Catalogue().traits(model)
    assert (traits.kind, traits.minimum, traits.read) == ("marker", minimum, read)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("openai/gpt-5.6", "paid-auto"),
        ("openai/gpt-5.6-mini", "paid-auto"),
        ("openai/gpt-6", "paid-auto"),
        ("openai/gpt-5.4", "auto-key"),
        ("openai/gpt-4o-mini", "auto-key"),
        ("openai/o3", "auto-key"),
        ("openai/gpt-oss-120b", "auto"),
        ("qwen/qwen3-max", "marker"),
        ("x-ai/grok-4", "auto"),
        ("acme/new", "unknown"),
    ],
)
def test_models_are_sorted_by_how_their_provider_caches(model: str, kind: str) -> None:
    assert Catalogue().traits(model).kind == kind


def test_given_minimums_and_prices_go_before_the_tables() -> None:
    class Prices:
        def rates(self, model: str) -> Rates | None:
            assert model == MODEL
            return Rates(*map(Decimal, ("3e-6", "15e-6", "0.6e-6", "4.5e-6", "9e-6")))

    traits = Catalogue(Prices(), {"bedrock/anthropic.claude-sonnet-4-5": 2048.0}).traits(MODEL)
    assert (traits.minimum, traits.read, traits.write_5m, traits.write_1h) == (2048, 0.2, 1.5, 3.0)


def test_unknown_prices_are_asked_for_again() -> None:
    class Prices:
        known = False

        def rates(self, _model: str) -> Rates | None:
            return Rates(Decimal(1), Decimal(1), Decimal("0.3"), Decimal(2), Decimal(3)) if self.known else None

    prices = Prices()
    catalogue = Catalogue(prices)
    assert catalogue.traits(MODEL).read == 0.1
    prices.known = True
    assert catalogue.traits(MODEL).read == 0.3


def test_version_and_date_are_told_apart() -> None:
    assert name_parts("anthropic/claude-4.6-sonnet-20260217") == (("claude", "sonnet"), (4, 6))


@pytest.mark.parametrize("minimum", [512, 2048])
def test_another_minimum_than_the_documented_one_is_found_out(minimum: int) -> None:
    table = Table(replace(RULES, minimum=minimum))
    for number in range(30):
        table.say(
            ask(
                text(40, number),
                "a",
                text(
                    40,
                    number,
                ),
                system=text(1200),
            ),
            number * 10.0,
        )
    learned = table.planner._models.of(MODEL).minimum(1024, "")
    if minimum == 2048:
        assert learned > 1200
        assert table.spent <= table.plain
    else:
        assert learned == 1024  # nothing shorter was ever tried, and nothing shorter is needed here
        assert table.spent < 0.4 * table.plain


def test_what_was_seen_not_to_be_kept_is_not_tried_again() -> None:
    table = Table()
    tried = [marks(table.say(ask(str(n), system=text(950)), n * 10.0)[0].body) for n in range(6)]
    assert tried[0]
    assert not any(tried[1:])
    longer, _ = table.say(ask("longer", system=text(1010)), 100.0)
    assert marks(longer.body)


def test_a_shorter_write_than_the_minimum_is_believed() -> None:
    planner = Planner()
    for number in range(4):
        plan = planner.plan(ask(f"{number}", system=text(1000)), dialect="messages", model=MODEL, now=number * 10.0)
        written = {"input_tokens": 2, "cache_creation_input_tokens": 900 if marks(plan.body) else 0}
        planner.observe(plan, written | {"cache_read_input_tokens": 0}, now=number * 10.0 + 2)
    assert planner._models.of(MODEL).minimum(1024, "") == 900


def test_tokens_for_a_character_are_learned() -> None:
    planner = Planner()
    for number in range(40):
        plan = planner.plan(ask(text(1000, number)), dialect="messages", model=MODEL, now=number * 1.0)
        planner.observe(plan, {"input_tokens": 1400, "output_tokens": 5}, now=number + 0.5)
    assert 0.33 < planner._models.of(MODEL).per_character() < 0.36


def test_an_entry_that_was_not_read_is_not_counted_on() -> None:
    planner = Planner()
    said = [text(700, place) for place in range(9)]

    def turn(length: int, now: float) -> Any:
        return planner.plan(ask(*said[:length], system=text(2000)), dialect="messages", model=MODEL, now=now)

    for place, now in ((1, 0.0), (3, 10.0)):
        planner.observe(
            turn(place, now),
            {"input_tokens": 5, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 2000 + 700 * place},
            now=now + 2,
        )
    third = turn(5, 20.0)
    assert third.trace is not None
    assert third.trace.keeping.read > 3000
    nothing = {"input_tokens": 5500, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    planner.observe(third, nothing, now=22.0)
    fourth = turn(7, 30.0)
    assert fourth.trace is not None
    assert fourth.trace.keeping.read == 0


def test_a_call_that_failed_wrote_nothing() -> None:
    planner = Planner()
    plans = []
    for number in range(3):
        plans.append(
            planner.plan(ask(f"{number}", system=text(3000)), dialect="messages", model=MODEL, now=number * 60.0)
        )
        planner.observe(plans[-1], None, now=number * 60.0 + 1, failed=True)
    assert all(plan.trace is not None and plan.trace.keeping.read == 0 for plan in plans)
    assert marks(plans[-1].body)


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats(allow_nan=True) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "input_tokens",
                    "prompt_tokens",
                    "cache_read_input_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "cache_creation",
                    "cache_creation_input_tokens",
                    "cost",
                    "output_tokens",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(usage=_ODD)
def test_no_usage_object_upsets_the_planner(usage: Any) -> None:
    planner = Planner()
    for number in range(3):
        plan = planner.plan(ask("q", system=text(1200)), dialect="messages", model=MODEL, now=number * 9.0)
        planner.observe(plan, usage, now=number * 9.0 + 2)
        planner.observe(plan, usage, now=number * 9.0 + 3)
    assert 0.01 < planner._models.of(MODEL).per_character() < 6
