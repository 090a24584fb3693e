"""The page on record and replay: its tests run, recording and replaying, and its recording is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from payonce.stores.cassette_json import parse, pretty
from payonce.stores.cassette_read import read
from payonce.testing.sim import running_sim
from tests.docs.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "testing.md"
PLAIN, MARKED, ALONE = blocks(PAGE, "python")


@pytest.mark.parametrize(("code", "place"), [(PLAIN, "test_it"), (MARKED, "shared")])
def test_the_tests_of_the_page_record_and_replay(tmp_path: Path, code: str, place: str) -> None:
    there = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}
    with running_sim() as sim:
        told = code.replace("https://openrouter.ai/api/v1", sim.base_url).replace("sk-or-…", "sk-test")
        (tmp_path / "test_it.py").write_text(told)
        for mode, environ in (("record", {"OPENROUTER_API_KEY": "sk-real"}), ("replay", {})):
            command = [sys.executable, "-m", "pytest", "-q", "-p", "payonce.pytest_plugin", f"--payonce={mode}"]
            done = subprocess.run(
                command, cwd=tmp_path, env=os.environ | there | environ, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert sim.bill.calls == 1
    assert len(list((tmp_path / "cassettes" / place).glob("*.json"))) == 1


def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    with running_sim() as sim:
        code = ALONE.replace("https://openrouter.ai/api/v1", sim.base_url).replace("sk-or-…", "sk-test")
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert first == second
        assert sim.bill.calls == 1


def test_the_recording_of_the_page_is_one_as_it_would_be_written() -> None:
    (shown,) = blocks(PAGE, "json")
    page = read(shown.encode())
    assert page.entry is not None
    assert page.asked is not None
    assert pretty(parse(shown)) == shown
