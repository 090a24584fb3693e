"""`python -m tests.sdk_suite [TEST …]`: run the SDK's tests direct, then twice through the gateway, and compare.

Tests are named as under `tests` of the distribution; none means all that call a server. Exit code 1: a test that passes
direct has failed through the gateway.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / "tests" / ".sdk-suite"
VERSION = metadata.version("openai")
LIMIT = 1500.0
"""Seconds that one run may take."""
CALLING = ("api_resources", "lib/test_fine_tuning_positional_arguments.py")
"""Where the tests are that call a server: the others of the distribution look at the SDK itself, or bring their own."""
CACHED = ("/chat/completions", "/responses", "/embeddings")


class UnavailableError(Exception):
    """The suite, or what it needs, can't be had here."""


@dataclass
class Outcome:
    """One run: the tests by how they ended, and why those were skipped that were."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    """How many calls to cached endpoints reached the mock server."""


def prepare() -> Path:
    """The directory of the distribution, brought here where it is not yet: checked against the hash that
    requirements/dev.txt has for it. Raises UnavailableError."""
    tree = HOME / f"openai-{VERSION}"
    try:
        if not tree.exists():
            _unpack(tree)
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", b"") or b""
        raise UnavailableError(f"{error}; {said.decode(errors='replace')[-300:]}") from None
    return tree


def _unpack(tree: Path) -> None:
    lines = (ROOT / "requirements" / "dev.txt").read_text().split("\nopenai==")[1].split("\n")
    hashed = "openai==" + " ".join(line.strip(" \\") for line in [lines[0], *_hashes(lines[1:])])
    HOME.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as draft:
        wanted = Path(draft, "wanted.txt")
        wanted.write_text(hashed + "\n")
        how = ("--require-hashes", "--no-deps", "--no-build-isolation", "--no-binary", "openai", "-q")
        command = [sys.executable, "-m", "pip", "download", *how, "-d", draft, "-r", str(wanted)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        (archive,) = Path(draft).glob("openai-*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(draft, filter="data")
        Path(draft, tree.name).rename(tree)


def _hashes(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("    --hash"):
            return
        yield line


@contextmanager
def mock() -> Iterator[int]:
    """A mock server for the SDK; its port."""
    with tempfile.TemporaryDirectory() as home:
        told = Path(home, "port")
        command = [sys.executable, str(Path(__file__).with_name("mock.py")), str(told)]
        process = subprocess.Popen(command)
        try:
            deadline = time.monotonic() + 120
            while not told.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the mock server did not start")
                time.sleep(0.05)
            page = json.loads(told.read_text())
            for unknown in page["unknown"]:
                print("not served:", unknown)
            yield page["port"]
        finally:
            process.kill()
            process.wait()


def run(tree: Path, base: str, port: int, tests: list[str]) -> Outcome:
    """One run of the distribution's tests against `base`."""
    before = _asked(port)
    with tempfile.TemporaryDirectory() as home:
        report = Path(home, "report.xml")
        chosen = [f"tests/{name}" for name in tests or CALLING]
        ours = ("-p", "no:payonce", "-p", "no:cacheprovider")
        workers = "0" if tests else "2"  # a worker imports the SDK for seconds before its first test
        options = ["-q", "-n", workers, *ours, "--show-capture=no", "--tb=line", f"--junitxml={report}"]
        environ = {**os.environ, "TEST_API_BASE_URL": base, "DEFER_PYDANTIC_BUILD": "false", "PYTHONPATH": ""}
        environ = {name: value for name, value in environ.items() if not name.startswith(("OPENAI_", "PYTEST_"))}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *chosen],
            cwd=tree,
            env=environ,
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stdout.decode()[-2000:] + done.stderr.decode()[-2000:])
        outcome = _read(report)
    outcome.asked = _asked(port) - before
    return outcome


def _read(report: Path) -> Outcome:
    outcome = Outcome()
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        ended = {child.tag: (child.get("message") or "").split("\n")[0][:150] for child in case}
        if "skipped" in ended:
            outcome.skipped[ended["skipped"]] += 1
        elif "failure" in ended or "error" in ended:
            outcome.failed[name] = ended.get("failure") or ended["error"]
        else:
            outcome.passed.add(name)
    return outcome


def _asked(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_mock/counts", timeout=30) as answer:
        counts: dict[str, int] = json.loads(answer.read())
    return sum(counts.get(f"POST {path}", 0) for path in CACHED)


def compare(tests: list[str]) -> tuple[Outcome, list[Outcome]]:
    """Direct, then through the gateway on a cold cache, then on the warm one."""
    from tests.support.gateway import running_gateway

    tree = prepare()
    with mock() as port, tempfile.TemporaryDirectory() as home:
        direct = run(tree, f"http://127.0.0.1:{port}", port, tests)
        with running_gateway(f"http://127.0.0.1:{port}", store=f"sqlite:{home}/c.db", cache="all") as gateway:
            through = [run(tree, gateway.base_url, port, tests) for _ in range(2)]
    return direct, through


def broken(direct: Outcome, through: list[Outcome]) -> dict[str, str]:
    """What passes direct and not through the gateway, with what was said."""
    return {
        name: outcome.failed.get(name, "it was not run")
        for outcome in through
        for name in sorted(direct.passed - outcome.passed)
    }


def main(tests: list[str]) -> int:
    """Compare, print, and tell by the exit code."""
    try:
        direct, through = compare(tests)
    except UnavailableError as error:
        print(f"the OpenAI SDK's test suite can't be had here: {error}")
        return 1
    for name, outcome in zip(("direct", "cold cache", "warm cache"), (direct, *through), strict=True):
        print(
            f"{name}: {len(outcome.passed)} passed, {len(outcome.failed)} failed, {outcome.skipped.total()} skipped; "
            f"{outcome.asked} calls to cached endpoints reached the mock server"
        )
    for reason, count in direct.skipped.items():
        print(f"skipped by the suite itself: {count} x {reason}")
    for reason, count in Counter(direct.failed.values()).most_common(10):
        print(f"fails direct, with this mock server: {count} x {reason}")
    found = broken(direct, through)
    for name, because in found.items():
        print(f"BROKEN through the gateway: {name}: {because}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
