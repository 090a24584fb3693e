"""Simulating: what recorded requests cost and would have cost; bad lines are told, none is lost, nothing is sent."""

from __future__ import annotations

import json
import os
import random
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from payonce.cli import main
from payonce.testing.providers import MarkedCache, MarkerRules, Provider, Rates

Json = dict[str, Any]
CLAUDE = "anthropic/claude-sonnet-4.5"
MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.fixture(autouse=True)
def _offline(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("simulate asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def written(*lines: object) -> str:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    Path("requests.jsonl").write_text(text)
    return "requests.jsonl"


def told(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, Json, str]:
    capsys.readouterr()
    code = main(["simulate", *line, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def talk(turns: int, *, gap: float = 30.0, start: float = 0.0, name: str = "t", mark: Json | None = None) -> list[Json]:
    """A growing conversation of one system prompt, recorded; `mark` goes onto the system prompt."""
    messages: list[Json] = []
    lines = []
    for turn in range(turns):
        messages = [*messages, {"role": "user", "content": f"{name} asks {turn} " + "q" * 1200}]
        system = [{"type": "text", "text": "s" * 12000} | (mark or {})]
        body = {"model": CLAUDE, "max_tokens": 50, "system": system, "messages": messages}
        lines.append({"at": start + turn * gap, "dialect": "messages", "body": body, "tenant": "a"})
        messages = [*messages, {"role": "assistant", "content": f"{name} answers {turn}"}]
    return lines


def dollars(figures: Json, lane: str) -> Decimal:
    return Decimal(figures["lanes"][lane]["dollars"])


def test_a_conversation_without_markers_gets_cheaper(capsys: pytest.CaptureFixture[str]) -> None:
    code, figures, _ = told(capsys, written(*talk(12)))
    assert (code, figures["requests"], figures["seconds"]) == (0, 12, 330.0)
    assert list(figures["lanes"]) == ["no_caching", "recorded", "payonce"]
    assert dollars(figures, "no_caching") == dollars(figures, "recorded")
    assert dollars(figures, "payonce") < dollars(figures, "recorded") / 2
    saved = dollars(figures, "no_caching") - dollars(figures, "payonce")
    assert Decimal(figures["saved"]["to_recorded"]) == Decimal(figures["saved"]["to_no_caching"]) == saved


def test_the_recorded_lane_is_what_the_provider_model_bills(capsys: pytest.CaptureFixture[str]) -> None:
    lines = talk(6, mark=MARK)
    _, figures, _ = told(capsys, written(*lines))
    rates = Rates.times("3", output="5", read="0.1", write="1.25", write_1h="2")
    provider, cost = Provider(MarkedCache(MarkerRules(1024)), rates), Decimal(0)
    for line in lines:
        cost += provider.serve(line["body"], dialect="messages", now=line["at"], tenant="a").prompt_cost
    assert dollars(figures, "recorded") == cost


def test_requests_with_markers_of_their_own_are_left_alone_and_what_that_costs_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, figures, _ = told(capsys, written(*talk(12, mark=MARK)))
    assert dollars(figures, "payonce") == dollars(figures, "recorded")
    assert dollars(figures, "payonce_unmarked") < dollars(figures, "recorded")
    assert any("markers of their own" in note for note in figures["notes"])


def test_the_order_of_lines_does_not_matter_only_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    lines = talk(8, mark=MARK) + talk(8, start=7, name="u", mark=MARK)
    lines.sort(key=lambda line: line["at"])
    _, figures, _ = told(capsys, written(*lines))
    random.Random(4).shuffle(lines)
    _, shuffled, _ = told(capsys, written(*lines))
    assert shuffled["lanes"] == figures["lanes"]


def test_bad_lines_are_told_with_number_and_reason_and_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[object] = [*talk(2)]
    lines[1:1] = ["{", "", {"body": {"messages": []}}]
    code, figures, err = told(capsys, written(*lines))
    assert (code, figures["requests"]) == (1, 2)
    assert [line["line"] for line in figures["bad_lines"]] == [2, 4]
    assert "line 2: it is not JSON" in err and "line 4: it names no model" in err


def test_lines_without_times_follow_each_other_and_a_note_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line["body"] for line in talk(4, mark=MARK)]
    code, figures, _ = told(capsys, written(*lines), "--gap", "400")
    assert (code, figures["untimed"], figures["seconds"]) == (0, 4, 1200.0)
    assert figures["lanes"]["recorded"]["read"] == 0
    _, close, _ = told(capsys, "requests.jsonl", "--gap", "100")
    assert close["lanes"]["recorded"]["read"] > 0
    assert any("Without a time: 4 lines" in note for note in close["notes"])


def test_recorded_usage_scales_tokens_and_is_held_beside_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    lines = talk(3)
    for line in lines:
        line["usage"] = {"input_tokens": len(json.dumps(line["body"])) // 2, "cache_read_input_tokens": 0,
                         "cache_creation_input_tokens": 0, "output_tokens": 5}  # fmt: skip
    _, figures, _ = told(capsys, written(*lines))
    said = sum(line["usage"]["input_tokens"] for line in lines)
    assert figures["lanes"]["no_caching"]["plain"] == pytest.approx(said, rel=0.02)
    assert figures["recorded_usage"]["requests"] == 3
    assert Decimal(figures["recorded_usage"]["dollars"]) == said * Decimal("0.000003")


def planned(lines: list[Json]) -> list[Json]:
    """The same conversation as a gateway that marked it has logged it: bodies as asked, usage of what was sent."""
    usage = {"input_tokens": 400, "cache_creation_input_tokens": 3000, "cache_read_input_tokens": 0, "output_tokens": 5}
    return [line | {"usage": usage} for line in lines]


@pytest.mark.parametrize("says", [{"planned": True}, {}], ids=["it says so", "its usage shows it"])
def test_behind_a_planner_the_recorded_row_is_what_clients_asked_not_what_is_done_today(
    says: Json, capsys: pytest.CaptureFixture[str]
) -> None:
    name = written(*(line | says for line in planned(talk(4))))
    _, figures, _ = told(capsys, name)
    assert (figures["planned"]["requests"], figures["planned"]["compared"]) == (4, 4)
    assert Decimal(figures["planned"]["dollars"]) == Decimal("0.0498")  # each 400 at $3 and 3000 at $3.75 a million
    assert figures["recorded_usage"]["requests"] == 0
    assert dollars(figures, "recorded") == dollars(figures, "no_caching")
    assert main(["simulate", name]) == 0
    out = capsys.readouterr().out
    assert "as clients asked" in out and "as recorded" not in out
    assert "Changed by Payonce on their way" in out and "4 requests; by recorded usage" in out and "$0.0498" in out


def test_what_the_client_marked_and_what_writes_by_itself_is_as_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    marked = planned(talk(3, mark=MARK))
    plain = [line | {"body": line["body"] | {"model": "openai/gpt-5.6"}} for line in planned(talk(3))]
    for lines in (marked, plain, talk(3)):
        _, figures, _ = told(capsys, written(*lines))
        assert figures["planned"]["requests"] == 0
        assert figures["recorded_usage"]["requests"] == (0 if lines[0].get("usage") is None else 3)
    assert main(["simulate", "requests.jsonl"]) == 0
    assert "as recorded" in capsys.readouterr().out


def test_hosts_that_flip_in_the_recording_cost_what_they_lost(capsys: pytest.CaptureFixture[str]) -> None:
    lines = talk(10, mark=MARK)
    _, steady, _ = told(capsys, written(*(line | {"provider": "Anthropic"} for line in lines)))
    hosts = ["Anthropic", "Google", "Amazon Bedrock"]
    _, flips, _ = told(capsys, written(*(line | {"provider": hosts[n % 3]} for n, line in enumerate(lines))))
    assert flips["lanes"]["recorded"]["write_5m"] == 3 * steady["lanes"]["recorded"]["write_5m"] > 0


def test_a_refused_request_is_counted_with_the_providers_words(capsys: pytest.CaptureFixture[str]) -> None:
    body = {"model": CLAUDE, "max_tokens": 5, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x" * 9000, **MARK} for _ in range(5)]}]}  # fmt: skip
    _, figures, _ = told(capsys, written({"at": 1, "dialect": "messages", "body": body}))
    assert figures["lanes"]["recorded"]["refused"] == 1
    assert figures["lanes"]["recorded"]["plain"] == figures["lanes"]["no_caching"]["plain"] > 0
    assert any("Found 5." in sentence for sentence in figures["refusals"])


def test_odd_bodies_never_stop_the_replay(capsys: pytest.CaptureFixture[str]) -> None:
    odd: list[Json] = [
        {"model": "m", "messages": []},
        {"model": "m", "messages": [{"role": "user"}]},
        {"model": "m", "messages": ["x"]},
        {"model": CLAUDE, "messages": [{"role": "user", "content": [1]}]},
        {"model": "gpt-5.6", "input": [3]},
        {"model": "gpt-5.6", "input": "hi", "prompt_cache_options": 3},
        {"model": "gemini-3", "messages": [], "tools": [1]},
    ]
    code, figures, _ = told(capsys, written(*odd, *talk(2)))
    assert (code, figures["requests"]) == (0, len(odd) + 2)


def test_models_can_be_chosen_and_each_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    chat = {"model": "openai/gpt-5.6", "messages": [{"role": "user", "content": "x" * 9000}]}
    name = written(*talk(2), {"at": 5, "body": chat, "dialect": "chat"})
    _, figures, _ = told(capsys, name)
    assert set(figures["lanes"]["payonce"]["models"]) == {CLAUDE, "openai/gpt-5.6"}
    _, figures, _ = told(capsys, name, "--model", "openai/*")
    assert (figures["requests"], figures["other_models"]) == (1, 2)
    assert main(["simulate", name]) == 0
    assert "openai/gpt-5.6" in capsys.readouterr().out


def test_people_get_a_chart_a_table_and_the_assumptions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", written(*talk(9))]) == 0
    out = capsys.readouterr().out
    bars = {line[:18].strip(): line.count("█") for line in out.splitlines() if "█" in line}
    assert bars["no caching"] == bars["as recorded"] > 2 * bars["with Payonce"] > 0
    assert "written 1h" in out and "9 requests over 4 min" in out


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ([], [], "holds no requests"),
        ([{"model": "m", "messages": []}], ["--model", "other*"], "holds no requests for a model like"),
        ([{"model": "m", "messages": []}], ["--gap", "-1"], "--gap"),
    ],
)
def test_what_can_not_be_done_is_a_usage_error(
    lines: list[object], options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", written(*lines), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_file_of_nothing_but_bad_lines_has_no_figures(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.jsonl").write_text("{bad\n")
    assert main(["simulate", "bad.jsonl"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "line 1: it is not JSON" in captured.err


def test_a_file_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "nowhere.jsonl"]) == 2
    assert "nowhere.jsonl can't be read" in capsys.readouterr().err


def test_the_dear_reading_is_never_cheaper(capsys: pytest.CaptureFixture[str]) -> None:
    name = written(*talk(10, gap=200, mark={"cache_control": {"type": "ephemeral", "ttl": "1h"}}))
    _, cheap, _ = told(capsys, name)
    _, dear, _ = told(capsys, name, "--pessimistic")
    assert dear["reading"] == "pessimistic"
    assert dollars(dear, "recorded") >= dollars(cheap, "recorded")


def test_what_can_be_read_only_once_is_refused_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.write(writing, json.dumps(talk(1)[0]).encode() + b"\n")
    os.close(writing)
    try:
        assert main(["simulate", f"/dev/fd/{reading}"]) == 2
    finally:
        os.close(reading)
    assert "write it into a file first" in capsys.readouterr().err
