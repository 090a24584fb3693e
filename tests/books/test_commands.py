"""`payonce stats` and `payonce why` read the books: of one gateway, of many on one store, and of single requests."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.books.journal import Journal
from payonce.books.note import PREFIX, decode
from payonce.books.publishing import MINUTE_ROWS, ROWS, publish
from payonce.books.reader import Reader
from payonce.cli import main
from payonce.cli.stats import CLEAR, again
from payonce.cli.stats_ledger import bars
from payonce.dialects.parts import differing, parts_of
from payonce.model import reason as why
from payonce.model.receipt import Outcome, Receipt
from payonce.testing import FakeClock
from payonce.testing.sim import running_sim
from tests.books.test_books import NOON, Desk, ask_for, entry_of
from tests.support import words
from tests.support.gateway import running_gateway, until


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """A store that some requests went through, and the ids of these."""
    store = f"sqlite:{tmp_path_factory.mktemp('played') / 'c.db'}"
    asked = [
        {},
        {},
        {"temperature": 0.0},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": "more"}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"temperature": 1},
    ]
    with (
        running_sim() as sim,
        running_gateway(sim.base_url, store=store, cache="deterministic") as gateway,
    ):
        ids = [gateway.post(words.chat(model="sim/small", **each))["x-payonce-request-id"] for each in asked]
        books = gateway.gateway.world.books
        assert books is not None
        assert until(lambda: books.reader.total(0).billed == 5 and bool(books.reader.receipt(ids[-1])), 30)
    yield store, ids


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    status = main([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_stats_tell_rates_by_count_tokens_and_money(
    played: tuple[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    status, figures = ran(capsys, "stats", "--store", played[0], "--since", "10m", "--by", "model,reason")
    found = figures["ledger"]
    assert status == 0
    assert (figures["requests"], found["requests"], found["calls"], found["hit_rate"]) == (6, 6, 5, 0.2)
    assert 0 < found["tokens_hit_rate"] < 1
    assert 0 < found["money_hit_rate"] < 1
    assert float(found["paid"]) == pytest.approx(
        float(figures["paid"]["dollars"]) + float(figures["passed"]["dollars"])
    )
    assert {(part["reason"], part["requests"]) for part in found["by"]} >= {("absent", 4), ("not-deterministic", 1)}
    assert [each["reason"] for each in found["reasons"]] == ["absent", "not-deterministic"]
    assert found["models"][0]["model"] == "sim/small"
    assert len(found["slowest"]) == 5
    assert set(found["seconds"]) == {"hit", "miss", "bypass"}
    assert sum(point["requests"] for point in found["trend"]) == 6


def test_stats_print_them_for_people(played: tuple[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--store", played[0], "--by", "reason"]) == 0
    shown = capsys.readouterr().out
    assert "  past the cache" in shown
    assert "5 made, 1 avoided" in shown, "calls past the cache are calls"
    for text in ("by the ledger", "hits, by count, tokens, money", "slowest call of request", "█", "not-deterministic"):
        assert text in shown
    assert "\n-: hits, and upstream calls with what they cost; a reason with 0" in shown
    assert main(["stats", "--store", played[0], "--by", "model,outcome"]) == 0
    shown = capsys.readouterr().out
    assert "\ncall, passed: upstream calls, with what they cost; passed are those that went past the cache\n" in shown
    for by in ("model", "endpoint"):
        assert main(["stats", "--store", played[0], "--by", by]) == 0
        assert "with what they cost" not in capsys.readouterr().out, "there are no such rows"
    assert main(["stats", "--store", played[0], "--by", "colour"]) == 2
    assert "'colour' can't be told apart; use tenant" in capsys.readouterr().err


def test_a_run_of_one_call_is_billed_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-test")
    (tmp_path / "one.jsonl").write_text(json.dumps(json.loads(words.chat(model="sim/small", temperature=0))))
    store = ["--store", f"sqlite:{tmp_path}/c.db"]
    with running_sim() as sim:
        line = ["warm", str(tmp_path / "one.jsonl"), "--upstream", sim.base_url, "--json", *store]
        done = json.loads(subprocess.check_output([sys.executable, "-m", "payonce", *line]))
    told = json.loads(subprocess.check_output([sys.executable, "-m", "payonce", "stats", "--json", *store]))
    assert (told["paid"]["dollars"], told["ledger"]["paid"]) == (done["dollars"], done["dollars"])
    assert float(done["dollars"]) > 0


def test_stats_are_watched_until_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = itertools.count()
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    assert again(lambda: print(next(drawn)), wait, CLEAR) == 0
    assert capsys.readouterr().out == "\x1b[H\x1b[2J0\n\x1b[H\x1b[2J1\n"


@given(st.lists(st.floats(0, 1e9), max_size=60))
def test_a_trend_draws_something_for_whatever_is_not_nothing(amounts: list[float]) -> None:
    drawn = bars(amounts)
    assert len(drawn) == len(amounts)
    assert [bar != " " for bar in drawn] == [amount > 0 for amount in amounts]
    if max(amounts, default=0) > 0:
        assert drawn[amounts.index(max(amounts))] == "█"


@pytest.mark.parametrize(
    ("which", "outcome", "differs"),
    [
        (0, "miss", None),
        (1, "hit", None),
        (2, "miss", ["temperature"]),
        (3, "miss", ["messages[1] and after"]),
        (4, "miss", ["tools"]),
    ],
)
def test_why_names_the_nearest_request_and_the_part_that_differs(
    played: tuple[str, list[str]],
    capsys: pytest.CaptureFixture[str],
    which: int,
    outcome: str,
    differs: list[str] | None,
) -> None:
    store, ids = played
    status, found = ran(capsys, "why", ids[which], "--store", store)
    assert (status, found["outcome"]) == (0 if outcome == "hit" else 1, outcome)
    assert (found["nearest"] and found["nearest"]["differs"]) == differs
    if differs:
        assert found["nearest"]["id"] in ids[:which]
    assert main(["why", ids[which], "--store", store]) == status
    shown = capsys.readouterr().out
    assert outcome in shown
    assert not differs or differs[0] in shown


def test_why_takes_a_key_too_and_says_what_it_does_not_know(
    played: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    store, ids = played
    _, found = ran(capsys, "why", ids[3], "--store", store)
    assert ran(capsys, "why", found["key"], "--store", store)[1] == found
    assert ran(capsys, "why", found["key"][:15], "--store", store)[1]["id"] == found["id"]
    for nowhere in ("0" * 16, "7" + "f" * 15, "8" + "0" * 15, "f" * 16):
        assert main(["why", nowhere, "--store", store]) == 1
        assert "there is no receipt" in capsys.readouterr().err, nowhere
    assert main(["why", "what", "--store", store]) == 2
    assert "is neither a request's id" in capsys.readouterr().err
    status, bypassed = ran(capsys, "why", ids[5], "--store", store)
    assert (status, bypassed["reason"], bypassed["fix"] != "") == (1, "not-deterministic", True)


def test_a_part_is_compared_without_being_kept() -> None:
    secret = b"s" * 32
    body = b'{"model":"m","messages":[{"role":"user","content":"a secret"}],"x y":1,"top_p":1}'
    one = parts_of("chat/completions", body, ((b"anthropic-beta", b"b1"), (b"authorization", b"Bearer k")), b"", secret)
    other = parts_of("chat/completions", body.replace(b'"top_p":1', b'"top_p":2'), (), b"v=1", secret)
    assert differing(one, other) == ("top_p", "headers.anthropic-beta", "headers.query")
    assert not any(text in repr(one) for text in ("secret", "x y", "Bearer", "b1'"))
    assert parts_of("chat/completions", b"[]", (), b"", secret) == {}
    assert differing(one, parts_of("chat/completions", body, (), b"", b"t" * 32)) != ("headers.anthropic-beta",)


# ------------------------------------------------------------------------------------- many gateways, one store


class Board:
    """A shared store's notebook."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def note(self, name: str, value: bytes) -> None:
        self.kept[name] = value

    def notes(self) -> Mapping[str, bytes]:
        return self.kept


