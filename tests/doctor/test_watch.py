"""A watch in a gateway: quick, bounded, silent about what it can't know, and safe with what it is shown."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.doctor import Finding, Seen, Watch, diagnostics_in
from payonce.doctor.excerpts import Texts, alike, difference, excerpt, redacted
from payonce.doctor.watch import KINDS
from payonce.ledger.usage import Usage, parse
from tests.doctor.rules import Talk, tool, words
from tests.doctor.stage import RATES, Stage, price_of

SECRETS = [
    "sk-or-v1-0123456789abcdef0123",
    "sk-ant-api03-AbCdEfGh1234567",
    "ghp_abcdefghijklmnopqrstuvwx",
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "Bearer abcdefgh12345678",
    "password: hunter2hunter2",
    'api_key="0123456789abcdef"',
]


def test_following_a_long_conversation_costs_far_less_than_a_millisecond_a_turn() -> None:
    messages = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": f"{n} " + "lorem ipsum dolor " * 55}
        for n in range(130)
    ]
    watch, read, spent = Watch(price_of=price_of), 0, []
    for count in range(100, 130):
        body = orjson.loads(orjson.dumps({"model": "claude", "system": "s", "messages": messages[:count]}))
        last = body["messages"][-1]
        last["content"] = [{"type": "text", "text": last["content"], "cache_control": {"type": "ephemeral"}}]
        usage = Usage(0, read, 250 * count - read, 0, 1, 250 * count)
        began = time.process_time()
        assert watch.saw(Seen(body, "messages", 1000.0 + count, usage)) == ()
        spent.append(time.process_time() - began)
        read = 250 * count
    assert sorted(spent)[len(spent) // 2] < 0.001


def test_memory_is_bounded_whatever_comes() -> None:
    watch = Watch(limit=50, text=100_000)
    for number in range(400):
        talk = Talk(system=words(number, 80), tools=[])
        talk.say(number, size=60)
        body = talk.body()
        watch.saw(Seen(body, "messages", float(number), Usage(0, 0, 900, 0, 1, 900), session=f"{number % 90}"))
    held = watch.held
    assert held["conversations"] <= 50
    assert held["blocks"] <= 50 * 128
    assert held["prefixes"] <= 150
    assert held["text"] <= 100_000
    long = {"model": "m", "messages": [{"role": "user", "content": "x" * 30 + str(n)} for n in range(9000)]}
    for number in range(3):
        watch.saw(Seen({**long, "system": str(number)}, "messages", 500.0, session=f"long {number}"))
    assert watch.held["conversations"] == 1  # one that is too long for the room is held alone


def test_kinds_of_findings_are_bounded_and_what_is_dropped_is_counted() -> None:
    stage = Stage()
    for number in range(KINDS + 20):
        body = {"model": f"claude-{number}", "system": "s", "messages": [{"role": "user", "content": "hi"}]}
        stage.send(body, 1000.0 + number, headers={"anthropic-beta": "prompt-caching-2024-07-31"})
    assert len(stage.watch.report()) == KINDS
    assert stage.watch.counts["dropped"] == 20


@pytest.mark.parametrize(
    "body",
    [
        {"messages": 3},
        {"messages": [3, None, "x"]},
        {"model": 7, "messages": [{"role": {}, "content": [[]]}]},
        {"tools": {"a": 1}, "system": 4, "messages": []},
        {"messages": [{"role": "user", "content": 2**70}]},
        {"messages": [{"role": "user", "content": "\ud800"}], "tools": [{"name": "\ud800"}]},
    ],
)
@pytest.mark.parametrize("dialect", ["messages", "chat", "responses", "morse"])
def test_a_strange_body_never_raises(body: dict[str, Any], dialect: str) -> None:
    watch = Watch()
    for turn in range(3):
        assert watch.saw(Seen(body, dialect, float(turn), Usage(0, 0, 5, 0, 1, 5), session="s")) == ()


def test_tenants_and_upstreams_are_never_compared() -> None:
    talk, watch = Talk(), Watch(price_of=price_of)
    talk.say(1)
    for tenant, upstream in (("a", "x"), ("b", "x"), ("a", "y")):
        body = talk.body()
        usage = Usage(5, 0, 3000, 0, 1, 3005)
        assert watch.saw(Seen(body, "messages", 1000.0, usage, tenant, upstream, session="s", first_byte=1001.0)) == ()
    lost = watch.saw(
        Seen(talk.body(), "messages", 1010.0, Usage(5, 0, 3000, 0, 1, 3005), "a", "x", session="s", first_byte=1011.0)
    )
    assert [one.id for one in lost] == ["evicted"]  # the positive control: the same tenant is compared


def test_a_provider_that_never_caches_is_not_accused() -> None:
    """OpenAI's shape with cached_tokens 0 each time: nothing shows that there is a cache."""
    talk, watch = Talk(system_mark=None, tail_mark=None), Watch(price_of=price_of)
    for turn in range(6):
        talk.say(turn)
        body = {"model": "meta-llama/llama-4", "messages": talk.body()["messages"]}
        usage = {
            "prompt_tokens": 4000 + 300 * turn,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        assert watch.saw(Seen(body, "chat", 1000.0 + 20 * turn, parse(usage, dialect="chat"), session="s")) == ()


def automatic(watch: Watch, talk: Talk, at: float, cached: int, prompt: int, **more: Any) -> tuple[Finding, ...]:
    body = {"model": "openai/gpt-5-mini", "messages": talk.body()["messages"], **more}
    usage = {"prompt_tokens": prompt, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": cached}}
    return watch.saw(Seen(body, "chat", at, parse(usage, dialect="chat"), session="s", host="OpenAI"))


def test_an_automatic_cache_that_read_before_and_reads_nothing_after_a_change_is_explained() -> None:
    talk, watch = Talk(system_mark=None, tail_mark=None), Watch(price_of=lambda *_: RATES)
    for turn in range(3):
        talk.say(turn, size=400)
        assert automatic(watch, talk, 1000.0 + 20 * turn, 3840 * min(turn, 1), 5000 + 2000 * turn) == ()
    talk.messages[0]["content"][0]["text"] = "(summary)"
    talk.say(9)
    (finding,) = automatic(watch, talk, 1080.0, 0, 8000)
    assert (finding.id, finding.where) == ("history-rewritten", "messages[0].content[0].text")
    assert finding.tokens
    assert finding.cost == finding.tokens * (Decimal("0.000003") - Decimal("0.0000003"))


def test_a_cache_key_that_changes_is_named() -> None:
    talk, watch = Talk(system_mark=None, tail_mark=None), Watch()
    for turn in range(3):
        talk.say(turn, size=400)
        key = f"k{turn // 2}"
        found = automatic(watch, talk, 1000.0 + 20 * turn, (0, 4864, 0)[turn], 5000 + 2000 * turn, prompt_cache_key=key)
    (finding,) = found
    assert (finding.id, finding.before, finding.after) == ("cache-key-changed", "k0", "k1")


@pytest.mark.parametrize(
    ("diagnostics", "cause"),
    [
        ({"cache_miss_reason": {"type": "system_changed", "cache_missed_input_tokens": 4000}}, "system-changed"),
        ({"cache_miss_reason": {"type": "tools_changed", "cache_missed_input_tokens": 4000}}, "tool-changed"),
        ({"type": "cache_miss", "reason": "input_changed", "cache_missed_tokens": 4000}, "history-rewritten"),
        ({"type": "cache_miss", "reason": "prompt_cache_key_changed", "cache_missed_tokens": 9}, "cache-key-changed"),
    ],
)
def test_what_the_provider_itself_says_is_used_where_no_earlier_turn_was_seen(
    diagnostics: dict[str, Any], cause: str
) -> None:
    stage, talk = Stage(), Talk()
    talk.say(1)
    (finding,) = stage.send(talk, 1000.0, diagnostics=diagnostics)
    assert finding.id == cause
    assert finding.detail.startswith("the provider says ")


@pytest.mark.parametrize(
    "diagnostics",
    [None, {}, {"cache_miss_reason": None}, {"cache_miss_reason": {"type": "unavailable"}}, {"type": "cache_hit"}],
)
def test_a_provider_that_can_not_tell_is_no_finding(diagnostics: dict[str, Any] | None) -> None:
    stage, talk = Stage(), Talk()
    talk.say(1)
    assert stage.send(talk, 1000.0, diagnostics=diagnostics) == ()


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"id": "msg_1", "diagnostics": {"cache_miss_reason": None}}, True),
        ({"type": "message_start", "message": {"diagnostics": {"cache_miss_reason": {"type": "unavailable"}}}}, True),
        ({"type": "response.completed", "response": {"prompt_cache_diagnostics": {"type": "cache_hit"}}}, True),
        ({"id": "msg_1", "diagnostics": None}, False),
        ([], False),
        (None, False),
        ({"message": "text"}, False),
    ],
)
def test_the_providers_diagnostics_are_found_in_answers_and_events(document: object, found: bool) -> None:
    assert (diagnostics_in(document) is not None) is found


