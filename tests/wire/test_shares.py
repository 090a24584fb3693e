"""The usage of a batch is shared out and added up again without a rounding."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.dialects.canonical import decoder
from payonce.dialects.shares import Amount, add, readable, share_out, spell_usage
from payonce.dialects.usage import respend

NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-100, max_value=100, places=12).map(str),
    st.sampled_from(["0", "-0", "0.0", "1e-7", "1.5E+3", "3e2", "-2.50"]),
)
USAGE = st.recursive(
    NUMBERS | st.sampled_from(["null", "true", '"x"']),
    lambda inner: (
        st.dictionaries(st.sampled_from(["prompt_tokens", "cost", "cost_details", "é", "n"]), inner).map(
            lambda members: "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in members.items()) + "}"
        )
        | st.lists(inner, max_size=2).map(lambda items: "[" + ",".join(items) + "]")
    ),
    max_leaves=8,
).map(lambda text: '{"u":' + text + "}")
WEIGHTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(any)


def total(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@given(USAGE, WEIGHTS)
def test_the_shares_of_every_number_add_up_to_it(text: str, weights: list[int]) -> None:
    usage = decoder.decode(text)
    assert readable(usage)
    shares = [decoder.decode(share) for share in share_out(usage, weights)]
    assert len(shares) == len(weights)
    with localcontext(prec=200):
        joined = add((share, "verbatim") for share in shares)
        assert total(spell_usage(joined)) == total(text)


@given(st.integers(-(10**30), 10**30), WEIGHTS)
def test_shares_are_in_proportion_to_the_weights(units: int, weights: list[int]) -> None:
    shares = Amount(units, 0).split(weights)
    assert sum(shares) == units
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share * sum(weights) - units * weight) <= sum(weights)


def test_counts_are_shared_in_whole_ones_and_money_finer() -> None:
    usage = decoder.decode('{"prompt_tokens":7,"cost":0.0001,"cost_details":{"upstream":1}}')
    assert share_out(usage, [1, 1, 1]) == [
        '{"prompt_tokens":2,"cost":0.0000333333,"cost_details":{"upstream":0.333333}}',
        '{"prompt_tokens":2,"cost":0.0000333333,"cost_details":{"upstream":0.333333}}',
        '{"prompt_tokens":3,"cost":0.0000333334,"cost_details":{"upstream":0.333334}}',
    ]


@pytest.mark.parametrize("mode", ["verbatim", "free", "zero"])
def test_a_mode_means_the_same_as_for_any_other_hit(mode: Any) -> None:
    text = '{"prompt_tokens":7,"cost":0.5,"is_byok":false,"cost_details":{"upstream":1},"list":[1,null],"x":"y"}'
    alone = add([(decoder.decode(text), mode)])
    whole = respend(b'{"usage":' + text.encode() + b"}", False, mode)
    assert orjson.loads(spell_usage(alone)) == orjson.loads(whole)["usage"]


def test_usage_of_two_shapes_is_added_member_by_member() -> None:
    one, two = decoder.decode('{"a":1,"b":{"c":2},"d":null}'), decoder.decode('{"b":{"c":0.5,"e":1},"d":3,"f":"x"}')
    assert spell_usage(add([(one, "verbatim"), (two, "verbatim")])) == '{"a":1,"b":{"c":2.5,"e":1},"d":3,"f":"x"}'
    assert add([]) is None


@pytest.mark.parametrize("number", ["1e61", "1e-61", "1" * 61, "1e999999999"])
def test_a_number_that_no_usage_holds_is_not_shared_out(number: str) -> None:
    assert not readable(decoder.decode(f'{{"a":[{{"b":{number}}}]}}'))
