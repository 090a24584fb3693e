"""The machine: what must be installed, which core is whose, and how the machine is named beside the figures."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import payonce

SERVER_CORE = 0
"""The server under measurement has this core for itself."""
LOAD_CORE = 1
"""The load, the upstream and this program share this one."""

_PACKAGES = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux"}
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


def _missing() -> list[str]:
    return [package for program, package in _PACKAGES.items() if shutil.which(program, path=_PATH) is None]


def _fetch(packages: list[str], prefix: list[str]) -> None:
    # RUNLEVEL keeps Debian from starting the system's nginx service as soon as it is installed.
    env = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    for arguments in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
        subprocess.run([*prefix, *env, "apt-get", *arguments], check=True, stdout=subprocess.DEVNULL)


def prepare() -> None:
    """Install what is missing where that is possible, and move this program to the core of the load."""
    cores = os.sched_getaffinity(0)
    if not {SERVER_CORE, LOAD_CORE} <= cores:
        raise SystemExit(f"benchmarks need cores {SERVER_CORE} and {LOAD_CORE}; this process may use {sorted(cores)}")
    if missing := _missing():
        names = " ".join(missing)
        hint = f"benchmarks need these Debian packages: {names}\n  sudo apt-get install {names}"
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        if shutil.which("apt-get") is None or (prefix and shutil.which("sudo") is None):
            raise SystemExit(hint)
        try:
            _fetch(missing, prefix)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{hint}\n(tried it: {error})") from None
        if _missing():
            raise SystemExit(hint)
    os.sched_setaffinity(0, {LOAD_CORE})


def _version(*command: str) -> str:
    """The first line that a program says of itself, on whichever stream."""
    said = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": _PATH})
    return ((said.stdout + said.stderr).strip().splitlines() or ["?"])[0]


def _package(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} absent"


def source() -> str:
    """A short digest of the package's source, so that figures say which state of it they are of."""
    digest = hashlib.sha256()
    root = Path(payonce.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def describe() -> dict[str, str]:
    """The machine in a few words; nothing that names its owner."""
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a stream of the kernel's
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "cores": f"{os.cpu_count()} x {model}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "payonce": ", ".join(_package(name) for name in ("payonce", "uvicorn", "uvloop", "httptools", "apsw")),
        "source": source(),
        "nginx": _version("nginx", "-v").rpartition("/")[2],
        "wrk": _version("wrk", "-v").partition(" [")[0].removeprefix("wrk "),
    }