@pytest.mark.parametrize("secret", SECRETS)
def test_no_credential_gets_into_a_finding(secret: str) -> None:
    stage, talk = Stage(), Talk(tools=[tool("read")])
    for turn in range(2):
        talk.system = words(4, 400) + f" {turn} {secret} " + words(5, 400)
        talk.say(turn)
        found = stage.send(talk, 1000.0 + 20 * turn)
    (finding,) = found
    said = orjson.dumps(finding.as_json()).decode()
    assert secret.rsplit(maxsplit=1)[-1].strip('"') not in said
    assert "***" in said


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet="ab \n", max_size=40),
    st.sampled_from(SECRETS),
    st.text(alphabet="ab \n", max_size=40),
    st.integers(0, 120),
)
def test_an_excerpt_cut_anywhere_shows_no_part_of_a_credential(
    before: str, secret: str, after: str, focus: int
) -> None:
    text = f"{before} {secret} {after}"
    shown = excerpt(text, min(focus, len(text)), width=24)
    tail = secret.rsplit(maxsplit=1)[-1].strip('"')
    assert not any(tail[n : n + 8] in shown for n in range(len(tail) - 7))
    assert len(shown) <= 24 + len("…***…") + 3


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_a_difference_is_found_at_its_first_character(start: str, a: str, b: str) -> None:
    before, after = start + a, start + b
    place = difference(before, after)[2]
    assert before[:place] == after[:place]
    assert place in (len(before), len(after)) or before[place] != after[place]


def test_texts_are_forgotten_in_the_order_of_their_use() -> None:
    texts = Texts(10, longest=6)
    texts.keep(1, "aaaa")
    texts.keep(2, "bbbb")
    texts.use(1)
    texts.keep(3, "cccccccccc")
    assert (texts.get(1), texts.get(2), texts.get(3), len(texts)) == ("aaaa", None, "cccccc", 10)


def test_texts_are_alike_where_half_of_the_longer_is_the_same() -> None:
    assert alike("abcdef", "abXdef")
    assert not alike("abcdef", "uvwxyz")
    assert not alike("", "")
    assert redacted("nothing here") == "nothing here"
