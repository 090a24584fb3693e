"""The pytest plugin, in real runs of pytest: modes, two workers, the report at the end, and who never asked for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from payonce.model.ports import About
from payonce.stores.cassette import CassetteStore
from payonce.testing.sim import SimulatedProvider, running_sim

ROOT = Path(__file__).parents[2]

SUITE = """
import os

import pytest
from openai import AsyncOpenAI, OpenAI

URL = os.environ["SIM"]


def ask(http_client, prompt, **more):
    llm = OpenAI(base_url=URL, api_key="sk-CANARY", http_client=http_client, max_retries=0)
    return llm.chat.completions.create(model="sim/small", messages=[{"role": "user", "content": prompt}], **more)


@pytest.mark.parametrize("n", range(6))
def test_whole(payonce, n):
    assert ask(payonce.client(), f"question {n % 3}").choices[0].message.content


@pytest.mark.parametrize("http", ["httpx", "httpx2"])
def test_stream(payonce, http):
    assert list(ask(payonce.client(http=http), "a stream", stream=True))


def test_async(payonce):
    import asyncio

    async def run():
        llm = AsyncOpenAI(base_url=URL, api_key="k", http_client=payonce.async_client(), max_retries=0)
        found = await llm.embeddings.create(model="sim/embed", input=["a", "b"])
        return len(found.data)

    assert asyncio.run(run()) == 2
"""
FILES = 6  # three questions, one stream, two vectors


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


class Project:
    """A project of a user's, with tests of its own."""

    def __init__(self, path: Path, sim: SimulatedProvider) -> None:
        self.path = path
        self.sim = sim

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "payonce.pytest_plugin", "-W", "error", *arguments]
        there = {
            "SIM": self.sim.base_url,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path]),
        }
        return subprocess.run(
            command, cwd=self.path, env=os.environ | there | environ, capture_output=True, text=True, timeout=240
        )

    def recordings(self, pattern: str = "**/cassettes/*/*.json") -> list[Path]:
        return sorted(self.path.glob(pattern))


@pytest.fixture
def project(tmp_path: Path, sim: SimulatedProvider) -> Project:
    made = Project(tmp_path / "a project ü", sim)
    made.write("tests/test_it.py", SUITE)
    return made


def test_two_workers_record_and_replay_one_directory(project: Project) -> None:
    recorded = project.run("--payonce=record", "-p", "xdist", "-n", "2")
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr
    assert f"recordings: 0 replayed, {FILES} recorded" in recorded.stdout
    assert len(project.recordings()) == FILES
    assert {path.parent for path in project.recordings()} == {project.path / "tests" / "cassettes" / "test_it"}
    assert b"CANARY" not in b"".join(path.read_bytes() for path in project.recordings())
    calls = project.sim.bill.calls
    before = [path.read_bytes() for path in project.recordings()]
    for more in (["-p", "xdist", "-n", "2"], []):
        replayed = project.run(*more)
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        assert f"recordings: {FILES} replayed, 0 recorded\n" in replayed.stdout
    assert project.sim.bill.calls == calls
    assert [path.read_bytes() for path in project.recordings()] == before
    assert project.run("--payonce=record").returncode == 0
    assert project.sim.bill.calls == calls, "record asks only for what is missing"


def test_replay_is_the_default_and_says_how_to_record(project: Project) -> None:
    calls = project.sim.bill.calls
    done = project.run("tests/test_it.py::test_whole[1]")
    assert done.returncode == 1
    assert "MissError" in done.stdout
    assert "record it: run  pytest --payonce=record 'tests/test_it.py::test_whole[1]'" in done.stdout
    assert project.sim.bill.calls == calls
    assert project.recordings() == []
    assert project.run("--payonce=record", "tests/test_it.py::test_whole[1]").returncode == 0
    assert project.run("tests/test_it.py::test_whole[1]").returncode == 0


