"""`payonce stats`: one truth for each figure, whatever it is asked for, and nothing that a program or terminal stumbles
over."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from payonce.books.file import BooksFile
from payonce.books.reader import Reader
from payonce.cli import main, stats
from payonce.ledger.tally import HOUR
from payonce.model import reason as why
from payonce.model.receipt import Outcome, Receipt
from payonce.stores.registry import open_store
from payonce.testing import FakeClock
from payonce.testing.sim import SimulatedProvider
from tests.books.test_books import NOON, Desk, ask_for
from tests.support import words
from tests.support.gateway import ask, running_gateway, until


@pytest.fixture
def store(tmp_path: Path, sim: SimulatedProvider) -> Iterator[str]:
    """A store through which three requests have just gone, one of them a hit."""
    url = f"sqlite:{tmp_path / 'c.db'}"
    with running_gateway(sim.base_url, store=url) as gateway:
        for text in ("one", "two", "one"):
            gateway.post(ask(text))
        books = gateway.gateway.world.books
        assert books is not None
        assert until(lambda: (books.reader.total(0).requests, books.reader.total(0).billed) == (3, 2), 30)
    yield url


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["stats", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["stats", *arguments]) == 0
    return capsys.readouterr().out


class Later:
    """The module `time`, at another time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return time.time() + self._seconds


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(stats, "time", Later(seconds))
    monkeypatch.setattr("payonce.cli.stats_ledger.time", Later(seconds))


