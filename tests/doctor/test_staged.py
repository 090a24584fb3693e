"""Each way to lose a prompt cache, staged against the strict models of providers, and named by the doctor.

The models are those that the simulated provider serves (payonce.testing.providers): Anthropic's own in the messages
dialect, and OpenRouter in front of three hosts in the chat dialect. Time is a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from payonce.doctor import Finding, Seen, Watch
from payonce.ledger.prices import Rates
from payonce.ledger.usage import parse
from payonce.optimise.traits import Catalogue
from payonce.testing.providers import Outage, Served, family_of
from tests.doctor.rules import Talk, tool, words
from tests.doctor.scenes import MODEL, RETIRED, chat


def price_of(model: str, _upstream: str, _tokens: int, _at: float) -> Rates:
    rates = family_of(model).rates
    return Rates(rates.input, rates.output, rates.read, rates.write, rates.write_1h)


@dataclass
class Theatre:
    """A provider, a clock and the doctor who watches."""

    dialect: str
    named: bool = False
    now: float = 1_800_000_000.0
    log: list[tuple[Served, tuple[Finding, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        family = family_of(MODEL)
        self.backend: Any = family.router(seed=3) if self.dialect == "chat" else family.provider()
        catalogue = Catalogue()
        self.watch = Watch(price_of=price_of, minimum_of=lambda model: catalogue.traits(model).minimum or None)

    def send(
        self,
        talk: Talk,
        *,
        wait: float = 20.0,
        first_token: float = 1.0,
        headers: dict[str, str] | None = None,
        session: str = "s",
    ) -> tuple[Finding, ...]:
        """`wait` seconds after the exchange before."""
        self.now += wait
        body = talk.body()
        body["model"] = MODEL if talk.model == Talk.model else talk.model
        if self.dialect == "chat":
            body = chat(body)
            if self.named:
                body["session_id"] = session
        served = self.backend.serve(
            body, dialect=self.dialect, now=self.now, headers=headers, first_token_after=first_token, output_tokens=20
        )
        seen = Seen(
            body=body,
            dialect=self.dialect,
            started=self.now,
            usage=parse(served.usage, dialect=self.dialect, model=MODEL) if served.status == 200 else None,
            session=session if self.named else None,
            headers=headers or {},
            host=served.host,
            first_byte=self.now + first_token,
            ended=self.now + first_token + 2,
            status=served.status,
            number=len(self.log) + 1,
        )
        found = self.watch.saw(seen)
        self.log.append((served, found))
        return found

    @property
    def last(self) -> Served:
        return self.log[-1][0]

    def held(self) -> int:
        """What the provider held of the conversation after the exchange before the last."""
        served = self.log[-2][0]
        return served.read + served.write_5m + served.write_1h


@pytest.fixture(params=["messages", "messages named", "chat named"])
def theatre(request: pytest.FixtureRequest) -> Theatre:
    dialect, _, named = request.param.partition(" ")
    return Theatre(dialect, bool(named))


def opened(theatre: Theatre, talk: Talk, turns: int = 3) -> Talk:
    """A few healthy turns."""
    for turn in range(turns):
        talk.say(turn)
        assert theatre.send(talk) == ()
    assert theatre.last.read > 1024
    return talk


def blamed(theatre: Theatre, found: tuple[Finding, ...], cause: str, where: str, block: int | None) -> Finding:
    """The one finding, which says what the provider's own books say was lost, and what it cost more than reading."""
    assert [one.id for one in found] == [cause]
    finding = found[0]
    chat_where = where.replace("system[0]", "messages[0].content[0]") if theatre.dialect == "chat" else where
    if theatre.dialect == "chat" and where.startswith("tools"):
        chat_where = where.replace(".input_schema", ".function.parameters")
    if theatre.dialect == "chat" and where.startswith("messages["):
        place, _, rest = where[9:].partition("]")
        chat_where = f"messages[{int(place) + 1}]{rest}"
    assert (finding.where, finding.block) == (chat_where, block)
    rates = family_of(MODEL).rates
    missed = theatre.held() - theatre.last.read
    assert finding.tokens == missed > 0
    assert theatre.last.write_5m >= missed
    assert finding.cost == missed * (rates.write - rates.read)
    return finding


