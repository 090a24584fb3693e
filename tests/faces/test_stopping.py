"""A signal at any moment ends `payonce serve`: none is missed, and nobody is shown a traceback.

The children are real. A hook in them sends the signal to all of their processes, as a terminal does, at the moment when
one of them begins to import a module: that is the same moment in every run, however busy the machine is.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faces.test_shutdown import Held, refuses
from tests.support.gateway import DEAD, PATH, Wire, ask, post, raw_upstream, until

HOOK = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["STOP_AT"]:
            sys.meta_path.remove(self)
            os.killpg(0, int(os.environ["STOP_WITH"]))

if ("--multiprocessing-fork" in sys.orig_argv) == (os.environ["STOP_IN"] == "worker"):
    sys.meta_path.insert(0, Finder())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background would ignore it
"""
BEGINNING = ["cyclopts", "payonce.cli.serve", "payonce.config", "uvicorn", "payonce.assembly"]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 0}
both_signals = pytest.mark.parametrize("number", STATUS, ids=lambda number: signal.Signals(number).name)


class Child:
    """`payonce serve` (or another line of Python) in a process group of its own."""

    def __init__(self, home: Path, line: list[str], at: str = "", where: str = "", number: int = 0) -> None:
        hooks = home / "hooks"
        if at:
            hooks.mkdir()
            (hooks / "sitecustomize.py").write_text(HOOK)
        path = os.pathsep.join([str(hooks), *sys.path])
        told = {"STOP_AT": at, "STOP_IN": where, "STOP_WITH": str(int(number))}
        self.process = subprocess.Popen(
            [sys.executable, *line],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": path} | (told if at else {}),
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        """To all of its processes."""
        os.killpg(self.process.pid, number)

    def port(self) -> int:
        """Where it says that it answers."""
        assert self.process.stdout is not None
        found = re.search(rb"payonce answers on http://127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        assert found is not None
        return int(found[1])

    def end(self) -> tuple[int, str]:
        """The exit status, and what was written to stderr. Fails where it goes on, though it was told to stop."""
        try:
            _, err = self.process.communicate(timeout=120)
        finally:
            self.kill()
        return self.process.returncode, err.decode()

    def kill(self) -> None:
        """Whatever is left of it."""
        if self.process.returncode is None:
            self.signal(signal.SIGKILL)
            self.process.communicate()


def serve(
    home: Path, workers: int, *, at: str = "", where: str = "parent", number: int = 0, upstream: str = DEAD
) -> Child:
    line = ["-m", "payonce", "serve", "--port", "0", "--cache", "all", "--upstream", upstream]
    store = f"sqlite:{home}/cache.db"
    return Child(home, [*line, "--store", store, "--workers", str(workers)], at, where, number)


@both_signals
@pytest.mark.parametrize("at", [*BEGINNING, "payonce.stores.sqlite", "uvloop", "uvicorn.lifespan.on"])
def test_a_gateway_of_one_process_ends_whenever_it_is_told_to(at: str, number: int, tmp_path: Path) -> None:
    assert serve(tmp_path, 1, at=at, number=number).end() == (STATUS[number], "")  # type: ignore[index]


@both_signals
@pytest.mark.parametrize(
    ("where", "at"),
    [
        *(("parent", at) for at in ("payonce.cli.serve", "uvicorn", "multiprocessing.popen_spawn_posix")),
        *(("worker", at) for at in ("multiprocessing.spawn", "payonce.gateway.app", "payonce.dashboard.panel")),
        *(("worker", at) for at in ("uvicorn.lifespan.on", "payonce.stores.sqlite")),
    ],
)
def test_a_gateway_of_two_workers_ends_whenever_it_is_told_to(where: str, at: str, number: int, tmp_path: Path) -> None:
    assert serve(tmp_path, 2, at=at, where=where, number=number).end() == (STATUS[number], "")  # type: ignore[index]


@both_signals
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_as_soon_as_it_has_greeted_is_heard(workers: int, number: int, tmp_path: Path) -> None:
    child = serve(tmp_path, workers)
    assert child.port()
    child.signal(number)
    assert child.end() == (STATUS[number], "")  # type: ignore[index]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_ctrl_c_does_not_wait_for_answers_under_way(workers: int, tmp_path: Path) -> None:
    held = Held()
    with raw_upstream(held) as upstream:
        child = serve(tmp_path, workers, upstream=upstream.base_url)
        try:
            port = child.port()
            assert until(lambda: answers(port), 60)
            with Wire(port) as wire:
                wire.send(post(ask("held", stream=True), PATH, f"127.0.0.1:{port}"))
                assert wire.head().status == 200
                child.signal(signal.SIGINT)
                assert until(lambda: refuses(port), 60)
                assert child.process.poll() is None, "it waits for the answer"
                child.signal(signal.SIGINT)
                assert child.end() == (130, "")
        finally:
            child.kill()
            held.go.set()


def answers(port: int) -> bool:
    """Whether a gateway there says that it is well."""
    try:
        with Wire(port) as wire:
            wire.send(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            return wire.reply().status == 200
    except (OSError, EOFError):
        return False


def test_without_this_a_signal_would_show_a_traceback_and_the_hook_would_find_it(tmp_path: Path) -> None:
    child = Child(tmp_path, ["-c", "import payonce.gateway.app"], "payonce.assembly", "parent", signal.SIGINT)
    status, err = child.end()
    assert status != 0
    assert "Traceback" in err and "KeyboardInterrupt" in err
