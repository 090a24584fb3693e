"""One request by itself: what is wrong with its markers and its text, and what is not."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.doctor import CAUSES, lint
from payonce.doctor.causes import _row
from payonce.doctor.volatile import volatile
from tests.doctor.rules import HOUR, MARK, Talk, tool, words

NOW = 1_795_255_200.0  # 2026-11-21 10:00 UTC


def minimum_of(_model: str) -> int:
    return 1024


def found(body: dict[str, Any], dialect: str = "messages", **more: Any) -> list[tuple[str, str]]:
    return [(one.id, one.where) for one in lint(body, dialect=dialect, minimum_of=minimum_of, now=NOW, **more)]


def talk(turns: int = 2, **more: Any) -> dict[str, Any]:
    one = Talk(**more)
    for turn in range(turns):
        one.say(turn)
    return one.body()


def system(text: str) -> dict[str, Any]:
    return talk(system=text + "\n" + words(1, 700))


def test_a_request_that_is_as_it_should_be_has_no_finding() -> None:
    assert found(talk()) == []
    assert found({**talk(system_mark=None, tail_mark=None), "cache_control": MARK}) == []


def test_every_row_of_the_table_is_a_sentence_with_a_fix() -> None:
    for cause in CAUSES.values():
        for text in (cause.sentence, cause.fix):
            assert text
            assert text == text.strip()
            assert not text.endswith(".")
    with pytest.raises(ValueError, match="two causes are called evicted"):
        _row(CAUSES["evicted"].severity, CAUSES["evicted"].scope, "evicted", "", "")


def test_a_fifth_marker_is_an_error_whether_it_stands_on_a_block_or_at_the_top() -> None:
    body = talk(tools=[{**tool(name), "cache_control": MARK} for name in ("read", "write", "search")])
    assert found(body) == [("too-many-markers", "messages[2].content[0].cache_control")]
    body = talk(tools=[{**tool(name), "cache_control": MARK} for name in ("read", "write", "search")], tail_mark=None)
    assert found(body) == []
    assert found({**body, "cache_control": MARK}) == [("too-many-markers", "cache_control")]


def test_an_hour_behind_five_minutes_is_an_error_and_before_them_is_not() -> None:
    assert found(talk(system_mark=MARK, tail_mark=HOUR)) == [("ttl-order", "messages[2].content[0].cache_control")]
    assert found(talk(system_mark=HOUR, tail_mark=MARK)) == []
    assert found({**talk(tail_mark=None), "cache_control": HOUR}) == [("ttl-order", "cache_control")]


def test_two_ttls_for_one_block_are_an_error() -> None:
    body = {**talk(system_mark=None), "cache_control": HOUR}
    assert found(body) == [("marker-conflict", "messages[2].content[0].cache_control")]
    assert found({**talk(system_mark=None), "cache_control": MARK}) == []


@pytest.mark.parametrize(
    ("block", "where"),
    [
        ({"type": "thinking", "thinking": "hm", "signature": "x", "cache_control": MARK}, ".cache_control"),
        ({"type": "redacted_thinking", "data": "x", "cache_control": MARK}, ".cache_control"),
        ({"type": "text", "text": "", "cache_control": MARK}, ".cache_control"),
        ({"type": "text", "text": "x", "citations": [{"cache_control": MARK}]}, ".citations[0].cache_control"),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "cache_control": MARK}]}},
            ".source.content[0].cache_control",
        ),
    ],
)
def test_a_marker_where_none_may_be_is_an_error(block: dict[str, Any], where: str) -> None:
    body = talk()
    body["messages"][1]["content"].insert(0, block)
    assert found(body) == [("marker-misplaced", "messages[1].content[0]" + where)]


def test_a_marker_on_a_message_that_is_cleared_later_is_an_error() -> None:
    body = talk(tail_mark=None)
    block = {"type": "text", "text": "soon gone", "cache_control": MARK}
    body["messages"].append({"role": "system", "clear_at": "next_user_message", "content": [block]})
    assert found(body) == [("marker-misplaced", "messages[3].content[0].cache_control")]


def test_a_marker_on_a_tool_that_is_loaded_later_is_an_error() -> None:
    body = talk(tools=[{**tool("read"), "defer_loading": True, "cache_control": MARK}])
    assert found(body) == [("marker-misplaced", "tools[0].cache_control")]


@pytest.mark.parametrize("where", ["anthropic-beta", "x-anthropic-beta"])
def test_the_retired_header_is_named_among_others(where: str) -> None:
    headers = {where: "interleaved-thinking-2025-05-14, prompt-caching-2024-07-31"}
    assert found(talk(), headers=headers) == [("retired-header", f"headers.{where}")]
    assert found(talk(), headers={where: "interleaved-thinking-2025-05-14"}) == []
    assert found({**talk(), "anthropic_beta": ["prompt-caching-2024-07-31"]}) == [("retired-header", "anthropic_beta")]


def test_a_marked_prefix_under_the_minimum_is_named_and_a_longer_one_is_not() -> None:
    assert found(talk(1, system="Be brief.", tools=[])) == [("under-minimum", "messages[0].content[0].cache_control")]
    assert found(talk(1, system=words(1, 700), tools=[])) == []


def test_a_long_request_without_a_marker_is_named_for_models_that_need_one() -> None:
    body = talk(system_mark=None, tail_mark=None, system=words(1, 3000))
    assert found(body) == [("no-marker", "")]
    assert found({**body, "model": "deepseek-chat"}) == []
    assert found(talk(1, system_mark=None, tail_mark=None, system="Be brief.", tools=[])) == []


def test_a_conversation_whose_tail_is_never_marked_is_named() -> None:
    one = Talk(tail_mark=None)
    for turn in range(6):
        one.say(turn, size=200)
    assert found(one.body()) == [("tail-unmarked", "messages[10].content[0]")]


def test_a_block_of_white_space_is_named() -> None:
    body = talk()
    body["messages"][1]["content"].append({"type": "text", "text": " "})
    assert found(body) == [("filler-block", "messages[1].content[1]")]


def test_markers_that_nobody_reads_are_a_notice() -> None:
    body = {"model": "deepseek/deepseek-chat", "messages": talk()["messages"]}
    assert found(body, "chat") == [("marker-ignored", "messages[2].content[0].cache_control")]
    item = {"role": "user", "content": [{"type": "input_text", "text": words(1, 900), "cache_control": MARK}]}
    assert found({"model": "anthropic/claude-sonnet-4.5", "input": [item]}, "responses") == [
        ("marker-ignored", "input[0].content[0].cache_control")
    ]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Current time: 2026-11-21T10:15:30Z.", "volatile-text"),
        ("You are helpful. 2026-11-20 23:59:01", "volatile-text"),
        ("[2025-03-01 08:15:59] session begins", "volatile-text"),
        ("The time now is 2025-03-01T08:15:59Z", "volatile-text"),
        ("The time is Friday, November 21, 2026 at 10:15 AM.", "volatile-text"),
        ("Now: Fri Nov 21 10:15:30 UTC 2026", "volatile-text"),
        ("It is now 10:15 PM.", "volatile-text"),
        ("timestamp=1795255201", "volatile-text"),
        ("session 3f2b8c1e-9a4d-4e2f-8b6a-1c2d3e4f5a6b", "volatile-text"),
        ("Request ID: req_011CaTrDBQjGki9q5shKdjFp", "volatile-text"),
        ("x-anthropic-billing-header: cc_version=2.1; cch=a91f3;", "volatile-text"),
        ("Tokens remaining: 48,211", "volatile-text"),
        ("Today's date is 2026-11-21.", "daily-text"),
        ("Today is November 21, 2026.", "daily-text"),
        ("Working directory: /home/ada/project", "local-text"),
        ("gitStatus: this is the state\nOn branch main\nUntracked files:", "local-text"),
    ],
)
def test_changing_text_before_a_marker_is_found(text: str, cause: str) -> None:
    (one,) = lint(system(text), dialect="messages", minimum_of=minimum_of, now=NOW)
    assert (one.id, one.where) == (cause, "system[0].text")
    assert any(len(word) > 3 and word in one.after for word in text.split())


@pytest.mark.parametrize(
    "text",
    [
        "Write dates in ISO 8601, such as 2024-01-31T10:00:00Z.",
        "For example, 2023-05-06 12:30:00 is a valid value.",
        "Your knowledge cutoff is 2025-03-01.",
        "The company was founded on May 3, 1999 and moved in 2004.",
        "Version 2.17.3, released 2025-01-02.",
        "Office hours are 9:00 to 17:30. Call 555-0123-4567.",
        "Step 1 of 3: read. Step 2 of 3: think. Use at most 5 iterations.",
        "The session id is passed by the tool; never print the request id.",
        "Flight 136 departs 2024-05-16T10:00:00 and costs $120.",
        "Your account was created on 2021-03-04.",
        "Prices between 1,000 and 1999999999 are fine.",
        "Keep answers under 300 tokens. Section 4.2.1 applies; ratio 16:9.",
    ],
)
def test_constant_text_with_dates_and_numbers_is_left_alone(text: str) -> None:
    assert found(system(text)) == []


def test_the_same_text_behind_the_last_marker_does_no_harm() -> None:
    body = talk(1, tail_mark=None)
    body["messages"][0]["content"][0]["text"] = "Current time: 2026-11-21T10:15:30Z. " + words(3, 40)
    assert found(body) == []


def test_a_key_made_for_one_request_is_a_notice_and_one_for_a_conversation_is_not() -> None:
    body = {"model": "gpt-5.1", "messages": [{"role": "user", "content": "hi"}]}
    assert found({**body, "prompt_cache_key": "3f2b8c1e-9a4d-4e2f-8b6a-1c2d3e4f5a6b"}, "chat") == [
        ("cache-key-random", "prompt_cache_key")
    ]
    assert found({**body, "prompt_cache_key": "support-bot-user-42"}, "chat") == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "role", "content", "cache_control", "ttl", "tools", "name", "input", "system"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "input", "tools", "system", "instructions", "cache_control", "betas"]),
        json_values,
    ),
    st.sampled_from(["messages", "chat", "responses"]),
)
def test_a_body_of_any_shape_is_looked_at_without_a_fault(body: dict[str, Any], dialect: str) -> None:
    lint(body, dialect=dialect, minimum_of=minimum_of, now=NOW)


@pytest.mark.parametrize(
    "text", ["1" * 60_000, "2026-" * 12_000, "Request id: " * 5_000, "On branch " * 6_000, "a" * 60_000]
)
def test_looking_for_changing_text_takes_time_in_proportion_to_the_text(text: str) -> None:
    began = time.process_time()
    list(volatile(text, NOW))
    assert time.process_time() - began < 1.0