def test_a_healthy_conversation_gives_no_finding(theatre: Theatre) -> None:
    opened(theatre, Talk(), turns=15)
    assert theatre.watch.report() == []


def test_threshold_not_met(theatre: Theatre) -> None:
    talk = Talk(system="Be brief.", tools=[tool("read", 10)])
    talk.say(1, size=30)
    assert theatre.send(talk) == ()
    talk.say(2, size=30)
    (finding,) = theatre.send(talk)
    assert finding.id == "under-minimum"
    assert finding.detail.endswith("the minimum is 1,024")
    assert (theatre.last.read, theatre.last.write_5m) == (0, 0)


def test_a_timestamp_in_the_system_prompt(theatre: Theatre) -> None:
    talk = Talk(system="You help. It is 2026-11-21T10:15:07Z.\n" + words(1, 900))
    opened_at = talk.system
    talk.say(1)
    assert theatre.send(talk) == ()
    talk.system = opened_at.replace("10:15:07", "10:15:27")
    talk.say(2)
    finding = blamed(theatre, theatre.send(talk), "volatile-text", "system[0].text", 3)
    assert "10:15:07" in finding.before
    assert "10:15:27" in finding.after


def test_shuffled_tools(theatre: Theatre) -> None:
    talk = opened(theatre, Talk())
    talk.tools = [talk.tools[0], talk.tools[2], talk.tools[1]]
    talk.say(9)
    finding = blamed(theatre, theatre.send(talk), "tools-reordered", "tools[1]", 1)
    assert (finding.before, finding.after) == ("write, search", "search, write")


def test_a_changed_schema(theatre: Theatre) -> None:
    talk = opened(theatre, Talk())
    changed = tool("write")
    changed["input_schema"]["properties"]["path"]["type"] = "integer"
    talk.tools = [talk.tools[0], changed, talk.tools[2]]
    talk.say(9)
    finding = blamed(theatre, theatre.send(talk), "tool-changed", "tools[1].input_schema.properties.path.type", 1)
    assert (finding.before, finding.after) == ("string", "integer")


def test_rewritten_history(theatre: Theatre) -> None:
    talk = opened(theatre, Talk(), turns=5)
    talk.messages[3]["content"][0]["text"] = "(cut to save space)"
    talk.say(9)
    blamed(theatre, theatre.send(talk), "history-rewritten", "messages[3].content[0].text", 7)


def test_a_host_flip() -> None:
    theatre = Theatre("chat", named=True)
    talk = opened(theatre, Talk())
    first = theatre.last.host
    theatre.backend._outages = [Outage(first, theatre.now, theatre.now + 60)]
    talk.say(9)
    finding = blamed(theatre, theatre.send(talk), "host-changed", "", None)
    assert finding.detail == f"from {first} to {theatre.last.host}"
    talk.say(10)
    assert theatre.send(talk) == ()  # it stays where it is now


def test_an_expired_ttl(theatre: Theatre) -> None:
    talk = opened(theatre, Talk())
    talk.say(9)
    finding = blamed(theatre, theatre.send(talk, wait=301), "ttl-expired", "", None)
    assert finding.detail == "301 s from start to start; the entry lives 300 s"


def test_concurrent_first_requests(theatre: Theatre) -> None:
    """Of those that one host served, each but the first wrote in vain what they share."""
    seen: set[str] = set()
    wasted = 0
    for number in range(8):
        talk = Talk()
        talk.say(100 + number)
        found = theatre.send(talk, wait=0.2, first_token=3.0, session=f"s{number}")
        expected = ["concurrent-first"] if theatre.last.host in seen else []
        assert [one.id for one in found] == expected
        seen.add(theatre.last.host)
        wasted += len(found)
        assert theatre.last.read == 0
    assert wasted >= 5
    talk = Talk()
    talk.say(200)
    assert theatre.send(talk, wait=5.0) == ()
    assert theatre.last.read > 1024


