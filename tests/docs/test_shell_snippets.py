"""What the pages tell you to type works: each `sh` block runs, in order, beside a gateway and a provider.

`payonce serve` runs beside the others, as in a terminal of its own; `pip install` is left out: the test runs from a
checkout.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from payonce.testing.sim import running_sim
from tests.docs.test_docs import ROOT, blocks
from tests.support.gateway import GatewayChild, ask

PAGES = ("quickstart", "operations", "moving", "keys")
_LEFT_OUT = re.compile(r"^(pip install|payonce serve)\b.*$", re.MULTILINE)


class Terminal:
    """A shell in `home` that knows `payonce`; the gateway of the pages' port is that of `gateway`."""

    def __init__(self, home: Path, gateway: GatewayChild, upstream: str, store: str) -> None:
        programs = home / "bin"
        programs.mkdir()
        (programs / "payonce").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m payonce "$@"\n')
        (programs / "payonce").chmod(0o755)
        self.home, self.gateway = home, gateway
        self.environ = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "PAYONCE_STORE": store,
            "PAYONCE_UPSTREAM": upstream,
            "OPENROUTER_API_KEY": "sk-or-test",
            "TENANT": "ab" * 32,
        }

    def type(self, block: str) -> str:
        """What the commands print; AssertionError where one fails."""
        text = _LEFT_OUT.sub(":", block).replace("127.0.0.1:4141", self.gateway.host)
        text = text.replace("export OPENROUTER_API_KEY=…", ":")
        done = subprocess.run(
            ["sh", "-ec", text],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout


def _furnish(home: Path) -> None:
    """The files that the pages speak of."""
    bodies = [ask("one"), ask("two")]
    (home / "requests.jsonl").write_text("\n".join(json.dumps(body) for body in bodies))
    for name, body in zip(("a.json", "b.json"), (bodies[0], {**bodies[0], "metadata": {"trace": "1"}}), strict=True):
        (home / name).write_text(json.dumps(body))
    (home / "payonce.toml").write_text(blocks(ROOT / "docs" / "operations.md", "toml")[0])


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    typed = blocks(ROOT / "docs" / f"{page}.md", "sh")
    assert typed
    store = f"sqlite:{tmp_path}/old.db"
    arguments = ("--port", "0", "--store", store)
    with running_sim() as sim, GatewayChild(tmp_path, *arguments, "--upstream", sim.base_url) as gateway:
        _furnish(tmp_path)
        terminal = Terminal(tmp_path, gateway, sim.base_url, store)
        said = [terminal.type(block) for block in typed]
        if page == "quickstart":
            first, second = (text for text in said if "cache-status:" in text.lower())
            assert "payonce; fwd=miss; stored" in first
            assert "payonce; hit; ttl=" in second
            assert first.splitlines()[-1] == second.splitlines()[-1]
            assert sim.bill.calls == 1


def test_the_python_of_the_quickstart_is_a_hit_of_what_curl_asked(tmp_path: Path) -> None:
    (code,) = blocks(ROOT / "docs" / "quickstart.md", "python")
    with running_sim() as sim, GatewayChild(tmp_path, "--port", "0", "--upstream", sim.base_url) as gateway:
        code = code.replace("127.0.0.1:4141", gateway.host)
        environ = {**os.environ, "OPENROUTER_API_KEY": "sk-or-test"}
        line = [sys.executable, "-c", code]
        runs = [
            subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env=environ)
            for _ in range(2)
        ]
    assert runs[0].stdout.startswith("payonce; fwd=miss; stored"), runs[0].stderr
    assert runs[1].stdout.startswith("payonce; hit"), runs[1].stderr


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    with running_sim() as sim, GatewayChild(tmp_path, "--port", "0", "--upstream", sim.base_url) as gateway:
        terminal = Terminal(tmp_path, gateway, sim.base_url, "memory:")
        with pytest.raises(AssertionError, match="there is no command"):
            terminal.type("payonce stat")
