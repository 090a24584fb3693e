"""docs/doctor.md: every output that it shows is what the commands print."""

from __future__ import annotations

import json
import re
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from payonce.cli import main
from payonce.doctor.volatile import volatile
from payonce.ledger.price_rows import Era, Row
from payonce.ledger.prices import Prices
from payonce.testing.providers import family_of
from payonce.testing.sim import running_sim
from payonce.testing.sim_cache import CacheMeter
from tests.doctor.rules import Talk, tool

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
MODEL = "anthropic/claude-sonnet-4.5"
RULES = "Answer from the handbook only. Say so where it does not help. " * 60


def shown(command: str) -> str:
    """The output that the page shows under a command."""
    found = re.search(rf"^```console\n\$ {re.escape(command)}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, command
    return found[1]


def list_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list prices of Claude Sonnet 4.5, whatever release of the price table is installed, if one is."""
    dollars = {"input": "3", "output": "15", "cache_read": "0.3", "cache_write_5m": "3.75", "cache_write_1h": "6"}
    row = Row("list", (Era({name: Decimal(price).scaleb(-6) for name, price in dollars.items()}),))
    defaults = {**(Prices.__init__.__kwdefaults__ or {}), "table": lambda: lambda _model, _provider: row}
    monkeypatch.setattr(Prices.__init__, "__kwdefaults__", defaults)


def agent_log() -> str:
    """Four turns of an agent that shuffles its tools once and waits too long once, billed by the strict model."""
    provider = family_of(MODEL).provider(host="Anthropic")
    talk, lines, at = (
        Talk(system=RULES, tools=[tool(name, 20) for name in ("read", "search", "write")]),
        [],
        1_795_255_200.0,
    )
    for turn, gap in enumerate((0, 25, 40, 420)):
        at += gap
        if turn == 2:
            talk.tools = [talk.tools[0], talk.tools[2], talk.tools[1]]
        talk.say(turn)
        body = {**talk.body(), "model": MODEL}
        served = provider.serve(body, dialect="messages", now=at, output_tokens=80)
        line = {
            "at": at,
            "dialect": "messages",
            "session": "7",
            "provider": served.host,
            "body": body,
            "usage": served.usage,
        }
        lines.append(json.dumps(line))
    return "\n".join(lines) + "\n"


def test_the_log_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    list_prices(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("agent.jsonl").write_text(agent_log())
    assert main(["doctor", "agent.jsonl"]) == 1
    assert capsys.readouterr().out == shown("payonce doctor agent.jsonl")


def test_the_request_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    talk = Talk(system="Current time: 2026-11-21 10:15:07\n" + RULES, tools=[])
    talk.say(1)
    body: dict[str, Any] = {**talk.body(), "model": MODEL}
    body["system"][0]["cache_control"] = {"type": "ephemeral"}
    body["messages"][0]["content"][0]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    Path("request.json").write_text(json.dumps(body))
    assert main(["doctor", "request.json"]) == 1
    assert capsys.readouterr().out == shown("payonce doctor request.json")


def test_the_probe_of_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-page")
    monkeypatch.setattr(secrets, "token_hex", lambda _count: "5f0c1e")
    with running_sim(meter=CacheMeter()) as sim:
        assert main(["probe", MODEL, "--yes", "--pause", "0", "--upstream", sim.base_url]) == 0
        captured = capsys.readouterr()
    printed = captured.err.replace(sim.base_url, "http://127.0.0.1:4242/api/v1") + captured.out
    command = f"payonce probe {MODEL} --yes --upstream http://127.0.0.1:4242/api/v1"
    assert re.sub(r"\d+\.\d s", "0.0 s", printed) == shown(command)


def test_what_the_page_calls_changing_text_is_found() -> None:
    table = re.search(r"\| changing text.*?\n\n", PAGE, re.DOTALL)
    assert table is not None
    examples = re.findall(r"^\| [^|]+ \| `([^`]+)` \|", table[0], re.MULTILINE)
    assert len(examples) >= 5
    for example in examples:
        assert list(volatile(example)), example


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    talk = Talk(system="Current time: 2026-11-21 10:15:07\n" + RULES, tools=[])
    talk.say(1)
    exec(snippet, {"body": talk.body()})
    assert capsys.readouterr().out.startswith("warning volatile-text system[0].text move it")
