"""The rules: who may use the cache, for how long, and what may be kept. Whole tables, checked against plain words."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import FACTS, NOW, admit, ask, asked, bypassed, chat, entry, facts, intake, intent

from payonce.core.directives import Directives
from payonce.core.rules import (
    keepable,
    make_entry,
    may_cache,
    serves,
    still_fresh,
    terms_of,
    usable_stale,
)
from payonce.intake import Admitted, Bypassed
from payonce.model import reason as why
from payonce.model.call import Terms
from payonce.model.policy import CacheMode, Policy, Rule
from payonce.model.ports import Head

MODES = get_args(CacheMode)

# ------------------------------------------------------------------------------------------ may the cache take part


def expected(mode: str, switch: str, no_store: bool, sampled: bool, zero: bool) -> str | None:
    """The table in plain words, strongest first."""
    if no_store:
        return "no-store"
    if switch == "false":
        return "client-off"
    if mode == "off":
        return "cache-off"
    if switch == "true" or sampled:
        return None
    return {"all": None, "opt-in": "not-opted-in", "deterministic": None if zero else "not-deterministic"}[mode]


TABLE = list(product(MODES, ["", "true", "false", "perhaps"], [False, True], [False, True], [False, True]))


@pytest.mark.parametrize(("mode", "switch", "no_store", "sampled", "zero"), TABLE)
def test_the_cache_takes_part_exactly_when_the_table_says_so(
    mode: str, switch: str, no_store: bool, sampled: bool, zero: bool
) -> None:
    headers = [(b"x-openrouter-cache", switch.encode())] * bool(switch)
    headers += [(b"cache-control", b"no-store")] * no_store
    headers += [(b"x-payonce-sample", b"0")] * sampled
    found = admit(chat(temperature=0 if zero else 1), *headers, door=intake(cache=mode))
    assert (found.reason.id if isinstance(found, Bypassed) else None) == expected(mode, switch, no_store, sampled, zero)
    assert isinstance(found, Admitted | Bypassed)


def test_the_default_is_to_cache_what_is_deterministic() -> None:
    assert Policy().cache == "deterministic"
    assert bypassed(chat(temperature=...)) == "not-deterministic"
    assert asked(chat(temperature=0)).terms == Terms(3600)


def test_a_rule_sets_the_policy_for_the_calls_it_fits() -> None:
    rule = Rule(model=("m/*",), cache="all", ttl=7, stale_if_error=8, stale_while_revalidate=9, hit_usage="zero")
    door = intake(cache="off", rules=(rule,))
    found = asked(chat(temperature=1), door=door)
    assert (found.terms, found.hit_usage) == (Terms(7, 9, 8), "zero")
    assert bypassed(chat(model="x/y"), door=door) == "cache-off"


def test_a_rule_can_ask_for_namespace_and_tags() -> None:
    door = intake(cache="off", rules=(Rule(namespace=("n",), tag=("t",), cache="all"),))
    fits = (b"x-payonce-namespace", b"n"), (b"x-payonce-tags", b"s,t")
    assert isinstance(admit(None, *fits, door=door), Admitted)
    assert bypassed(None, fits[0], door=door) == "cache-off"
    assert bypassed(None, fits[1], door=door) == "cache-off"


def test_a_rule_can_ask_for_the_tenant() -> None:
    door = intake(cache="off", rules=(Rule(tenant=(asked().tenant,), cache="all"),))
    assert isinstance(admit(door=door), Admitted)
    assert bypassed(None, (b"x-api-key", b"another"), door=door) == "cache-off"


def test_a_rule_changes_no_key() -> None:
    ruled = intake(rules=(Rule(model=("*",), ttl=1, cache="all", hit_usage="zero"),))
    assert asked(door=ruled).key == asked().key


wishes = st.none() | st.integers(0, 10**9)
windows = st.integers(0, 10**6)


@given(wishes, wishes, wishes, windows, windows, windows)
def test_each_wish_of_the_client_outranks_the_policy(
    ttl: int | None, swr: int | None, sie: int | None, p_ttl: int, p_swr: int, p_sie: int
) -> None:
    said = Directives(ttl=ttl, stale_while_revalidate=swr, stale_if_error=sie)
    pairs = ((ttl, p_ttl), (swr, p_swr), (sie, p_sie))
    found = terms_of(Policy("all", p_ttl, p_swr, p_sie), said)
    assert found == Terms(*(default if wish is None else wish for wish, default in pairs))


def test_may_cache_agrees_with_the_door_on_plain_values() -> None:
    assert may_cache(Policy(), Directives(), intent(deterministic=True)) is None
    assert may_cache(Policy(), Directives(), intent(deterministic=False)) is why.NOT_DETERMINISTIC
    assert may_cache(Policy("off"), Directives(cache=True, sample=0), intent()) is why.CACHE_OFF


# ------------------------------------------------------------------------------------------------ may it be served


@pytest.mark.parametrize(
    ("age", "max_age", "verdict"),
    [
        (0, None, None),
        (99.999, None, None),
        (100, None, why.EXPIRED),
        (101, None, why.EXPIRED),
        (-100, 0, None),
        (-100.5, None, why.EXPIRED),
        (-1e9, 10**9, why.TOO_OLD),
        (0, 0, None),
        (0.001, 0, why.TOO_OLD),
        (10, 10, None),
        (10.5, 10, why.TOO_OLD),
        (99, 1000, None),
        (150, 1000, why.EXPIRED),
        (150, 10, why.TOO_OLD),
    ],
)
def test_an_entry_is_fresh_for_its_ttl_and_no_older_than_the_client_allows(
    age: float, max_age: int | None, verdict: object
) -> None:
    assert still_fresh(entry(), ask(max_age=max_age), NOW + age) is verdict
    strict = still_fresh(entry(), ask(max_age=max_age, only_fresh=True), NOW + age)
    assert strict is (why.TOO_OLD if verdict is why.EXPIRED else verdict), "then no window past the TTL counts"


@pytest.mark.parametrize("age", [0, 99, 100, 10_000])
def test_an_entry_whose_usage_chunk_does_not_fit_is_a_miss_at_any_age(age: float) -> None:
    stored = entry(facts=facts(usage="none"))
    wants = ask(intent={"stream": True, "wants_usage": True})
    assert still_fresh(stored, wants, NOW + age) is why.FRAMING
    assert not usable_stale(stored, 10**6, why.FRAMING, NOW + age)


@pytest.mark.parametrize(
    ("age", "window", "usable"),
    [(100, 0, False), (100, 1, True), (149.9, 50, True), (150, 50, False), (200, 50, False), (-101, 10**9, False)],
)
def test_a_stale_entry_is_usable_within_its_window(age: float, window: int, usable: bool) -> None:
    assert usable_stale(entry(), window, why.EXPIRED, NOW + age) is usable


def test_a_client_that_wants_nothing_older_is_never_served_stale() -> None:
    assert not usable_stale(entry(), 1000, why.TOO_OLD, NOW + 50)
    assert not usable_stale(entry(), 1000, why.TOO_OLD, NOW + 150)


@pytest.mark.parametrize("verdict", [why.ABSENT, why.TOO_OLD, why.PURGED, why.DAMAGED, why.REFRESH, why.FRAMING])
def test_nothing_but_the_ttl_is_ever_excused(verdict: Any) -> None:
    assert not usable_stale(entry(), 1000, verdict, NOW)


SERVES = {
    # what is stored -> (a stream without the wish, a stream with it)
    "none": (True, False),
    "asked": (False, True),
    "always": (True, True),
    "never": (True, True),
}


@pytest.mark.parametrize("usage", SERVES)
def test_a_usage_chunk_reaches_those_who_asked_and_surprises_nobody(usage: str) -> None:
    without, with_ = SERVES[usage]
    assert serves(facts(usage=usage), intent(stream=True, wants_usage=False)) is without
    assert serves(facts(usage=usage), intent(stream=True, wants_usage=True)) is with_


@pytest.mark.parametrize("usage", SERVES)
def test_a_whole_answer_has_no_usage_chunk_to_differ_on(usage: str) -> None:
    for wish in (True, False):
        assert serves(facts(usage=usage), intent(stream=False, wants_usage=wish))


# ------------------------------------------------------------------------------------------------ may it be kept

JSON, SSE = b"application/json", b"text/event-stream"


@pytest.mark.parametrize(
    ("media", "json", "stream"),
    [
        (JSON, True, False),
        (SSE, False, True),
        (JSON + b"; charset=utf-8", True, False),
        (SSE + b";charset=utf-8", False, True),
        (b" Application/JSON", True, False),
        (b"Text/Event-Stream", False, True),
        (b"text/html", False, False),
        (b"text/plain", False, False),
        (b"application/jsonl", False, False),
        (b"application/problem+json", False, False),
        (b"application/x-ndjson", False, False),
        (b"", False, False),
        (None, False, False),
    ],
)
def test_an_answer_is_kept_only_in_the_form_that_was_asked_for(media: bytes | None, json: bool, stream: bool) -> None:
    head = Head(200, () if media is None else ((b"content-type", media),))
    assert keepable(head, intent(stream=False)) is (None if json else why.CONTENT_TYPE)
    assert keepable(head, intent(stream=True)) is (None if stream else why.CONTENT_TYPE)


@pytest.mark.parametrize(
    "status", [100, 199, 201, 202, 204, 206, 301, 307, 400, 401, 402, 404, 429, 500, 502, 503, 529]
)
def test_no_status_but_200_is_kept(status: int) -> None:
    assert keepable(Head(status, ((b"content-type", JSON),)), intent()) is why.STATUS


@pytest.mark.parametrize(
    ("coding", "kept"),
    [(b"gzip", False), (b"br", False), (b"GZIP", False), (b"gzip, identity", False), (b"identity", True), (b"", True)],
)
def test_a_compressed_answer_is_not_kept(coding: bytes, kept: bool) -> None:
    head = Head(200, ((b"content-encoding", coding), (b"content-type", JSON)))
    assert keepable(head, intent()) is (None if kept else why.ENCODED_ANSWER)


# ------------------------------------------------------------------------------------------------ what is kept


def _made(jitter: float = 0.0, ttl: int = 100, **terms: int) -> Any:
    head = Head(200, ((b"content-type", JSON), (b"set-cookie", b"x"), (b"x-generation-id", b"gen-1")))
    of = ask(terms={"ttl": ttl, **terms}, namespace="n", tags=("a", "b"))
    epochs = tuple(range(len(of.scopes)))
    return make_entry(of, head, b"{}", FACTS, of.scopes, epochs, stored_at=NOW, took=1.5, jitter=jitter)


def test_an_entry_says_what_it_takes_to_serve_age_and_purge_it() -> None:
    found = _made(stale_while_revalidate=7, stale_if_error=8)
    of = ask(namespace="n", tags=("a", "b"))
    assert found.terms == Terms(100, 7, 8)
    assert (found.stored_at, found.took, found.body, found.status) == (NOW, 1.5, b"{}", 200)
    assert (found.scopes, found.epochs) == (of.scopes, tuple(range(len(of.scopes))))
    assert (found.tenant, found.namespace, found.tags) == (of.tenant, "n", ("a", "b"))
    assert (found.endpoint, found.model, found.facts) == ("chat/completions", "m/one", FACTS)
    assert found.headers == ((b"content-type", JSON), (b"x-generation-id", b"gen-1"))


@given(st.floats(0, 1), st.integers(1, 86400))
def test_jitter_only_shortens_and_never_to_nothing(jitter: float, ttl: int) -> None:
    found = _made(jitter, ttl).ttl
    assert 1 <= found <= ttl
    assert found >= int(ttl * (1 - jitter)) or found == 1
