"""`payonce probe`: what it says it will cost, what it asks, and what it makes of the answers, over real sockets."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from payonce.cli import main
from payonce.ledger.prices import Rates
from payonce.probing import CALLS, Answered, Plan, Step, conclude, probe
from payonce.testing.providers import MarkedCache, MarkerRules, Provider, family_of
from payonce.testing.sim import SimulatedProvider, running_sim
from payonce.testing.sim_cache import CacheMeter
from tests.support.gateway import DEAD

KEY = "sk-or-v1-probing0123456789"
CLAUDE = "anthropic/claude-sonnet-4.5"


@pytest.fixture(autouse=True)
def _key(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedProvider]:
    with running_sim(meter=CacheMeter()) as running:
        monkeypatch.setenv("PAYONCE_UPSTREAM", running.base_url)
        yield running


def told(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["probe", *line, "--pause", "0"])
    captured = capsys.readouterr()
    assert KEY not in captured.out + captured.err
    return code, captured.out, captured.err


@pytest.mark.parametrize("endpoint", ["chat/completions", "messages"])
def test_a_cache_that_works_is_found_with_its_minimum_and_its_price(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str], endpoint: str
) -> None:
    code, out, err = told(capsys, CLAUDE, "--yes", "--json", "--endpoint", endpoint)
    said = json.loads(out)
    assert (code, said["works"], said["advice"]) == (0, True, [])
    assert said["minimum"]["documented"] == 1024
    assert said["minimum"]["not_cached"] < 1024 <= said["minimum"]["cached"] < 1300
    first, second = said["calls"][:2]
    assert first["written"] == second["read"] > 2000
    assert sim.bill.calls == CALLS
    assert Decimal(said["dollars"]) == sim.bill.cost
    assert Decimal(said["estimate"]["dollars"]) * 2 > sim.bill.cost
    assert Decimal(said["estimate"]["most"]) >= sim.bill.cost
    assert "an estimate; at most" in err
    assert {call.path for call in sim.calls} == {"/api/v1/models", f"/api/v1/{endpoint}"}
    assert all(call.json()["max_tokens"] <= 16 for call in sim.calls if call.body)


def test_an_earlier_run_does_not_make_a_cache_look_better(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [json.loads(told(capsys, CLAUDE, "--yes", "--json")[1])["calls"] for _ in range(2)]
    assert [call["read"] for call in runs[1] if call["time"] == 1] == [0, 0, 0]
    assert runs[0][0]["written"] > 0


def test_a_person_sees_a_table_a_verdict_and_what_it_cost(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = told(capsys, CLAUDE, "--yes")
    assert code == 0
    for word in ("a little below", "read when it comes again", "the minimum lies between", "this probe cost $0.0"):
        assert word in out
    assert any(host in out for host in family_of(CLAUDE).hosts)


def test_a_model_that_caches_by_itself_is_asked_without_markers(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = told(capsys, "openai/gpt-5-mini", "--yes", "--json")
    assert (code, json.loads(out)["marked"]) == (0, False)
    assert not any(b"cache_control" in call.body for call in sim.calls)


def test_nothing_is_spent_unless_somebody_agrees(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # a pipe that says yes is nobody
    code, _, err = told(capsys, CLAUDE)
    assert code == 2
    assert "--yes" in err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    code, out, err = told(capsys, CLAUDE)
    assert (code, out) == (1, "")
    assert err.endswith("nothing was asked, nothing was spent\n")
    assert sim.bill.calls == 0
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert told(capsys, CLAUDE)[0] == 0
    assert sim.bill.calls == CALLS


def test_a_provider_without_a_cache_ends_with_1_and_what_to_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_sim() as sim:
        monkeypatch.setenv("PAYONCE_UPSTREAM", sim.base_url)
        code, out, _ = told(capsys, CLAUDE, "--yes")
    assert code == 1
    assert "nothing was read" in out
    assert "choose other hosts with provider.only" in out


def test_a_key_that_is_refused_or_missing_ends_with_2(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.fault_next("429", times=1)
    code, out, _ = told(capsys, CLAUDE, "--yes")
    assert code == 2
    assert "the upstream answered 429" in out
    monkeypatch.setenv("OPENROUTER_API_KEY", "")
    code, _, err = told(capsys, CLAUDE, "--yes")
    assert (code, "OPENROUTER_API_KEY is not set" in err) == (2, True)
    monkeypatch.setenv("PAYONCE_UPSTREAM", DEAD)
    code, _, err = told(capsys, CLAUDE, "--yes", "--key-env", "")
    assert (code, "check the upstream URL" in err) == (2, True)


def test_what_was_spent_is_told_though_the_upstream_went_away(
    sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    sim.script([None, None, None, "reset"])
    code, out, _ = told(capsys, CLAUDE, "--yes", "--json")
    said = json.loads(out)
    assert (code, [call["status"] for call in said["calls"]]) == (1, [200, 200, 200, 0])
    assert Decimal(said["dollars"]) > 0
    assert said["advice"][0].startswith("the rest was not asked: ")
    sim.script([None, "500"])
    code, out, _ = told(capsys, CLAUDE, "--yes")
    assert (code, "the upstream answered 500" in out) == (1, True)


# What is made of answers, without a wire


RATES = Rates(
    Decimal("3e-6"), Decimal("15e-6"), Decimal("0.3e-6"), Decimal("3.75e-6"), Decimal("6e-6"), source="models"
)


async def asked(plan: Plan, provider: Provider, hosts: list[str] | None = None) -> list[Step]:
    """Every call of a probe, answered by a strict model on a clock of its own."""
    now = 0.0

    async def send(body: bytes) -> Answered:
        nonlocal now
        now += 5
        served = provider.serve(json.loads(body), dialect="messages", now=now, output_tokens=3)
        host = hosts[int(now) // 5 % len(hosts)] if hosts else served.host
        return Answered(served.status, {"usage": served.usage, "provider": host}, 0.1)

    async def pause() -> None:
        pass

    return [step async for step in probe(plan, send, pause)]


def host_with(minimum: int) -> Provider:
    return Provider(MarkedCache(MarkerRules(minimum)), family_of(CLAUDE).rates, host="h")


@pytest.mark.parametrize("minimum", [512, 1024, 2048, 4096])
async def test_the_minimum_is_bracketed_for_every_documented_length(minimum: int) -> None:
    plan = Plan(CLAUDE, "messages", "n", minimum, rates=RATES)
    steps = await asked(plan, host_with(minimum))
    verdict = conclude(plan, steps)
    assert verdict.works
    assert verdict.uncached is not None
    assert verdict.cached is not None
    assert 0.8 * minimum < verdict.uncached < minimum <= verdict.cached < 1.2 * minimum
    assert verdict.advice == ()


async def test_a_host_that_asks_for_more_than_is_documented_is_told(minimum: int = 1024) -> None:
    plan = Plan(CLAUDE, "messages", "n", minimum, rates=RATES)
    verdict = conclude(plan, await asked(plan, host_with(2048)))
    assert verdict.works
    assert "though the documented minimum is 1,024: count on more for this host" in verdict.advice[0]


async def test_hosts_that_take_turns_are_told() -> None:
    plan = Plan(CLAUDE, "messages", "n", 1024, rates=RATES)
    verdict = conclude(plan, await asked(plan, host_with(1024), hosts=["a", "b"]))
    assert verdict.hosts == ("b", "a")
    assert verdict.advice[0].startswith("2 hosts answered (a, b): send session_id")


async def test_the_price_is_the_answers_own_or_else_an_estimate() -> None:
    plan = Plan(CLAUDE, "messages", "n", 1024, rates=RATES)
    steps = await asked(plan, host_with(1024))
    assert all(step.estimated and step.cost for step in steps)  # Anthropic's own usage names no cost
    unknown = Plan(CLAUDE, "messages", "n", 1024)
    verdict = conclude(unknown, await asked(unknown, host_with(1024)))
    assert (verdict.cost, verdict.unpriced) == (None, CALLS)
    assert unknown.estimate() is None