def test_a_deprecated_header(theatre: Theatre) -> None:
    talk = Talk()
    talk.say(1)
    (finding,) = theatre.send(talk, headers=RETIRED)
    assert (finding.id, finding.where) == ("retired-header", "headers.anthropic-beta")
    assert finding.detail == "prompt-caching-2024-07-31"


FAMILIES = (
    *("openai/gpt-5-mini", "openai/gpt-5.6", "deepseek/deepseek-chat", "x-ai/grok-4", "moonshotai/kimi-k2"),
    *("google/gemini-2.5-pro", "qwen/qwen3-max", "anthropic/claude-haiku-5.5", "mistralai/mistral-large"),
)


def through_openrouter(model: str, seed: int, *, named: bool, turns: int = 12) -> list[tuple[str, str]]:
    """A conversation with any model, as OpenRouter routes and bills it: (host, ids of what was found) of each turn."""
    router, talk, now, told = family_of(model).router(seed=seed), Talk(), 1_800_000_000.0, []
    watch = Watch(minimum_of=lambda name: Catalogue().traits(name).minimum or None)
    for turn in range(turns):
        talk.say(turn, size=100 + 20 * turn)
        now += 15 + turn * 13 % 40
        body = chat({**talk.body(), "model": model, **({"session_id": "s"} if named else {})})
        served = router.serve(body, dialect="chat", now=now, output_tokens=50, answer_after=4.0)
        usage = parse(served.usage, dialect="chat", model=model)
        seen = Seen(body, "chat", now, usage, session="s" if named else None, host=served.host, first_byte=now + 1)
        told.append((served.host, " ".join(one.id for one in watch.saw(seen))))
    return told


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_healthy_conversation_with_any_provider_gives_no_finding(model: str, seed: int) -> None:
    assert {ids for _, ids in through_openrouter(model, seed, named=True)} == {""}


def test_without_a_session_a_changing_host_is_named_where_it_changed_and_nowhere_else() -> None:
    named = 0
    for seed in range(8):
        told = through_openrouter("openai/gpt-5.6", seed, named=False)
        for (before, _), (host, ids) in pairwise(told):
            assert ids == ("host-changed" if host != before else ""), (seed, told)
            named += bool(ids)
    assert named >= 4


def test_an_automatic_cache_is_best_effort_but_a_host_that_read_nothing_is_named() -> None:
    named = 0
    for seed in range(8):
        told = through_openrouter("deepseek/deepseek-chat", seed, named=False)
        for (before, _), (host, ids) in pairwise(told):
            assert ids in ("", "host-changed")
            assert not ids or host != before
            named += bool(ids)
    assert named >= 4


def test_what_was_lost_adds_up_over_turns(theatre: Theatre) -> None:
    """A tool list that is shuffled each turn: one line in the report, with all the money."""
    talk = opened(theatre, Talk())
    lost = Decimal(0)
    for turn in range(4):
        talk.tools = [*talk.tools[1:], talk.tools[0]]
        talk.say(20 + turn)
        (finding,) = theatre.send(talk)
        lost += finding.cost or 0
    (total,) = theatre.watch.report()
    assert (total.id, total.times, total.cost) == ("tools-reordered", 4, lost)


def test_a_refused_request_is_blamed_on_its_markers() -> None:
    theatre, talk = Theatre("messages"), Talk()
    talk.tools = [{**one, "cache_control": {"type": "ephemeral"}} for one in talk.tools]
    talk.say(1)
    found = theatre.send(talk)
    assert theatre.last.status == 400
    assert [(one.id, one.where) for one in found] == [("too-many-markers", "messages[0].content[0].cache_control")]
