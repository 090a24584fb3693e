"""The gateway in front of a provider with a strict prompt cache: what is sent, what is learned, what is booked; time is
the test's. The library's transports go the same way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from payonce.doctor import add_up
from payonce.drive.navigated import NavigatedUpstream
from payonce.gateway.price_list import learn_prices
from payonce.gateway.upstream import HttpUpstream
from payonce.ledger.tally import summary
from payonce.model.call import Call, Steering
from payonce.navigator import PLANNED_BYTES, merged, upstream_kind
from payonce.testing.sim import SimulatedProvider
from tests.support.asgi import World
from tests.support.strict import strict

CLAUDE = "anthropic/claude-sonnet-4.5"
POLICY = "You are a careful agent of an airline. " * 200
PATHS = {"chat": "/api/v1/chat/completions", "messages": "/api/v1/messages", "responses": "/api/v1/responses"}


class Talk:
    """A conversation that grows by a question and an answer, in a dialect's shape."""

    def __init__(self, dialect: str, model: str = CLAUDE, **more: Any) -> None:
        self.dialect = dialect
        self.turns: list[dict[str, Any]] = []
        self.more = {"model": model, **more}

    def ask(self, text: str) -> bytes:
        self.turns.append({"role": "user", "content": text})
        return self.body()

    def told(self, text: str) -> None:
        self.turns.append({"role": "assistant", "content": text})

    def body(self) -> bytes:
        if self.dialect == "chat":
            shape: dict[str, Any] = {"messages": [{"role": "system", "content": POLICY}, *self.turns]}
        elif self.dialect == "messages":
            shape = {"max_tokens": 50, "system": POLICY, "messages": self.turns}
        else:
            shape = {"instructions": POLICY, "input": self.turns}
        return json.dumps(self.more | shape).encode()


async def converse(world: World, talk: Talk, turns: int, gap: float = 20.0, **fields: str) -> None:
    for turn in range(turns):
        reply = await world.post(talk.ask(f"Question {turn}: where is my bag? " * 5), PATHS[talk.dialect], **fields)
        assert reply.status == 200, reply.body
        talk.told(f"Answer {turn}: it is on its way to you. " * 20)
        world.clock.advance(gap)


def sent(sim: SimulatedProvider) -> list[dict[str, Any]]:
    return [json.loads(call.body) for call in sim.calls if call.method == "POST"]


def bare(value: Any) -> Any:
    """A body without markers and without what keeps a conversation on its host; one text part is its text."""
    if isinstance(value, list):
        parts = [bare(part) for part in value]
        only = parts[0] if len(parts) == 1 else None
        if isinstance(only, dict) and set(only) == {"type", "text"}:
            return only["text"]
        return parts
    if isinstance(value, dict):
        dropped = ("cache_control", "prompt_cache_breakpoint", "session_id", "prompt_cache_key", "prompt_cache_options")
        return {name: bare(inner) for name, inner in value.items() if name not in dropped}
    return value


@pytest.mark.parametrize("dialect", PATHS)
async def test_a_conversation_reads_its_prefix_and_its_content_is_untouched(dialect: str, tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, sim):
        talk = Talk(dialect)
        await converse(world, talk, 6)
        assert sim.bill.cache_read_tokens > 3 * len(POLICY) // 4
        assert "cache_control" in json.dumps(sent(sim)[-1])
        assert bare(sent(sim)[-1]) == bare(json.loads(Talk.body(_until(talk, 11))))


def _until(talk: Talk, turns: int) -> Talk:
    short = Talk(talk.dialect)
    short.turns = talk.turns[:turns]
    return short


@pytest.mark.parametrize("dialect", PATHS)
async def test_switched_off_nothing_is_changed_or_read(dialect: str, tmp_path: Path) -> None:
    async with strict(tmp_path, prompt_cache="off") as (world, sim):
        talk = Talk(dialect)
        await converse(world, talk, 4)
        assert sim.bill.cache_read_tokens == 0
        assert sim.calls[-1].body == _until(talk, 7).body()