def test_since_a_time_shorter_than_an_hour_ago_all_figures_are_those_of_the_ledger(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(capsys, "--store", store, "--since", "26m")
    assert (found["source"], found["requests"], found["ledger"]["requests"]) == ("ledger", 3, 3)
    assert (found["upstream_calls"], found["ledger"]["calls"]) == (2, 2)
    assert found["paid"]["dollars"] == found["ledger"]["paid"]
    assert found["avoided"]["dollars"] == found["ledger"]["avoided"]
    later(monkeypatch, 30 * 60)
    found = told(capsys, "--store", store, "--since", "26m")
    assert (found["requests"], found["outcomes"]["hit"], found["avoided"]["calls"], found["reasons"]) == (0, 0, 0, {})
    assert (found["ledger"]["requests"], found["ledger"]["calls"], found["ledger_trouble"]) == (0, 0, "")
    assert {point["requests"] for point in found["ledger"]["trend"]} == {0}
    assert "by the ledger" in shown(capsys, "--store", store, "--since", "2m")
    assert told(capsys, "--store", store)["requests"] == 3


def test_without_a_ledger_it_is_said_that_tallies_have_whole_hours(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYONCE_LEDGER", "off")
    found = told(capsys, "--store", store, "--since", "26m")
    assert (found["source"], found["requests"], found["ledger"]) == ("tallies", 3, None)
    assert "figures of whole hours" in shown(capsys, "--store", store, "--since", "26m")
    assert "whole hours" not in shown(capsys, "--store", store)


def test_a_reason_is_given_once_however_requests_with_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = FakeClock(time.time())
    open_store(f"sqlite:{tmp_path / 'c.db'}").close()
    desk = Desk(tmp_path / "c.db.ledger", clock)
    for outcome, reason in (
        *((Outcome.MISS, why.ABSENT), (Outcome.BYPASS, why.ABSENT)),
        (Outcome.BYPASS, why.NOT_DETERMINISTIC),
    ):
        desk.journal.exchanged(Receipt(outcome, reason), 0.1, ask_for())
    desk.clerk.flush()
    desk.close()
    found = told(capsys, "--store", f"sqlite:{tmp_path / 'c.db'}")["ledger"]["reasons"]
    assert found == [{"reason": why.ABSENT.id, "requests": 2}, {"reason": why.NOT_DETERMINISTIC.id, "requests": 1}]


def test_watched_as_json_each_turn_is_one_line_and_nothing_else(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []

    class Watch(Later):
        def sleep(self, seconds: float) -> None:
            turns.append(seconds)
            if len(turns) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(stats, "time", Watch(0))
    assert main(["stats", "--watch", "--json", "--store", store]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["requests"] for line in lines] == [3, 3, 3]
    turns.clear()
    assert main(["stats", "--watch", "--store", store]) == 0
    out = capsys.readouterr().out
    assert (out.count("by the ledger"), "\x1b" in out) == (3, False)
    turns.clear()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["stats", "--watch", "--store", store]) == 0
    assert capsys.readouterr().out.count(stats.CLEAR) == 2


@pytest.mark.parametrize("kind", ["another program's", "no database", "a directory"])
def test_a_ledger_that_can_not_be_read_is_told_of_and_left_as_it_is(
    kind: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other"
    if kind == "another program's":
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE mine (x)")
    elif kind == "no database":
        path.write_text("notes of mine, " * 100)
    else:
        path.mkdir()
    before = path.read_bytes() if path.is_file() else b""
    monkeypatch.setenv("PAYONCE_LEDGER", str(path))
    for since in ([], ["--since", "26m"]):
        found = told(capsys, "--store", store, *since)
        assert (found["requests"], found["source"], found["ledger"]) == (3, "tallies", None)
        assert str(path) in found["ledger_trouble"]
        assert ("another program's database and was left as it is" in found["ledger_trouble"]) == (kind[0:3] == "ano")
        assert "\nthe ledger's part is missing: " in shown(capsys, "--store", store, *since)
    assert before == (path.read_bytes() if path.is_file() else b"")
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith("other")] == ["other"]


def test_names_that_would_break_a_table_are_written_visibly_and_cut(
    tmp_path: Path, sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["sim/line\nend\tand tab", "sim/\x1b[31mred", "sim/" + "long" * 75]
    url = f"sqlite:{tmp_path / 'c.db'}"
    with running_gateway(sim.base_url, store=url) as gateway:
        for name in names:
            gateway.post(words.chat(model=name))
        books = gateway.gateway.world.books
        assert books is not None
        assert until(lambda: books.reader.total(0).requests == 3, 30)
    for by in ("reason", "model", "model,outcome"):
        out = shown(capsys, "--store", url, "--by", by)
        assert "sim/line\\nend\\tand tab" in out
        assert "sim/\N{REPLACEMENT CHARACTER}[31mred" in out
        assert max(map(len, out.splitlines())) < 140
        assert "sim/longlong" in out
    assert {part["model"] for part in told(capsys, "--store", url)["ledger"]["models"]} == {
        names[0],
        names[1],
        names[2][:200],
    }


@pytest.mark.parametrize("verb", [["stats"], ["stats", "--json"], ["ls"], ["doctor", "--live"], ["export"]])
def test_an_empty_file_is_no_store_and_is_left_alone(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "c.db").touch()
    before = (folder / "c.db").stat()
    assert main([*verb, "--store", f"sqlite:{folder / 'c.db'}"]) == 0
    assert f"{folder / 'c.db'} is an empty file: no gateway has used this store" in capsys.readouterr().err
    assert [found.name for found in folder.iterdir()] == ["c.db"]
    after = (folder / "c.db").stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (0, before.st_mtime_ns, before.st_ino)


def test_what_is_asked_within_one_moment_is_of_one_moment(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "books.db", FakeClock(NOON))

    def happens() -> None:
        desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for())
        desk.clerk.flush()

    happens()
    noted: dict[str, bytes] = {}
    with closing(Reader(BooksFile(tmp_path / "books.db"), lambda: NOON, lambda: dict(noted))) as reader:
        with reader.still():
            assert reader.total(NOON).requests == 1
            happens()
            noted[f"books/{int(NOON)}/other"] = json.dumps([[*["x"] * 5, "miss", "", {"requests": 5}]]).encode()
            assert reader.total(NOON).requests == 1
            assert sum(point.figures.requests for point in reader.series(NOON, step=HOUR)) == 1
        assert reader.total(NOON).requests == 7
        assert reader.kept
    desk.close()


def test_it_ends_quietly_where_nobody_reads_any_more(store: str) -> None:
    line = [sys.executable, "-m", "payonce", "stats", "--watch", "--json", "--store", store]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["requests"] == 3, "the first is there before the first wait"
        child.stdout.close()
        assert child.wait(30) == 0
        assert child.stderr is not None
        assert child.stderr.read() == b""
