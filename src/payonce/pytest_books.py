"""The pytest plugin's books: which recordings a run has used, and what it says of them at the end.

This room must never record, replay or delete anything, and imports nothing of Payonce until a test has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

INI: Final = "payonce_cassettes"
_NARROWING: Final = ("keyword", "markexpr", "lf", "last_failed", "stepwise", "deselect")
_NAMED: Final = 20


def relative(config: pytest.Config, module: Path) -> str:
    """A path as pytest names it: from the root of the run, with slashes."""
    try:
        return module.relative_to(config.rootpath).as_posix()
    except ValueError:
        return module.name


class Books:
    """Which recordings this run has used; under pytest-xdist, those of all workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._files: dict[str, set[str]] = {"played": set(), "recorded": set()}
        self._modules: dict[str, set[str]] = {}
        self._unkept: Counter[str] = Counter()
        self._passed_over: set[str] = set()
        self._deselected = False
        self._watching = False

    def used(self, directory: Path, module: str, *, shared: bool) -> None:
        """A test has asked for the fixture."""
        self._modules.setdefault(str(directory), set()).update([module, *([""] if shared else [])])
        if not self._watching:
            from payonce.stores import cassette_files  # noqa: PLC0415 - a run that does not record imports nothing

            cassette_files.watchers.append(self._noticed)
            self._watching = True

    def answered(self, response: Any) -> None:
        """A client has got an answer: count one that should have been recorded and was not."""
        status = str(response.headers.get("cache-status", ""))
        if "; fwd=" in status and "; stored" not in status and "; collapsed" not in status:
            self._unkept[status.partition("detail=")[2].partition(";")[0] or f"status {response.status_code}"] += 1

    def _noticed(self, what: str, path: Path) -> None:
        self._files[what].add(str(path))

    # What pytest tells.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that did not run to its end may have left recordings unused."""
        if not report.passed:
            self._passed_over.add(report.nodeid.partition("::")[0])

    def pytest_deselected(self) -> None:
        """Not all tests are run."""
        self._deselected = True

    def pytest_sessionfinish(self) -> None:
        """A worker of pytest-xdist hands its books to the controller."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["payonce"] = {
                "files": {what: sorted(paths) for what, paths in self._files.items()},
                "modules": {directory: sorted(modules) for directory, modules in self._modules.items()},
                "unkept": dict(self._unkept),
                "deselected": self._deselected,
            }

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """The controller takes over a worker's books."""
        books = getattr(node, "workeroutput", {}).get("payonce")
        if books is None:
            self._deselected = self._deselected or bool(self._modules)  # a worker that crashed: nothing is certain
            return
        for what, paths in books["files"].items():
            self._files[what].update(paths)
        for directory, modules in books["modules"].items():
            self._modules.setdefault(directory, set()).update(modules)
        self._unkept.update(books["unkept"])
        self._deselected = self._deselected or books["deselected"]

    def pytest_unconfigure(self) -> None:
        """Stop watching."""
        if self._watching:
            from payonce.stores import cassette_files  # noqa: PLC0415

            cassette_files.watchers.remove(self._noticed)
            self._watching = False

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        """How many recordings were replayed and made, and which none of the tests used."""
        played, recorded = self._files["played"] - self._files["recorded"], self._files["recorded"]
        if not (self._modules and (played or recorded or self._unkept)):
            return
        said = [f"{len(played)} replayed", f"{len(recorded)} recorded"]
        unused = self._unused() if exitstatus == 0 else []
        if unused:
            said.append(f"{len(unused)} used by no test")
        terminalreporter.section("payonce", sep="-", blue=True)
        terminalreporter.write_line(f"recordings: {', '.join(said)}")
        for path in unused[:_NAMED]:
            terminalreporter.write_line(f"  no test uses {path}")
        if len(unused) > _NAMED:
            terminalreporter.write_line(f"  … and {len(unused) - _NAMED} more")
        for reason, count in sorted(self._unkept.items()):
            terminalreporter.write_line(f"  {count} not recorded: {reason} (docs/reasons.md)")

    def _unused(self) -> list[str]:
        """The recordings that no test has used, as far as all tests that might have were run, and passed."""
        options = self._config.option
        if self._deselected or any(getattr(options, name, None) for name in _NARROWING):
            return []
        if any("::" in argument for argument in self._config.args):
            return []
        everything = self._config.args_source is not pytest.Config.ArgsSource.ARGS
        used = self._files["played"] | self._files["recorded"]
        whole = [
            directory
            for directory, modules in self._modules.items()
            if not modules & self._passed_over and ("" not in modules or everything)
        ]
        found = [path for directory in whole for path in _recordings_in(Path(directory)) if str(path) not in used]
        if everything:
            found += [path for directory in self._orphans() for path in _recordings_in(directory)]
        return sorted(relative(self._config, path) for path in found)

    def _orphans(self) -> Iterator[Path]:
        """Directories beside those in use whose test module is gone."""
        if Path(self._config.getini(INI)).is_absolute():
            return
        for root in sorted({Path(directory).parent for directory in self._modules}):
            for directory in sorted(root.iterdir()) if root.is_dir() else ():
                known = str(directory) in self._modules or (root.parent / f"{directory.name}.py").exists()
                if directory.is_dir() and not known:
                    yield directory


def _recordings_in(directory: Path) -> list[Path]:
    from payonce.stores.cassette_place import Place  # noqa: PLC0415

    return [directory / name for name in Place(directory).names()]
