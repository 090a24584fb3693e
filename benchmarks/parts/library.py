"""The cache inside the process: CPU time of a hit at the transport and through the OpenAI SDK, beside the same call on
a transport that answers at once, and beside three other caches, each under a Python environment of its own.

One process for each arm, all open at once; they take turns, who begins changes every round.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

from benchmarks.machine import SERVER_CORE
from benchmarks.parts import Bench
from benchmarks.rounds import Row

_ROOT = Path(__file__).parents[2]
_HOME = _ROOT / "benchmarks" / ".bench"
_TURN_SECONDS = 0.5
_OWN = (
    ("hit at the transport, beyond a canned answer", "transport", 15.0),
    ("the same, async", "transport-async", 15.0),
    ("OpenAI SDK, create() on a hit", "create", 1.10),
    ("the same, async", "create-async", 1.10),
)
_PEERS = {
    "hishel": ("hishel", ["hishel[httpx2]", f"openai=={metadata.version('openai')}"]),
    "langchain": ("langchain-core", ["langchain-openai", "langchain-community"]),
    "litellm": ("litellm", ["litellm[proxy]"]),
}
_NAMES = {"hishel": "hishel, SQLite", "langchain": "LangChain, SQLite cache", "litellm": "LiteLLM, local cache"}


class _Worker:
    """One arm in a process of its own."""

    def __init__(self, python: Path, arm: str, home: Path) -> None:
        home.mkdir(exist_ok=True)
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(_ROOT), str(_ROOT / "src")))}
        environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "XDG_CACHE_HOME": str(home)}
        self._errors = (home / "log").open("w+")
        command = ["taskset", "-c", str(SERVER_CORE), str(python), "-m", "benchmarks.library_worker", arm, str(home)]
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.arm = arm

    def turn(self) -> float:
        """CPU microseconds of one call; raises OSError where the arm has failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{_TURN_SECONDS}\n")
            self._process.stdin.flush()
            return float(self._process.stdout.readline())
        except (OSError, ValueError):
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["it said nothing"]
            raise OSError(f"{self.arm}: {said[-1][:200]}") from None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()


def _installed(peer: str) -> tuple[Path, str]:
    """The Python of a peer's environment and the peer's version, after an attempt to install it."""
    distribution, wanted = _PEERS[peer]
    python = _HOME / peer / "bin" / "python"
    probe = [str(python), "-c", f"import importlib.metadata as m; print(m.version({distribution!r}))"]
    found = subprocess.run(probe, capture_output=True, text=True, check=False) if python.exists() else None
    if found is None or found.returncode:
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        install = [str(python), "-m", "pip", "install", "-q", *wanted]
        subprocess.run(install, check=True, capture_output=True, timeout=1800)
        found = subprocess.run(probe, capture_output=True, text=True, check=True)
    return python, found.stdout.strip()


def measure(bench: Bench) -> list[Row]:
    """Rows of ours beside a canned answer, then beside each peer; a peer that can't be had is named."""
    with ExitStack() as stack:

        def start(python: Path, arm: str) -> _Worker:
            worker = _Worker(python, arm, bench.home / arm)
            stack.callback(worker.close)
            return worker

        own = Path(sys.executable)
        workers = {arm: start(own, arm) for _, ours, _ in _OWN for arm in (ours, f"{ours}-canned")}
        names, missing = {}, {}
        for peer, name in _NAMES.items():
            bench.say(f"{peer}: installing it if it is not there yet (minutes)")
            try:
                python, version = _installed(peer)
                workers[peer] = start(python, peer)
                workers[peer].turn()  # it runs, and its hits are hits
                names[peer] = f"{name}, {version}"
            except (OSError, subprocess.SubprocessError) as error:
                workers.pop(peer, None)
                missing[peer] = str(error).splitlines()[0]
        figures = _rounds(bench, workers)
    rows = []
    for what, arm, target in _OWN:
        beyond = target > 2
        peer = "the canned answer alone" if beyond else "over a canned answer"
        rows.append(
            Row(
                *("library", what, "CPU us", figures[arm], figures[f"{arm}-canned"], peer, target),
                at_most=True,
                difference=beyond,
            )
        )
    what = "the same chat request, hit"
    rows += [
        Row("library", what, "CPU us", figures["create"], figures[peer], name, at_most=True)
        for peer, name in names.items()
    ]
    return rows + [
        Row("library", what, "CPU us", [], [], _NAMES[peer], note=because) for peer, because in missing.items()
    ]


def _rounds(bench: Bench, workers: dict[str, _Worker]) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {arm: [] for arm in workers}
    for worker in workers.values():
        worker.turn()
    order = list(workers)
    for number in range(bench.rounds):
        for arm in order:
            figures[arm].append(workers[arm].turn())
        order.reverse()
        last = ", ".join(f"{arm} {figures[arm][-1]:.0f}" for arm in workers)
        bench.say(f"round {number + 1}/{bench.rounds}, CPU us: {last}")
    return figures
