"""Usage objects, as providers really sent them, parse to the right five figures; nothing makes the parser raise.

The recordings are facts from public repositories: each row names repository, commit and path, or the thread. `expect`
was worked out from the providers' own conventions by hand and by a script that shares nothing with the parser.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.ledger.shapes import LIMIT
from payonce.ledger.usage import FIGURES, Usage, fold, parse

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "recorded_usage.json").read_text())
STREAMS = json.loads((HERE / "recorded_streams.json").read_text())
FACTS_PAGE = {  # providers of the facts page of which a recording was found
    *("anthropic", "openai", "openrouter", "gemini", "deepseek", "xai", "groq", "moonshot", "qwen", "bedrock"),
    *("mistral", "zai", "cerebras", "cohere", "perplexity", "azure", "together"),
}
MISCOUNTED = {401}  # Mistral's audio tokens are in the total and in no other counter


def figures(usage: Usage) -> list[int | None]:
    return [getattr(usage, name) for name in FIGURES]


def ids(row: dict[str, Any]) -> str:
    return f"{row['provider']}-{row['dialect']}-{row['source'].rpartition('/')[2][:40]}"


@pytest.mark.parametrize("row", RECORDED, ids=ids)
def test_a_recorded_usage_object_parses_to_its_figures(row: dict[str, Any]) -> None:
    found = parse(row["usage"], dialect=row["dialect"], model=row["model"])
    assert figures(found) == row["expect"]
    assert bool(found.anomaly) == (row["usage"].get("total_tokens") in MISCOUNTED), found.anomaly


def test_the_recordings_are_many_real_and_of_every_provider_that_has_one() -> None:
    assert len(RECORDED) >= 100
    assert {row["provider"] for row in RECORDED} >= FACTS_PAGE
    assert all("@" in row["source"] or "#" in row["source"] for row in RECORDED + STREAMS)


@pytest.mark.parametrize("row", RECORDED, ids=ids)
def test_a_recording_with_one_figure_changed_parses_to_others_or_to_an_anomaly(row: dict[str, Any]) -> None:
    """The control: the table would notice a parser that reads the wrong field."""
    changed = json.loads(json.dumps(row["usage"]))
    names = ("input_tokens", "prompt_tokens", "inputTokens", "promptTokenCount", "total_tokens")
    place = changed.get("tokens", changed)
    name = next(name for name in names if name in place)
    place[name] += 1
    found = parse(changed, dialect=row["dialect"], model=row["model"])
    assert figures(found) != row["expect"] or "uncached" in found.anomaly  # DeepSeek says the same twice


@pytest.mark.parametrize("row", STREAMS, ids=lambda row: row["source"].rpartition("/")[2][:50])
def test_a_recorded_stream_folds_to_the_usage_of_the_whole_answer(row: dict[str, Any]) -> None:
    found = parse(fold(row["events"]), dialect=row["dialect"])
    assert figures(found) == row["expect"]
    assert found.anomaly == ""
    noise = [{"type": "ping"}, None, 7, {"choices": [{"usage": None}], "usage": None}, {"choices": "x"}]
    assert fold([*noise, *row["events"], *noise]) == fold(row["events"])


def test_folding_reads_the_places_where_providers_put_a_streams_usage() -> None:
    said = {"prompt_tokens": 20, "completion_tokens": 5, "cached_tokens": 10}
    for event in (
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": said}]},  # Moonshot
        {"choices": [], "usage": None, "x_groq": {"id": "r", "usage": said}},  # Groq, before 2025
        {"choices": [], "usage": said},
        {"type": "response.completed", "response": {"usage": said}},
        said,
    ):
        assert parse(fold([{"choices": [{"index": 0}]}, event]), dialect="chat").cache_read == 10
    assert fold([]) is None
    assert fold([{"type": "ping"}, {"id": "x", "choices": []}]) is None


def test_folding_never_lets_a_null_hide_a_figure_nor_changes_an_event() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "cache_creation": {"a": 1}}}}
    delta = {"type": "message_delta", "usage": {"input_tokens": None, "cache_creation": {"b": 2}, "output_tokens": 3}}
    before = json.dumps([start, delta])
    assert fold([start, delta]) == {"input_tokens": 5, "cache_creation": {"a": 1, "b": 2}, "output_tokens": 3}
    assert json.dumps([start, delta]) == before


def test_a_split_of_an_earlier_step_is_not_laid_over_a_later_sum() -> None:
    def event(kind: str, usage: dict[str, Any]) -> dict[str, Any]:
        return (
            {"type": kind, "message": {"usage": usage}} if kind == "message_start" else {"type": kind, "usage": usage}
        )

    first = {"ephemeral_5m_input_tokens": 55096, "ephemeral_1h_input_tokens": 0}
    start = event("message_start", {"input_tokens": 100, "cache_creation_input_tokens": 55096, "cache_creation": first})
    delta = event("message_delta", {"input_tokens": 181, "cache_creation_input_tokens": 0, "output_tokens": 8})
    found = parse(fold([start, delta]), dialect="messages")
    assert (found.cache_write_5m, found.cache_write_1h, found.anomaly) == (0, 0, "")


# conventions


def test_the_dialect_decides_what_input_tokens_means() -> None:
    said = {"input_tokens": 100, "output_tokens": 5, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 0}
    assert parse(said, dialect="messages").input_total == 160
    inclusive = {"input_tokens": 100, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 60}}
    found = parse(inclusive, dialect="responses")
    assert (found.input_total, found.input_uncached, found.convention) == (100, 40, "inclusive")


def test_overlapping_figures_are_told_from_wrong_ones() -> None:
    def said(prompt: int, read: int, written: int) -> dict[str, Any]:
        details = {"cached_tokens": read, "cache_write_tokens": written}
        return {"prompt_tokens": prompt, "completion_tokens": 1, "prompt_tokens_details": details}

    found = parse(said(2168, 2161, 2161), dialect="chat")  # recorded: Gemini through OpenRouter
    assert (found.input_uncached, found.overlapping, found.anomaly) == (7, True, "")
    found = parse(said(9000, 2161, 2161), dialect="chat", model="google/gemini-2.5-flash")
    assert (found.input_uncached, found.overlapping) == (9000 - 2161, True)
    found = parse(said(9000, 2161, 2161), dialect="chat", model="anthropic/claude-sonnet-4.6")
    assert (found.input_uncached, found.overlapping) == (9000 - 2 * 2161, False)
    wrong = parse(said(100, 80, 60), dialect="chat")
    assert wrong.input_uncached is None
    assert "more than the prompt" in wrong.anomaly


def test_what_is_absent_is_unknown_and_never_zero() -> None:
    found = parse({"prompt_tokens": 35, "completion_tokens": 25}, dialect="chat")
    assert figures(found) == [35, None, None, None, 25]
    assert "input_uncached" in found.inferred
    found = parse({"input_tokens": 9, "output_tokens": 1}, dialect="messages")
    assert figures(found) == [9, None, None, None, 1]
    assert found.input_total is None
    assert figures(parse({}, dialect="chat")) == [None] * 5
    assert parse(None, dialect="chat") == Usage()
    assert parse([], dialect="chat").anomaly


def test_writes_without_their_time_to_live_follow_what_the_request_marked() -> None:
    said = {"input_tokens": 3, "cache_creation_input_tokens": 500, "cache_read_input_tokens": 0, "output_tokens": 1}
    assert parse(said, dialect="messages").cache_write_5m == 500
    assert "cache_write_5m" in parse(said, dialect="messages").inferred
    found = parse(said, dialect="messages", ttl="1h")
    assert (found.cache_write_5m, found.cache_write_1h, found.inferred) == (0, 500, ())


def test_reads_of_a_gateway_that_counts_writes_as_cached_are_the_precise_ones() -> None:
    details = {"cached_tokens": 7019, "cache_creation_input_tokens": 7019, "cache_read_input_tokens": 0}
    found = parse({"prompt_tokens": 7039, "completion_tokens": 1, "prompt_tokens_details": details}, dialect="chat")
    assert (found.input_uncached, found.cache_read, found.cache_write_5m) == (20, 0, 7019)


def test_alibabas_documented_shape_of_explicit_caching_is_read() -> None:
    details = {"cache_creation": {"ephemeral_5m_input_tokens": 3550}, "cache_creation_input_tokens": 3550}
    said = {"prompt_tokens": 3564, "completion_tokens": 23, "total_tokens": 3587}
    found = parse({**said, "prompt_tokens_details": {**details, "cached_tokens": 0}}, dialect="chat")
    assert figures(found) == [14, 0, 3550, 0, 23]


def test_steps_to_another_model_are_held_apart_and_a_compaction_is_not() -> None:
    advisor = next(row for row in RECORDED if "advisor_tool" in row["source"] and row["provider"] == "anthropic")
    found = parse(advisor["usage"], dialect="messages", model=advisor["model"])
    assert [(name, other.input_uncached) for name, other in found.elsewhere] == [("claude-opus-4-8", 2518)]
    compaction = next(row for row in RECORDED if "compaction_end_to_end" in row["source"])
    assert parse(compaction["usage"], dialect="messages").input_uncached == 220 + 55196


def test_figures_that_contradict_each_other_are_an_anomaly() -> None:
    said = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 41}
    assert "uncached" in parse(said, dialect="chat").anomaly
    said = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 106}
    assert "total" in parse(said, dialect="chat").anomaly
    split = {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 7}
    said = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 10, "cache_creation": split}
    assert "time to live" in parse(said, dialect="messages").anomaly


def test_a_figure_that_cannot_be_read_leaves_what_depends_on_it_unknown() -> None:
    details = {"cached_tokens": "60"}
    found = parse({"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": details}, dialect="chat")
    assert figures(found) == [None, None, None, None, 5]
    assert "cached_tokens" in found.anomaly


# money that the answer names


def test_the_cost_is_the_decimal_that_was_written() -> None:
    said = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.00964275, "is_byok": False}
    found = parse(said, dialect="chat")
    assert (found.cost, found.byok) == (Decimal("0.00964275"), False)
    assert parse({**said, "cost": {"total_cost": 0.00512, "input_tokens_cost": 3e-05}}, dialect="chat").cost == Decimal(
        "0.00512"
    )
    for wrong in (True, "1", -1, float("nan"), float("inf"), 1e300, [], 10**400):
        found = parse({**said, "cost": wrong}, dialect="chat")
        assert found.cost is None
        assert "cost" in found.anomaly


def test_xais_ticks_are_dollars() -> None:
    said = {"input_tokens": 160, "output_tokens": 249, "input_tokens_details": {"cached_tokens": 128}}
    found = parse({**said, "cost_in_usd_ticks": 6881000}, dialect="responses")
    assert found.cost == (32 * Decimal("1.25") + 128 * Decimal("0.2") + 249 * Decimal("2.5")) / 1_000_000


# hostile input

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({name for row in RECORDED for name in row["usage"]} | {"iterations", "cost", "cost_details"})
INSIDE = (
    "cached_tokens",
    "cache_write_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "ttl",
    "type",
)
HOSTILE = st.dictionaries(
    st.sampled_from(NAMES), JUNK | st.dictionaries(st.sampled_from(INSIDE), JUNK) | st.lists(JUNK), max_size=12
)
DIALECTS = st.sampled_from(["chat", "messages", "responses", "embeddings", "unheard-of"])


@given(HOSTILE | JUNK, DIALECTS)
def test_nothing_makes_the_parser_raise_or_return_what_is_no_count(usage: object, dialect: str) -> None:
    found = parse(usage, dialect=dialect, model="x")
    for value in [*figures(found), found.input_total, found.reasoning]:
        assert value is None or (type(value) is int and 0 <= value < 4 * LIMIT)
    assert found.cost is None or (isinstance(found.cost, Decimal) and found.cost >= 0)
    assert len(found.anomaly) < 4000
    fold([usage, {"usage": usage}, {"message": {"usage": usage}}])


@given(st.sampled_from([True, 1.0, -1, "5", [5], {"n": 5}, LIMIT, Decimal(5)]), st.sampled_from(["messages", "chat"]))
def test_what_is_no_token_count_becomes_unknown_with_an_anomaly(wrong: object, dialect: str) -> None:
    name = "input_tokens" if dialect == "messages" else "prompt_tokens"
    found = parse({name: wrong, "output_tokens": 1, "completion_tokens": 1}, dialect=dialect)
    assert found.input_uncached is None
    assert name in found.anomaly


COUNTS = st.integers(min_value=0, max_value=10**7)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_whole_prompt_is_what_was_read_written_and_neither(
    plain: int, read: int, short: int, long: int, out: int
) -> None:
    """One answer, told in both conventions, parses to the same figures."""
    split = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    written = {"cache_creation_input_tokens": short + long, "cache_creation": split}
    exclusive = {"input_tokens": plain, "cache_read_input_tokens": read, "output_tokens": out, **written}
    whole = plain + read + short + long
    inclusive = {
        "prompt_tokens": whole,
        "completion_tokens": out,
        "total_tokens": whole + out,
        "prompt_tokens_details": {"cached_tokens": read, **written},
    }
    for found in (parse(exclusive, dialect="messages"), parse(inclusive, dialect="chat")):
        assert figures(found) == [plain, read, short, long, out]
        assert found.input_total == plain + read + short + long
        assert found.anomaly == ""
