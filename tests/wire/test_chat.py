"""The chat dialect judges answers: only what is whole, free of errors and worth giving twice is kept."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.verdicts import judge_by
from tests.support.words import SECRET, entry, intent

from payonce.dialects import ChatDialect
from payonce.dialects.usage import nano_dollars
from payonce.model import reason as why
from payonce.model.entry import Facts, Tokens, seal, unseal
from payonce.model.reason import Kind, Reason

CHAT = ChatDialect()
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.00025}
ERROR = {"code": 502, "message": "Provider returned error"}
DONE = b"data: [DONE]\n\n"


def event(part: Any) -> bytes:
    return b"data: " + orjson.dumps(part) + b"\n\n"


def chunk(delta: Any = None, finish: Any = None, *, index: int = 0, **more: Any) -> dict[str, Any]:
    """One chunk with one choice; `more` stands beside `choices`."""
    return {
        "id": "gen-1",
        "model": "m-1",
        "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}],
        **more,
    }


def usage_chunk(**usage: Any) -> dict[str, Any]:
    return {"id": "gen-1", "model": "m-1", "choices": [], "usage": usage or USAGE}


HELLO, STOP = chunk({"role": "assistant", "content": "hi"}), chunk({"content": ""}, "stop")
GOOD = [HELLO, STOP, usage_chunk()]


def stream(*parts: Any, done: bytes = DONE) -> bytes:
    return b": OPENROUTER PROCESSING\n\n" + b"".join(event(part) for part in parts) + done


def answer(message: Any = None, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """A whole answer with one choice; `choice` in `more` changes that."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": "hi", **(message or {})}}
    choice |= more.pop("choice", {})
    return {"id": "gen-1", "model": "m-1", "choices": [choice], "usage": USAGE, **more}


judge = judge_by(CHAT)


def both(message: dict[str, Any], finish: str, **wish: Any) -> list[Facts | Reason]:
    """The judgements of the same answer as a stream and as a whole."""
    return [
        judge(stream(chunk(message), chunk({}, finish)), **wish),
        judge(answer({"content": None, **message}, finish), **wish),
    ]


# ------------------------------------------------------------------------------------------------ good answers


def test_a_whole_stream_and_a_whole_answer_say_what_they_are() -> None:
    facts = Facts("gen-1", "m-1", "always", Tokens(3, 2, 250_000))
    assert judge(stream(*GOOD)) == facts
    assert judge(answer()) == facts


KEPT: list[tuple[str, dict[str, Any], str]] = [
    ("text", {"content": "hi"}, "stop"),
    ("blank text", {"content": " "}, "stop"),
    ("parts", {"content": [{"type": "text", "text": "hi"}]}, "stop"),
    ("an image", {"images": [{"image_url": {"url": "data:,"}}]}, "stop"),
    ("audio", {"audio": {"data": "AA=="}}, "stop"),
    ("reasoning and text", {"reasoning": "hm", "content": "hi"}, "stop"),
    ("an unknown kind", {"something_new": {"a": 1}}, "stop"),
    ("a tool call", {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}, "tool_calls"),
    ("a function call", {"function_call": {"name": "f", "arguments": '{"a":1}'}}, "function_call"),
    ("an unknown end", {"content": "hi"}, "eos"),
    ("no refusal", {"content": "hi", "refusal": None}, "stop"),
    ("a blank refusal", {"content": "hi", "refusal": ""}, "stop"),
]


