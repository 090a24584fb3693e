"""What docs/simulate.md and docs/prefix-benchmark.md say is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.prefix.__main__ import CHART, PAGE, names
from benchmarks.prefix.workloads import WORKLOADS

from payonce.recorded import Record, read_records

DOCS = Path(__file__).parents[2] / "docs"


def test_the_example_line_is_read() -> None:
    (line,) = re.findall(r"^```json\n(.*?)\n```", (DOCS / "simulate.md").read_text(), re.MULTILINE | re.DOTALL)
    (record,) = read_records([line.encode()])
    assert isinstance(record, Record)
    assert (record.at, record.dialect, record.session, record.ended) == (12.5, "messages", "s-1", 15.1)


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "simulate.md").read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(code, "simulate.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[1] == "0"


def test_the_tables_name_every_workload_and_strategy_and_the_chart_is_there() -> None:
    page = PAGE.read_text()
    for name in (*WORKLOADS, *names()):
        assert f"| {name} |" in page or f" {name} |" in page
    assert len(WORKLOADS) == 31
    assert CHART.read_text().startswith("<svg ")
