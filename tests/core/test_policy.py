"""Rules are matched first to last, and a purge reaches exactly what it names."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.model.policy import Policy, Rule, match_rule, policy_for
from payonce.model.scopes import BEFORE, alive, of_key, scopes_of

CALL: dict[str, Any] = {
    "model": "anthropic/claude-sonnet-4.5",
    "endpoint": "chat/completions",
    "namespace": "blue",
    "tenant": "t1",
    "tags": ("nightly", "eu"),
}


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule(), True),
        (Rule(model=("anthropic/*",)), True),
        (Rule(model=("*sonnet*",)), True),
        (Rule(model=("openai/*", "anthropic/*")), True),
        (Rule(model=("Anthropic/*",)), False),
        (Rule(model=("claude*",)), False),
        (Rule(model=("anthropic/claude",)), False),
        (Rule(endpoint=("chat/completions",)), True),
        (Rule(endpoint=("chat/*",)), False),
        (Rule(endpoint=("embeddings", "responses")), False),
        (Rule(namespace=("blue",)), True),
        (Rule(namespace=("",)), False),
        (Rule(tenant=("t1",)), True),
        (Rule(tenant=("t",)), False),
        (Rule(tag=("eu",)), True),
        (Rule(tag=("us", "nightly")), True),
        (Rule(tag=("us",)), False),
        (Rule(model=("anthropic/*",), namespace=("green",)), False),
        (Rule(model=("anthropic/*",), namespace=("blue",), tag=("eu",), tenant=("t1",)), True),
    ],
)
def test_a_rule_fits_when_every_condition_it_states_holds(rule: Rule, fits: bool) -> None:
    assert (match_rule([rule], **CALL) is rule) is fits


def test_the_first_rule_that_fits_is_the_one() -> None:
    narrow, wide = Rule(model=("anthropic/*",), ttl=1), Rule(ttl=2)
    assert match_rule([Rule(model=("x",)), narrow, wide], **CALL) is narrow
    assert match_rule([wide, narrow], **CALL) is wide
    assert match_rule([], **CALL) is None


def test_what_a_rule_leaves_open_stays_as_the_default_says() -> None:
    default = Policy(cache="all", ttl=10, stale_while_revalidate=3, stale_if_error=4, hit_usage="free")
    assert policy_for(default, [], **CALL) is default
    assert policy_for(default, [Rule(tag=("eu",))], **CALL) == default
    assert policy_for(default, [Rule(ttl=99, stale_if_error=0)], **CALL) == Policy("all", 99, 3, 0, "free")
    changed = policy_for(default, [Rule(cache="off", stale_while_revalidate=0, hit_usage="zero")], **CALL)
    assert changed == Policy("off", 10, 0, 4, "zero")


@given(st.lists(st.text("ab*?[]!-./", max_size=6), min_size=1, max_size=3), st.text("ab/.-[]", max_size=6))
def test_model_globs_are_fnmatch_globs_with_case(globs: list[str], model: str) -> None:
    expected = any(fnmatch.fnmatchcase(model, glob) for glob in globs)
    assert Rule(model=tuple(globs)).fits(model=model, endpoint="", namespace="", tenant="", tags=()) is expected


def test_rules_are_values() -> None:
    assert Rule(model=("a*",), ttl=1) == Rule(model=("a*",), ttl=1)
    assert hash(Rule(model=("a*",))) == hash(Rule(model=("a*",)))
    assert " _model=" not in repr(Rule(model=("a*",)))


DIGEST = bytes(range(32))
SCOPES = scopes_of("t", "m", "n", ("x", "y"), DIGEST)


def test_an_entry_belongs_to_every_scope_it_can_be_purged_by() -> None:
    assert ("all", "tenant:t", "model:m", "ns:n", "tag:x", "tag:y", of_key(DIGEST)) == SCOPES
    assert of_key(DIGEST) == "key:" + DIGEST.hex()


@pytest.mark.parametrize("scope", SCOPES)
def test_raising_any_of_its_scopes_ends_an_entry(scope: str) -> None:
    birth = (0,) * len(SCOPES)
    assert alive(SCOPES, birth, 100.0, {})
    assert not alive(SCOPES, birth, 100.0, {scope: 1})
    assert alive(SCOPES, birth, 100.0, {scope + "z": 1})
    reborn = tuple(1 if name == scope else 0 for name in SCOPES)
    assert alive(SCOPES, reborn, 100.0, {scope: 1})
    assert not alive(SCOPES, reborn, 100.0, {})


def test_before_is_a_time_and_takes_what_was_stored_up_to_it() -> None:
    birth = (0,) * len(SCOPES)
    assert not alive(SCOPES, birth, 100.0, {BEFORE: 100_000})
    assert alive(SCOPES, birth, 100.001, {BEFORE: 100_000})
    assert not alive(SCOPES, birth[1:], 100.0, {})