@pytest.mark.parametrize(("message", "finish"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_an_answer_with_substance_is_kept_in_either_framing(message: dict[str, Any], finish: str) -> None:
    assert all(isinstance(found, Facts) for found in both(message, finish))


UNKEPT: list[tuple[str, dict[str, Any], str, Reason]] = [
    ("nothing", {}, "stop", why.EMPTY),
    ("no text", {"content": ""}, "stop", why.EMPTY),
    ("only a role", {"role": "assistant"}, "stop", why.EMPTY),
    ("only reasoning", {"reasoning": "hm", "reasoning_details": [{"text": "hm"}]}, "stop", why.EMPTY),
    ("only reasoning, as others call it", {"reasoning_content": "hm"}, "stop", why.EMPTY),
    ("no calls", {"tool_calls": []}, "tool_calls", why.EMPTY),
    ("no parts", {"content": []}, "stop", why.EMPTY),
    ("a refusal", {"refusal": "I can't"}, "stop", why.REFUSAL),
    ("a refusal beside text", {"refusal": "I can't", "content": "hi"}, "stop", why.REFUSAL),
    ("filtered", {"content": "hi"}, "content_filter", why.CONTENT_FILTER),
    ("filtered to nothing", {}, "content_filter", why.CONTENT_FILTER),
    ("finished by an error", {"content": "hi"}, "error", why.ERROR_INSIDE),
    ("an error in the message", {"content": "hi", "error": ERROR}, "stop", why.ERROR_INSIDE),
    ("cut off", {"content": "hi"}, "length", why.TRUNCATED),
    (
        "torn arguments",
        {"tool_calls": [{"function": {"name": "f", "arguments": '{"a":'}}]},
        "tool_calls",
        why.BAD_TOOL_JSON,
    ),
    ("arguments that are text", {"tool_calls": [{"function": {"arguments": "now"}}]}, "tool_calls", why.BAD_TOOL_JSON),
    ("no arguments at all", {"tool_calls": [{"function": {"name": "f"}}]}, "tool_calls", why.BAD_TOOL_JSON),
    ("arguments with more after", {"tool_calls": [{"function": {"arguments": "{}{}"}}]}, "stop", why.BAD_TOOL_JSON),
    ("NaN in arguments", {"tool_calls": [{"function": {"arguments": '{"a":NaN}'}}]}, "stop", why.BAD_TOOL_JSON),
    ("a torn function call", {"function_call": {"name": "f", "arguments": "{"}}, "function_call", why.BAD_TOOL_JSON),
    ("arguments that are no text", {"tool_calls": [{"function": {"arguments": {"a": 1}}}]}, "stop", why.UNREADABLE),
]


@pytest.mark.parametrize(("message", "finish", "reason"), [row[1:] for row in UNKEPT], ids=[row[0] for row in UNKEPT])
def test_an_answer_not_worth_giving_twice_is_not_kept_in_either_framing(
    message: dict[str, Any], finish: str, reason: Reason
) -> None:
    assert both(message, finish) == [reason, reason]


@pytest.mark.parametrize("finish", [None, "", False, 0])
def test_a_choice_that_never_finished_is_not_kept(finish: Any) -> None:
    assert judge(stream(HELLO, chunk({}, finish), usage_chunk())) is why.NO_FINISH
    assert judge(answer(finish=finish)) is why.NO_FINISH


def test_an_answer_that_the_client_itself_limited_is_whole_at_its_limit() -> None:
    assert all(isinstance(found, Facts) for found in both({"content": "hi"}, "length", sets_limit=True))
    assert both({"reasoning": "hm"}, "length", sets_limit=True) == [why.EMPTY] * 2


@pytest.mark.parametrize("arguments", ["{}", '{"a":1}', '{"a":', ""])
def test_a_tool_call_at_the_limit_may_be_torn_even_where_it_is_json(arguments: str) -> None:
    message = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": arguments}}]}
    assert both(message, "length", sets_limit=True) == [why.BAD_TOOL_JSON] * 2


# ------------------------------------------------------------------------------------------------ errors, anywhere

ERRORS: list[tuple[str, dict[str, Any]]] = [
    ("at the top", {"id": "gen-1", "error": ERROR, "choices": []}),
    ("at the top, alone", {"error": ERROR}),
    ("at the top, beside a choice", chunk({"content": ""}, error=ERROR)),
    ("at the top, beside usage", {**usage_chunk(), "error": ERROR}),
    ("at the top, as a text", {"error": "server_error"}),
    ("at the top, with a text for a code", {"error": {"code": "server_error", "message": "x"}}),
    ("at the top, empty", {"error": {}}),
    ("in a choice", {"choices": [{"index": 0, "delta": {}, "finish_reason": None, "error": ERROR}]}),
    ("in another choice", {"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {}, "error": ERROR}]}),
    ("in a delta", chunk({"content": "x", "error": ERROR})),
    ("as an end", chunk({}, "error")),
    ("as an end, with text", chunk({"content": "x"}, "error")),
    (
        "as the provider's end",
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "error"}]},
    ),
    ("as the network's end", {"choices": [{"index": 0, "delta": {}, "native_finish_reason": "network_error"}]}),
]


@pytest.mark.parametrize("place", range(len(GOOD) + 1))
@pytest.mark.parametrize("broken", [row[1] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_an_error_at_any_place_of_a_stream_is_an_error(broken: dict[str, Any], place: int) -> None:
    parts = [*GOOD[:place], broken, *GOOD[place:]]
    assert judge(stream(*parts)) is why.ERROR_INSIDE


@pytest.mark.parametrize("broken", [row[1] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_an_error_that_is_all_there_is_is_an_error(broken: dict[str, Any]) -> None:
    assert judge(stream(broken)) is why.ERROR_INSIDE
    assert isinstance(judge(stream(broken, done=b"")), Reason)


@pytest.mark.parametrize(
    "broken",
    [
        {"error": ERROR},
        answer(error=ERROR),
        answer(error="server_error"),
        answer(error={}),
        answer(choice={"error": ERROR}),
        answer(finish="error"),
        answer(choice={"native_finish_reason": "error"}),
        answer(choice={"native_finish_reason": "network_error"}),
        answer({"error": ERROR}),
    ],
)
def test_an_error_anywhere_in_a_whole_answer_is_an_error(broken: dict[str, Any]) -> None:
    assert judge(broken) is why.ERROR_INSIDE


def test_an_error_that_is_null_is_none() -> None:
    fine = chunk({"content": "x"}, error=None)
    fine["choices"][0]["error"] = None
    assert isinstance(judge(stream(fine, *GOOD)), Facts)
    assert isinstance(judge(answer(error=None, choice={"error": None})), Facts)


@pytest.mark.parametrize("place", range(len(GOOD)))
def test_a_filter_that_strikes_at_any_place_is_remembered(place: int) -> None:
    parts = [*GOOD[:place], chunk({}, "content_filter"), *GOOD[place:]]
    assert judge(stream(*parts)) is why.CONTENT_FILTER


@pytest.mark.parametrize("place", range(len(GOOD)))
def test_a_limit_that_strikes_at_any_place_is_remembered(place: int) -> None:
    parts = [*GOOD[:place], chunk({}, "length"), *GOOD[place:]]
    assert judge(stream(*parts)) is why.TRUNCATED
    assert isinstance(judge(stream(*parts), sets_limit=True), Facts)


@pytest.mark.parametrize("place", range(len(GOOD)))
def test_a_refusal_at_any_place_is_remembered(place: int) -> None:
    parts = [*GOOD[:place], chunk({"refusal": "I"}), *GOOD[place:]]
    assert judge(stream(*parts)) is why.REFUSAL


# ------------------------------------------------------------------------------------------------ several choices

OTHER = chunk({"content": "ho"}, index=1), chunk({}, "stop", index=1)


def test_every_choice_has_to_be_good() -> None:
    assert isinstance(judge(stream(HELLO, *OTHER, *GOOD)), Facts)
    assert judge(stream(OTHER[0], *GOOD)) is why.NO_FINISH
    assert judge(stream(OTHER[1], *GOOD)) is why.EMPTY
    assert judge(stream(OTHER[0], chunk({}, "content_filter", index=1), *GOOD)) is why.CONTENT_FILTER
    good = answer()["choices"][0]
    assert isinstance(judge(answer() | {"choices": [good, {**good, "index": 1}]}), Facts)
    for bad in ({"finish_reason": None}, {"message": {}}, {"finish_reason": "length"}, {"finish_reason": "error"}):
        assert isinstance(judge(answer() | {"choices": [good, {**good, "index": 1, **bad}]}), Reason)


def test_choices_without_an_index_are_told_apart_by_their_place() -> None:
    parts = [{"delta": {"content": "a"}, "finish_reason": "stop"}, {"delta": {"content": "b"}}]
    assert judge(stream({"choices": parts})) is why.NO_FINISH
    assert isinstance(judge(stream({"choices": parts}, {"choices": [{}, {"finish_reason": "stop"}]})), Facts)


@pytest.mark.parametrize("choices", [[], None, 0, "", {}])
def test_an_answer_without_choices_is_empty(choices: Any) -> None:
    assert judge(answer() | {"choices": choices}) is why.EMPTY
    assert judge(stream({"id": "x", "choices": choices})) is why.EMPTY


# ------------------------------------------------------------------------------------------------ tool calls

ARGUMENTS = '{"city":"Z\\u00fcrich \\"x\\"","days":[1,2.5],"é":null}'


@given(st.lists(st.integers(0, len(ARGUMENTS)), max_size=6), st.booleans())
def test_streamed_arguments_may_be_split_anywhere(cuts: list[int], whole: bool) -> None:
    text = ARGUMENTS if whole else ARGUMENTS[:-1]
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    opening = chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]})
    parts = [chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces]
    found = judge(stream(opening, *parts, chunk({}, "tool_calls")))
    assert isinstance(found, Facts) if whole else found is why.BAD_TOOL_JSON


def test_calls_side_by_side_are_put_together_by_their_index() -> None:
    def part(index: int, text: str | None) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, "function": {"arguments": text}}]})

    end = chunk({}, "tool_calls")
    assert isinstance(judge(stream(part(0, '{"a"'), part(1, "{"), part(0, ":1}"), part(1, "}"), end)), Facts)
    assert isinstance(judge(stream(part(0, None), part(0, "{}"), end)), Facts)
    assert judge(stream(part(0, '{"a"'), part(1, ":1}"), end)) is why.BAD_TOOL_JSON


