"""`payonce doctor`, as a user types it: a request, a log, or gateways on a store; what it prints and how it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from payonce.cli import main
from payonce.doctor import Diary, Seen, Watch, add_up
from payonce.doctor.pages import DAY, decode, encode
from payonce.ledger.usage import parse
from payonce.stores.registry import open_store
from tests.doctor.rules import Provider, Talk
from tests.doctor.stage import price_of

KEY = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"

pytestmark = pytest.mark.usefixtures("own_store")


def file(*lines: object, name: str = "log.jsonl") -> str:
    Path(name).write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return name


def told(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = main(["doctor", *line, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else {}, captured.err


def recorded(turns: int = 4, *, clock: bool = True) -> list[dict[str, Any]]:
    """A log of a conversation whose system prompt tells the time, or a healthy one."""
    provider, talk, base, lines = Provider(), Talk(), Talk.system, []
    for turn in range(turns):
        if clock:
            talk.system = f"You help. Current time: 2026-11-21 10:1{turn}:07. The key is {KEY}.\n{base}"
        talk.say(turn)
        at = 1_795_255_200.0 + 30 * turn
        body = talk.body()
        usage = provider.ask(body, at)
        lines.append({"at": at, "dialect": "messages", "body": body, "usage": usage, "provider": "h", "ended": at + 3})
    return lines


def test_a_log_is_read_turn_by_turn_and_what_was_lost_is_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    lines = recorded()
    code, said, _ = told(capsys, file(*lines))
    (one,) = said["findings"]
    assert (code, one["id"], one["where"], one["times"]) == (1, "volatile-text", "system[0].text", 3)
    assert "10:12:07" in one["before"]
    assert "10:13:07" in one["after"]
    assert one["tokens"] == sum(line["usage"]["cache_creation_input_tokens"] for line in lines[:-1])
    assert (said["requests"], said["judged"], said["unknown"]) == (4, 4, 0)


def test_a_healthy_log_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = told(capsys, file(*recorded(clock=False)))
    assert (code, said["findings"]) == (0, [])
    assert main(["doctor", "log.jsonl"]) == 0
    assert capsys.readouterr().out == "nothing is wrong\n4 requests looked at\n"


def test_a_log_without_usage_is_judged_by_its_requests(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{name: value for name, value in line.items() if name != "usage"} for line in recorded()]
    code, said, _ = told(capsys, file(*lines))
    assert (code, said["unknown"]) == (1, 4)
    assert [(one["id"], one["where"], one["times"]) for one in said["findings"]] == [
        ("volatile-text", "system[0].text", 3)
    ]
    healthy = [{name: value for name, value in line.items() if name != "usage"} for line in recorded(clock=False)]
    assert told(capsys, file(*healthy))[0] == 0


def test_one_request_in_a_file_is_looked_at_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    body = recorded(1)[0]["body"]
    Path("one.json").write_text(
        json.dumps({"headers": {"anthropic-beta": "prompt-caching-2024-07-31"}, "body": body}, indent=2)
    )
    code, said, _ = told(capsys, "one.json")
    assert code == 1
    assert {one["id"] for one in said["findings"]} == {"volatile-text", "retired-header"}
    assert all(one["fix"] and one["title"] for one in said["findings"])


def test_people_see_the_place_the_text_and_the_fix_but_no_credential(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", file(*recorded())]) == 1
    out = capsys.readouterr().out
    for part in (
        "warning  volatile-text",
        "system[0].text (block 3)",
        "10:13:07",
        "move it behind the last marker",
        "1 finding",
    ):
        assert part in out
    assert KEY[:14] not in out
    assert "***" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("doctor", "--live"),
        ("doctor gone.json", "can't be read"),
        ("doctor --live x.json", "not both"),
        ("doctor x.json --since 24h", "--live"),
        ("doctor --live --since x", "24h"),
        ("doctor x.json --dialect morse", "morse"),
        ("doctor x.json", "line 1"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_to_do(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.json").write_text('{"model": "m"}')
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1


def test_a_bad_line_is_told_with_its_number_and_the_rest_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    lines = recorded(clock=False)
    code, said, err = told(capsys, file(*lines[:2], '{"torn', *lines[2:]))
    assert code == 2
    assert err.startswith("payonce: line 3: it is not JSON")
    assert (said["requests"], said["findings"]) == (4, [])


# The gateways on a store


def watched(*, clock: bool = True) -> Watch:
    watch = Watch(price_of=price_of, minimum_of=lambda _model: 1024)
    for line in recorded(clock=clock):
        watch.saw(Seen(line["body"], "messages", line["at"], parse(line["usage"], dialect="messages"), number=1))
    return watch


def test_a_page_says_the_same_when_it_is_read_again() -> None:
    watch = watched()
    page = decode(encode(watch))
    assert list(page.findings) == watch.report()
    assert page.counts == watch.counts
    assert page.findings[0].cost


def test_what_all_workers_noted_in_the_store_is_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    store = open_store(f"sqlite:{tmp_path}/cache.db", clock=time.time, max_bytes=1 << 26)
    cost = 0
    for worker in ("host-1-a", "host-2-b"):
        watch = watched()
        cost += watch.report()[0].cost or 0
        record = Diary(watch, worker, now).leaf(now)
        assert record is not None
        store.note(*record)  # type: ignore[attr-defined]
    store.note(f"doctor/{int(now) // DAY * DAY}/torn", b"{}")  # type: ignore[attr-defined]
    store.close()
    code, said, _ = told(capsys, "--live")
    (one,) = said["findings"]
    assert (code, one["times"], one["cost"], said["requests"]) == (1, 6, str(cost).rstrip("0"), 8)
    assert said["unreadable"] == 1


def test_of_a_file_that_can_not_be_read_at_all_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jsonl").write_text("{bad\n")
    assert main(["doctor", str(tmp_path / "bad.jsonl")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "line 1" in captured.err


@pytest.mark.parametrize("lines", [(), ("", "")], ids=["empty", "blank lines"])
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["people", "programs"])
def test_a_file_without_requests_is_not_called_healthy(
    lines: tuple[str, ...], more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", file(*lines), *more]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "log.jsonl holds no requests; write one request a line as JSON" in said.err


def test_where_no_request_was_looked_at_nothing_is_called_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--live"]) == 0
    assert capsys.readouterr().out.startswith("no request was looked at")


def test_a_diary_notes_what_is_new_and_turns_its_page_with_the_day() -> None:
    watch = watched()
    diary = Diary(watch, "w", 10 * DAY + 5.0)
    first = diary.leaf(10 * DAY + 7.0)
    assert first is not None
    assert first[0] == f"doctor/{10 * DAY}/w"
    assert diary.leaf(10 * DAY + 8.0) is None
    watch.saw(Seen({"model": "m", "messages": []}, "chat", 1.0))
    assert diary.leaf(10 * DAY + 9.0) is None  # counts alone can wait
    assert diary.leaf(10 * DAY + 40.0) is not None
    watch.saw(Seen({"model": "m", "messages": []}, "chat", 1.0))
    last = diary.leaf(11 * DAY + 1.0)  # what the old day still has to say
    assert last is not None
    assert last[0] == first[0]
    assert watch.report() == []
    watch.saw(Seen({"model": "m", "messages": []}, "chat", 2.0))
    new = diary.leaf(11 * DAY + 2.0, last=True)
    assert new is not None
    assert new[0] == f"doctor/{11 * DAY}/w"
    total = add_up(dict((first, last, new)))
    assert total.counts["seen"] == 7


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"[]",
        b"{}",
        b'{"counts": {}, "findings": [{}]}',
        b'{"counts": {}, "findings": [{"id": "evicted"}]}',
        b'{"counts": {"a": "x"}, "findings": []}',
        b'{"counts": {}, "findings": 3}',
        b'{"counts": {}, "findings": [{"id": "no-such-cause"}]}',
    ],
)
def test_a_page_that_can_not_be_read_is_counted(page: bytes) -> None:
    assert add_up({"doctor/0/w": page}).counts == {"unreadable_pages": 1}
    assert add_up({"tally/0/w": page}).counts == {}