@pytest.mark.parametrize("dialect", PATHS)
async def test_respected_bodies_stay_as_they_are_and_a_header_names_the_session(dialect: str, tmp_path: Path) -> None:
    async with strict(tmp_path, prompt_cache="respect") as (world, sim):
        talk = Talk(dialect)
        await converse(world, talk, 3)
        assert [call.body for call in sim.calls] == [_until(talk, count).body() for count in (1, 3, 5)]
        names = {call.headers.get("x-session-id", "") for call in sim.calls}
        assert len(names) == 1 and names != {""}
        await asyncio.to_thread(world.gateway.world.navigator.await_prices, 30)
        assert (await world.gateway.world.tally()).counts["prompt.calls"] == 3


async def test_planned_costs_less_than_unplanned(tmp_path: Path) -> None:
    costs = []
    for number, mode in enumerate(("off", "auto")):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with strict(folder, prompt_cache=mode) as (world, sim):
            for _ in range(3):
                await converse(world, Talk("chat"), 8)
            costs.append(sim.bill.cost)
    assert costs[1] < costs[0] / 2


async def test_the_books_say_what_the_provider_billed(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, sim):
        await converse(world, Talk("chat"), 6)
        await asyncio.to_thread(world.gateway.world.navigator.await_prices, 30)
        page = summary(await world.gateway.world.tally())["prompt_cache"]
        assert page["read_tokens"] == sim.bill.cache_read_tokens > 0
        assert page["written_tokens"] == sim.bill.cache_write_tokens > 0


async def test_a_clients_own_markers_stay_as_they_are(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, sim):
        part = {"type": "text", "text": POLICY, "cache_control": {"type": "ephemeral"}}
        body = {"model": CLAUDE, "messages": [{"role": "user", "content": [part, {"type": "text", "text": "Hi"}]}]}
        for _ in range(3):
            await world.post(json.dumps(body).encode())
            world.clock.advance(30)
        assert all(page["messages"] == body["messages"] for page in sent(sim))


async def test_numbers_and_texts_go_upstream_as_they_were_written(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, sim):
        asked = {"role": "user", "content": "x" * PLANNED_BYTES}
        turns = json.dumps([{"role": "system", "content": POLICY}, asked])
        numbers = '"temperature": 1.0, "seed": 12345678901234567890123, "top_p": 1e-1'
        body = f'{{"model": "{CLAUDE}", {numbers}, "user": "\\u00e9\\ud83d\\ude00", "messages": {turns}}}'
        await world.post(body.encode())
        raw = sim.calls[-1].body
        assert b'"temperature":1.0,' in raw and b'"seed":12345678901234567890123,' in raw and b'"top_p":1e-1,' in raw
        assert json.loads(raw)["user"] == "é😀"


async def test_short_requests_are_not_rewritten(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, sim):
        body = b'{"model" : "%s",  "messages":[{"role":"user","content":"hi"}]}' % CLAUDE.encode()
        await world.post(body)
        assert sim.calls[-1].body == body


async def test_a_model_that_nobody_caches_prompts_for_is_left_alone(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, sim):
        talk = Talk("chat", "sim/large")
        await converse(world, talk, 3)
        talk.turns = talk.turns[:5]
        assert sim.calls[-1].body == talk.body()


async def test_the_key_is_made_of_what_the_client_sent(tmp_path: Path) -> None:
    """The third question is a hit although its first two were planned differently."""
    async with strict(tmp_path, cache="all") as (world, sim):
        body = Talk("chat").ask("the same question " * 10)
        said = []
        for _ in range(3):
            said.append((await world.post(body)).said)
            world.clock.advance(5)
        assert [text.startswith("payonce; hit") for text in said] == [False, True, True]
        assert sim.bill.calls == 1


