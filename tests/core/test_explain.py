"""`explain` names exactly the parts that differ, and agrees with the dialect on whether they move the key."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.dialects import DIALECTS
from payonce.dialects.explain import ABSENT, HIDDEN, IGNORED, explain, explain_headers
from payonce.errors import PayonceError
from payonce.model.call import Intent

CHAT = "chat/completions"


def body(**members: Any) -> bytes:
    return orjson.dumps({"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hi"}], **members})


def paths(a: bytes, b: bytes) -> list[tuple[str, bool]]:
    return [(difference.path, difference.matters) for difference in explain(CHAT, a, b)]


def test_order_of_members_and_white_space_are_no_difference() -> None:
    assert explain(CHAT, b'{"a": 1, "b": {"c": 2, "d": 3}}', b'{"b":{"d":3,"c":2},"a":1}') == []


def test_a_changed_value_is_named_by_its_path() -> None:
    other = [{"role": "user", "content": "ho"}]
    (found,) = explain(CHAT, body(), body(messages=other))
    assert (found.path, found.a, found.b, found.matters) == ("messages[0].content", '"hi"', '"ho"', True)


def test_names_that_are_no_words_are_quoted_in_a_path() -> None:
    assert paths(body(logit_bias={"50": 1}), body(logit_bias={"50": 2})) == [('logit_bias["50"]', True)]


def test_one_message_more_is_one_difference_wherever_it_stands() -> None:
    turns = [{"role": "user", "content": str(n)} for n in range(4)]
    for place in range(4):
        fewer = turns[:place] + turns[place + 1 :]
        (found,) = explain(CHAT, body(messages=fewer), body(messages=turns))
        assert (found.path, found.a) == (f"messages[{place}]", ABSENT)


def test_numbers_keep_their_text() -> None:
    (found,) = explain(CHAT, b'{"temperature":1}', b'{"temperature":1.0}')
    assert found.matters
    assert (found.a, found.b) == ("1", "1.0")
    assert "text" in found.because
    assert explain(CHAT, b'{"seed":123456789012345678901}', b'{"seed":123456789012345678902}')[0].matters


def test_null_and_absent_are_two_things() -> None:
    (found,) = explain(CHAT, body(stop=None), body())
    assert (found.path, found.a, found.b, found.matters) == ("stop", "null", ABSENT, True)


@pytest.mark.parametrize(("name", "because"), IGNORED[CHAT].items())
def test_a_field_that_does_not_change_the_answer_says_why(name: str, because: str) -> None:
    value = True if name == "stream" else {"x": {"y": 1}}
    for difference in explain(CHAT, body(), body(**{name: value})):
        assert (difference.path, difference.matters, difference.because) == (name, False, because)
    assert all(not d.matters for d in explain(CHAT, body(metadata={"a": 1}), body(metadata={"a": 2})))


def test_the_table_is_an_argument() -> None:
    (found,) = explain(CHAT, body(seed=1), body(seed=2), {"seed": "a trial"})
    assert (found.matters, found.because) == (False, "a trial")


@pytest.mark.parametrize("bad", [b"", b"[]", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b'{"a":"\\ud800"}'])
def test_a_body_without_a_key_is_an_error_that_says_which(bad: bytes) -> None:
    with pytest.raises(PayonceError, match="the first request has no key"):
        explain(CHAT, bad, body())
    with pytest.raises(PayonceError, match="the second request has no key"):
        explain(CHAT, body(), bad)


leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text("ab", max_size=2)
values = st.recursive(
    leaves, lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text("ab", max_size=1), deeper)
)
names = st.sampled_from(["model", "messages", "seed", "stream", "stream_options", "user", "metadata", "x"])
bodies = st.dictionaries(names, values, max_size=5)


@given(bodies, bodies)
def test_some_part_matters_exactly_when_the_dialect_gives_two_canonical_bodies(
    a: dict[str, Any], b: dict[str, Any]
) -> None:
    first, second = orjson.dumps(a), orjson.dumps(b)
    intents = [DIALECTS[CHAT].read(text) for text in (first, second)]
    assert isinstance(intents[0], Intent)
    assert isinstance(intents[1], Intent)
    assert any(d.matters for d in explain(CHAT, first, second)) is (intents[0].canonical != intents[1].canonical)


def test_headers_say_whose_key_space_it_is_and_hide_credentials() -> None:
    a = (
        (b"authorization", b"Bearer sk-1"),
        (b"user-agent", b"x"),
        (b"x-payonce-namespace", b"n"),
        (b"cache-control", b"no-cache"),
    )
    b = ((b"Authorization", b"Bearer sk-2"), (b"anthropic-beta", b"z"), (b"x-payonce-namespace", b"n"), (b"host", b"h"))
    found = {difference.path: difference for difference in explain_headers(a, b)}
    matters = {path: difference.matters for path, difference in found.items()}
    assert matters == {
        "headers.authorization": True,
        "headers.user-agent": False,
        "headers.cache-control": False,
        "headers.anthropic-beta": True,
        "headers.host": False,
    }
    assert (found["headers.authorization"].a, found["headers.authorization"].b) == (HIDDEN, HIDDEN)
    assert found["headers.anthropic-beta"].a == ABSENT
    assert not any(d.matters for d in explain_headers(a, b, frozenset((b"anthropic-beta",)), share="team"))
