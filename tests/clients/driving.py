"""Runs a program of a client's own environment against a gateway, and counts what reached the provider.

The environments are made by `tools/setup.sh clients`; one that is missing is an error that says so, never a skip.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from payonce.testing.sim import SimulatedProvider

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
JS = Path(__file__).parent / "js"
KEY = "sk-or-a-client"


@dataclass(frozen=True)
class Place:
    """Where a client asks: `root` is the gateway's address, or the provider's where the cache is in the process."""

    root: str
    provider: SimulatedProvider
    home: Path
    store: str = ""

    def run(self, *command: str | Path, cwd: Path | None = None, **environ: str) -> str:
        """What a program says on its standard output; it must end well, and say nothing of a traceback."""
        known = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(SCRIPTS))),
            "PAYONCE_ROOT": self.root,
            "PAYONCE_STORE": self.store,
            "XDG_CACHE_HOME": str(self.home),
            "NO_PROXY": "*",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it asks the network for prices when it is imported
        }
        keys = dict.fromkeys(("OPENROUTER_API_KEY", "ANTHROPIC_API_KEY"), KEY)
        found = subprocess.run(
            [str(part) for part in command],
            capture_output=True, text=True, check=False, timeout=280, cwd=cwd or self.home,
            env=known | keys | environ,
        )  # fmt: skip
        assert found.returncode == 0, f"{found.stdout}\n{found.stderr}"
        return found.stdout

    def upstream_calls(self, pattern: str) -> Counter[str]:
        """How many calls reached the provider, by what `pattern` finds in their bodies."""
        bodies = (call.body.decode("utf-8", "replace") for call in self.provider.calls)
        return Counter(name for body in bodies for name in dict.fromkeys(re.findall(pattern, body)))


def python(name: str) -> Path:
    """The interpreter of `.clients/NAME`."""
    return _there(ROOT / ".clients" / name / "bin" / "python")


def command(name: str) -> Path:
    """A command that one of the clients brings."""
    return _there(ROOT / ".clients" / "main" / "bin" / name)


def _there(path: Path) -> Path:
    assert path.exists(), f"{path} is missing: run `sh tools/setup.sh clients` (make test does)"
    return path


def check_cases(place: Place, output: str, wanted: set[str]) -> None:
    """Every case ran, gave the same twice, and asked the provider no more than one run of it does."""
    told: dict[str, Any] = json.loads(output)
    assert told.keys() == wanted
    seen = place.upstream_calls(r"<(\w+)>")
    problems = {}
    for name, case in told.items():
        if "error" in case:
            problems[name] = case["error"]
            continue
        first, second = case["results"]
        if not first or first != second or seen[name] != case["calls"]:
            problems[name] = f"{seen[name]} upstream calls in place of {case['calls']}; {first!r} | {second!r}"
    names = {name for call in place.provider.calls for name in call.headers}
    assert not {name for name in names if name.startswith(("x-payonce", "x-openrouter-cache"))}, "ours to read alone"
    assert not problems, "\n".join(f"{name}: {problem}" for name, problem in problems.items())
