"""A conversation stays on its host: by name, and where that is not enough, by the host's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from payonce.optimise import Act, Plan, Planner
from tests.optimise.planning import MODEL, ask, text

GPT = "openai/gpt-5.4"
SECRET, PROMPT = "sk-or-v1-tenant-secret", "a very private question"


def plan(planner: Planner, body: dict[str, Any], now: float = 0.0, **more: Any) -> Plan:
    return planner.plan(body, **{"dialect": "messages", "model": MODEL, "now": now, "tenant": SECRET} | more)


def test_openrouter_gets_one_name_for_a_conversation_and_another_for_another() -> None:
    planner = Planner()
    first = plan(planner, ask(PROMPT, system="s"))
    later = plan(planner, ask(PROMPT, "answer", "more", system="s"), 10.0)
    other = plan(planner, ask("another", system="s"), 20.0)
    assert first.body["session_id"] == later.body["session_id"] == first.session
    assert other.body["session_id"] != first.session
    assert len(first.session) <= 256


def test_a_restarted_worker_gives_the_same_name() -> None:
    planner = Planner()
    plan(planner, ask(PROMPT, system="s"))
    assert (
        plan(Planner(), ask(PROMPT, "a", "b", system="s")).session
        == plan(planner, ask(PROMPT, "a", "b", system="s")).session
    )


def test_a_clock_in_the_system_prompt_does_not_change_the_name() -> None:
    planner = Planner()
    first = plan(planner, ask(PROMPT, system="It is 10:00"))
    later = plan(planner, ask(PROMPT, "answer", "more", system="It is 10:01"), 60.0)
    assert first.session == later.session


def test_a_fork_keeps_its_lineage() -> None:
    planner = Planner()
    first = plan(planner, ask(PROMPT, system="s"))
    plan(planner, ask(PROMPT, "a", "b", system="s"), 10.0)
    assert plan(planner, ask(PROMPT, "a", "another way", system="s"), 20.0).session == first.session


def test_nothing_sent_holds_a_credential_or_a_prompt() -> None:
    sent = plan(Planner(), ask(PROMPT)).body
    added = json.dumps({name: value for name, value in sent.items() if name not in ask(PROMPT)})
    assert "session_id" in added
    assert SECRET not in added
    assert PROMPT not in added


def test_tenants_do_not_share_a_name() -> None:
    assert plan(Planner(), ask(PROMPT)).session != plan(Planner(), ask(PROMPT), tenant="other").session


@pytest.mark.parametrize(
    ("body", "more", "name"),
    [
        ({"session_id": "mine"}, {}, "mine"),
        ({"prompt_cache_key": "mine"}, {}, "mine"),
        ({}, {"headers": ((b"x-session-id", b"mine"),)}, "mine"),
        ({}, {"session": "mine"}, "mine"),
        ({"session_id": "mine"}, {"headers": ((b"x-session-id", b"other"),)}, "mine"),
    ],
)
def test_the_clients_own_name_is_used_and_never_replaced(body: Any, more: Any, name: str) -> None:
    given = ask(PROMPT) | body
    found = plan(Planner(), given, **more)
    assert found.session == name
    assert found.body.get("session_id", name) == name
    assert {key: found.body[key] for key in body} == body


@pytest.mark.parametrize(
    ("upstream", "dialect", "model", "fields"),
    [
        ("openrouter", "chat", MODEL, {"session_id"}),
        ("openrouter", "chat", GPT, {"session_id", "prompt_cache_key"}),
        ("openai", "chat", GPT, {"prompt_cache_key"}),
        ("anthropic", "messages", MODEL, set()),
        ("other", "chat", MODEL, set()),
        ("other", "chat", "grok-4", set()),
    ],
)
def test_each_upstream_gets_the_fields_it_takes(upstream: Any, dialect: Any, model: str, fields: set[str]) -> None:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    found = plan(Planner(), body, upstream=upstream, dialect=dialect, model=model)
    assert set(found.body) - set(body) == fields


def test_xai_is_told_by_header() -> None:
    body: dict[str, Any] = {"model": "grok-4", "messages": [{"role": "user", "content": PROMPT}]}
    found = plan(Planner(), body, upstream="other", dialect="chat", model="grok-4")
    assert found.headers == ((b"x-grok-conv-id", found.session.encode()),)
    given = ((b"x-grok-conv-id", b"mine"),)
    assert plan(Planner(), body, upstream="other", dialect="chat", model="grok-4", headers=given).headers == ()


def test_a_retired_beta_is_dropped_and_others_stay() -> None:
    both = ((b"anthropic-beta", b"prompt-caching-2024-07-31, output-128k-2025-02-19"),)
    found = plan(Planner(), ask(PROMPT), headers=both)
    assert found.headers == ((b"anthropic-beta", b"output-128k-2025-02-19"),)
    assert Act.DROP in [one.act for one in found.advice]
    alone = ((b"anthropic-beta", b"prompt-caching-2024-07-31"),)
    assert plan(Planner(), ask(PROMPT), headers=alone).headers == ((b"anthropic-beta", None),)
    assert plan(Planner(), ask(PROMPT), headers=((b"anthropic-beta", b"output-128k-2025-02-19"),)).headers == ()


def flipping(planner: Planner, hosts: str, reads: list[int], **more: Any) -> Plan:
    """A conversation served by these hosts, each answer reading that much of what was kept; the plan after them."""
    said = [text(800, place) for place in range(2 * len(hosts) + 1)]
    for number, (host, read) in enumerate(zip(hosts, reads, strict=True)):
        found = plan(planner, ask(*said[: 2 * number + 1], system=text(3000)) | more, number * 20.0)
        total = 3000 + 800 * (2 * number + 1)
        usage = {"input_tokens": 0, "cache_read_input_tokens": read, "cache_creation_input_tokens": total - read}
        planner.observe(found, usage, now=number * 20.0 + 3, provider=f"host-{host}")
    return plan(planner, ask(*said, system=text(3000)) | more, len(hosts) * 20.0)


def test_a_host_is_asked_for_by_name_where_reads_stay_low_on_changing_hosts() -> None:
    found = flipping(Planner(), "aababab", [0] * 7)
    assert found.body["provider"] == {"order": ["host-a"], "allow_fallbacks": True}
    assert Act.PIN in [one.act for one in found.advice]


def test_a_host_that_reads_well_is_not_pinned_nor_is_one_that_never_changes() -> None:
    reads = [0, 0, 5000, 7000, 8000, 10000, 12000]
    assert "provider" not in flipping(Planner(), "aabbbbb", reads).body
    assert "provider" not in flipping(Planner(), "aaaaaaa", [0] * 7).body


def test_the_clients_own_preference_for_hosts_stays() -> None:
    own = {"sort": "price"}
    assert flipping(Planner(), "aababab", [0] * 7, provider=own).body["provider"] == own


def test_a_pin_ends_with_time_and_with_a_failure() -> None:
    planner = Planner()
    pinned = flipping(planner, "aababab", [0] * 7)
    planner.observe(pinned, None, now=150.0, failed=True)
    body = ask(*[text(800, place) for place in range(17)], system=text(3000))
    assert "provider" not in plan(planner, body, 160.0).body
    again = Planner()
    flipping(again, "aababab", [0] * 7)
    assert "provider" in plan(again, body, 200.0).body
    assert "provider" not in plan(again, body, 9000.0).body
