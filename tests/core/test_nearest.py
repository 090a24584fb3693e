"""Which recording is the nearest, and what is said of it."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from payonce.dialects.nearest import MOST, nearest
from payonce.model.call import Asked
from payonce.model.ports import Recording


def asked(*said: str, **members: Any) -> Asked:
    words = {name: members.pop(name) for name in tuple(members) if name in Asked.__slots__ and name != "model"}
    model = members.pop("model", "m/one")
    page = {"messages": [{"content": text, "role": "user"} for text in said], "model": model, **members}
    body = json.dumps(page, separators=(",", ":"), sort_keys=True).encode()
    told = {
        "upstream": "https://x:443/v1", "endpoint": "chat/completions", "query": "", "namespace": "", "sample": "",
        "headers": (), "body": body,
    }  # fmt: skip
    return Asked(**(told | words | {"model": model}))


def recordings(*of: Asked, stream: bool = False) -> list[Recording]:
    return [Recording(f"file-{number}.json", stream, each) for number, each in enumerate(of)]


def test_the_same_model_comes_before_fewer_parts() -> None:
    found = nearest(
        asked("hello", temperature=0), False, recordings(asked("hello", temperature=0, model="m/two"), asked("other"))
    )
    assert "file-1.json" in found


def test_the_same_endpoint_comes_before_the_same_model() -> None:
    near = recordings(asked("hello", endpoint="messages"), asked("else", model="m/two"))
    assert "file-1.json" in nearest(asked("hello"), False, near)


def test_fewer_parts_come_before_texts_that_are_alike() -> None:
    near = recordings(asked("hello Bob", temperature=1, seed=2), asked("quite another thing", temperature=0))
    assert "file-1.json" in nearest(asked("hello Bo", temperature=0), False, near)


def test_of_equal_ones_the_text_that_is_most_alike_wins() -> None:
    near = recordings(asked("It is 10:00. Hello."), asked("Hello."), asked("It is 10:01. Hello. Bye."))
    assert nearest(asked("It is 10:05. Hello."), False, near) == (
        'the nearest recording is file-0.json, which differs in messages[0].content '
        '(recorded "It is 10:00. Hello.", asked "It is 10:05. Hello.")'
    )  # fmt: skip


def test_a_further_message_is_one_part() -> None:
    found = nearest(asked("one", "two", "three"), False, recordings(asked("one", "three")))
    assert 'messages[1] (recorded (absent), asked {"content":"two","role":"user"})' in found


def test_three_parts_are_shown_and_the_others_counted() -> None:
    found = nearest(asked("a", p=1, q=2, r=3, s=4), False, recordings(asked("b", p=0, q=0, r=0, s=0)))
    assert found.endswith("and 2 more")
    assert found.count("recorded ") == 3


def test_long_values_are_cut_around_the_place_where_they_part() -> None:
    old, new = "x" * 5000 + "OLD" + "y" * 5000, "x" * 5000 + "NEW" + "y" * 5000
    found = nearest(asked(new), False, recordings(asked(old)))
    assert "OLD" in found
    assert "NEW" in found
    assert len(found) < 300


def test_what_stands_beside_the_body_is_named() -> None:
    there = asked("a", upstream="https://y:443/v1", query="a=1", namespace="n", sample="1", headers=((b"x-a", b"1"),))
    found = nearest(asked("a"), True, recordings(there))
    assert "upstream (recorded https://y:443/v1, asked https://x:443/v1)" in found
    assert found.endswith("and 3 more")


def test_numbers_that_are_spelled_differently_differ() -> None:
    body = asked("a", temperature=0).body
    other = asked("a", body=body.replace(b'"temperature":0', b'"temperature":0.0'))
    assert "temperature (recorded 0.0, asked 0)" in nearest(asked("a", temperature=0), False, recordings(other))


def test_the_same_request_under_another_key_is_said() -> None:
    assert "which shows the same request under another key" in nearest(asked("a"), False, recordings(asked("a")))


def test_bodies_that_are_not_json_are_compared_as_text() -> None:
    found = nearest(asked("a", body=b"{}\n[1,2]"), False, recordings(asked("a", body=b"{}\n[1,3]")))
    assert "body (recorded {}\\n[1,3], asked {}\\n[1,2])" in found


def test_without_recordings_that_is_said() -> None:
    assert nearest(asked("a"), False, []) == "there is no recording to compare it with"


def test_the_work_is_bounded() -> None:
    taken = itertools.count()
    endless = (Recording(f"file-{next(taken)}.json", False, asked("b")) for _ in itertools.count())
    assert "file-0.json" in nearest(asked("a"), False, endless)
    assert next(taken) == MOST


@given(st.lists(st.text(max_size=20), max_size=6), st.text(max_size=20))
def test_what_differs_in_nothing_is_always_the_nearest(others: list[str], text: str) -> None:
    near = recordings(*[asked(other + "!", top_p=1) for other in others], asked(text))
    assert f"file-{len(others)}.json, which shows the same request" in nearest(asked(text), False, near)
