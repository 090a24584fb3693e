"""What the documents say is so: generated tables are fresh, links lead somewhere, examples run, names are real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from payonce.config import check
from payonce.core.directives import NAMES
from payonce.gateway.metrics import Figures, render
from payonce.ledger.tally import Tally
from payonce.testing.sim import running_sim
from tests.support import patience
from tests.support.process import GatewayProcess

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_generated_tables_are_fresh() -> None:
    found = subprocess.run(
        [sys.executable, ROOT / "tools" / "gen_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_in_examples_are_right(page: Path) -> None:
    for example in blocks(page, "toml"):
        tomllib.loads(example)
        assert check(example, page.name) == []


async def test_the_python_of_the_readme_runs_and_its_second_run_is_a_hit(tmp_path: Path) -> None:
    snippet, _ = blocks(ROOT / "README.md", "python")
    with running_sim() as sim:
        port = int(sim.base_url.split(":")[2].split("/")[0])
        async with GatewayProcess(port, tmp_path) as gateway:
            code = snippet.replace("127.0.0.1:4141", f"127.0.0.1:{gateway.port}")
            code = f"OPENROUTER_KEY = 'sk-test'\n{code}\nprint(answer.choices[0].message.content)"
            runs = [
                subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
                for _ in range(2)
            ]
        assert runs[0].returncode == 0, runs[0].stderr
        assert runs[0].stdout == runs[1].stdout != ""
        assert sim.bill.calls == 1


def test_the_library_of_the_readme_runs_and_its_second_run_is_a_hit(tmp_path: Path) -> None:
    _, snippet = blocks(ROOT / "README.md", "python")
    with running_sim() as sim:
        code = snippet.replace("https://openrouter.ai/api/v1", sim.base_url)
        code = f"""{patience.CODE}
OPENROUTER_KEY = 'sk-test'
{code}
answer = client.chat.completions.create(model="m/n", temperature=0, messages=[{{"role": "user", "content": "hi"}}])
print(answer.choices[0].message.content)
client.close()"""
        environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        runs = [
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, timeout=120)
            for _ in range(2)
        ]
        assert runs[0].returncode == 0, runs[0].stderr
        assert runs[0].stdout == runs[1].stdout != ""
        assert sim.bill.calls == 1


def test_every_command_in_the_readme_exists() -> None:
    verbs = set(re.findall(r"^payonce (\w+)", "\n".join(blocks(ROOT / "README.md", "sh")), re.MULTILINE))
    for verb in sorted(verbs):
        found = subprocess.run([sys.executable, "-m", "payonce", verb, "--help"], capture_output=True, check=False)
        assert found.returncode == 0, verb


def test_every_directive_stands_in_the_gateway_page() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text().lower()
    for name in NAMES:
        assert f"`{name.decode()}" in page, name


def test_the_metrics_page_names_exactly_the_metrics_there_are() -> None:
    text = render(Figures(Tally(), {}, "0")).decode()
    served = set(re.findall(r"^# TYPE (payonce_\w+)", text, re.MULTILINE))
    documented = set(re.findall(r"`(payonce_\w+)[{`]", (ROOT / "docs" / "metrics.md").read_text()))
    assert served == documented


def test_make_and_ci_call_the_same_tests() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