def test_the_variable_is_the_mode_where_no_flag_is(project: Project) -> None:
    assert "1 recorded" in project.run("-k", "whole and 0", PAYONCE_MODE="record").stdout
    assert "1 replayed" in project.run("-k", "whole and 0", "--payonce=replay", PAYONCE_MODE="record").stdout
    wrong = project.run("-k", "whole and 0", PAYONCE_MODE="rewind")
    assert "'rewind' is not a mode; use one of replay, record, refresh, off" in wrong.stdout
    assert project.run("--payonce=rewind").returncode == 4


def test_refresh_asks_anew_and_off_keeps_nothing(project: Project) -> None:
    one = "tests/test_it.py::test_whole[1]"
    calls = project.sim.bill.calls
    assert project.run("--payonce=off", one).returncode == 0
    assert project.recordings() == []
    assert project.run("--payonce=record", one).returncode == 0
    (page,) = project.recordings()
    before = page.read_bytes()
    assert project.run("--payonce=refresh", one).returncode == 0
    assert page.read_bytes() != before
    assert project.sim.bill.calls == calls + 3


TINY = """
import pytest
from payonce.stores.cassette import CassetteStore


def use(payonce, name):
    store = CassetteStore(payonce.directory)
    assert store.get(bytes.fromhex(name) * 32 + b"w") == b"kept"


def test_one(payonce):
    use(payonce, "01")


def test_two(payonce):
    use(payonce, "02")
"""


def test_recordings_that_no_test_uses_are_named_when_all_was_run_and_passed(project: Project) -> None:
    project.write("tests/test_it.py", TINY)
    for module, numbers in (("test_it", (1, 2, 3)), ("test_gone", (4,))):
        store = CassetteStore(project.path / "tests" / "cassettes" / module)
        for number in numbers:
            store.put(bytes([number]) * 32 + b"w", b"kept", About(0.0, 1e11, "t", "", "chat/completions", "m"))
    whole = project.run()
    assert "recordings: 2 replayed, 0 recorded, 2 used by no test\n" in whole.stdout, whole.stdout
    assert "  no test uses tests/cassettes/test_it/chat-m-030303030303.json\n" in whole.stdout
    assert "  no test uses tests/cassettes/test_gone/chat-m-040404040404.json\n" in whole.stdout
    assert "2 used by no test" in project.run("-p", "xdist", "-n", "2").stdout
    assert "1 used by no test" in project.run("tests/test_it.py").stdout, "of what else is there nothing is known"
    for part in (["-k", "one"], ["tests/test_it.py::test_one"], ["--deselect", "tests/test_it.py::test_one"]):
        done = project.run(*part)
        assert done.returncode == 0
        assert "1 replayed, 0 recorded\n" in done.stdout
    project.write("tests/test_it.py", TINY + "\n\ndef test_wrong():\n    assert False\n")
    assert "used by no test" not in project.run().stdout
    project.write("tests/test_it.py", TINY.replace('use(payonce, "02")', 'pytest.skip("x")'))
    assert "no test uses tests/cassettes/test_it" not in project.run().stdout


def test_what_could_not_be_recorded_is_said(project: Project) -> None:
    head = SUITE.partition("@pytest.mark.parametrize")[0]
    fault = "extra_headers={'X-Sim-Fault': 'refusal'}"
    project.write("tests/test_cut.py", f"{head}def test_cut(payonce):\n    ask(payonce.client(), 'x', {fault})\n")
    done = project.run("--payonce=record", "tests/test_cut.py")
    assert "recordings: 0 replayed, 0 recorded\n  1 not recorded: refusal (docs/reasons.md)\n" in done.stdout


def test_an_async_test_leaves_nothing_open(project: Project) -> None:
    project.write(
        "tests/test_async.py",
        SUITE.partition("@pytest.mark.parametrize")[0]
        + """
async def test_both(payonce):
    llm = AsyncOpenAI(base_url=URL, api_key="k", http_client=payonce.async_client(), max_retries=0)
    said = [{"role": "user", "content": "q"}]
    for _ in range(2):
        assert await llm.chat.completions.create(model="sim/small", messages=said)
        stream = await llm.chat.completions.create(model="sim/small", messages=said, stream=True)
        assert [chunk async for chunk in stream]
""",
    )
    for mode in ("record", "replay", "off"):
        asked = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function", "tests/test_async.py"]
        done = project.run("-p", "pytest_asyncio.plugin", f"--payonce={mode}", *asked)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "not recorded" not in done.stdout