def test_a_call_of_another_kind_needs_no_arguments() -> None:
    assert all(
        isinstance(f, Facts) for f in both({"tool_calls": [{"index": 0, "custom": {"input": "x"}}]}, "tool_calls")
    )


# ------------------------------------------------------------------------------------------------ usage


@pytest.mark.parametrize(
    ("usage", "asked", "who"),
    [
        (None, False, "none"),
        (None, True, "never"),
        ({"prompt_tokens": 3}, False, "always"),
        ({"prompt_tokens": 3}, True, "asked"),
        (USAGE, False, "always"),
        (USAGE, True, "always"),
        ({"prompt_tokens": 3, "cost": None}, True, "always"),
    ],
)
def test_who_gets_usage_is_told_by_who_asked_and_what_came(usage: dict[str, Any] | None, asked: bool, who: str) -> None:
    shapes: list[list[Any]] = [[]]
    if usage:
        shapes = [[usage_chunk(**usage)], [chunk({"role": "assistant", "content": ""}, "stop", usage=usage)]]
    for shape in shapes:
        found = judge(stream(HELLO, STOP, *shape), wants_usage=asked)
        assert isinstance(found, Facts)
        assert found.usage == who


def test_a_usage_that_is_null_until_the_end_is_read_at_the_end() -> None:
    found = judge(
        stream(HELLO | {"usage": None}, STOP | {"usage": None}, usage_chunk(prompt_tokens=3)), wants_usage=True
    )
    assert isinstance(found, Facts)
    assert (found.usage, found.tokens) == ("asked", Tokens(3, None, None))