async def test_what_the_provider_refuses_is_sent_again_as_the_client_wrote_it(tmp_path: Path) -> None:
    class Refuses:
        """An upstream that takes no markers."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.bodies: list[bytes] = []

        async def open(self, call: Call) -> Any:
            self.bodies.append(call.body)
            if b"cache_control" in call.body:
                page = b'{"error":{"code":400,"message":"cache_control: Extra inputs are not permitted"}}'
                return await Canned(page, 400).opened()
            return await self.inner.open(call)

    class Canned:
        def __init__(self, body: bytes, status: int) -> None:
            from payonce.model.ports import Head

            self.head, self.body = Head(status, ((b"content-type", b"application/json"),)), body

        async def opened(self) -> Canned:
            return self

        def whole(self) -> bytes | None:
            return None

        async def chunks(self) -> AsyncIterator[bytes]:
            yield self.body

        def close(self) -> None:
            pass

    async with strict(tmp_path) as (world, sim):
        player = world.gateway.world.player
        refuses = Refuses(HttpUpstream(sim.base_url, world.gateway.settings))
        player.flights.upstreams = {"": NavigatedUpstream(refuses, world.gateway.world.navigator)}
        talk = Talk("chat")
        await converse(world, talk, 6)
        marked = [b"cache_control" in body for body in refuses.bodies]
        assert sum(marked) == 1, "the planner stood down after the first refusal"
        assert b"session_id" not in refuses.bodies[marked.index(True) + 1]
        await asyncio.to_thread(world.gateway.world.navigator.await_prices, 30)
        spending = await world.gateway.world.tally()
        assert spending.counts["prompt.calls"] == sim.bill.calls == 6, "the answer that followed is in the books"


async def test_a_navigator_that_stumbles_costs_a_plan_and_no_call(tmp_path: Path, caplog: Any) -> None:
    async with strict(tmp_path) as (world, sim):
        navigator = world.gateway.world.navigator
        navigator._planner = None  # type: ignore[assignment]
        talk = Talk("chat")
        await converse(world, talk, 2)
        assert sim.calls[-1].body == _until(talk, 3).body()
        assert navigator.stumbled == {"AttributeError": 2}
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1


async def test_the_request_log_holds_what_was_asked_and_used_and_no_credential(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    async with strict(tmp_path, request_log=str(log)) as (world, _sim):
        talk = Talk("messages")
        await converse(world, talk, 2, authorization="Bearer sk-or-canary", x_api_key="sk-ant-canary")
        await world.gateway.world.tally()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["dialect"] for line in lines] == ["messages", "messages"]
    assert lines[1]["body"] == json.loads(_until(talk, 3).body())
    assert lines[1]["at"] - lines[0]["at"] == 20.0
    assert [line["planned"] for line in lines] == [True, True]
    assert lines[0]["usage"]["output_tokens"] > 0
    assert "canary" not in log.read_text()


async def test_the_request_log_says_nothing_of_a_plan_where_the_client_marks_itself(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    async with strict(tmp_path, request_log=str(log), prompt_cache="respect") as (world, sim):
        talk = Talk("messages")
        await converse(world, talk, 2)
        await world.gateway.world.tally()
        changed = [call.body != _until(talk, 2 * n + 1).body() for n, call in enumerate(sim.calls)]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line.get("planned", False) for line in lines] == changed


async def test_a_rule_leaves_one_model_alone(tmp_path: Path) -> None:
    from payonce.model.policy import Rule

    rules = (Rule(model=("anthropic/*",), prompt_cache="off"),)
    async with strict(tmp_path, rules=rules) as (world, sim):
        talk = Talk("chat")
        await converse(world, talk, 3)
        assert sim.calls[-1].body == _until(talk, 5).body()


@pytest.mark.parametrize(
    ("base", "model", "dialect", "kind"),
    [
        ("https://openrouter.ai/api/v1", "gpt-5", "chat", "openrouter"),
        ("https://api.anthropic.com/v1", "claude-opus-5", "messages", "anthropic"),
        ("https://api.openai.com/v1", "gpt-5.6", "responses", "openai"),
        ("http://127.0.0.1:8080/v1", "anthropic/claude-opus-5", "chat", "openrouter"),
        ("http://127.0.0.1:8080/v1", "claude-opus-5", "messages", "anthropic"),
        ("http://127.0.0.1:8080/v1", "llama", "chat", "other"),
        ("https://api.openai.com.evil.example/v1", "gpt-5.6", "chat", "other"),
    ],
)
def test_an_upstreams_rules_are_known_by_its_host_or_by_the_models_name(
    base: str, model: str, dialect: str, kind: str
) -> None:
    assert upstream_kind(Steering(model, "t", base), dialect) == kind


def test_changed_headers_take_the_place_of_those_of_their_name() -> None:
    headers = ((b"a", b"1"), (b"beta", b"x,y"), (b"b", b"2"))
    assert merged(headers, ()) is headers
    assert merged(headers, ((b"beta", b"y"), (b"new", b"z"))) == (
        (b"a", b"1"),
        (b"b", b"2"),
        (b"beta", b"y"),
        (b"new", b"z"),
    )
    assert merged(headers, ((b"beta", None),)) == ((b"a", b"1"), (b"b", b"2"))


async def test_prices_are_learned_from_the_upstreams_own_list(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, sim):
        navigator = world.gateway.world.navigator
        way = HttpUpstream(sim.base_url, world.gateway.settings)
        try:
            assert await learn_prices(navigator, way, "", sim.base_url) > 3
            rates = navigator._reckoning.accounts.prices.rates("sim/large", provider=sim.base_url)
            assert rates is not None and rates.input is not None and rates.input > 0
            assert (
                await learn_prices(navigator, HttpUpstream("http://127.0.0.1:9/v1", world.gateway.settings), "", "x")
                == 0
            )
        finally:
            way.close()


async def test_only_upstreams_elsewhere_are_asked_for_prices_and_once_a_day(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, _sim):
        navigator = world.gateway.world.navigator
        await converse(world, Talk("chat"), 1)
        assert navigator.unpriced(world.clock()) == []
        navigator._bases = {"": "https://openrouter.ai/api/v1"}
        assert navigator.unpriced(1e9) == [("", "https://openrouter.ai/api/v1")]
        assert navigator.unpriced(1e9 + 3600) == []
        assert navigator.unpriced(1e9 + 86400) == [("", "https://openrouter.ai/api/v1")]


async def test_the_doctor_hears_of_a_timestamp_and_its_page_is_noted_in_the_store(tmp_path: Path) -> None:
    async with strict(tmp_path, prompt_cache="respect") as (world, _sim):
        marker = {"cache_control": {"type": "ephemeral"}}
        for turn in range(4):
            system = [{"type": "text", "text": f"It is 10:0{turn}:11 now. {POLICY}", **marker}]
            body = {"model": CLAUDE, "system": system, "max_tokens": 5, "session_id": "s",
                    "messages": [{"role": "user", "content": f"turn {turn}"}]}  # fmt: skip
            assert (await world.post(json.dumps(body).encode(), PATHS["messages"])).status == 200
            world.clock.advance(20)
        await asyncio.to_thread(world.gateway.world.navigator.await_prices, 30)
        await world.gateway.world.tally()
        report = add_up(world.gateway.world.tiers.keeper.notes())  # type: ignore[union-attr]
        assert report.wrong
        assert {finding.id for finding in report.findings if finding.wrong} <= {"volatile-text", "system-changed"}
        counts = (await world.gateway.world.tally()).counts
        assert counts["prompt.missed_tokens"] > 0
        world.clock.advance(400)
        assert (await world.gateway.world.tally()).counts["prompt.unread_writes"] == 0, "respected markers are not ours"


async def test_a_healthy_conversation_is_not_found_fault_with(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, _sim):
        for dialect in PATHS:
            await converse(world, Talk(dialect), 6)
        await asyncio.to_thread(world.gateway.world.navigator.await_prices, 30)
        await world.gateway.world.tally()
        report = add_up(world.gateway.world.tiers.keeper.notes())  # type: ignore[union-attr]
        assert report.counts["judged"] == 18
        assert [finding.id for finding in report.findings if finding.wrong] == []
        assert (await world.gateway.world.tally()).counts["prompt.missed_tokens"] == 0


async def test_what_is_written_and_never_read_is_entered_once_it_has_expired(tmp_path: Path) -> None:
    async with strict(tmp_path) as (world, sim):
        await converse(world, Talk("chat"), 4)
        await asyncio.to_thread(world.gateway.world.navigator.await_prices, 30)
        assert sim.bill.cache_write_tokens > 0
        await world.gateway.world.tally()
        world.clock.advance(7200)
        counts = (await world.gateway.world.tally()).counts
        assert 0 < counts["prompt.unread_tokens"] < sim.bill.cache_write_tokens
