"""The request log: whole lines, in order, for its owner's eyes, up to its limit; a fault costs lines and no call."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import orjson

from payonce import request_log
from payonce.request_log import RequestLog


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_are_lines_in_order_and_numbers_keep_their_text(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = RequestLog(str(path), 1 << 20)
    log.add({"at": 1.5, "body": {"temperature": orjson.Fragment("1.0")}})
    log.flush()
    log.add({"at": 2})
    log.flush()
    assert path.read_text() == '{"at":1.5,"body":{"temperature":1.0}}\n{"at":2}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_processes_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    first, second = RequestLog(str(path), 1 << 20), RequestLog(str(path), 1 << 20)
    for number in range(3):
        first.add({"n": number})
        second.add({"n": number + 10})
        second.flush()
        first.flush()
    assert [line["n"] for line in lines(path)] == [10, 0, 11, 1, 12, 2]


def test_the_log_stops_at_its_limit_with_a_whole_line_and_counts_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    log = RequestLog(str(path), 100)
    for number in range(40):
        log.add({"number": number})
        log.flush()
    assert path.stat().st_size <= 100
    assert log.dropped == 40 - len(lines(path)) > 0


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    log = RequestLog(str(tmp_path / "requests.jsonl"), 1 << 30)
    big = {"text": "x" * (request_log.WAITING_BYTES // 4)}
    for _ in range(8):
        log.add(big)
    assert log.dropped == 5


def test_a_file_that_can_not_be_written_costs_lines_only(tmp_path: Path) -> None:
    log = RequestLog(str(tmp_path / "no" / "requests.jsonl"), 100)
    log.add({"n": 1})
    log.flush()
    log.add({"n": object()})
    assert log.dropped == 2


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "requests.jsonl"
    victim.write_text("")
    path.symlink_to(victim)
    log = RequestLog(str(path), 100)
    log.add({"n": 1})
    log.flush()
    assert (log.dropped, victim.read_text()) == (1, "")