def test_sums_of_all_machines_on_a_store_are_added_up_once(tmp_path: Path) -> None:
    clock, board = FakeClock(NOON), Board()
    desks = [Desk(tmp_path / f"{name}.db", clock) for name in ("one", "two")]
    for count, desk in enumerate(desks, start=2):
        for number in range(count):
            desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(number + 1, model=f"m{count}"))
            desk.journal.exchanged(Receipt(Outcome.HIT, entry=entry_of()), 0.1, ask_for(number + 1))
        desk.clerk.flush()
        db = desk.file.writer()
        for _ in range(3):  # as several processes would: it is noted once
            publish(db, board.note, clock())
        db.close()
    assert len(board.kept) == 2
    for desk in desks:
        reader = Reader(desk.file, clock, board.notes)
        total = reader.total(NOON - 60)
        assert (total.requests, total.hits, total.misses, total.avoided_nano) == (10, 5, 5, 25_000)
        by_model = {one.by[0]: one.figures.requests for one in reader.totals(NOON - 60, by=("model",))}
        assert by_model == {"m": 5, "m2": 2, "m3": 3}
        assert sum(point.figures.requests for point in reader.series(NOON - 7200, step=3600)) == 10
        assert reader.total(NOON - 7200, NOON - 3600).requests == 0
        reader.close()
    nobody = Reader(Desk(tmp_path / "none.db", clock).file, clock, board.notes)
    assert nobody.total(NOON - 60).requests == 10
    board.kept[f"{PREFIX}{int(NOON)}/garbled"] = b'[["x"], 3, {"a": "b"}]'
    assert nobody.total(NOON - 60).requests == 10
    for desk in desks:
        desk.close()


def test_what_one_machine_publishes_is_bounded_and_loses_no_sum(tmp_path: Path) -> None:
    clock, board = FakeClock(NOON), Board()
    desk = Desk(tmp_path / "one.db", clock)
    for number in range(900):
        desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(number + 1, model=f"m{number}"))
    desk.clerk.flush()
    db = desk.file.writer()
    publish(db, board.note, clock())
    db.close()
    [note] = board.kept.values()
    assert len(decode(note).rows) == ROWS + 1
    assert len(decode(note).minutes or ()) == MINUTE_ROWS + 1
    reader = Reader(Desk(tmp_path / "two.db", clock).file, clock, board.notes)
    assert reader.total(NOON - 60).requests == 900
    desk.close()


def test_a_journal_names_its_requests_apart_from_all_others() -> None:
    one, two = Journal(time.time, 1), Journal(time.time, 2**31 - 1)
    names = {one.named(1), one.named(2), two.named(1)}
    assert len(names) == 3
    assert all(len(value) == 16 for [(_, value)] in names)


@given(st.integers(0, 2**31 - 1), st.lists(st.integers(1, 600) | st.integers(2**32 - 300, 2**32 + 300), max_size=30))
def test_the_client_reads_the_id_that_the_receipt_is_filed_under(world: int, requests: list[int]) -> None:
    journal = Journal(time.time, world)
    for request in requests:  # in any order: what requests have in common is written once for many of them
        assert journal.named(request) == ((b"x-payonce-request-id", journal.filed_as(request).encode()),)