def test_a_marker_overrides(project: Project) -> None:
    head = SUITE.partition("@pytest.mark.parametrize")[0]
    project.write(
        "tests/test_marked.py",
        head
        + """
@pytest.mark.payonce(mode="record", cassette="shared", namespace="n")
def test_shared(payonce):
    assert payonce.mode == "record"
    assert payonce.directory.name == "shared"
    assert payonce.options["namespace"] == "n"
    assert ask(payonce.client(), "shared")


@pytest.mark.payonce(mode="off")
def test_off(payonce):
    assert ask(payonce.client(), "off")
""",
    )
    done = project.run("tests/test_marked.py", "--strict-markers")
    assert done.returncode == 0, done.stdout
    (page,) = project.recordings()
    assert page.parent == project.path / "tests" / "cassettes" / "shared"
    project.write("tests/test_marked.py", head + "@pytest.mark.payonce('off')\ndef test_off(payonce):\n    pass\n")
    assert "takes names only" in project.run("tests/test_marked.py").stdout


def test_the_directory_can_be_chosen(project: Project, tmp_path: Path) -> None:
    project.write("pytest.ini", "[pytest]\npayonce_cassettes = recorded\n")
    assert project.run("--payonce=record", "-k", "whole").returncode == 0
    assert len(project.recordings("tests/recorded/test_it/*.json")) == 3
    project.write("pytest.ini", f"[pytest]\npayonce_cassettes = {tmp_path}/one tree\n")
    assert project.run("--payonce=record", "-k", "whole").returncode == 0
    assert len(list(tmp_path.glob("one tree/tests/test_it/*.json"))) == 3


def test_a_damaged_recording_fails_its_test_with_the_fix(project: Project) -> None:
    one = "tests/test_it.py::test_whole[1]"
    assert project.run("--payonce=record", one).returncode == 0
    (page,) = project.recordings()
    page.write_bytes(page.read_bytes()[:100])
    done = project.run(one)
    assert done.returncode == 1
    assert f"tests/cassettes/test_it/{page.name} was cut off" in done.stdout
    assert "record it anew" in done.stdout


def test_who_does_not_use_it_pays_nothing_for_it(project: Project) -> None:
    project.write(
        "plain/test_plain.py",
        """
import sys


def test_plain():
    heavy = {"httpx", "httpx2", "openai", "blake3", "msgspec", "orjson", "apsw", "asyncio"} & set(sys.modules)
    assert not heavy, heavy
    ours = {name for name in sys.modules if name.startswith("payonce")}
    assert ours == {"payonce", "payonce.pytest_plugin", "payonce.pytest_books"}
""",
    )
    project.write(
        "plain/sitecustomize.py",
        "import sys\nfor name in ('httpx', 'httpx2', 'openai'):\n    sys.modules[name] = None\n",
    )
    done = project.run("plain/test_plain.py", PYTHONPATH=os.pathsep.join([str(ROOT / "src"), *sys.path]))
    assert done.returncode == 0, done.stdout
    assert "recordings" not in done.stdout
    project.write("plain/test_plain.py", "def test_it(payonce):\n    payonce.client()\n")
    lacking = project.run(
        "plain/test_plain.py",
        PYTHONPATH=os.pathsep.join([str(project.path / "plain"), str(ROOT / "src"), *sys.path]),
    )
    assert "needs httpx2, which is not installed: run  pip install 'httpx2>=2'" in lacking.stdout
    project.write("plain/test_plain.py", "def test_it(payonce):\n    payonce.client(http='requests')\n")
    assert "'requests' is not an HTTP package" in project.run("plain/test_plain.py").stdout


def test_the_entry_point_names_the_plugin() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert points == {"payonce": "payonce.pytest_plugin"}
    assert hasattr(import_module(points["payonce"]), "pytest_addoption")