@pytest.mark.parametrize(
    ("cost", "nano"),
    [(0, 0), (0.5, 500_000_000), (0.00025, 250_000), (1e-9, 1), (4e-10, 0), (12, 12 * 10**9), (0.1 + 0.2, 300_000_000)]
    + [(value, None) for value in (None, True, "0.5", [], {}, 1e300, -1e300, 10**18, float("inf"), float("nan"))],
)
def test_a_cost_is_billionths_of_a_dollar_or_unknown(cost: Any, nano: int | None) -> None:
    assert nano_dollars(cost) == nano


@pytest.mark.parametrize(
    "usage", ['{"cost":1e300}', '{"cost":1000000000000000000}', '{"prompt_tokens":18446744073709551615}']
)
@pytest.mark.parametrize("more", ["", ',"completion_tokens":-9223372036854775808,"x":18446744073709551617'])
def test_whatever_numbers_an_answer_claims_its_entry_can_be_sealed(usage: str, more: str) -> None:
    body = orjson.dumps(answer()).replace(orjson.dumps(USAGE), (usage[:-1] + more + "}").encode())
    found = CHAT.judge(intent(), (), body)
    assert isinstance(found, Facts)
    kept = entry(facts=found)
    assert unseal(seal(kept, bytes(33), SECRET), bytes(33), SECRET) == kept


