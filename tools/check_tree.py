"""What a checkout must never contain: hosts of package registries, paths of a machine, lock files that record hosts.

Exit 1 with file and line for each find. The patterns are split so that this file does not match itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_HOSTS = (
    "py" + r"pi\.org",
    "python" + r"hosted\.org",
    "registry" + r"\.npm",
    "deb" + r"\.debian\.",
    "crates" + r"\.io",
)
_PATHS = (r"(?<![\w.])/wo" + "rk/[a-z]", r"(?<![\w.])/fa" + "rm/[a-z]", r"(?<![\w.])/ro" + "ot/[a-z]")
_FORBIDDEN = re.compile("|".join((*_HOSTS, *_PATHS)))
_LOCKS = re.compile(r"(^|/)(uv\.lock|pylock.*\.toml)$")
_SECRETS = re.compile("sk-or-v1-" + r"[0-9a-f]{64}")


def main() -> int:
    """Check every tracked file."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True
    )
    problems = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = Path(name)
        if _LOCKS.search(name):
            problems.append(f"{name}: a lock file that records hosts; commit hashed requirements instead")
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), start=1):
            if _FORBIDDEN.search(line):
                problems.append(f"{name}:{number}: names a registry's host or a path of one machine")
            if _SECRETS.search(line):
                problems.append(f"{name}:{number}: looks like a real API key")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
