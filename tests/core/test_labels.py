"""What the cache says of itself in response headers: snapshots of every outcome, and a grammar for all of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import NOW, entry, facts

from payonce.core.labels import Label, headers, hit_label, stale_label
from payonce.model import reason as why
from payonce.model.reason import REASONS
from payonce.model.receipt import Outcome


def said(label: Label) -> dict[str, str]:
    found = headers(label)
    assert len({name for name, _ in found}) == len(found)
    return {name.decode(): value.decode() for name, value in found}


def test_a_hit_says_its_age_what_is_left_and_which_answer_it_was() -> None:
    assert said(hit_label(entry(), NOW + 40.9)) == {
        "x-openrouter-cache-status": "HIT",
        "x-openrouter-cache-age": "40",
        "x-openrouter-cache-ttl": "60",
        "x-openrouter-cache-source-id": "gen-1",
        "cache-status": "payonce; hit; ttl=60",
        "age": "40",
    }


def test_an_answer_without_an_id_has_no_source() -> None:
    assert "x-openrouter-cache-source-id" not in said(hit_label(entry(facts=facts(source_id="")), NOW))


def test_an_entry_from_a_near_future_counts_as_written_now() -> None:
    assert said(hit_label(entry(), NOW - 50))["age"] == "0"
    assert said(hit_label(entry(), NOW - 50))["x-openrouter-cache-ttl"] == "100"


def test_a_stale_hit_says_that_it_is_being_renewed() -> None:
    found = said(stale_label(entry(), NOW + 130, why.EXPIRED, renewing=True))
    assert found["cache-status"] == "payonce; hit; ttl=-30; detail=stale-while-revalidate"
    assert (found["x-openrouter-cache-status"], found["x-openrouter-cache-ttl"], found["age"]) == ("HIT", "0", "130")


def test_a_stale_answer_in_place_of_an_error_says_why() -> None:
    found = said(stale_label(entry(), NOW + 130, why.STATUS, renewing=False))
    assert found["cache-status"] == "payonce; fwd=stale; ttl=-30; detail=status"
    assert found["x-openrouter-cache-status"] == "HIT"


def test_a_miss_that_is_stored_says_so() -> None:
    assert said(Label(Outcome.MISS, why.ABSENT, ttl=100, stored=True)) == {
        "x-openrouter-cache-status": "MISS",
        "x-openrouter-cache-ttl": "100",
        "cache-status": "payonce; fwd=miss; stored",
    }


def test_a_miss_that_is_not_kept_says_why() -> None:
    found = said(Label(Outcome.MISS, why.ABSENT, unkept=why.TRUNCATED))
    assert found["cache-status"] == "payonce; fwd=miss; detail=truncated"
    assert found["x-openrouter-cache-ttl"] == "0"


@pytest.mark.parametrize(
    ("reason", "forward"),
    [
        (why.ABSENT, "miss"),
        (why.PURGED, "miss"),
        (why.DAMAGED, "miss"),
        (why.FRAMING, "miss"),
        (why.EXPIRED, "stale"),
        (why.TOO_OLD, "request"),
        (why.REFRESH, "request"),
    ],
)
def test_why_a_request_went_forward_is_said_in_the_words_of_rfc_9211(reason: why.Reason, forward: str) -> None:
    assert said(Label(Outcome.MISS, reason, stored=True))["cache-status"] == f"payonce; fwd={forward}; stored"


def test_a_follower_says_that_it_was_collapsed() -> None:
    found = said(Label(Outcome.COLLAPSED, why.ABSENT, ttl=100, stored=True))
    assert found["cache-status"] == "payonce; fwd=miss; collapsed"
    assert found["x-openrouter-cache-status"] == "MISS"


def test_a_bypass_says_why_and_claims_nothing_of_openrouters_cache() -> None:
    assert said(Label(Outcome.BYPASS, why.NOT_DETERMINISTIC)) == {
        "cache-status": "payonce; fwd=bypass; detail=not-deterministic"
    }


def test_a_refusal_says_why() -> None:
    assert said(Label(Outcome.REFUSED, why.ONLY_IF_CACHED)) == {"cache-status": "payonce; detail=only-if-cached"}


reasons = st.none() | st.sampled_from(list(REASONS.values()))
labels = st.builds(
    Label,
    outcome=st.sampled_from(Outcome),
    reason=reasons,
    unkept=reasons,
    age=st.integers(0, 10**9),
    ttl=st.integers(-(10**6), 86400),
    stored=st.booleans(),
    source_id=st.sampled_from(["", "gen-1", "x" * 200]),
    renewing=st.booleans(),
).filter(lambda label: label.ttl >= 0 or label.outcome is Outcome.STALE)
PARAMETER = r"; (hit|stored|collapsed|fwd=(bypass|miss|request|stale)|ttl=-?\d+|detail=[a-z0-9-]+)"


@given(labels)
def test_every_label_is_well_formed_fields(label: Label) -> None:
    found = said(label)
    assert re.fullmatch(f"payonce({PARAMETER})+|payonce", found["cache-status"])
    assert ("hit" in found["cache-status"]) <= (label.outcome in (Outcome.HIT, Outcome.STALE))
    for name, value in found.items():
        assert re.fullmatch(r"[a-z-]+", name)
        assert re.fullmatch(r"[\x21-\x7e]+( [\x21-\x7e]+)*", value)
        assert name not in ("age", "x-openrouter-cache-age", "x-openrouter-cache-ttl") or value.isdigit()