@pytest.mark.parametrize("value", [5, 5.5, [1], {"a": 1}, True, "a b", "a\r\nb", "", "é", "x" * 201])
def test_an_id_that_no_header_could_carry_is_no_source(value: Any) -> None:
    found = judge(answer() | {"id": value})
    assert isinstance(found, Facts)
    assert found.source_id == ""


# ------------------------------------------------------------------------------------------------ the end of a stream


def test_a_stream_has_to_say_that_it_is_done() -> None:
    assert judge(stream(*GOOD, done=b"")) is why.NO_TERMINAL
    assert judge(stream(HELLO, done=b"")) is why.NO_TERMINAL
    assert judge(stream(usage_chunk(), done=b"")) is why.EMPTY


@pytest.mark.parametrize(
    "done",
    [b"data: [DONE]\n", b"data: [DONE]", b"data: [DONE\n\n", b": [DONE]\n\n", b"[DONE]\n\n", b"event: [DONE]\n\n"],
)
def test_what_only_resembles_the_end_is_none(done: bytes) -> None:
    assert isinstance(judge(stream(*GOOD, done=done)), Reason)


@pytest.mark.parametrize(
    "done", [b"data:[DONE]\n\n", DONE + DONE, DONE + b": bye\n\n", DONE + b"\n\n\n", b"event: done\n" + DONE]
)
def test_the_end_may_be_written_in_other_ways_and_more_than_once(done: bytes) -> None:
    assert isinstance(judge(stream(*GOOD, done=done)), Facts)


@pytest.mark.parametrize("after", [event(HELLO), event({"error": ERROR}), b"data: x\n\n", b"data:\n\n", event({})])
def test_data_after_the_end_is_not_understood(after: bytes) -> None:
    assert judge(stream(*GOOD, done=DONE + after)) is why.UNREADABLE
    assert judge(stream(*GOOD, done=DONE + after + DONE)) is why.UNREADABLE


def test_the_end_without_an_answer_is_empty() -> None:
    assert judge(DONE) is why.EMPTY
    assert judge(stream()) is why.EMPTY
    assert judge(stream(usage_chunk())) is why.EMPTY


def test_chunks_may_be_written_over_several_lines() -> None:
    text = json.dumps(HELLO, indent=1).encode().replace(b"\n", b"\ndata: ")
    assert isinstance(judge(b"data: " + text + b"\n\n" + stream(*GOOD)), Facts)


# ------------------------------------------------------------------------------------------------ what is no answer

NO_ANSWERS = [
    (b"", why.EMPTY),
    (b" \n\n", why.EMPTY),
    (b": OPENROUTER PROCESSING\n\n" * 3, why.EMPTY),
    (b"data: x\n\n", why.UNREADABLE),
    (b"data: 1\n\n" + DONE, why.UNREADABLE),
    (b"data: []\n\n" + DONE, why.UNREADABLE),
    (b'data: "a"\n\n' + DONE, why.UNREADABLE),
    (b"data: null\n\n" + DONE, why.UNREADABLE),
    (b"data: {}\n\n" + DONE, why.EMPTY),
    (b"<!DOCTYPE html>\n\n<p>One moment\n\n", why.EMPTY),
    (b"\x1f\x8b\x08\0", why.EMPTY),
    (b"data: \xff\n\n" + DONE, why.UNREADABLE),
]


@pytest.mark.parametrize(("body", "reason"), NO_ANSWERS)
def test_a_stream_that_is_no_answer_is_not_kept(body: bytes, reason: Reason) -> None:
    assert judge(body) is reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", why.EMPTY),
        (b"\n\n\n", why.EMPTY),
        (b"[]", why.UNREADABLE),
        (b"1", why.UNREADABLE),
        (b'"a"', why.UNREADABLE),
        (b"null", why.UNREADABLE),
        (b"{}", why.EMPTY),
        (b"<html>", why.UNREADABLE),
        (b"\x1f\x8b\x08\0", why.UNREADABLE),
        (b'{"choices":[{"message":{"content":"\xff"},"finish_reason":"stop"}]}', why.UNREADABLE),
        (b"[" * 100_000, why.UNREADABLE),
    ],
)
def test_a_body_that_is_no_answer_is_not_kept(body: bytes, reason: Reason) -> None:
    assert CHAT.judge(intent(), (), body) is reason


