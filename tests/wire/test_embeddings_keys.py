"""Every field of /embeddings is classified: one test a field shows the keys of the items move or stay."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import HEADERS, PLAIN

from payonce.core.keying import KeyMaker, KeyParts, encode
from payonce.dialects import embeddings as dialect_module
from payonce.dialects.embeddings import MOST_ITEMS, EmbeddingsDialect
from payonce.dialects.explain import explain
from payonce.dialects.tables import EMBEDDINGS_IGNORED
from payonce.intake import Admitted, Bypassed
from payonce.model import reason as why
from payonce.model.call import Ask, Intent
from payonce.model.key import Key
from payonce.model.reason import Reason

STAYS: dict[str, list[Any]] = {"user": ["user-1", "user-2", None]}
MOVES: dict[str, list[Any]] = {
    "model": ["openai/text-embedding-3-small", "openai/text-embedding-3-large", "@preset/x"],
    "input": ["a", "A", " a", "a ", "", [1], [1, 2], [2, 1], [1.0], [12], [[1], [2]]],
    "dimensions": [256, 1536, 256.0, None],
    "encoding_format": ["float", "base64", None],
    "input_type": ["search_query", "search_document", None],
    "provider": [{"order": ["a"]}, {"order": ["b"]}, {}],
    "stream": [False],
    "metadata": [{"a": 1}],
    "truncate": [True, False],
    "something new": [1, 2],
}
EMBED = EmbeddingsDialect()


def taken(body: bytes) -> Ask:
    found = PLAIN.admit("", "embeddings", b"", HEADERS, body)
    assert isinstance(found, Admitted), found
    return found.ask


def keys(**members: Any) -> list[bytes]:
    asked = {"model": "m/one", "input": "hi", **members}
    ask = taken(orjson.dumps({name: value for name, value in asked.items() if value is not ...}))
    assert ask.batch is not None
    return [ask.batch.items[place].key.digest for place in ask.batch.places]


def intent(body: bytes) -> Intent:
    found = EMBED.read(body)
    assert isinstance(found, Intent), found
    return found


def refusal(body: bytes) -> str:
    found = EMBED.read(body)
    assert isinstance(found, Reason), found
    return found.id


def test_every_ignored_field_is_tried_and_no_other() -> None:
    assert STAYS.keys() == EMBEDDINGS_IGNORED.keys()
    assert not STAYS.keys() & MOVES.keys()


@pytest.mark.parametrize("field", STAYS)
def test_the_key_stays(field: str) -> None:
    found = {keys(**{field: value})[0] for value in [..., *STAYS[field]]}
    assert len(found) == 1
    (difference,) = explain("embeddings", b"{}", orjson.dumps({field: STAYS[field][0]}))
    assert (difference.matters, difference.because) == (False, EMBEDDINGS_IGNORED[field])


@pytest.mark.parametrize("field", MOVES)
def test_the_key_moves(field: str) -> None:
    default = [] if field in ("model", "input") else [...]
    seen = [key for value in [*default, *MOVES[field]] for key in keys(**{field: value})]
    # [1] and the 1 of [[1], [2]] are the same item; everything else is another.
    assert len(set(seen)) == len(seen) - (field == "input")


def test_an_item_has_one_key_wherever_it_stands() -> None:
    assert keys(input="a") == keys(input=["a"])
    assert keys(input=["b", "a", "b"]) == [*keys(input="b"), *keys(input="a"), *keys(input="b")]
    assert keys(input=[1, 2]) == keys(input=[[1, 2]])
    assert keys(input=[[3], [1, 2]])[1:] == keys(input=[1, 2])
    assert keys(input=["[1,2]"]) != keys(input=[1, 2])
    part = {"content": [{"type": "text", "text": "a"}]}
    assert keys(input=[part, {"content": []}])[:1] == keys(input=[part])
    assert keys(input="\u00e9") == [taken(b'{"input":["\\u00e9"],"model":"m/one"}').batch.items[0].key.digest]  # type: ignore[union-attr]


def test_namespace_sample_headers_query_and_tenant_are_in_the_key_of_an_item() -> None:
    body = orjson.dumps({"model": "m", "input": ["a"]})
    found = set()
    for more, query in (
        ((), b""),
        (((b"x-payonce-namespace", b"n"),), b""),
        (((b"x-payonce-sample", b"1"),), b""),
        (((b"x-anthropic-beta", b"b"),), b""),
        ((), b"v=1"),
    ):
        one = PLAIN.admit("", "embeddings", query, (*HEADERS, *more), body)
        assert isinstance(one, Admitted)
        assert one.ask.batch is not None
        found.add(one.ask.batch.items[0].key.digest)
    assert len(found) == 5


def test_an_item_never_has_the_key_of_a_whole_request() -> None:
    ask = taken(orjson.dumps({"model": "m", "input": ["a"]}))
    assert ask.batch is not None
    assert not ask.batch.items[0].intent.canonical.startswith(b"{")
    assert b"\n" in ask.batch.items[0].intent.canonical
    assert ask.batch.items[0].key != ask.key


@given(st.lists(st.binary(max_size=40), max_size=8), st.binary(max_size=20))
def test_keys_made_together_are_those_made_one_by_one(bodies: list[bytes], said: bytes) -> None:
    parts = KeyParts(said, b"u", b"e", b"", said, b"", ((b"n", said),), b"unused")
    one_by_one = [Key(blake3(encode(parts._replace(body=body))).digest(), stream=False) for body in bodies]
    maker = KeyMaker(parts)
    assert [maker.key(body, stream=False) for body in bodies] == one_by_one


# ------------------------------------------------------------------------------------------------ what is a batch


@pytest.mark.parametrize(
    "given",
    [None, {}, {"content": []}, [], [None], ["a", 1], [1, "a"], ["a", ["b"]], [[]], [[1], []], [[["a"]]], [{"a": 1}],
     [{"content": "a"}], [{"content": []}, "a"], True, 1, [True]],
)  # fmt: skip
def test_what_is_no_list_of_items_is_one_whole(given: Any) -> None:
    body = orjson.dumps({"model": "m", "input": given})
    assert intent(body).items == ()
    assert taken(body).batch is None


def test_a_stream_of_embeddings_is_one_whole() -> None:
    assert intent(b'{"model":"m","input":["a"],"stream":true}').items == ()
    assert intent(b'{"model":"m","input":["a"],"stream":0}').items == ()
    assert intent(b'{"model": "m", "input": ["a"], "stream": 0}').items == ()
    assert len(intent(b'{"model":"m","input":["a"],"stream":false}').items) == 1


@pytest.mark.parametrize("field", ["output_dtype", "embedding_types"])
def test_vectors_of_other_shapes_are_one_whole(field: str) -> None:
    assert intent(orjson.dumps({"model": "m", "input": ["a"], field: "int8"})).items == ()


def test_what_stands_beside_many_inputs_is_not_held_for_each() -> None:
    items = intent(orjson.dumps({"model": "m", "input": [str(n) for n in range(100)], "more": "x" * 100_000})).items
    assert sum(len(item.canonical) for item in items) < 10_000
    other = intent(orjson.dumps({"model": "m", "input": ["0"], "more": "x" * 99_999 + "y"})).items
    assert items[0] != other[0]


def test_a_batch_that_no_provider_takes_passes_through() -> None:
    assert len(intent(orjson.dumps({"input": ["a"] * MOST_ITEMS})).items) == MOST_ITEMS
    assert refusal(orjson.dumps({"input": ["a"] * (MOST_ITEMS + 1)})) == "batch-too-long"
    assert refusal(orjson.dumps({"input": [[1234567]] * (MOST_ITEMS + 1)})) == "batch-too-long"
    found = PLAIN.admit("", "embeddings", b"", HEADERS, orjson.dumps({"input": ["a"] * 5000}))
    assert isinstance(found, Bypassed)
    assert found.reason is why.BATCH_TOO_LONG


def test_embeddings_are_cached_without_a_temperature() -> None:
    assert intent(b'{"input":"a"}').deterministic


SPACE = st.sampled_from(["", " ", "\n\t"])
NUMBER = st.integers(0, 300_000).map(str)
TOKENS = st.lists(NUMBER, min_size=0, max_size=4)


@given(st.lists(TOKENS, min_size=1, max_size=6), SPACE, st.booleans(), st.sampled_from(["", ',"user":"u"', ',"n":[1]']))
def test_long_lists_of_tokens_are_read_by_a_short_cut_that_changes_nothing(
    lists: list[list[str]], space: str, flat: bool, more: str
) -> None:
    joint = space + "," + space
    texts = ["[" + space + joint.join(tokens) + space + "]" for tokens in lists]
    given = texts[0] if flat else "[" + joint.join(texts) + "]"
    body = ('{"model":"m","input":' + space + given + more + "}").encode()
    slow = EMBED.read(body)
    tokens, rest = dialect_module._set_tokens_aside(body, least=0)
    assert isinstance(slow, Intent)
    if tokens is None:
        assert rest == body
    else:
        assert [item.canonical.partition(b"\n")[2] for item in slow.items] == tokens
        assert orjson.loads(rest) == {**orjson.loads(body), "input": []}


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":[%b,01]}',
        b'{"input":[%b,]}',
        b'{"input":[%b],"input":[%b]}',
        b'{"input":[%b],"a":1,"a":2}',
        b'{"input":[%b],"a":NaN}',
        b'{"input":[%b],"a":"\xff"}',
        b'{"input":[%b],"a":"\\ud800"}',
        b'{"input":[%b]}{}',
        b'[{"input":[%b]}]',
    ],
)
def test_the_short_cut_is_as_strict(body: bytes) -> None:
    numbers = b",".join(b"%d" % number for number in range(2000))
    short = body.replace(b"%b", b"1,2")
    assert refusal(body.replace(b"%b", numbers)) == refusal(short)


def test_the_short_cut_is_taken() -> None:
    body = orjson.dumps({"model": "m", "input": [list(range(2000)), [1]]})
    tokens, rest = dialect_module._set_tokens_aside(body)
    assert tokens == [orjson.dumps(list(range(2000))), b"[1]"]
    assert rest == b'{"model":"m","input":[]}'
    assert intent(body).canonical != intent(orjson.dumps({"model": "m", "input": [list(range(2000)), [2]]})).canonical
