"""Settings as a user gives them: a file, and what loading them says is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from payonce.config import load
from payonce.errors import SettingsError

HOME = {"HOME": "/"}
"""An environment that sets nothing."""


def write(directory: Path, text: str, name: str = "payonce.toml") -> Path:
    """A file that only its owner may change."""
    path = directory / name
    path.write_text(text)
    path.chmod(0o644)
    return path


def fault(flags: dict[str, object], environ: dict[str, str] | None = None, file: Path | None = None) -> str:
    """What is said of settings that can't be loaded."""
    with pytest.raises(SettingsError) as caught:
        load(flags, environ or HOME, file)
    return str(caught.value)