WRONG = [None, True, 0, 7, -1.5, "", "x", [], [0], ["x"], [None], [[]], {}, {"a": 1}, [{}], {"index": []}]
PATHS = [
    ("id",),
    ("model",),
    ("usage",),
    ("usage", "cost"),
    ("usage", "prompt_tokens"),
    ("choices",),
    ("choices", 0),
    ("choices", 0, "index"),
    ("choices", 0, "finish_reason"),
    ("choices", 0, "native_finish_reason"),
    ("choices", 0, "message"),
    ("choices", 0, "message", "content"),
    ("choices", 0, "message", "refusal"),
    ("choices", 0, "message", "function_call"),
    ("choices", 0, "message", "tool_calls"),
    ("choices", 0, "message", "tool_calls", 0),
    ("choices", 0, "message", "tool_calls", 0, "index"),
    ("choices", 0, "message", "tool_calls", 0, "function"),
    ("choices", 0, "message", "tool_calls", 0, "function", "arguments"),
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_wrong_type_at_any_place_is_judged_and_never_raises(path: tuple[Any, ...], wrong: Any) -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
    body = answer({"tool_calls": [call], "function_call": {"arguments": "{}"}, "refusal": None})
    inner: Any = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = wrong
    found = judge(body)
    assert isinstance(found, Facts) or found.kind is Kind.UNKEPT
    choice = body["choices"]
    if isinstance(choice, list) and choice and isinstance(choice[0], dict):
        choice[0]["delta"] = choice[0].pop("message", None)
    assert isinstance(judge(stream(body)), Facts | Reason)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "choices",
                    "delta",
                    "message",
                    "error",
                    "finish_reason",
                    "index",
                    "usage",
                    "tool_calls",
                    "function",
                ]
            )
            | st.sampled_from(
                ["arguments", "content", "cost", "refusal", "model", "function_call", "native_finish_reason"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.lists(json_values, max_size=4), st.booleans())
def test_any_json_is_judged_and_never_raises(parts: list[Any], wants: bool) -> None:
    found = [judge(stream(*parts), wants_usage=wants)]
    found += [CHAT.judge(intent(), (), orjson.dumps(part)) for part in parts]
    assert all(isinstance(one, Facts) or one.kind is Kind.UNKEPT for one in found)


@given(
    st.lists(
        st.sampled_from([b"data: ", b"\n", b"\n\n", b"[DONE]", b"{", b"}", b'"choices"', b":", b"["])
        | st.binary(max_size=3)
    )
)
def test_any_bytes_are_judged_and_never_raise(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    assert isinstance(judge(body), Reason)
    assert isinstance(CHAT.judge(intent(), (), body), Reason)


@pytest.mark.parametrize("depth", [100, 254, 255, 900, 1000, 1023, 1024, 1025, 100_000])
@pytest.mark.parametrize("field", ["id", "model", "usage", "choices", "system_fingerprint"])
def test_an_answer_of_any_depth_is_judged_and_never_raises(field: str, depth: int) -> None:
    text = orjson.dumps({k: v for k, v in answer().items() if k != field})[:-1].decode()
    body = f'{text},"{field}":{"[" * depth}{"]" * depth}}}'.encode()
    assert isinstance(CHAT.judge(intent(), (), body), Facts | Reason)
    assert isinstance(judge(b"data: " + body + b"\n\n" + DONE), Facts | Reason)
    for mode in ("free", "zero"):
        assert isinstance(CHAT.respend(body, False, mode), bytes)


# ------------------------------------------------------------------------------------------------ the usage of a hit

FULL = (
    '{"prompt_tokens": 3,"completion_tokens":2,"cost":0.5e0,"is_byok":false,"note":"12","x":null,'
    '"prompt_tokens_details":{"cached_tokens":1},"cost_details":{"upstream_inference_cost":0.25,"by":[1,{"n":2}],"y":null},'
    '"iterations":[{"input_tokens":3}],"big":18446744073709551617}'
)
FREE = (
    '{"prompt_tokens":3,"completion_tokens":2,"cost":0,"is_byok":false,"note":"12","x":null,'
    '"prompt_tokens_details":{"cached_tokens":1},"cost_details":{"upstream_inference_cost":0,"by":[0,{"n":0}],"y":null},'
    '"iterations":[{"input_tokens":3}],"big":18446744073709551617}'
)
ZERO = (
    '{"prompt_tokens":0,"completion_tokens":0,"cost":0,"is_byok":false,"note":"12","x":null,'
    '"prompt_tokens_details":{"cached_tokens":0},"cost_details":{"upstream_inference_cost":0,"by":[0,{"n":0}],"y":null},'
    '"iterations":[{"input_tokens":0}],"big":0}'
)
MODES: Any = [("free", FREE), ("zero", ZERO)]
# Everything that a careless rewrite would lose: white space, order, escapes, big numbers, number text.
BEFORE = (
    '{ "z":1.0, "id" :"\\u0061","n":[18446744073709551617,1e2,-0, 1E400],'
    '"content":"\\"usage\\": {\\"cost\\":5}\u2028",\t"usage": '
)
AFTER = ' , "a":{"usage":{"cost":7,"prompt_tokens":7}},"logprobs":-1e-07 }'


@pytest.mark.parametrize(("mode", "spent"), MODES)
def test_a_whole_answer_keeps_every_byte_but_its_usage(mode: Any, spent: str) -> None:
    body = (BEFORE + FULL + AFTER + "\n").encode()
    assert CHAT.respend(body, False, mode) == (BEFORE + spent + AFTER + "\n").encode()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("colon", ["data: ", "data:", "data:  "])
@pytest.mark.parametrize(("mode", "spent"), MODES)
def test_a_stream_keeps_every_byte_but_its_usage(mode: Any, spent: str, colon: str, end: str) -> None:
    def written(usage: str) -> bytes:
        lines = [
            ": OPENROUTER PROCESSING",
            "",
            'data: {"content":"usage","x":1.0}',
            "",
            f"{colon}{BEFORE}{usage}{AFTER}",
            "",
        ]
        lines += [
            'data: {"usage":null,"choices":[ ]}',
            "",
            "event: x",
            'data:{"usage":5 }',
            "",
            "data: [DONE]",
            "",
            ": bye",
        ]
        return end.join(lines).encode()

    assert CHAT.respend(written(FULL), True, mode) == written(spent)


@given(st.lists(json_values, max_size=4), st.sampled_from(["free", "zero"]))
def test_whatever_a_stream_holds_only_usage_numbers_change(parts: list[Any], mode: Any) -> None:
    body = stream(*parts)
    found = CHAT.respend(body, True, mode)
    for old, new in zip(body.split(b"\n"), found.split(b"\n"), strict=True):
        if old != new:
            before, after = (orjson.loads(line[5:]) for line in (old, new))
            assert _without_numbers(before["usage"]) == _without_numbers(after["usage"])
            assert {**before, "usage": 0} == {**after, "usage": 0}
    assert CHAT.respend(found, True, mode) == found


def _without_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_numbers(inner) for inner in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize("mode", ["verbatim", "free", "zero"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"usage":null}',
        b'{"usage":[1,2]}',
        b'{"usage":"usage"}',
        b'{"a":"usage"}',
        b'{"a":{"usage":{"cost":1}}}',
        b'[{"usage":{"cost":1}}]',
        b'{"usage":{"cost":1}',
        b'{"usage":{"cost":',
        b'"usage"',
        b"<p>usage",
        b'{"usage":{"cost":"\xff"}}',
        b'data: {"a":\ndata: "usage"}\n\n',
    ],
)
def test_what_holds_no_usage_or_can_not_be_read_stays_as_it_is(body: bytes, mode: Any) -> None:
    assert CHAT.respend(body, False, mode) == body
    assert CHAT.respend(body, True, mode) == body
    if b"data" not in body:
        event_ = b"data: " + body + b"\n\n"
        assert CHAT.respend(event_, True, mode) == event_


def test_verbatim_is_verbatim() -> None:
    body = (BEFORE + FULL + AFTER).encode()
    assert CHAT.respend(body, False, "verbatim") == body


@given(st.binary(max_size=60), st.booleans(), st.sampled_from(["free", "zero"]))
def test_respending_never_raises(noise: bytes, streamed: bool, mode: Any) -> None:
    for body in (noise, noise + b'{"usage":{"cost":1}}', b'{"usage":' + noise, b'data: {"usage":' + noise + b"}\n\n"):
        assert isinstance(CHAT.respend(body, streamed, mode), bytes)
